"""Pictures of `diffused generate` against real Diffusers, on tiny FLUX.2 klein folders of every shape.

The folders are built here (tools/golden/flux2_folders.py), in a few seconds, under the build folder.
"""

import functools
from pathlib import Path

import comparing
import numpy
import pytest
import torch
from comparing import BUILD, arguments_of, assert_same, differences, our_pictures
from diffusers import Flux2KleinInpaintPipeline
from PIL import ImageOps

import folder_files
import flux2_folders
from tiny_pictures import mask, picture

# Every request draws `n` pictures from the seeds `seed`, `seed` + 1 …; "odd_size" takes the folder's own odd size.
REQUESTS = {
    "plain": {"guidance_scale": 4.0, "seed": 1},
    "unguided": {"guidance_scale": 1.0, "odd_size": True, "n": 2, "seed": 2**32 - 2, "num_inference_steps": 3},
    "scripts": {"prompt": "猫が窓辺で眠っている, кот спит", "guidance_scale": 2.0, "seed": 3, "num_inference_steps": 1},
    "long": {"prompt": "a fox, " * 120, "guidance_scale": 3.0, "max_sequence_length": 70, "odd_size": True, "seed": 4},
    "empty": {"prompt": "", "guidance_scale": 1.0, "seed": 5, "num_inference_steps": 2},
}  # fmt: skip
# Sizes of the pictures to go by; the picture's own size is asked for, or left to the first of them.
REFERENCES = {
    "one": {"references": [picture(64, 64)], "guidance_scale": 4.0, "seed": 1},
    "two": {"references": [picture(70, 100), picture(131, 66)], "guidance_scale": 1.0, "seed": 2, "odd_size": True, "n": 2},
    "three_own_size": {"references": [picture(90, 75), picture(64, 80), picture(72, 72)], "guidance_scale": 1.0, "seed": 3, "own_size": True, "num_inference_steps": 2},
}  # fmt: skip
# The picture's size is the one that is made: Diffusers takes no other.
REPAINTS = {
    "box": {"image": picture(64, 64), "mask": mask("box", 64, 64), "guidance_scale": 4.0, "strength": 0.6, "num_inference_steps": 6, "seed": 1},
    "disc_whole": {"image": picture(96, 48), "mask": mask("disc", 96, 48), "strength": 1.0, "guidance_scale": 1.0, "seed": 2, "n": 2},
    "ramp_own_size": {"image": picture(90, 75), "mask": mask("ramp", 90, 75), "guidance_scale": 2.0, "seed": 3, "own_size": True},
    "with_reference": {
        "image": picture(64, 80), "mask": mask("disc", 64, 80), "references": [picture(100, 70)], "guidance_scale": 3.0, "strength": 0.9, "seed": 4,
        "prompt": "",
    },
}  # fmt: skip
REFERENCE_FOLDERS = ["distilled", "base", "one_head", "single_only", "small_decoder", "two_levels"]


@functools.cache
def model(name: str):
    """A folder's path, and real Diffusers on it."""
    path = flux2_folders.build_folder(BUILD / "parity/flux2_klein" / name, name)
    return path, folder_files.load_pipeline(path)


def arguments_for(name: str, request: dict) -> dict:
    arguments = arguments_of(flux2_folders.FOLDERS[name], {"max_sequence_length": 96} | request)
    if arguments.pop("own_size", False):
        del arguments["width"], arguments["height"]
    elif "image" in arguments:
        arguments["width"], arguments["height"] = arguments["image"].size
    return arguments


def their_pictures(pipeline, arguments: dict) -> list[numpy.ndarray]:
    arguments = dict(arguments)
    n, seed = arguments.pop("n"), arguments.pop("seed")
    if "mask" in arguments:
        pipeline = Flux2KleinInpaintPipeline(**pipeline.components, is_distilled=pipeline.config.is_distilled)
        pipeline.set_progress_bar_config(disable=True)
        arguments["mask_image"] = arguments.pop("mask")
        if "references" in arguments:
            (arguments["image_reference"],) = arguments.pop("references")
    elif "references" in arguments:
        arguments["image"] = arguments.pop("references")
    return comparing.their_pictures(pipeline, arguments | {"n": n, "seed": seed})


