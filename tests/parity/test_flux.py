"""Pictures of `diffused generate` against real Diffusers, on tiny FLUX folders of every shape.

The folders are built here (tools/golden/flux_folders.py), in a few seconds, under the build folder. Pictures of one
call share the first one's draw of the source's latents in Diffusers (docs/traps.md), so edits are asked for one by one.
"""

import functools
from pathlib import Path

import comparing
import numpy
import pytest
import torch
from comparing import MADE, arguments_of, assert_same, differences, our_pictures
from diffusers import (
    FluxControlImg2ImgPipeline,
    FluxControlInpaintPipeline,
    FluxControlPipeline,
    FluxFillPipeline,
    FluxImg2ImgPipeline,
    FluxInpaintPipeline,
    FluxKontextInpaintPipeline,
    FluxKontextPipeline,
)
from diffusers.pipelines.flux.pipeline_flux_kontext_inpaint import PREFERRED_KONTEXT_RESOLUTIONS
from PIL import Image, ImageOps

import folder_files
import flux_folders
from tiny_pictures import mask, picture

# Every request draws `n` pictures from the seeds `seed`, `seed` + 1 …; "odd_size" takes the folder's own odd size.
REQUESTS = {
    "plain": {"guidance_scale": 3.5, "seed": 1, "max_sequence_length": 64},
    "true_cfg_odd_size": {
        "guidance_scale": 2.0, "true_cfg_scale": 3.0, "negative_prompt": "blurry, ugly", "odd_size": True, "n": 2,
        "seed": 2**32 - 2, "num_inference_steps": 3,
    },
    "own_prompts": {
        "prompt_2": "猫が窓辺で眠っている", "negative_prompt": "", "negative_prompt_2": "noisy", "true_cfg_scale": 1.7,
        "max_sequence_length": 37, "num_inference_steps": 1, "guidance_scale": 0.0, "seed": 3,
    },
}  # fmt: skip
# Sizes are those of the uploads; the picture's own is the folder's. 5 steps at 0.5 leave out 2, not 2.5.
EDITS = {
    "weak": {"image": picture(64, 64), "strength": 0.3, "num_inference_steps": 7, "guidance_scale": 5.0, "seed": 1},
    "half": {
        "image": picture(50, 71), "strength": 0.5, "num_inference_steps": 5, "odd_size": True, "guidance_scale": 1.0,
        "true_cfg_scale": 2.5, "negative_prompt": "wet", "seed": 2, "n": 2,
    },
    "whole": {"image": picture(201, 97), "strength": 1.0, "guidance_scale": 3.0, "seed": 3},
    "box": {
        "image": picture(64, 64), "mask": mask("box", 64, 64), "strength": 0.6, "num_inference_steps": 6,
        "guidance_scale": 5.0, "true_cfg_scale": 4.0, "negative_prompt": "", "seed": 4,
    },
    "disc_whole": {"image": picture(90, 40), "mask": mask("disc", 90, 40), "strength": 1.0, "odd_size": True, "guidance_scale": 1.0, "seed": 5, "n": 2},
    "ramp": {"image": picture(33, 33), "mask": mask("ramp", 80, 48), "strength": 0.5, "odd_size": True, "guidance_scale": 4.0, "seed": 7},
}  # fmt: skip
# What edits depend on besides: the autoencoder and the noise levels.
FILLS = {
    "box": {"image": picture(64, 64), "mask": mask("box", 64, 64), "guidance_scale": 30.0, "seed": 1},
    "ramp": {"image": picture(90, 40), "mask": mask("ramp", 80, 48), "odd_size": True, "guidance_scale": 5.0, "seed": 2, "n": 2},
    "weaker": {"image": picture(33, 33), "mask": mask("disc", 90, 40), "strength": 0.6, "num_inference_steps": 5, "guidance_scale": 5.0, "seed": 3},
}
# Kontext shows its network every picture in about a million pixels.
KONTEXTS = {
    "wide": {"references": [picture(90, 40)], "guidance_scale": 2.5, "seed": 1, "num_inference_steps": 2},
    "square_guided": {
        "references": [picture(64, 64)], "odd_size": True, "guidance_scale": 3.5, "true_cfg_scale": 2.0, "negative_prompt": "",
        "seed": 2, "num_inference_steps": 2,
    },
    "tall": {"references": [picture(33, 70)], "guidance_scale": 3.5, "seed": 3, "num_inference_steps": 1},
}  # fmt: skip
# The picture's size is the one that is made.
KONTEXT_REPAINTS = {
    "box": {"image": picture(64, 64), "mask": mask("box", 64, 64), "guidance_scale": 3.5, "strength": 0.6, "num_inference_steps": 6, "seed": 1},
    "disc_whole": {
        "image": picture(96, 48), "mask": mask("disc", 96, 48), "strength": 1.0, "guidance_scale": 2.0, "true_cfg_scale": 2.0,
        "negative_prompt": "wet", "seed": 2,
    },
    "with_reference": {
        "image": picture(64, 80), "mask": mask("ramp", 64, 80), "references": [picture(90, 40)], "strength": 0.5, "seed": 3,
        "guidance_scale": 4.0, "num_inference_steps": 2,
    },
}  # fmt: skip
CONTROLS = {
    "text": {"references": [picture(64, 64)], "guidance_scale": 10.0, "seed": 1},
    "odd_size": {"references": [picture(90, 40)], "odd_size": True, "guidance_scale": 3.5, "seed": 2, "num_inference_steps": 2, "n": 2},
    "image": {"image": picture(64, 64), "references": [picture(50, 71)], "strength": 0.5, "num_inference_steps": 5, "guidance_scale": 5.0, "seed": 3},
    "own_strength": {"image": picture(33, 70), "references": [picture(64, 64)], "num_inference_steps": 5, "seed": 4},
    "box": {
        "image": picture(64, 64), "mask": mask("box", 64, 64), "references": [picture(64, 64)], "strength": 0.7, "guidance_scale": 5.0, "seed": 5,
    },
    "disc_whole": {"image": picture(90, 40), "mask": mask("disc", 90, 40), "references": [picture(40, 40)], "strength": 1.0, "odd_size": True, "seed": 6},
}  # fmt: skip
CONTROL_FOLDERS = [name for name, folder in flux_folders.FOLDERS.items() if folder.pipeline == "FluxControlPipeline"]
KONTEXT_FOLDERS = [name for name, folder in flux_folders.FOLDERS.items() if folder.pipeline == "FluxKontextPipeline"]
FILL_FOLDERS = [name for name, folder in flux_folders.FOLDERS.items() if folder.pipeline == "FluxFillPipeline"]
EDIT_FOLDERS = ["schnell", "dev", "linear_shift", "four_channels", "five_levels", "one_level"]


