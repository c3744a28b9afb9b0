"""A loaded model: what it says of itself, and how a request becomes a row."""

import math
import os
from pathlib import Path

import diffusers
import torch
from PIL import Image

from diffused_worker import folder, row, signature
from diffused_worker.networks import SharedNetworks
from diffused_worker.refusal import Refusal

SIDE_MAX = 8192  # pixels
PAIRS = {"original_size", "crops_coords_top_left", "target_size", "negative_original_size", "negative_crops_coords_top_left", "negative_target_size"}


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


class Model:
    """Immutable once loaded."""

    def __init__(self, path: Path, dtype: str, device: str = "cpu", variant: str | None = None):
        self._pipeline = folder.load(path, dtype, device, variant)
        self._dtype, self._device = dtype, device
        self._calls = signature.calls_of(self._pipeline, folder.DTYPES[dtype])
        if not self._calls:
            raise Refusal("unsupported", f"{path}: {type(self._pipeline).__name__} makes no picture from a prompt alone, or from a picture and a prompt")
        self._networks = SharedNetworks(self._pipeline)
        self._denoiser = signature.denoiser_of(self._pipeline)
        if self._denoiser is not None:
            self._denoiser.register_forward_pre_hook(row.before_first_step)

    def description(self) -> dict:
        """For the server: what it is, what each form takes, how long it computes."""
        first = next(iter(self._calls.values()))
        width, height = signature.default_size(first)
        modules = [part for part in self._pipeline.components.values() if isinstance(part, torch.nn.Module)]
        return {
            "class": type(self._pipeline).__name__,
            "dtype": self._dtype,
            "device": self._device,
            "parameters": sum(count_parameters(module) for module in modules),
            "step_parameters": count_parameters(self._denoiser) if self._denoiser is not None else 0,
            "resident_bytes": resident_bytes(),
            "default_size": [width, height],
            "size_multiple": signature.size_multiple(first),
            "side_max": SIDE_MAX,
            "schedulers": signature.schedulers_of(self._pipeline),
            "forms": {
                name: {"class": type(call.pipeline).__name__, "turns": "steps" if call.waits else "one", "takes": call.takes()}
                for name, call in self._calls.items()
            },
        }

    def begin(self, request: dict, picture: Image.Image | None, mask: Image.Image | None) -> row.Row:
        """The row of a request: parameters under Diffusers' names, `seed`, `scheduler`. Nothing is computed yet."""
        call = self._call_for(picture, mask)
        wanted = dict(request)
        generator = torch.Generator("cpu").manual_seed(int(wanted.pop("seed")))
        scheduler = self._scheduler(wanted.pop("scheduler", ""))
        if picture is not None and "width" not in call.parameters:  # it is made in the picture's own size
            wanted.pop("width", None), wanted.pop("height", None)
        arguments = {name: self._argument(name, value, call) for name, value in wanted.items() if value is not None}
        check_strength(call, arguments)
        if picture is not None:
            arguments[call.picture] = picture
        if mask is not None:
            arguments[call.mask] = mask
        arguments |= {"generator": generator, "output_type": "pil", "return_dict": True}
        return row.Row(call, arguments, self._networks, scheduler)

    def _call_for(self, picture: Image.Image | None, mask: Image.Image | None) -> signature.Call:
        form = "inpaint" if mask is not None else "image" if picture is not None else "text"
        if call := self._calls.get(form):
            return call
        if form == "text":
            raise Refusal("invalid_argument", "This model makes nothing without a picture.", "image")
        raise Refusal("invalid_argument", f"This model takes no {'mask' if form == 'inpaint' else 'picture'}.", "mask" if form == "inpaint" else "image")

    def _argument(self, name: str, value: object, call: signature.Call) -> object:
        if name not in signature.PARAMETERS or name not in call.parameters:
            raise Refusal("invalid_argument", f"{type(call.pipeline).__name__} takes no {name}.", name)
        if isinstance(value, float) and not math.isfinite(value):
            raise Refusal("invalid_argument", f"{name} must be a number.", name)
        return tuple(value) if name in PAIRS else value

    def _scheduler(self, name: str) -> type | None:
        known = signature.schedulers_of(self._pipeline)
        if not name or (known and name == known[0]):
            return None
        if name not in known:
            raise Refusal("invalid_argument", f"scheduler must be one of {', '.join(known)}", "scheduler")
        return getattr(diffusers, name)


def check_strength(call: signature.Call, arguments: dict) -> None:
    """An edit must make at least one of its steps; pipelines fail in their own ways where none is left."""
    chosen = [arguments.get(name, getattr(call.parameters.get(name), "default", None)) for name in ("num_inference_steps", "strength")]
    if call.picture is None or not all(isinstance(value, (int, float)) for value in chosen):
        return
    steps, strength = chosen
    if int(steps * strength) < 1:
        raise Refusal("invalid_argument", f"strength {strength:g} leaves none of {steps} steps", "strength")


def count_parameters(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
