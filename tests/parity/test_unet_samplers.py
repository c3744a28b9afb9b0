"""Whole pictures of every sampler of diffusions against real Diffusers, chosen by class, spacing or A1111's name."""

from pathlib import Path

import numpy
import pytest
import torch
from comparing import MADE, arguments_of, assert_same, our_pictures

import unet_folders

NAMES = [
    "DDIMScheduler", "DDPMScheduler", "DEISMultistepScheduler", "SASolverScheduler", "DPMSolverMultistepScheduler", "DPMSolverSinglestepScheduler", "EulerAncestralDiscreteScheduler",
    "EulerDiscreteScheduler", "HeunDiscreteScheduler", "KDPM2AncestralDiscreteScheduler", "KDPM2DiscreteScheduler",
    "LCMScheduler", "LMSDiscreteScheduler", "PNDMScheduler", "TCDScheduler", "UniPCMultistepScheduler",
]  # fmt: skip


PRESETS = {
    "DPMSolverMultistepScheduler:karras": ("DPMSolverMultistepScheduler", {"use_karras_sigmas": True}),
    "DPM++ 2M SDE Karras": ("DPMSolverMultistepScheduler", {"use_karras_sigmas": True, "algorithm_type": "sde-dpmsolver++"}),
    "DPM++ SDE Karras": ("DPMSolverSinglestepScheduler", {"use_karras_sigmas": True, "algorithm_type": "sde-dpmsolver++"}),
    "EulerDiscreteScheduler:exponential": ("EulerDiscreteScheduler", {"use_exponential_sigmas": True}),
    "KDPM2AncestralDiscreteScheduler:karras": ("KDPM2AncestralDiscreteScheduler", {"use_karras_sigmas": True}),
}


@pytest.mark.parametrize("preset", PRESETS)
def test_pictures_by_a_presets_name(preset: str, tmp_path: Path) -> None:
    scheduler, options = PRESETS[preset]
    assert_like("xl", {"scheduler": preset}, (scheduler, options), tmp_path)


@pytest.mark.parametrize("name", NAMES)
def test_pictures_by_the_samplers_name(name: str, tmp_path: Path) -> None:
    assert_like("plain", {"scheduler": name}, (name, {}), tmp_path)


def assert_like(folder: str, request: dict, scheduler: tuple[str, dict], tmp_path: Path) -> None:
    path = unet_folders.build_folder(MADE / "unet_samplers" / folder, folder)
    request = {"guidance_scale": 3.0, "num_inference_steps": 5, "seed": 31} | request
    arguments = arguments_of(unet_folders.FOLDERS[folder], request)
    pipeline = unet_folders.with_scheduler(unet_folders.load_pipeline(path), *scheduler)
    theirs = {key: value for key, value in arguments.items() if key not in ("seed", "n", "scheduler")}
    image = pipeline(**theirs, generator=torch.Generator().manual_seed(31)).images[0]
    assert_same(our_pictures(path, arguments, tmp_path), [numpy.asarray(image)])
