"""Pictures of `diffused generate` against real Diffusers, on tiny Qwen-Image-Edit folders, made as test_qwen_image.py's."""

import functools
from pathlib import Path

import numpy
import pytest
from comparing import MADE, arguments_of, assert_same, our_pictures, their_pictures
from PIL import ImageOps

import qwen_image_folders
from tiny_pictures import picture

# Sizes of the pictures to go by: all become about a million pixels. "own_size": that of the last of them.
REQUESTS = {
    "plain": {"references": [picture(64, 64)], "negative_prompt": " ", "true_cfg_scale": 4.0, "seed": 1},
    "odd": {
        "references": [picture(90, 40)], "prompt": "猫が窓辺で眠っている, кот спит", "negative_prompt": "wet", "true_cfg_scale": 2.0,
        "odd_size": True, "seed": 2, "num_inference_steps": 2,
    },
    "empty": {"references": [picture(33, 120)], "prompt": "", "seed": 3, "num_inference_steps": 2},
    "large": {"references": [picture(1300, 901)], "prompt": "a fox, " * 100, "seed": 4, "num_inference_steps": 2},
}  # fmt: skip
SEVERAL = {
    "two": {"references": [picture(70, 100), picture(131, 66)], "negative_prompt": "", "true_cfg_scale": 3.0, "seed": 5, "n": 2, "num_inference_steps": 2},
    "three": {"references": [picture(90, 75), picture(64, 200), picture(72, 72)], "seed": 6, "num_inference_steps": 2, "odd_size": True},
}  # fmt: skip
EDIT_FOLDERS = qwen_image_folders.EDIT_FOLDERS
PLUS_FOLDERS = [name for name in EDIT_FOLDERS if EDIT_FOLDERS[name].pipeline == "QwenImageEditPlusPipeline"]


@functools.cache
def model(name: str):
    """A folder's path, and real Diffusers on it."""
    path = qwen_image_folders.build_folder(MADE / "qwen_image_edit" / name, name)
    return path, qwen_image_folders.load_pipeline(path, name)


def arguments_for(name: str, request: dict) -> dict:
    arguments = arguments_of(EDIT_FOLDERS[name], request)
    if arguments.pop("own_size", False):
        del arguments["width"], arguments["height"]
    return arguments


def theirs(pipeline, arguments: dict) -> list[numpy.ndarray]:
    arguments = dict(arguments)
    references = arguments.pop("references")
    several = type(pipeline).__name__ == "QwenImageEditPlusPipeline"
    return their_pictures(pipeline, arguments | {"image": references if several else references[0]})


@pytest.mark.parametrize("name", EDIT_FOLDERS)
def test_folders_listen_to_prompts_and_references(name: str) -> None:
    """Else equal pictures would prove nothing of their way."""
    _, pipeline = model(name)
    plain = {"prompt": "a fox", "negative_prompt": "wet", "true_cfg_scale": 6.0, "seed": 1, "references": [picture(64, 64)]}
    changes = [{}, {"prompt": "猫と犬"}, {"references": [ImageOps.invert(picture(64, 64))]}]
    drawn = [theirs(pipeline, arguments_for(name, plain | change))[0].astype(int) for change in changes]
    assert numpy.abs(drawn[0] - drawn[1]).max() > 8
    assert numpy.abs(drawn[0] - drawn[2]).max() > 8


@pytest.mark.parametrize("request_name", REQUESTS)
@pytest.mark.parametrize("name", EDIT_FOLDERS)
def test_pictures_in_fp32(name: str, request_name: str, tmp_path: Path) -> None:
    path, pipeline = model(name)
    arguments = arguments_for(name, REQUESTS[request_name])
    assert_same(our_pictures(path, arguments, tmp_path), theirs(pipeline, arguments))


@pytest.mark.parametrize("request_name", SEVERAL)
@pytest.mark.parametrize("name", PLUS_FOLDERS)
def test_several_references_in_fp32(name: str, request_name: str, tmp_path: Path) -> None:
    path, pipeline = model(name)
    arguments = arguments_for(name, SEVERAL[request_name])
    assert_same(our_pictures(path, arguments, tmp_path), theirs(pipeline, arguments))


@pytest.mark.parametrize("name", ["edit", "plus"])
def test_a_picture_takes_its_size_after_the_last_reference(name: str, tmp_path: Path) -> None:
    path, pipeline = model(name)
    references = [picture(64, 64), picture(80, 60)][-1 if name == "edit" else 0 :]
    arguments = arguments_for(name, {"references": references, "seed": 7, "num_inference_steps": 1, "own_size": True, "sigmas": (1.0, 0.5)})
    assert_same(our_pictures(path, arguments, tmp_path), theirs(pipeline, arguments))
