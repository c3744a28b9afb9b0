"""How the denoising steps go when the caller says so: sigmas, timesteps, eta, skip-layer guidance; against real Diffusers with
the same arguments. Pictures are within 1 of 255."""

import functools
import subprocess
from pathlib import Path

import diffusers
import numpy
import pytest
import torch
from PIL import Image
from comparing import BUILD, PROMPT, assert_same, our_pictures

import flux_folders
import folder_files
import folders
import unet_folders
from tiny_pictures import mask, picture

SEED = 7
SD = {"prompt": PROMPT, "guidance_scale": 3.0, "height": 64, "width": 64, "seed": SEED, "n": 1}
TIMESTEPS = (999, 850, 600, 350, 100, 3)

# Scheduler, its options in the folder, what the call says.
LEVELS = {
    "euler_sigmas": ("EulerDiscreteScheduler", {"sigmas": (14.6, 6.0, 2.5, 0.9, 0.3, 0.0)}),
    "euler_sigmas_that_end_with_noise": ("EulerDiscreteScheduler", {"sigmas": (9.0, 3.0, 0.5, 0.1)}),
    "euler_timesteps": ("EulerDiscreteScheduler", {"timesteps": TIMESTEPS}),
    "heun_timesteps": ("HeunDiscreteScheduler", {"timesteps": TIMESTEPS}),
    "ddpm_timesteps": ("DDPMScheduler", {"timesteps": TIMESTEPS}),
    "dpm_timesteps": ("DPMSolverMultistepScheduler", {"timesteps": TIMESTEPS}),
    "dpm_singlestep_timesteps": ("DPMSolverSinglestepScheduler", {"timesteps": TIMESTEPS}),
    "lcm_timesteps": ("LCMScheduler", {"timesteps": (999, 759, 499, 259)}),
    "tcd_timesteps": ("TCDScheduler", {"timesteps": (999, 759, 500, 259)}),
    "ddim_eta": ("DDIMScheduler", {"num_inference_steps": 5, "eta": 0.4}),
    "ddim_whole_eta": ("DDIMScheduler", {"num_inference_steps": 4, "eta": 1.0}),
    "tcd_eta": ("TCDScheduler", {"num_inference_steps": 4, "eta": 0.3}),
    "eta_of_others": ("EulerDiscreteScheduler", {"num_inference_steps": 3, "eta": 0.7}),
}
EDITS = {
    "image_sigmas": ("EulerDiscreteScheduler", {"strength": 0.6, "sigmas": (14.6, 6.0, 2.5, 0.9, 0.3, 0.0)}),
    "image_heun": ("HeunDiscreteScheduler", {"strength": 0.8, "timesteps": TIMESTEPS}),
    "image_eta": ("DDIMScheduler", {"strength": 0.7, "num_inference_steps": 5, "eta": 0.5}),
    "masked_timesteps": ("DPMSolverMultistepScheduler", {"strength": 0.7, "timesteps": TIMESTEPS, "mask": mask("box", 64, 64)}),
}
REFUSED = {
    "unet_names": ("DDIMScheduler", {"sigmas": (3.0, 1.0, 0.0)}, "takes no sigmas"),
    "unet_timesteps": ("LMSDiscreteScheduler", {"timesteps": (900, 100)}, "takes no timesteps"),
    "spaced": ("EulerDiscreteScheduler:karras", {"timesteps": (900, 100)}, "takes no timesteps"),
    "both": ("EulerDiscreteScheduler", {"timesteps": (900, 100), "sigmas": (3.0, 1.0)}, "cannot both be given"),
    "rising": ("DDPMScheduler", {"timesteps": (100, 900)}, "must fall"),
    "untrained": ("DDPMScheduler", {"timesteps": (1000, 900)}, "999 or less"),
    "one": ("EulerDiscreteScheduler", {"sigmas": (3.0,)}, "one more than the steps"),
    "noisy": ("DDIMScheduler", {"eta": 1.5}, "eta must be 0 to 1"),
}  # fmt: skip


@functools.cache
def unet(name: str):
    path = unet_folders.build_folder(BUILD / "parity/steps" / name, name)
    return path, unet_folders.load_pipeline(path)


def their_picture(pipeline, arguments: dict) -> numpy.ndarray:
    arguments = {key: list(value) if isinstance(value, tuple) else value for key, value in arguments.items() if key not in ("seed", "n", "scheduler")}
    if "mask" in arguments:
        arguments["mask_image"] = arguments.pop("mask")
    elif "image" in arguments:
        arguments = {key: value for key, value in arguments.items() if key not in ("width", "height")}
    return numpy.asarray(pipeline(**arguments, generator=torch.Generator().manual_seed(SEED)).images[0])


@pytest.mark.parametrize("case", LEVELS)
@pytest.mark.parametrize("folder", ["plain", "xl"])
def test_levels_and_noise(folder: str, case: str, tmp_path: Path) -> None:
    scheduler, request = LEVELS[case]
    path, pipeline = unet(folder)
    arguments = SD | {"scheduler": scheduler} | request
    theirs = their_picture(unet_folders.with_scheduler(pipeline, scheduler, {}), arguments)
    assert_same(our_pictures(path, arguments, tmp_path), [theirs])


