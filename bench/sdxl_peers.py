"""The peers of `./dev bench sdxl`, each a process that obeys "step" and "save PATH" on stdin, and what makes their files.

    weights FOLDER DEPTH        SDXL's UNet with so many transformer blocks at its lowest level; random bfloat16 weights
    inputs FOLDER SIDE          latents, text, pooled text and sizes for latents of SIDE x SIDE
    diffusers FOLDER SIDE N     Diffusers on N threads, bfloat16, in channels_last (its faster layout)
    convert FOLDER SIDE         the UNet as OpenVINO's own file
    openvino FOLDER SIDE N      OpenVINO on N threads, bfloat16
"""

import pathlib
import sys

import torch

import sd3_peers

UNET = {"sample_size": 128, "in_channels": 4, "out_channels": 4, "block_out_channels": [320, 640, 1280], "layers_per_block": 2,
        "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
        "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"], "attention_head_dim": [5, 10, 20],
        "cross_attention_dim": 2048, "use_linear_projection": True, "addition_embed_type": "text_time",
        "addition_time_embed_dim": 256, "projection_class_embeddings_input_dim": 2816}
NAMES = ("latents", "timestep", "text", "pooled", "sizes")


def make_weights(folder: pathlib.Path, depth: int) -> None:
    from diffusers import UNet2DConditionModel

    config = UNET | {"transformer_layers_per_block": [1, min(2, depth), depth]}
    sd3_peers.write_network(folder / "unet", UNet2DConditionModel, config, torch.Generator().manual_seed(0))


def make_inputs(folder: pathlib.Path, side: int) -> None:
    # Timestep and sizes 0, which OpenVINO does not round (sd3_peers.py).
    shapes = {"latents": (2, 4, side, side), "text": (2, 77, 2048), "pooled": (2, 1280)}
    sd3_peers.write_inputs(folder, side, shapes, {"timestep": torch.zeros(2), "sizes": torch.zeros(2, 6)})


class Step(torch.nn.Module):
    def __init__(self, folder: pathlib.Path):
        from diffusers import UNet2DConditionModel

        super().__init__()
        unet = UNet2DConditionModel.from_pretrained(folder / "unet", torch_dtype=torch.bfloat16).eval()
        self.unet = unet.to(memory_format=torch.channels_last)

    def forward(self, latents, timestep, text, pooled, sizes):
        conditions = {"text_embeds": pooled, "time_ids": sizes}
        return self.unet(latents, timestep, text, added_cond_kwargs=conditions, return_dict=False)[0]


def run_diffusers(folder: pathlib.Path, side: int, threads: int) -> None:
    sd3_peers.run_torch_step(lambda: Step(folder), NAMES, folder, side, threads)


def convert(folder: pathlib.Path, side: int) -> None:
    sd3_peers.convert_step(Step(folder), NAMES, folder, side)


def run_openvino(folder: pathlib.Path, side: int, threads: int) -> None:
    sd3_peers.run_openvino_step(NAMES, folder, side, threads)


if __name__ == "__main__":
    command, folder, *numbers = sys.argv[1:]
    {"weights": make_weights, "inputs": make_inputs, "diffusers": run_diffusers, "convert": convert,
     "openvino": run_openvino}[command](pathlib.Path(folder), *map(int, numbers))
