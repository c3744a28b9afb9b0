"""Image-to-image and inpainting of Stable Diffusion 1, 2 and XL against real Diffusers, on tiny folders of varied shapes.

Several pictures of one call share the first one's draw of the source's latents in Diffusers (docs/traps.md), so each
picture is asked for by itself. Diffusers' image-to-image takes the size of its picture.
"""

from pathlib import Path

import numpy
import pytest
import torch
from comparing import MADE, PROMPT, assert_same, our_pictures
from diffusers import (
    StableDiffusionImg2ImgPipeline,
    StableDiffusionInpaintPipeline,
    StableDiffusionXLImg2ImgPipeline,
    StableDiffusionXLInpaintPipeline,
)

import unet_folders
from tiny_pictures import mask, picture

CLASSES = {
    (False, False): StableDiffusionImg2ImgPipeline,
    (False, True): StableDiffusionInpaintPipeline,
    (True, False): StableDiffusionXLImg2ImgPipeline,
    (True, True): StableDiffusionXLInpaintPipeline,
}
FOLDERS = ["plain", "kernels", "lcm", "prk", "clipping", "xl", "xl_turbo", "playground", *unet_folders.FILL_FOLDERS]

# 5 steps at 0.5 make 2, not 2.5. Without a strength Diffusers' own is taken: of 10 steps XL's makes 3.
REQUESTS = {
    "own_strength": {"image": picture(64, 64), "num_inference_steps": 10, "seed": 1},
    "half_odd_size": {"image": picture(72, 56), "strength": 0.5, "num_inference_steps": 5, "negative_prompt": "blurry", "seed": 2},
    "whole": {"image": picture(64, 64), "strength": 1.0, "num_inference_steps": 4, "seed": 3},
    "box": {"image": picture(64, 64), "mask": mask("box", 64, 64), "num_inference_steps": 4, "seed": 4},
    "disc": {"image": picture(90, 40), "mask": mask("disc", 90, 40), "strength": 0.6, "num_inference_steps": 6, "clip_skip": 1, "seed": 5},
}  # fmt: skip


@pytest.fixture(scope="module", params=FOLDERS)
def model(request):
    name = request.param
    path = unet_folders.build_folder(MADE / "unet_edits" / name, name)
    return name, path, unet_folders.load_pipeline(path)


def their_picture(text_to_image, path: Path, arguments: dict, xl: bool) -> numpy.ndarray:
    masked = "mask" in arguments
    arguments = {key: value for key, value in arguments.items() if key not in ("n", "seed", "mask")} | {
        "generator": torch.Generator().manual_seed(arguments["seed"])
    } | ({"mask_image": arguments["mask"]} if masked else {})  # fmt: skip
    if not masked:
        assert arguments["image"].size == (arguments.pop("width"), arguments.pop("height"))
    options = {key: value for key, value in text_to_image.config.items() if isinstance(value, bool)}
    # As it lies in the folder: the text pipeline has amended its own by now.
    scheduler = type(text_to_image.scheduler).from_pretrained(path / "scheduler")
    pipeline = CLASSES[xl, masked](**(text_to_image.components | {"scheduler": scheduler}), **options)
    pipeline.set_progress_bar_config(disable=True)
    return numpy.asarray(pipeline(**arguments).images[0])


@pytest.mark.parametrize("request_name", REQUESTS)
def test_edits_in_fp32(model, request_name: str, tmp_path: Path) -> None:
    name, path, pipeline = model
    folder, request = (unet_folders.FOLDERS | unet_folders.FILL_FOLDERS)[name], REQUESTS[request_name]
    width, height = (64, 64) if "mask" in request else request["image"].size
    arguments = {"prompt": PROMPT, "guidance_scale": folder.guidance_scale, "n": 1, "width": width, "height": height} | request
    if folder.fills and "mask" not in request:
        with pytest.raises(AssertionError, match="only inpaints"):
            our_pictures(path, arguments, tmp_path)
        return
    assert_same(our_pictures(path, arguments, tmp_path), [their_picture(pipeline, path, arguments, folder.xl)])
