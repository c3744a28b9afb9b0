"""Pictures by tiny decoders (`--decoders`, `--decoder tiny`) against Diffusers' AutoencoderTiny on the same latents."""

from pathlib import Path

import numpy
import pytest
import torch
from comparing import MADE, arguments_of, assert_same, our_pictures
from diffusers.image_processor import VaeImageProcessor

import flux_folders
import folders
import tiny_decoders
import unet_folders

SCALED = {"scaling_factor": 1.5, "shift_factor": 0.25}


def sd3():
    path = folders.build_folder(MADE / "tiny_decoders/sd3", "t5")
    return path, folders.load_pipeline(path, "t5"), folders.FOLDERS["t5"], {"guidance_scale": 4.0}, "taesd3"


def xl():
    path = unet_folders.build_folder(MADE / "tiny_decoders/xl", "xl")
    return path, unet_folders.load_pipeline(path), unet_folders.FOLDERS["xl"], {"guidance_scale": 4.0}, "taesdxl"


def flux():
    path = flux_folders.build_folder(MADE / "tiny_decoders/flux", "dev")
    return path, flux_folders.load_pipeline(path), flux_folders.FOLDERS["dev"], {"guidance_scale": 3.5, "max_sequence_length": 64}, "taef1"


def latents_of(pipeline, arguments: dict) -> torch.Tensor:
    arguments = dict(arguments)
    del arguments["n"]
    generator = torch.Generator().manual_seed(arguments.pop("seed"))
    latents = pipeline(**arguments, generator=generator, output_type="latent").images
    if latents.ndim == 3:
        latents = pipeline._unpack_latents(latents, arguments["height"], arguments["width"], pipeline.vae_scale_factor)
    return latents


@pytest.mark.parametrize("form", ["folder", "scaled_folder", "file", "published_file"])
@pytest.mark.parametrize("model", [sd3, xl, flux])
def test_pictures(model, form: str, tmp_path: Path) -> None:
    path, pipeline, folder, request, name = model()
    decoders = tmp_path / "decoders"
    vae = pipeline.vae.config
    options = SCALED if form == "scaled_folder" else {}
    network = tiny_decoders.build_folder(decoders / name, vae.latent_channels, len(vae.block_out_channels), **options)
    if form == "file":
        (decoders / name / "diffusion_pytorch_model.safetensors").rename(decoders / f"{name}.safetensors")
    if form == "published_file":
        tiny_decoders.write_published_file(network, decoders / f"{name}_decoder.safetensors")
    if not form.endswith("folder"):
        (decoders / name).rename(tmp_path / "unused")
    arguments = arguments_of(folder, request | {"seed": 3})
    ours = our_pictures(path, arguments | {"decoders": decoders, "decoder": "tiny"}, tmp_path)
    latents = latents_of(pipeline, arguments) / network.config.scaling_factor + network.config.shift_factor
    with torch.no_grad():
        decoded = network.decode(latents).sample
    theirs = VaeImageProcessor().postprocess(decoded, output_type="pil")
    assert_same(ours, [numpy.asarray(theirs[0])])
