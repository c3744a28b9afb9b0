"""A model folder becomes a pipeline; what cannot be trusted or is not all there is refused first, in one sentence.

Loaded is what Diffusers and transformers bring themselves, from safetensors files on this disk. Code that a folder brings is
never run: no custom pipeline, no module of its own, no `auto_map`.
"""

import inspect
import json
from pathlib import Path

import diffusers
import torch

from diffused_worker.refusal import Refusal, first_line

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
# What from_pretrained and from_pipe call the dtype; the older name is deprecated since 0.42.
DTYPE_NAME = "dtype" if tuple(map(int, diffusers.__version__.split(".")[:2])) >= (0, 42) else "torch_dtype"
LIBRARIES = {"diffusers", "transformers"}
# What `diffused pull` leaves out, and pipelines can do without.
LEFT_OUT = ("safety_checker", "feature_extractor", "image_encoder")
WEIGHT_FILES_WITH_CODE = (".bin", ".ckpt", ".pt", ".pth", ".pkl")


def read_json(file: Path) -> dict:
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise Refusal("not_found", f"{file}: no such file") from None
    except ValueError:
        raise Refusal("data_loss", f"{file}: not JSON") from None
    if not isinstance(value, dict):
        raise Refusal("data_loss", f"{file}: not a JSON object")
    return value


def pipeline_class(folder: Path, index: dict) -> type:
    name = index.get("_class_name")
    if name is None:
        raise Refusal("data_loss", f"{folder}/model_index.json: it names no pipeline class")
    if not isinstance(name, str):
        raise Refusal("unsupported", f"{folder}: the pipeline is code that the folder brings, and remote code is never run")
    found = getattr(diffusers, name, None)
    if found is None:
        raise Refusal("unsupported", f"{folder}: diffusers {diffusers.__version__} has no pipeline class '{name}'")
    if missing := getattr(found, "_backends", None):
        found_missing = ", ".join(package for package in missing if package != "torch")
        raise Refusal("unsupported", f"{folder}: {name} needs packages that are not installed here: {found_missing}")
    if not issubclass(found, diffusers.DiffusionPipeline):
        raise Refusal("unsupported", f"{folder}: '{name}' is not a pipeline")
    return found


def check_component(folder: Path, name: str, library: str, class_name: str) -> None:
    """What a line of model_index.json names must be known code, and its files must be there."""
    own_module = hasattr(diffusers.pipelines, library)  # such as the safety checker: a module of the pipeline's package
    if library not in LIBRARIES and not own_module:
        raise Refusal("unsupported", f"{folder}: {name} is code of '{library}', and remote code is never run")
    place = folder / name
    if not place.is_dir():
        raise Refusal("not_found", f"{place}: the folder of {class_name} is missing")
    for file in ("config.json", "tokenizer_config.json"):
        if (place / file).is_file() and "auto_map" in read_json(place / file):
            raise Refusal("unsupported", f"{place}: {file} names code that the folder brings, and remote code is never run")
    weights = [file.suffix for file in place.iterdir()]
    if ".safetensors" not in weights and any(suffix in WEIGHT_FILES_WITH_CODE for suffix in weights):
        raise Refusal("unsupported", f"{place}: weights are read from .safetensors files only")


def check(folder: Path) -> tuple[type, dict[str, None]]:
    """The folder's pipeline class, and the components that it says it is without."""
    if not folder.is_dir():
        raise Refusal("not_found", f"{folder}: no such folder")
    index = read_json(folder / "model_index.json")
    found = pipeline_class(folder, index)
    without = {name: None for name in LEFT_OUT if name in found._optional_components and not (folder / name).is_dir()}
    for name, value in index.items():
        if name not in without and not name.startswith("_") and isinstance(value, list) and len(value) == 2 and all(isinstance(part, str) for part in value):
            check_component(folder, name, *value)
    taken = inspect.signature(found.__init__).parameters
    return found, without | {name: None for name, value in index.items() if value == [None, None] and name in taken}


def load(folder: Path, dtype: str, device: str, variant: str | None) -> diffusers.DiffusionPipeline:
    found, without = check(folder)
    try:
        pipeline = found.from_pretrained(
            str(folder), **{DTYPE_NAME: DTYPES[dtype]}, **without, variant=variant, local_files_only=True, use_safetensors=True
        )
        pipeline.to(device)
    except Refusal:
        raise
    except ImportError as error:
        raise Refusal("unsupported", f"{folder}: {found.__name__} needs a package that is not installed here: {first_line(error)}") from error
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise Refusal("out_of_memory", f"{folder}: not enough memory to load the model") from error
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise Refusal("data_loss", f"{folder}: {found.__name__} cannot be loaded: {first_line(error)}") from error
    pipeline.set_progress_bar_config(disable=True)
    return pipeline
