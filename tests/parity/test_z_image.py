"""Pictures of `diffused generate` against real Diffusers, on tiny Z-Image folders of every shape.

The folders are built here (tools/golden/z_image_folders.py), in a few seconds, under the build folder. Diffusers' edits
take a picture in the size it has, so that uploads of another one are resized here before, as we do.
"""

import functools
from pathlib import Path

import comparing
import numpy
import pytest
import torch
from comparing import BUILD, arguments_of, assert_same, differences, our_pictures
from diffusers import ZImageImg2ImgPipeline, ZImageInpaintPipeline
from PIL import Image

import folder_files
import z_image_folders
from tiny_pictures import mask, picture

# Every request draws `n` pictures from the seeds `seed`, `seed` + 1 …; "odd_size" takes the folder's own odd size.
REQUESTS = {
    "plain": {"guidance_scale": 5.0, "seed": 1},
    "unguided": {"guidance_scale": 0.0, "odd_size": True, "n": 2, "seed": 2**32 - 2, "num_inference_steps": 3},
    "low_scale": {
        "prompt": "猫が窓辺で眠っている, кот спит", "negative_prompt": "blurry, ugly " * 30, "guidance_scale": 0.7, "seed": 3,
        "num_inference_steps": 1, "max_sequence_length": 200,
    },
    "long": {
        "prompt": "a fox, " * 120, "negative_prompt": "", "guidance_scale": 3.0, "max_sequence_length": 150, "odd_size": True,
        "seed": 4,
    },
    "empty": {"prompt": "", "negative_prompt": "wet", "guidance_scale": 2.0, "seed": 5, "num_inference_steps": 2},
    "normalised": {"guidance_scale": 6.0, "cfg_normalization": 0.9, "seed": 7},
    "truncated": {"guidance_scale": 4.0, "cfg_truncation": 0.3, "negative_prompt": "wet", "seed": 8, "num_inference_steps": 9},
    "special": {"prompt": "a <|im_end|>\n<think> cat\n\n e\u0301", "guidance_scale": 1.0, "seed": 6, "num_inference_steps": 9},
}  # fmt: skip
EDITS = {
    "weak": {"image": picture(64, 64), "strength": 0.3, "num_inference_steps": 7, "guidance_scale": 5.0, "seed": 1},
    "half": {
        "image": picture(50, 71), "strength": 0.5, "num_inference_steps": 5, "odd_size": True, "guidance_scale": 0.0,
        "seed": 2, "n": 2,
    },
    "whole": {"image": picture(201, 97), "strength": 1.0, "guidance_scale": 3.0, "negative_prompt": "wet", "seed": 3},
    "box": {"image": picture(64, 64), "mask": mask("box", 64, 64), "strength": 0.6, "num_inference_steps": 6, "guidance_scale": 5.0, "seed": 4},
    "disc_whole": {"image": picture(90, 40), "mask": mask("disc", 90, 40), "strength": 1.0, "odd_size": True, "guidance_scale": 1.0, "seed": 5, "n": 2},
    "ramp": {"image": picture(33, 33), "mask": mask("ramp", 80, 48), "strength": 0.5, "odd_size": True, "guidance_scale": 4.0, "seed": 7},
}  # fmt: skip
EDIT_FOLDERS = ["turbo", "base", "dynamic_shift", "four_channels", "five_levels", "one_level"]


@functools.cache
def model(name: str):
    """A folder's path, and real Diffusers on it."""
    path = z_image_folders.build_folder(BUILD / "parity/z_image" / name, name)
    return path, folder_files.load_pipeline(path)


def arguments_for(name: str, request: dict) -> dict:
    return arguments_of(z_image_folders.FOLDERS[name], {"max_sequence_length": 128} | request)


def their_pictures(text_to_image, arguments: dict) -> list[numpy.ndarray]:
    arguments = dict(arguments)
    if "image" in arguments:
        size = (arguments["width"], arguments["height"])
        arguments["image"] = arguments["image"].convert("RGB").resize(size, Image.Resampling.LANCZOS)
    return comparing.their_pictures(text_to_image, arguments, ZImageImg2ImgPipeline, ZImageInpaintPipeline)


@pytest.mark.parametrize("name", z_image_folders.FOLDERS)
def test_folders_listen_to_their_prompts(name: str) -> None:
    """Else equal pictures would prove nothing of the text's way."""
    _, pipeline = model(name)
    one, other = (their_pictures(pipeline, arguments_for(name, {"prompt": prompt, "guidance_scale": 3.0, "seed": 1}))[0] for prompt in ("a fox", "猫と犬"))
    assert numpy.abs(one.astype(int) - other.astype(int)).max() > 8


@pytest.mark.parametrize("request_name", REQUESTS)
@pytest.mark.parametrize("name", z_image_folders.FOLDERS)
def test_pictures_in_fp32(name: str, request_name: str, tmp_path: Path) -> None:
    path, pipeline = model(name)
    arguments = arguments_for(name, REQUESTS[request_name])
    assert_same(our_pictures(path, arguments, tmp_path), their_pictures(pipeline, arguments))


@pytest.mark.parametrize("request_name", EDITS)
@pytest.mark.parametrize("name", EDIT_FOLDERS)
def test_edits_in_fp32(name: str, request_name: str, tmp_path: Path) -> None:
    path, pipeline = model(name)
    arguments = arguments_for(name, EDITS[request_name])
    assert_same(our_pictures(path, arguments, tmp_path), their_pictures(pipeline, arguments))


@pytest.mark.parametrize("edit", [None, "image", "mask"])
def test_what_a_call_leaves_open(edit: str | None, tmp_path: Path) -> None:
    """Guidance 5 and 50 steps; strength 0.6, with a mask 1."""
    path, pipeline = model("base")
    arguments = arguments_for("base", {"seed": 6, "num_inference_steps": 50})
    if edit:
        arguments["image"] = picture(64, 64)
    if edit == "mask":
        arguments["mask"] = mask("box", 64, 64)
    assert "guidance_scale" not in arguments and "strength" not in arguments
    assert_same(our_pictures(path, arguments, tmp_path), their_pictures(pipeline, arguments))


def test_pictures_in_bf16(tmp_path: Path) -> None:
    """bfloat16 rounds everywhere, and elsewhere in another kernel: the pictures are close, not equal."""
    path = z_image_folders.build_folder(BUILD / "parity/z_image_bf16", "turbo")
    arguments = arguments_for("turbo", REQUESTS["unguided"])
    ours = our_pictures(path, arguments, tmp_path, "bf16")
    for difference in differences(ours, their_pictures(folder_files.load_pipeline(path, torch.bfloat16), arguments)):
        assert difference.mean() < 2
