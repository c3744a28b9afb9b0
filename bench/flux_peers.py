"""The peers of `./dev bench flux`, each a process that obeys "step" and "save PATH" on stdin, and what makes their files.

    weights FOLDER DOUBLE SINGLE    FLUX.1-schnell's transformer with so many blocks of each kind; random bfloat16 weights
    inputs FOLDER SIDE              image tokens, text and pooled embeddings for latents of SIDE x SIDE
    diffusers FOLDER SIDE N         Diffusers on N threads, bfloat16
    convert FOLDER SIDE             the transformer as OpenVINO's own file, for this size
    openvino FOLDER SIDE N          OpenVINO on N threads, bfloat16
"""

import pathlib
import sys

import torch

import sd3_peers

TRANSFORMER = {"patch_size": 1, "in_channels": 64, "attention_head_dim": 128, "num_attention_heads": 24, "joint_attention_dim": 4096,
               "pooled_projection_dim": 768, "guidance_embeds": False, "axes_dims_rope": [16, 56, 56]}
TEXT_TOKENS = 256


NAMES = ("image", "text", "pooled", "timestep")


def make_weights(folder: pathlib.Path, double_blocks: int, single_blocks: int) -> None:
    from diffusers import FluxTransformer2DModel

    config = TRANSFORMER | {"num_layers": double_blocks, "num_single_layers": single_blocks}
    sd3_peers.write_network(folder / "transformer", FluxTransformer2DModel, config, torch.Generator().manual_seed(0))


def make_inputs(folder: pathlib.Path, side: int) -> None:
    # Timestep 0, which OpenVINO does not round (sd3_peers.py).
    shapes = {"image": (1, (side // 2) ** 2, 64), "text": (1, TEXT_TOKENS, 4096), "pooled": (1, 768)}
    sd3_peers.write_inputs(folder, side, shapes, {"timestep": torch.zeros(1, dtype=torch.bfloat16)})


class Step(torch.nn.Module):
    """The positions are constants, so that OpenVINO computes their angles once and exactly."""

    def __init__(self, folder: pathlib.Path, side: int):
        from diffusers import FluxPipeline, FluxTransformer2DModel

        super().__init__()
        self.transformer = FluxTransformer2DModel.from_pretrained(folder / "transformer", torch_dtype=torch.bfloat16).eval()
        self.image_ids = FluxPipeline._prepare_latent_image_ids(1, side // 2, side // 2, "cpu", torch.bfloat16)
        self.text_ids = torch.zeros(TEXT_TOKENS, 3, dtype=torch.bfloat16)

    def forward(self, image, text, pooled, timestep):
        return self.transformer(image, text, pooled, timestep, self.image_ids, self.text_ids, return_dict=False)[0]


def run_diffusers(folder: pathlib.Path, side: int, threads: int) -> None:
    sd3_peers.run_torch_step(lambda: Step(folder, side), NAMES, folder, side, threads)


def convert(folder: pathlib.Path, side: int) -> None:
    sd3_peers.convert_step(Step(folder, side), NAMES, folder, side)


def run_openvino(folder: pathlib.Path, side: int, threads: int) -> None:
    sd3_peers.run_openvino_step(NAMES, folder, side, threads)


if __name__ == "__main__":
    command, folder, *numbers = sys.argv[1:]
    {"weights": make_weights, "inputs": make_inputs, "diffusers": run_diffusers, "convert": convert,
     "openvino": run_openvino}[command](pathlib.Path(folder), *map(int, numbers))