@functools.cache
def model(name: str):
    """A folder's path, and real Diffusers on it."""
    path = flux_folders.build_folder(MADE / "flux" / name, name)
    return path, folder_files.load_pipeline(path)


def arguments_for(name: str, request: dict) -> dict:
    arguments = arguments_of(flux_folders.FOLDERS[name], {"max_sequence_length": 128} | request)
    if name in KONTEXT_FOLDERS and "image" in arguments:
        arguments["width"], arguments["height"] = arguments["image"].size
    return arguments


def in_kontext_size(reference: Image.Image) -> Image.Image:
    """As Diffusers does it where it may resize."""
    aspect = (reference.width // 16) / (reference.height // 16)
    width, height = min(PREFERRED_KONTEXT_RESOLUTIONS, key=lambda size: (abs(aspect - size[0] / size[1]), *size))
    return reference.resize((width, height), Image.Resampling.LANCZOS)


def their_pictures(text_to_image, arguments: dict) -> list[numpy.ndarray]:
    arguments = dict(arguments)
    n, seed = arguments.pop("n"), arguments.pop("seed")
    pipeline = text_to_image
    if isinstance(text_to_image, FluxControlPipeline):
        kind = FluxControlInpaintPipeline if "mask" in arguments else FluxControlImg2ImgPipeline if "image" in arguments else FluxControlPipeline
        pipeline = kind(**text_to_image.components)
        pipeline.set_progress_bar_config(disable=True)
        (arguments["control_image"],) = arguments.pop("references")
    elif "image" in arguments and not isinstance(text_to_image, FluxFillPipeline | FluxKontextPipeline):
        kind = FluxInpaintPipeline if "mask" in arguments else FluxImg2ImgPipeline
        pipeline = kind(**text_to_image.components)
        pipeline.set_progress_bar_config(disable=True)
    if "mask" in arguments:
        arguments["mask_image"] = arguments.pop("mask")
    if isinstance(text_to_image, FluxKontextPipeline) and "mask_image" in arguments:
        pipeline = FluxKontextInpaintPipeline(**text_to_image.components)
        pipeline.set_progress_bar_config(disable=True)
        if "references" in arguments:
            (arguments["image_reference"],) = map(in_kontext_size, arguments.pop("references"))
        if "width" in arguments:  # else both pictures get one of a million pixels
            arguments |= {"max_area": arguments["width"] * arguments["height"], "_auto_resize": False}
    elif isinstance(text_to_image, FluxKontextPipeline):
        # Else it makes every picture one of a million pixels.
        arguments["max_area"] = arguments["width"] * arguments["height"]
        arguments["image"] = arguments.pop("references", [None])[0]
    return comparing.their_pictures(pipeline, arguments | {"n": n, "seed": seed})


@pytest.mark.parametrize("request_name", REQUESTS)
@pytest.mark.parametrize("name", [name for name in flux_folders.FOLDERS if name not in (*FILL_FOLDERS, *CONTROL_FOLDERS)])
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


@pytest.mark.parametrize("request_name", FILLS)
@pytest.mark.parametrize("name", FILL_FOLDERS)
def test_fills_in_fp32(name: str, request_name: str, tmp_path: Path) -> None:
    path, pipeline = model(name)
    arguments = arguments_for(name, FILLS[request_name])
    assert_same(our_pictures(path, arguments, tmp_path), their_pictures(pipeline, arguments))


@pytest.mark.parametrize("request_name", KONTEXTS)
@pytest.mark.parametrize("name", KONTEXT_FOLDERS)
def test_references_in_fp32(name: str, request_name: str, tmp_path: Path) -> None:
    path, pipeline = model(name)
    arguments = arguments_for(name, KONTEXTS[request_name])
    theirs = their_pictures(pipeline, arguments)
    assert_same(our_pictures(path, arguments, tmp_path), theirs)
    without = their_pictures(pipeline, {key: value for key, value in arguments.items() if key != "references"})
    assert numpy.abs(theirs[0].astype(int) - without[0].astype(int)).max() > 8


@pytest.mark.parametrize("request_name", CONTROLS)
@pytest.mark.parametrize("name", CONTROL_FOLDERS)
def test_controls_in_fp32(name: str, request_name: str, tmp_path: Path) -> None:
    path, pipeline = model(name)
    arguments = arguments_for(name, CONTROLS[request_name])
    theirs = their_pictures(pipeline, arguments)
    assert_same(our_pictures(path, arguments, tmp_path), theirs)
    if request_name == "text":
        other = their_pictures(pipeline, arguments | {"references": [ImageOps.invert(picture(64, 64))]})
        assert numpy.abs(theirs[0].astype(int) - other[0].astype(int)).max() > 8
        with pytest.raises(AssertionError, match="goes by a picture"):
            our_pictures(path, {key: value for key, value in arguments.items() if key != "references"}, tmp_path)


@pytest.mark.parametrize("request_name", KONTEXT_REPAINTS)
@pytest.mark.parametrize("name", KONTEXT_FOLDERS)
def test_repainting_by_kontext_in_fp32(name: str, request_name: str, tmp_path: Path) -> None:
    path, pipeline = model(name)
    arguments = arguments_for(name, KONTEXT_REPAINTS[request_name])
    assert_same(our_pictures(path, arguments, tmp_path), their_pictures(pipeline, arguments))


def test_a_picture_that_kontext_repaints_has_one_of_its_sizes(tmp_path: Path) -> None:
    """And strength 1, and guidance 3.5."""
    path, pipeline = model("kontext")
    arguments = arguments_for("kontext", {"image": picture(100, 50), "mask": mask("box", 100, 50), "num_inference_steps": 1, "seed": 5})
    del arguments["width"], arguments["height"]
    ours = our_pictures(path, arguments, tmp_path)
    assert ours[0].shape == (720, 1456, 3)
    assert_same(ours, their_pictures(pipeline, arguments))


@pytest.mark.parametrize("edit", ["image", "mask"])
def test_edits_take_their_own_defaults(edit: str, tmp_path: Path) -> None:
    """Guidance 7 and strength 0.6, for what a call leaves open."""
    path, pipeline = model("dev")
    arguments = arguments_for("dev", {"image": picture(64, 64), "seed": 6})
    if edit == "mask":
        arguments["mask"] = mask("box", 64, 64)
    assert "guidance_scale" not in arguments and "strength" not in arguments
    assert_same(our_pictures(path, arguments, tmp_path), their_pictures(pipeline, arguments))


def test_a_prompt_of_512_tokens_and_the_other_defaults(tmp_path: Path) -> None:
    """Nothing but the size is named: 28 steps, guidance 3.5, 512 tokens of T5."""
    path = flux_folders.build_folder(MADE / "flux_defaults", "dev")
    arguments = {"prompt": "a fox " * 300, "width": 32, "height": 32, "n": 1, "seed": 4}
    ours = our_pictures(path, arguments | {"num_inference_steps": 28}, tmp_path)
    assert_same(ours, their_pictures(folder_files.load_pipeline(path), arguments))


def test_pictures_in_bf16(tmp_path: Path) -> None:
    """bfloat16 rounds everywhere, and elsewhere in another kernel: the pictures are close, not equal."""
    path = flux_folders.build_folder(MADE / "flux_bf16", "dev")
    arguments = arguments_for("dev", REQUESTS["plain"])
    ours = our_pictures(path, arguments, tmp_path, "bf16")
    for difference in differences(ours, their_pictures(folder_files.load_pipeline(path, torch.bfloat16), arguments)):
        assert difference.mean() < 2
