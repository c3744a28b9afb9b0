"""The peer of `./dev bench flux`, a process that obeys "step" and "save PATH" on stdin, and what makes their files.

    weights FOLDER DOUBLE SINGLE    FLUX.1-schnell's transformer with so many blocks of each kind; random bfloat16 weights
    inputs FOLDER SIDE              image tokens, text and pooled embeddings for latents of SIDE x SIDE
    diffusers FOLDER SIDE N         Diffusers on N threads, bfloat16
"""

import json
import pathlib
import sys
import time

import torch

import sd3_peers

TRANSFORMER = {"patch_size": 1, "in_channels": 64, "attention_head_dim": 128, "num_attention_heads": 24, "joint_attention_dim": 4096,
               "pooled_projection_dim": 768, "guidance_embeds": False, "axes_dims_rope": [16, 56, 56]}
TEXT_TOKENS = 256


def make_weights(folder: pathlib.Path, double_blocks: int, single_blocks: int) -> None:
    from diffusers import FluxTransformer2DModel
    from safetensors.torch import save_file

    config = TRANSFORMER | {"num_layers": double_blocks, "num_single_layers": single_blocks}
    generator = torch.Generator().manual_seed(0)
    with torch.device("meta"):
        shapes = {key: value.shape for key, value in FluxTransformer2DModel(**config).state_dict().items()}
    tensors = {key: sd3_peers.random_tensor(key, shape, generator) for key, shape in shapes.items()}
    (folder / "transformer").mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "transformer/diffusion_pytorch_model.safetensors")
    (folder / "transformer/config.json").write_text(json.dumps({"_class_name": "FluxTransformer2DModel"} | config))


def make_inputs(folder: pathlib.Path, side: int) -> None:
    from safetensors.torch import save_file

    generator = torch.Generator().manual_seed(side)
    shapes = {"image": (1, (side // 2) ** 2, 64), "text": (1, TEXT_TOKENS, 4096), "pooled": (1, 768)}
    tensors = {name: torch.randn(shape, generator=generator).to(torch.bfloat16) for name, shape in shapes.items()}
    save_file(tensors | {"timestep": torch.full((1,), 0.75, dtype=torch.bfloat16)}, folder / f"inputs_{side}.safetensors")


def run_diffusers(folder: pathlib.Path, side: int, threads: int) -> None:
    from diffusers import FluxPipeline, FluxTransformer2DModel

    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    torch.set_grad_enabled(False)
    began = time.perf_counter()
    transformer = FluxTransformer2DModel.from_pretrained(folder / "transformer", torch_dtype=torch.bfloat16).eval()
    print(f"ready load {time.perf_counter() - began:.3f}", flush=True)
    inputs = sd3_peers.read_inputs(folder, side)
    image_ids = FluxPipeline._prepare_latent_image_ids(1, side // 2, side // 2, "cpu", torch.bfloat16)
    text_ids = torch.zeros(TEXT_TOKENS, 3, dtype=torch.bfloat16)
    arguments = (inputs["image"], inputs["text"], inputs["pooled"], inputs["timestep"], image_ids, text_ids)
    sd3_peers.obey({"step": lambda: transformer(*arguments, return_dict=False)[0].float()})


if __name__ == "__main__":
    command, folder, *numbers = sys.argv[1:]
    {"weights": make_weights, "inputs": make_inputs, "diffusers": run_diffusers}[command](pathlib.Path(folder), *map(int, numbers))
