"""Golden pictures of the whole pipeline, for tests/pipelines.

    python3 tools/golden/pictures.py    writes tests/pipelines/data: a tiny folder of each family, and what real Diffusers
                                        makes of Stable Diffusion 3's (of the others: tests/parity)

pictures.json lists the cases: `request` has the names of GenerateRequest, `t5` says whether the folder's T5 is used.
pictures.safetensors holds their pictures, [H, W, 3] uint8, under "CASE.INDEX", and what edits start from under
"CASE.image" and "CASE.mask", the mask as [H, W, 1].
"""

import json
import shutil
from pathlib import Path

import numpy
import torch
from diffusers import StableDiffusion3Img2ImgPipeline, StableDiffusion3InpaintPipeline, StableDiffusion3Pipeline
from safetensors.torch import save_file

import flux2_folders
import folders
import qwen_image_folders
import tiny_pictures
import unet_folders
import z_image_folders

DATA = Path(__file__).parents[2] / "tests/pipelines/data"
FOLDER = "fp16"
UNET_FOLDERS = {"tiny_sd": "plain", "tiny_xl": "xl"}

PROMPT = "a red fox in the snow, at night"
CASES = {
    "guided": {"prompt": PROMPT, "seeds": [1]},
    "unguided": {"prompt": PROMPT, "seeds": [2], "guidance_scale": 1.0},
    "negative": {"prompt": PROMPT, "seeds": [3], "negative_prompt": "blurry", "guidance_scale": 3.5},
    "own_prompts": {
        "prompt": PROMPT, "prompt_2": "a cat", "prompt_3": "an owl on a roof", "seeds": [4],
        "negative_prompt": "dark", "negative_prompt_2": "", "negative_prompt_3": "wet",
    },
    "clip_skip": {"prompt": PROMPT, "seeds": [5], "clip_skip": 1},
    "short_text": {"prompt": PROMPT, "seeds": [6], "max_sequence_length": 9},
    "no_square": {"prompt": "", "seeds": [7], "width": 80, "height": 48},
    "two": {"prompt": PROMPT, "seeds": [8, 4294967295], "num_inference_steps": 10},
    "without_t5": {"prompt": PROMPT, "seeds": [9], "negative_prompt": "blurry"},
    "without_t5_short": {"prompt": PROMPT, "seeds": [10], "max_sequence_length": 12, "guidance_scale": 0.0},
    "heun": {"prompt": PROMPT, "seeds": [11], "scheduler": "FlowMatchHeunDiscreteScheduler"},
    "dpm": {"prompt": PROMPT, "seeds": [12], "scheduler": "DPMSolverMultistepScheduler"},
    "unipc": {"prompt": PROMPT, "seeds": [13], "scheduler": "UniPCMultistepScheduler", "num_inference_steps": 6},
}  # fmt: skip
# `image` and `mask` are arguments of tiny_pictures; 5 steps at 0.5 leave out 2.
EDITS = {
    "image": {"prompt": PROMPT, "seeds": [21], "image": (64, 64), "strength": 0.6},
    "image_of_another_size": {
        "prompt": PROMPT, "seeds": [22], "image": (50, 71), "strength": 0.5, "num_inference_steps": 5, "width": 80, "height": 48,
    },
    "image_whole": {"prompt": PROMPT, "seeds": [23], "image": (64, 64), "strength": 1.0, "guidance_scale": 1.0},
    "image_heun": {
        "prompt": PROMPT, "seeds": [24], "image": (64, 64), "strength": 0.6, "scheduler": "FlowMatchHeunDiscreteScheduler",
    },
    "mask": {"prompt": PROMPT, "seeds": [25], "image": (64, 64), "mask": ("disc", 64, 64), "strength": 0.8},
    "mask_of_another_size": {
        "prompt": PROMPT, "seeds": [26], "image": (40, 64), "mask": ("ramp", 31, 90), "strength": 0.6, "guidance_scale": 1.0,
    },
    "mask_whole": {"prompt": PROMPT, "seeds": [27], "image": (64, 64), "mask": ("box", 64, 64), "strength": 1.0},
    "mask_heun": {
        "prompt": PROMPT, "seeds": [28], "image": (64, 64), "mask": ("disc", 64, 64), "strength": 0.6,
        "scheduler": "FlowMatchHeunDiscreteScheduler",
    },
}  # fmt: skip
STEPS = 4
DEFAULTS = {"num_inference_steps": STEPS, "guidance_scale": 5.0, "width": 64, "height": 64}