@pytest.mark.parametrize("case", EDITS)
def test_levels_of_edits(case: str, tmp_path: Path) -> None:
    scheduler, request = EDITS[case]
    path, pipeline = unet("plain")
    kind = diffusers.StableDiffusionInpaintPipeline if "mask" in request else diffusers.StableDiffusionImg2ImgPipeline
    components = unet_folders.with_scheduler(pipeline, scheduler, {}).components
    arguments = SD | {"scheduler": scheduler, "image": picture(64, 64)} | request
    edit = kind(**components, requires_safety_checker=False)
    assert_same(our_pictures(path, arguments, tmp_path), [their_picture(edit, arguments)])


@pytest.mark.parametrize("case", REFUSED)
def test_levels_that_mean_nothing_are_refused(case: str, tmp_path: Path) -> None:
    scheduler, request, why = REFUSED[case]
    with pytest.raises(AssertionError, match=why):
        our_pictures(unet("plain")[0], SD | {"num_inference_steps": 3, "scheduler": scheduler} | request, tmp_path)


FLOW_SIGMAS = (1.0, 0.8, 0.45, 0.2)


@pytest.mark.parametrize("name", ["plain", "dynamic_shift"])
def test_sigmas_of_stable_diffusion_3(name: str, tmp_path: Path) -> None:
    path = folders.build_folder(BUILD / "parity/steps/sd3" / name, name)
    arguments = SD | {"sigmas": FLOW_SIGMAS}
    assert_same(our_pictures(path, arguments, tmp_path), [their_picture(folders.load_pipeline(path, name), arguments)])


def test_sigmas_of_flux(tmp_path: Path) -> None:
    path = flux_folders.build_folder(BUILD / "parity/steps/flux", "dev")
    arguments = SD | {"sigmas": (*FLOW_SIGMAS, 0.0), "max_sequence_length": 64}
    assert_same(our_pictures(path, arguments, tmp_path), [their_picture(folder_files.load_pipeline(path), arguments)])


SKIPS = {
    "of_a_block": {"skip_guidance_layers": (0,), "skip_layer_guidance_stop": 0.8},
    "of_blocks": {"skip_guidance_layers": (1, 0), "skip_layer_guidance_scale": 1.7, "skip_layer_guidance_start": 0.0, "skip_layer_guidance_stop": 1.0},
    "at_no_step": {"skip_guidance_layers": (0,), "skip_layer_guidance_start": 0.9, "skip_layer_guidance_stop": 0.95},
    "by_default": {"skip_guidance_layers": (0,), "num_inference_steps": 12},
    "unguided": {"skip_guidance_layers": (0,), "skip_layer_guidance_stop": 1.0, "guidance_scale": 1.0},
    "odd_size_and_levels": {"skip_guidance_layers": (1,), "skip_layer_guidance_stop": 0.7, "sigmas": FLOW_SIGMAS, "height": 48},
}  # fmt: skip


@pytest.mark.parametrize("case", SKIPS)
@pytest.mark.parametrize("name", ["plain", "dual"])
def test_skip_layer_guidance(name: str, case: str, tmp_path: Path) -> None:
    path = folders.build_folder(BUILD / "parity/steps/sd3" / name, name)
    pipeline = folders.load_pipeline(path, name)
    arguments = SD | {"guidance_scale": 5.0} | ({} if "sigmas" in SKIPS[case] else {"num_inference_steps": 6}) | SKIPS[case]
    theirs = their_picture(pipeline, arguments)
    assert_same(our_pictures(path, arguments, tmp_path), [theirs])
    without = {key: value for key, value in arguments.items() if not key.startswith("skip")}
    changes = case not in ("at_no_step", "unguided")
    assert (their_picture(pipeline, without) != theirs).any() == changes


def test_layers_that_are_not_there_are_refused(tmp_path: Path) -> None:
    path = folders.build_folder(BUILD / "parity/steps/sd3/plain", "plain")
    with pytest.raises(AssertionError, match="skip_guidance_layers must be 0 to"):
        our_pictures(path, SD | {"num_inference_steps": 2, "skip_guidance_layers": (99,)}, tmp_path)


def test_steps_follow_from_the_levels(tmp_path: Path) -> None:
    """Whatever number stands beside them."""
    path, _ = unet("plain")
    command = [BUILD / "diffused", "generate", path, PROMPT, "-o", tmp_path / "out.png", "--timesteps", "900,500,100", "--size", "64x64", "--steps", "50",
               "--scheduler", "DDPMScheduler"]  # fmt: skip
    done = subprocess.run(command, check=False, capture_output=True, timeout=300, text=True)
    assert done.returncode == 0, done.stderr
    assert '"num_inference_steps":3' in Image.open(tmp_path / "out.png").text["diffused"]
