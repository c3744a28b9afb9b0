"""Stable Diffusion XL's refiner and runs that two models share, and edits by consistency models, against real Diffusers."""

import functools
import json
from pathlib import Path

import numpy
import pytest
import torch
from comparing import MADE, PROMPT, assert_same, differences, our_pictures
from diffusers import (
    LatentConsistencyModelImg2ImgPipeline,
    StableDiffusionXLImg2ImgPipeline,
    StableDiffusionXLInpaintPipeline,
    StableDiffusionXLPipeline,
)

import unet_folders
from tiny_pictures import mask, picture

REFINED = {
    "plain": {"image": picture(64, 64), "guidance_scale": 5.0, "num_inference_steps": 10, "seed": 1},
    "scores": {
        "image": picture(72, 56), "strength": 0.5, "num_inference_steps": 5, "negative_prompt": "blurry", "guidance_scale": 4.0,
        "aesthetic_score": 9.5, "negative_aesthetic_score": 1.0, "crops_coords_top_left": (3, 5), "original_size": (40, 90), "seed": 2,
    },
    "begins_later": {"image": picture(64, 64), "denoising_start": 0.6, "num_inference_steps": 7, "guidance_scale": 3.0, "seed": 3},
    "a_part": {
        "image": picture(64, 64), "denoising_start": 0.35, "denoising_end": 0.8, "num_inference_steps": 9, "guidance_scale": 1.0, "seed": 4,
        "clip_skip": 1,
    },
    "box": {"image": picture(64, 64), "mask": mask("box", 64, 64), "strength": 0.7, "num_inference_steps": 6, "guidance_scale": 4.0, "seed": 5},
    "box_later": {
        "image": picture(64, 64), "mask": mask("disc", 64, 64), "denoising_start": 0.5, "num_inference_steps": 6, "guidance_scale": 4.0, "seed": 6,
    },
}  # fmt: skip
BEGUN = {
    "text": {"denoising_end": 0.7, "num_inference_steps": 8, "guidance_scale": 4.0, "seed": 1},
    "image": {"image": picture(64, 64), "strength": 0.9, "denoising_end": 0.55, "num_inference_steps": 9, "guidance_scale": 4.0, "seed": 2},
    "box": {
        "image": picture(64, 64), "mask": mask("box", 64, 64), "strength": 0.9, "denoising_end": 0.55, "num_inference_steps": 9,
        "guidance_scale": 4.0, "seed": 3,
    },
}  # fmt: skip
SAMPLERS = ["HeunDiscreteScheduler", "DPMSolverMultistepScheduler", "DDIMScheduler", "EulerAncestralDiscreteScheduler"]
CONSISTENT = {
    "own_strength": {"image": picture(64, 64), "seed": 1},
    "half": {"image": picture(72, 56), "strength": 0.5, "num_inference_steps": 3, "guidance_scale": 6.0, "seed": 2},
    "weak": {"image": picture(64, 64), "strength": 0.1, "num_inference_steps": 4, "guidance_scale": 2.0, "seed": 3},
}


@functools.cache
def model(name: str):
    path = unet_folders.build_folder(MADE / "refiners" / name, name)
    return path, unet_folders.load_pipeline(path)


def their_picture(pipeline, path: Path, arguments: dict, scheduler: str | None = None) -> numpy.ndarray:
    arguments = {key: value for key, value in arguments.items() if key != "n"}
    generator = torch.Generator().manual_seed(arguments.pop("seed"))
    kind = StableDiffusionXLImg2ImgPipeline if "image" in arguments else StableDiffusionXLPipeline
    if "mask" in arguments:
        kind, arguments["mask_image"] = StableDiffusionXLInpaintPipeline, arguments.pop("mask")
    elif "image" in arguments:
        del arguments["width"], arguments["height"]
    flags = {key: value for key, value in pipeline.config.items() if isinstance(value, bool)}
    own = type(pipeline.scheduler).from_pretrained(path / "scheduler")
    if scheduler:
        own = unet_folders.with_scheduler(pipeline, scheduler, {}).scheduler
    other = kind(**(pipeline.components | {"scheduler": own}), **flags)
    other.set_progress_bar_config(disable=True)
    return numpy.asarray(other(**arguments, generator=generator).images[0])