@pytest.mark.parametrize("name", flux2_folders.FOLDERS)
def test_folders_listen_to_prompts_and_references(name: str) -> None:
    """Else equal pictures would prove nothing of their way."""
    _, pipeline = model(name)
    plain = {"prompt": "a fox", "guidance_scale": 3.0, "seed": 1, "references": [picture(64, 64)]}
    changes = [{}, {"prompt": "猫と犬"}, {"references": [ImageOps.invert(picture(64, 64))]}]
    drawn = [their_pictures(pipeline, arguments_for(name, plain | change))[0].astype(int) for change in changes]
    assert numpy.abs(drawn[0] - drawn[1]).max() > 8
    assert numpy.abs(drawn[0] - drawn[2]).max() > 4


@pytest.mark.parametrize("request_name", REQUESTS)
@pytest.mark.parametrize("name", flux2_folders.FOLDERS)
def test_pictures_in_fp32(name: str, request_name: str, tmp_path: Path) -> None:
    path, pipeline = model(name)
    arguments = arguments_for(name, REQUESTS[request_name])
    assert_same(our_pictures(path, arguments, tmp_path), their_pictures(pipeline, arguments))


@pytest.mark.parametrize("request_name", REFERENCES)
@pytest.mark.parametrize("name", REFERENCE_FOLDERS)
def test_references_in_fp32(name: str, request_name: str, tmp_path: Path) -> None:
    path, pipeline = model(name)
    arguments = arguments_for(name, REFERENCES[request_name])
    assert_same(our_pictures(path, arguments, tmp_path), their_pictures(pipeline, arguments))


@pytest.mark.parametrize("request_name", REPAINTS)
@pytest.mark.parametrize("name", REFERENCE_FOLDERS)
def test_repainting_in_fp32(name: str, request_name: str, tmp_path: Path) -> None:
    path, pipeline = model(name)
    arguments = arguments_for(name, REPAINTS[request_name])
    assert_same(our_pictures(path, arguments, tmp_path), their_pictures(pipeline, arguments))


@pytest.mark.parametrize("name", ["distilled", "base"])
def test_what_repainting_leaves_open(name: str, tmp_path: Path) -> None:
    """Guidance 8 and strength 0.8, and the picture's size."""
    path, pipeline = model(name)
    arguments = arguments_for(name, {"image": picture(75, 66), "mask": mask("box", 75, 66), "seed": 6, "own_size": True})
    assert not {"guidance_scale", "strength", "width"} & arguments.keys()
    theirs = their_pictures(pipeline, arguments)
    assert_same(our_pictures(path, arguments, tmp_path), theirs)
    other = their_pictures(pipeline, arguments | {"image": ImageOps.invert(picture(75, 66)), "strength": 1.0})
    assert differences(theirs, other)[0].max() > 8


def test_a_large_reference_is_made_smaller(tmp_path: Path) -> None:
    path, pipeline = model("distilled")
    arguments = arguments_for("distilled", {"references": [picture(1400, 901)], "seed": 1, "num_inference_steps": 1})
    assert_same(our_pictures(path, arguments, tmp_path), their_pictures(pipeline, arguments))


def test_pictures_in_bf16(tmp_path: Path) -> None:
    """bfloat16 rounds everywhere, and elsewhere in another kernel: the pictures are close, not equal."""
    path = flux2_folders.build_folder(BUILD / "parity/flux2_klein_bf16", "distilled")
    arguments = arguments_for("distilled", REQUESTS["unguided"])
    ours = our_pictures(path, arguments, tmp_path, "bf16")
    for difference in differences(ours, their_pictures(folder_files.load_pipeline(path, torch.bfloat16), arguments)):
        assert difference.mean() < 3
