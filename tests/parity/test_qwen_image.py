"""Pictures of `diffused generate` against real Diffusers, on tiny Qwen-Image folders of every shape.

The folders are built here (tools/golden/qwen_image_folders.py), in a few seconds, under the build folder.
"""

import functools
from pathlib import Path

import numpy
import pytest
import torch
from comparing import MADE, arguments_of, assert_same, differences, our_pictures, their_pictures
from diffusers import QwenImageImg2ImgPipeline, QwenImageInpaintPipeline

import qwen_image_folders
from tiny_pictures import mask, picture

# Every request draws `n` pictures from the seeds `seed`, `seed` + 1 …; "odd_size" takes the folder's own odd size.
# Guidance needs a negative prompt, which may be empty.
REQUESTS = {
    "plain": {"negative_prompt": " ", "true_cfg_scale": 4.0, "seed": 1},
    "unguided": {"odd_size": True, "n": 2, "seed": 2**32 - 2, "num_inference_steps": 3, "true_cfg_scale": 4.0},
    "low_scale": {
        "prompt": "猫が窓辺で眠っている, кот спит", "negative_prompt": "blurry, ugly " * 30, "true_cfg_scale": 1.2, "seed": 3,
        "num_inference_steps": 2,
    },
    "long": {"prompt": "a fox, " * 300, "negative_prompt": "", "true_cfg_scale": 3.0, "max_sequence_length": 1024, "odd_size": True, "seed": 4},
    "cut": {"prompt": "a fox, " * 60, "negative_prompt": "wet", "true_cfg_scale": 2.0, "max_sequence_length": 150, "seed": 8},
    "empty": {"prompt": "", "negative_prompt": "wet", "true_cfg_scale": 2.0, "seed": 5, "num_inference_steps": 2},
    "no_guidance": {"negative_prompt": "wet", "true_cfg_scale": 1.0, "seed": 7},
    "special": {"prompt": "a <|im_end|>\n<think> {} cat\n\n e\u0301", "negative_prompt": "{", "true_cfg_scale": 6.0, "seed": 6, "num_inference_steps": 9},
}  # fmt: skip
EDITS = {
    "weak": {"image": picture(64, 64), "strength": 0.3, "num_inference_steps": 7, "negative_prompt": "", "true_cfg_scale": 5.0, "seed": 1},
    "half": {"image": picture(50, 71), "strength": 0.5, "num_inference_steps": 5, "odd_size": True, "true_cfg_scale": 1.0, "seed": 2, "n": 2},
    "whole": {"image": picture(201, 97), "strength": 1.0, "true_cfg_scale": 3.0, "negative_prompt": "wet", "seed": 3},
    "box": {"image": picture(64, 64), "mask": mask("box", 64, 64), "strength": 0.6, "num_inference_steps": 6, "negative_prompt": " ", "true_cfg_scale": 5.0, "seed": 4},
    "disc_whole": {"image": picture(90, 40), "mask": mask("disc", 90, 40), "strength": 1.0, "odd_size": True, "true_cfg_scale": 1.0, "seed": 5, "n": 2},
    "ramp": {"image": picture(33, 33), "mask": mask("ramp", 80, 48), "strength": 0.5, "odd_size": True, "negative_prompt": "", "true_cfg_scale": 4.0, "seed": 7},
}  # fmt: skip
EDIT_FOLDERS = ["plain", "lightning", "steep", "sixteen_channels", "two_levels", "five_levels"]


@functools.cache
def model(name: str):
    """A folder's path, and real Diffusers on it."""
    path = qwen_image_folders.build_folder(MADE / "qwen_image" / name, name)
    return path, qwen_image_folders.load_pipeline(path, name)


def arguments_for(name: str, request: dict) -> dict:
    return arguments_of(qwen_image_folders.FOLDERS[name], request)


def theirs(pipeline, arguments: dict) -> list[numpy.ndarray]:
    return their_pictures(pipeline, arguments, QwenImageImg2ImgPipeline, QwenImageInpaintPipeline)


@pytest.mark.parametrize("name", qwen_image_folders.TEXT_FOLDERS)
def test_folders_listen_to_their_prompts(name: str) -> None:
    """Else equal pictures would prove nothing of the text's way."""
    _, pipeline = model(name)
    plain = {"negative_prompt": " ", "true_cfg_scale": 3.0, "seed": 1}
    one, other = (theirs(pipeline, arguments_for(name, plain | {"prompt": prompt}))[0] for prompt in ("a fox", "猫と犬"))
    assert numpy.abs(one.astype(int) - other.astype(int)).max() > 8


@pytest.mark.parametrize("request_name", REQUESTS)
@pytest.mark.parametrize("name", qwen_image_folders.TEXT_FOLDERS)
def test_pictures_in_fp32(name: str, request_name: str, tmp_path: Path) -> None:
    path, pipeline = model(name)
    arguments = arguments_for(name, REQUESTS[request_name])
    assert_same(our_pictures(path, arguments, tmp_path), theirs(pipeline, arguments))


@pytest.mark.parametrize("request_name", EDITS)
@pytest.mark.parametrize("name", EDIT_FOLDERS)
def test_edits_in_fp32(name: str, request_name: str, tmp_path: Path) -> None:
    path, pipeline = model(name)
    arguments = arguments_for(name, EDITS[request_name])
    assert_same(our_pictures(path, arguments, tmp_path), theirs(pipeline, arguments))


@pytest.mark.parametrize("edit", [None, "image", "mask"])
def test_what_a_call_leaves_open(edit: str | None, tmp_path: Path) -> None:
    """Guidance 4, 512 tokens and 50 steps; strength 0.6."""
    path, pipeline = model("plain")
    arguments = arguments_for("plain", {"seed": 6, "num_inference_steps": 50, "negative_prompt": "", "prompt": "a fox, " * 200})
    if edit:
        arguments["image"] = picture(64, 64)
    if edit == "mask":
        arguments["mask"] = mask("box", 64, 64)
    assert "true_cfg_scale" not in arguments and "strength" not in arguments
    assert_same(our_pictures(path, arguments, tmp_path), theirs(pipeline, arguments))


def test_pictures_in_bf16(tmp_path: Path) -> None:
    """bfloat16 rounds everywhere, and elsewhere in another kernel: the pictures are close, not equal."""
    path = qwen_image_folders.build_folder(MADE / "qwen_image_bf16", "plain")
    arguments = arguments_for("plain", REQUESTS["unguided"])
    ours = our_pictures(path, arguments, tmp_path, "bf16")
    for difference in differences(ours, theirs(qwen_image_folders.load_pipeline(path, "plain", torch.bfloat16), arguments)):
        assert difference.mean() < 3