def pictures(pipeline: StableDiffusion3Pipeline, request: dict) -> list[torch.Tensor]:
    """The pictures of one request, as Diffusers makes them with one generator for each."""
    arguments = DEFAULTS | request
    generators = [torch.Generator().manual_seed(seed) for seed in arguments.pop("seeds")]
    pipeline = folders.with_scheduler(pipeline, arguments.pop("scheduler", None))
    images = pipeline(
        **arguments, num_images_per_prompt=len(generators), generator=generators, output_type="np"
    ).images
    return [to_bytes(image) for image in images]


def to_bytes(image: numpy.ndarray) -> torch.Tensor:
    return torch.from_numpy((image * 255).round().astype("uint8"))


def edit(text_to_image: StableDiffusion3Pipeline, request: dict) -> dict[str, torch.Tensor]:
    """The picture of one edit and what it starts from."""
    arguments = DEFAULTS | request
    seed = arguments.pop("seeds")[0]
    arguments["image"] = tiny_pictures.picture(*arguments["image"])
    tensors = {"image": torch.from_numpy(numpy.array(arguments["image"]))}
    components = folders.with_scheduler(text_to_image, arguments.pop("scheduler", None)).components
    if "mask" in arguments:
        arguments["mask_image"] = tiny_pictures.mask(*arguments.pop("mask"))
        tensors["mask"] = torch.from_numpy(numpy.array(arguments["mask_image"])).unsqueeze(-1)
        pipeline = StableDiffusion3InpaintPipeline(**components)
    else:
        pipeline = StableDiffusion3Img2ImgPipeline(**components)
    pipeline.set_progress_bar_config(disable=True)
    latents = pipeline(**arguments, generator=torch.Generator().manual_seed(seed), output_type="latent").images
    decoded = folders.decode(pipeline, latents)
    return tensors | {"0": to_bytes(pipeline.image_processor.postprocess(decoded, output_type="np")[0])}


def main() -> None:
    shutil.rmtree(DATA, ignore_errors=True)
    folder = folders.build_folder(DATA / "tiny_sd3", FOLDER)
    for name, unet_folder in UNET_FOLDERS.items():
        unet_folders.build_folder(DATA / name, unet_folder, torch.float16)
    z_image_folders.build_folder(DATA / "tiny_z_image", "turbo", torch.float16)
    flux2_folders.build_folder(DATA / "tiny_klein", "base", torch.float16)
    qwen_image_folders.build_folder(DATA / "tiny_qwen_image", "plain", torch.float16)
    with_t5 = folders.load_pipeline(folder, FOLDER)
    without_t5 = StableDiffusion3Pipeline(**(with_t5.components | folders.NO_T5))
    without_t5.set_progress_bar_config(disable=True)
    tensors, cases = {}, []
    for name, request in CASES.items():
        t5 = not name.startswith("without_t5")
        cases.append({"name": name, "t5": t5, "request": DEFAULTS | request})
        for index, picture in enumerate(pictures(with_t5 if t5 else without_t5, request)):
            tensors[f"{name}.{index}"] = picture.contiguous()
    for name, request in EDITS.items():
        cases.append({"name": name, "t5": True, "request": DEFAULTS | request})
        for part, tensor in edit(with_t5, request).items():
            tensors[f"{name}.{part}"] = tensor.contiguous()
    save_file(tensors, DATA / "pictures.safetensors")
    (DATA / "pictures.safetensors").chmod(0o644)
    (DATA / "pictures.json").write_text(json.dumps(cases, indent=1) + "\n")


if __name__ == "__main__":
    main()
