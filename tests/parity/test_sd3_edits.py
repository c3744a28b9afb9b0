"""Image-to-image and inpainting of `diffused generate` against real Diffusers, on tiny folders of varied shapes.

Two things that Diffusers does otherwise are mended here before comparing (docs/traps.md): its inpainting forgets
the autoencoder's shift factor when it decodes, and several pictures of one call share the first one's draw of the
source's latents, so each picture is asked for by itself.
"""

from pathlib import Path

import numpy
import pytest
import torch
from comparing import MADE, arguments_of, assert_same, our_pictures
from diffusers import StableDiffusion3Img2ImgPipeline, StableDiffusion3InpaintPipeline

import folders
from tiny_pictures import mask, picture

FOLDERS = ["plain", "dual", "patch_one", "dynamic_shift", "quant_convs", "five_levels"]


# Sizes are those of the uploads; the picture's own is the folder's. 5 steps at 0.5 leave out 2, not 2.5.
REQUESTS = {
    "weak": {"image": picture(64, 64), "strength": 0.3, "num_inference_steps": 7, "guidance_scale": 5.0, "seed": 1},
    "half": {"image": picture(50, 71), "strength": 0.5, "num_inference_steps": 5, "odd_size": True, "guidance_scale": 1.0, "seed": 2, "n": 2},
    "whole": {"image": picture(201, 97), "strength": 1.0, "guidance_scale": 3.0, "negative_prompt": "blurry", "seed": 3},
    "box": {"image": picture(64, 64), "mask": mask("box", 64, 64), "strength": 0.6, "num_inference_steps": 6, "guidance_scale": 5.0, "seed": 4},
    "disc_whole": {"image": picture(90, 40), "mask": mask("disc", 90, 40), "strength": 1.0, "odd_size": True, "guidance_scale": 1.0, "seed": 5, "n": 2},
    "stripes": {"image": picture(64, 80), "mask": mask("stripes", 200, 31), "strength": 0.85, "guidance_scale": 2.0, "clip_skip": 1, "seed": 6},
    "ramp": {"image": picture(33, 33), "mask": mask("ramp", 80, 48), "strength": 0.5, "odd_size": True, "guidance_scale": 4.0, "seed": 7},
    "all": {"image": picture(64, 64), "mask": mask("all", 64, 64), "strength": 0.75, "guidance_scale": 4.0, "seed": 8},
    "nothing": {"image": picture(64, 64), "mask": mask("nothing", 16, 16), "strength": 0.75, "guidance_scale": 4.0, "seed": 9},
}  # fmt: skip


@pytest.fixture(scope="module", params=FOLDERS)
def model(request):
    name = request.param
    path = MADE / "sd3_edits" / name
    folders.build_folder(path, name)
    return name, path, folders.load_pipeline(path, name)


def their_picture(pipeline, arguments: dict, seed: int) -> numpy.ndarray:
    arguments = {key: value for key, value in arguments.items() if key not in ("n", "seed", "mask")} | {
        "generator": torch.Generator().manual_seed(seed),
        "output_type": "latent",
    }
    decoded = folders.decode(pipeline, pipeline(**arguments).images)
    return numpy.asarray(pipeline.image_processor.postprocess(decoded)[0])


def their_pictures(text_to_image, arguments: dict) -> list[numpy.ndarray]:
    if "mask" in arguments:
        pipeline = StableDiffusion3InpaintPipeline(**text_to_image.components)
        arguments = arguments | {"mask_image": arguments["mask"]}
    else:
        pipeline = StableDiffusion3Img2ImgPipeline(**text_to_image.components)
    pipeline.set_progress_bar_config(disable=True)
    return [their_picture(pipeline, arguments, arguments["seed"] + index) for index in range(arguments["n"])]


@pytest.mark.parametrize("request_name", REQUESTS)
def test_edits_in_fp32(model, request_name: str, tmp_path: Path) -> None:
    name, path, pipeline = model
    arguments = arguments_of(folders.FOLDERS[name], REQUESTS[request_name])
    if "mask" in arguments and pipeline.transformer.config.in_channels != 16:
        pytest.skip("Diffusers inpaints with models of 16 latent channels only")
    assert_same(our_pictures(path, arguments, tmp_path), their_pictures(pipeline, arguments))
