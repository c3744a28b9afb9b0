"""What all makers of whole tiny model folders do: write their components and read them with real Diffusers."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from diffusers import DiffusionPipeline

import tiny_models


def save(path: Path, components: dict, scheduler: dict, index: dict, dtype: torch.dtype, max_shard_size: str | None) -> Path:
    """Writes networks, scheduler and model_index.json as save_pretrained does; returns `path`.

    `index`: the class names of model_index.json, "_class_name" first; that of a component tells its library.
    """
    files = {"max_shard_size": max_shard_size} if max_shard_size else {}
    for component, model in components.items():
        model.to(dtype).save_pretrained(path / component, **files)
    tiny_models.scheduler(**scheduler).save_pretrained(path / "scheduler")
    entries = {"_class_name": index.pop("_class_name"), "_diffusers_version": "0.42.1"}
    entries |= {"scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"]} | index
    (path / "model_index.json").write_text(json.dumps(entries, indent=2) + "\n", encoding="utf-8")
    return path


def load_pipeline(path: str | Path, dtype: torch.dtype = torch.float32) -> DiffusionPipeline:
    """The folder in real Diffusers, on the CPU."""
    pipeline = DiffusionPipeline.from_pretrained(path, torch_dtype=dtype)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def write_asked(folders: dict, build: Callable) -> None:
    """python3 MODULE PATH [NAME…] writes the folders NAME, or all, under PATH."""
    for name in sys.argv[2:] or folders:
        build(Path(sys.argv[1]) / name, name)
        print(f"{name}: {folders[name].about}")
