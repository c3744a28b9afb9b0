"""Tiny decoders of random weights: Diffusers folders of AutoencoderTiny, and the same as published files name it."""

from pathlib import Path

import torch
from diffusers import AutoencoderTiny
from safetensors.torch import save_file


def build_folder(path: Path, latent_channels: int, levels: int, width: int = 16, **options) -> AutoencoderTiny:
    """The network of the folder; its pictures have colours."""
    torch.manual_seed(latent_channels + 10 * levels)
    widths = (width,) * levels
    network = AutoencoderTiny(
        latent_channels=latent_channels,
        encoder_block_out_channels=widths,
        decoder_block_out_channels=widths,
        num_encoder_blocks=(1, *(2,) * (levels - 1)),
        num_decoder_blocks=(*(2,) * (levels - 1), 1),
        **options,
    ).eval()
    network.save_pretrained(path)
    return network


def write_published_file(network: AutoencoderTiny, path: Path) -> None:
    """Its decoder under the names that the first, unnumbered clamp makes one higher."""
    tensors = {}
    for name, tensor in network.decoder.state_dict().items():
        _, layer, rest = name.split(".", 2)
        tensors[f"{int(layer) + 1}.{rest}"] = tensor.contiguous()
    save_file(tensors, path)
