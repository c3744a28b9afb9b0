"""Writes the trained parts as a Diffusers folder."""

from __future__ import annotations

import copy
import json
import shutil
import tempfile
from pathlib import Path

import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, StableDiffusion3Pipeline
from diffusers.models.attention_processor import JointAttnProcessor2_0

from networks import PromptedTransformer
from tokenizer import build_tokenizers, save_tokenizer

SERVER_DEFAULTS = {"num_inference_steps": 20, "guidance_scale": 4.0}


def build_pipeline(model: PromptedTransformer, vae: AutoencoderKL) -> StableDiffusion3Pipeline:
    """Returns the pipeline that users will load."""
    model.transformer.set_attn_processor(JointAttnProcessor2_0())
    tokenizer, tokenizer_2 = build_tokenizers()
    return StableDiffusion3Pipeline(
        transformer=model.transformer, vae=vae, scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        text_encoder=model.text_encoder, text_encoder_2=model.text_encoder_2, tokenizer=tokenizer, tokenizer_2=tokenizer_2,
        text_encoder_3=None, tokenizer_3=None,
    )


def strip_path(config_file: Path) -> None:
    """Takes out `_name_or_path`, the folder in which the part stood on the machine that trained it."""
    config = json.loads(config_file.read_text())
    config.pop("_name_or_path", None)
    config_file.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def export(model: PromptedTransformer, vae: AutoencoderKL, target: Path) -> None:
    """Writes the folder in half precision; files of ours that stand there already (README.md) are kept."""
    pipeline = build_pipeline(copy.deepcopy(model), vae).to(torch.float16)
    target.parent.mkdir(parents=True, exist_ok=True)
    # Written beside and renamed, so that a reader never sees half a folder.
    new = Path(tempfile.mkdtemp(prefix=".demo-", dir=target.parent))
    new.chmod(0o755)
    pipeline.save_pretrained(new)
    for name in ("tokenizer", "tokenizer_2"):
        save_tokenizer(getattr(pipeline, name), new / name)
    for name in ("text_encoder", "text_encoder_2"):
        # transformers loads in the type that the config names; unnamed, all parts would not load alike.
        config = json.loads((new / name / "config.json").read_text())
        (new / name / "config.json").write_text(json.dumps({**config, "dtype": "float32"}, indent=2) + "\n")
    strip_path(new / "vae" / "config.json")
    (new / "diffused.json").write_text(json.dumps(SERVER_DEFAULTS, indent=2) + "\n")
    for file in new.rglob("*.safetensors"):
        file.chmod(0o644)
    if target.exists():
        if (target / "README.md").exists():
            shutil.copy2(target / "README.md", new)
        old = Path(tempfile.mkdtemp(prefix=".demo-old-", dir=target.parent))
        target.rename(old / "demo")
        new.rename(target)
        shutil.rmtree(old)
    else:
        new.rename(target)
