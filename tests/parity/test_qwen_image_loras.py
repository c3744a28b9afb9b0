"""Qwen-Image with LoRAs over HTTP against real Diffusers, in each way that published files are named: Lightning's, too."""

import base64
import io
import sys
from pathlib import Path

import numpy
import pytest
import torch
from comparing import MADE, PROMPT, ROOT, assert_same, their_pictures
from PIL import Image
from safetensors.torch import save_file

import qwen_image_folders

sys.path.insert(0, str(ROOT / "tests/e2e"))

from conftest import serve  # noqa: E402

# What stands before a layer's name, whether its dots become underscores, and what the two matrices are called.
SPELLINGS = {
    "peft": ("transformer.", False, ("lora_A", "lora_B")),
    "lightning": ("", False, ("lora_down", "lora_up")),
    "comfy": ("diffusion_model.", False, ("lora_A", "lora_B")),
    "kohya": ("lora_unet_", True, ("lora_down", "lora_up")),
}
LAYERS = ["attn.to_q", "attn.to_v", "attn.to_out.0", "attn.add_k_proj", "attn.to_add_out", "img_mod.1", "txt_mlp.net.0.proj", "img_mlp.net.2"]
RANK, ALPHA = 3, 6.0


def write_lora(file: Path, transformer: torch.nn.Module, spelling: str) -> None:
    prefix, flat, (down, up) = SPELLINGS[spelling]
    generator = torch.Generator().manual_seed(len(spelling))
    tensors = {}
    for block in range(len(transformer.transformer_blocks)):
        for layer in LAYERS:
            name = f"transformer_blocks.{block}.{layer}"
            rows, columns = transformer.get_submodule(name).weight.shape
            name = prefix + (name.replace(".", "_") if flat else name)
            tensors[f"{name}.{down}.weight"] = 0.3 * torch.randn(RANK, columns, generator=generator)
            tensors[f"{name}.{up}.weight"] = 0.3 * torch.randn(rows, RANK, generator=generator)
            if down == "lora_down":
                tensors[f"{name}.alpha"] = torch.tensor(ALPHA)
    save_file(tensors, file)


def pixels(answer) -> numpy.ndarray:
    assert answer.status_code == 200, answer.text
    return numpy.asarray(Image.open(io.BytesIO(base64.b64decode(answer.json()["data"][0]["b64_json"]))))


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A server of a folder with a LoRA in every spelling, real Diffusers on it, and where the LoRAs are."""
    path = qwen_image_folders.build_folder(MADE / "qwen_image_loras/model", "plain")
    pipeline = qwen_image_folders.load_pipeline(path, "plain")
    loras = MADE / "qwen_image_loras/loras"
    loras.mkdir(exist_ok=True)
    for spelling in SPELLINGS:
        write_lora(loras / f"{spelling}.safetensors", pipeline.transformer, spelling)
    with serve(tmp_path_factory.mktemp("server"), "--loras", str(loras), "--dtype", "fp32", model=path) as server:
        yield server, pipeline, loras


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_loras(served, spelling: str) -> None:
    server, pipeline, loras = served
    request = {"prompt": PROMPT, "negative_prompt": "blurry", "true_cfg_scale": 3.0, "num_inference_steps": 4}
    arguments = request | {"width": 64, "height": 64, "n": 1, "seed": 1}
    body = request | {"size": "64x64", "seed": 1, "response_format": "b64_json"}
    plain = pixels(server.post(body))
    pipeline.load_lora_weights(loras, weight_name=f"{spelling}.safetensors", adapter_name=spelling)
    pipeline.set_adapters([spelling], [0.8])
    theirs = their_pictures(pipeline, arguments)
    pipeline.unload_lora_weights()
    assert numpy.abs(theirs[0].astype(int) - plain).mean() > 2, "the LoRA changes nothing"
    assert_same([pixels(server.post(body | {"loras": [{"name": spelling, "weight": 0.8}]}))], theirs)