def arguments_of(request: dict) -> dict:
    width, height = request["image"].size if "image" in request else (64, 64)
    return {"prompt": PROMPT, "n": 1, "width": width, "height": height} | request


@pytest.mark.parametrize("request_name", REFINED)
@pytest.mark.parametrize("name", unet_folders.REFINER_FOLDERS)
def test_refined_pictures(name: str, request_name: str, tmp_path: Path) -> None:
    path, pipeline = model(name)
    arguments = arguments_of(REFINED[request_name])
    assert_same(our_pictures(path, arguments, tmp_path), [their_picture(pipeline, path, arguments)])


@pytest.mark.parametrize("request_name", BEGUN)
def test_runs_that_end_early(request_name: str, tmp_path: Path) -> None:
    path, pipeline = model("xl")
    arguments = arguments_of(BEGUN[request_name])
    assert_same(our_pictures(path, arguments, tmp_path), [their_picture(pipeline, path, arguments)])


@pytest.mark.parametrize("scheduler", SAMPLERS)
@pytest.mark.parametrize("request_name", ["text", "image"])
def test_runs_that_end_early_by_other_samplers(request_name: str, scheduler: str, tmp_path: Path) -> None:
    path, pipeline = model("xl")
    arguments = arguments_of(BEGUN[request_name])
    ours = our_pictures(path, arguments | {"scheduler": scheduler}, tmp_path)
    assert_same(ours, [their_picture(pipeline, path, arguments, scheduler)])


@pytest.mark.parametrize("scheduler", SAMPLERS)
def test_runs_that_begin_later_by_other_samplers(scheduler: str, tmp_path: Path) -> None:
    path, pipeline = model("xl")
    arguments = arguments_of(REFINED["begins_later"])
    ours = our_pictures(path, arguments | {"scheduler": scheduler}, tmp_path)
    assert_same(ours, [their_picture(pipeline, path, arguments, scheduler)])


def test_a_score_changes_the_picture(tmp_path: Path) -> None:
    path, _ = model("xl_refiner")
    pictures = [our_pictures(path, arguments_of(REFINED["plain"] | {"aesthetic_score": score}), tmp_path) for score in (1.0, 9.0)]
    assert differences(*pictures)[0].max() > 2


def test_a_refiner_needs_a_picture(tmp_path: Path) -> None:
    path, _ = model("xl_refiner")
    with pytest.raises(AssertionError, match="it needs an image"):
        our_pictures(path, arguments_of({"seed": 1}), tmp_path)


@pytest.mark.parametrize("request_name", CONSISTENT)
def test_edits_by_consistency_models(request_name: str, tmp_path: Path) -> None:
    """Guidance 8.5, 4 steps and strength 0.8, which takes the levels of less noise instead of leaving steps out."""
    path = unet_folders.build_folder(tmp_path / "lcm", "lcm")
    index = json.loads((path / "model_index.json").read_text())
    index |= {"_class_name": "LatentConsistencyModelImg2ImgPipeline"}
    (path / "model_index.json").write_text(json.dumps(index))
    arguments = arguments_of(CONSISTENT[request_name])
    ours = our_pictures(path, arguments, tmp_path)
    _, pipeline = model("lcm")
    components = pipeline.components | {"scheduler": type(pipeline.scheduler).from_pretrained(path / "scheduler")}
    other = LatentConsistencyModelImg2ImgPipeline(**components, requires_safety_checker=False)
    other.set_progress_bar_config(disable=True)
    theirs = {key: value for key, value in arguments.items() if key not in ("n", "seed", "width", "height")}
    generator = torch.Generator().manual_seed(arguments["seed"])
    assert_same(ours, [numpy.asarray(other(**theirs, generator=generator).images[0])])
