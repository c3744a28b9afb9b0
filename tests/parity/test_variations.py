"""Variations of a seed, which Diffusers does not have: its pictures of noises that are mixed here by A1111's formula, written in numpy,
against those of a running server."""

import base64
import io
from pathlib import Path

import numpy
import pytest
import torch
from comparing import MADE, assert_same
from PIL import Image

import folders
import unet_folders
from tests.e2e.conftest import serve

SEED, SUBSEED = 3, 11


def mixed(low: numpy.ndarray, high: numpy.ndarray, weight: float) -> numpy.ndarray:
    """[1, C, H, W], along the arc between the two, each column by its own angle."""
    unit = [x / numpy.sqrt((x * x).sum(2, keepdims=True)) for x in (low, high)]
    angle = numpy.arccos((unit[0] * unit[1]).sum(2, keepdims=True))
    return (numpy.sin((1 - weight) * angle) * low + numpy.sin(weight * angle) * high) / numpy.sin(angle)


def first_noise(pipeline, size: int, channels: int, weight: float) -> tuple[torch.Tensor, torch.Generator]:
    """The noise, and the picture's generator as drawing it leaves it behind: what comes later is drawn from that alone."""
    shape = (1, channels, size // pipeline.vae_scale_factor, size // pipeline.vae_scale_factor)
    generators = [torch.Generator().manual_seed(seed) for seed in (SEED, SUBSEED)]
    low, high = (torch.randn(shape, generator=generator).numpy().astype(float) for generator in generators)
    return torch.from_numpy(mixed(low, high, weight)).float(), generators[0]


def server_pictures(path: Path, data: Path, request: dict, weights: list[float]) -> list[numpy.ndarray]:
    pictures = []
    with serve(data, "--dtype", "fp32", model=path) as server:
        for weight in weights:
            reply = server.post({**request, "seed": SEED, "subseed": SUBSEED, "subseed_strength": weight}, "/sdapi/v1/txt2img")
            assert reply.status_code == 200, reply.text
            pictures.append(numpy.asarray(Image.open(io.BytesIO(base64.b64decode(reply.json()["images"][0])))))
    return pictures


@pytest.mark.parametrize("kind", ["flow", "ancestral"])
def test_pictures_of_mixed_noise(kind: str, tmp_path: Path) -> None:
    if kind == "flow":
        path = folders.build_folder(MADE / "sd3/plain", "plain")
        pipeline = folders.load_pipeline(path, "plain")
        channels, sampler = pipeline.transformer.config.in_channels, {}
    else:
        path = unet_folders.build_folder(MADE / "unets/plain", "plain")
        pipeline = unet_folders.load_pipeline(path)
        channels, sampler = pipeline.unet.config.in_channels, {"sampler_name": "Euler a"}
        from diffusers import EulerAncestralDiscreteScheduler

        pipeline.scheduler = EulerAncestralDiscreteScheduler.from_config(pipeline.scheduler.config)
    weights, theirs = [0.1, 0.5, 0.9], []
    for weight in weights:
        latents, generator = first_noise(pipeline, 64, channels, weight)
        theirs.append(numpy.asarray(pipeline("a red fox", width=64, height=64, num_inference_steps=4, guidance_scale=4.0, latents=latents,
                                             generator=generator).images[0]))  # fmt: skip
    request = {"prompt": "a red fox", "width": 64, "height": 64, "steps": 4, "cfg_scale": 4.0, **sampler}
    assert_same(server_pictures(path, tmp_path, request, weights), theirs)
