"""Files of adapters that are no plain LoRA, with what each adds to a model's weights, by the formulas in numpy.

    build_adapters(pipeline, folder)   writes them under `folder` and returns {name: {component: {tensor: what is added}}}

That is what a weight of 1 adds; another weight adds as much of it. Tensors are the model's own names ("conv_in.weight").
"""

import zlib
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from lora_files import adapted_components, ldm_name, with_text_model

Arrays = dict[str, np.ndarray]
# Layers of each kind: attention, perceptrons, convolutions of one pixel and of nine, embeddings of time.
PARTS = ("to_q", "to_v", "to_out.0", "add_k_proj", "ff.net.2", "fc1", "q_proj", "conv1", "conv_in", "conv_shortcut", "proj_in", "linear_1", "proj_out")


class Writer:
    """One file on its way, and what it adds."""

    def __init__(self, pipeline, name: str):
        self.pipeline, self.name = pipeline, name
        self.random = np.random.default_rng(zlib.crc32(name.encode()))
        self.tensors: Arrays = {}
        self.added: dict[str, Arrays] = {}

    def draw(self, *shape: int, size: float = 1.0) -> np.ndarray:
        return (self.random.standard_normal(shape) * size).astype(np.float32)

    def layers(self, kinds: type | tuple = (torch.nn.Linear, torch.nn.Conv2d), parts: tuple[str, ...] = PARTS):
        for component, model in adapted_components(self.pipeline).items():
            for name, layer in model.named_modules():
                if isinstance(layer, kinds) and (not parts or name.endswith(parts)):
                    yield component, name, layer

    def put(self, component: str, layer: str, tensors: Arrays, **added: np.ndarray) -> None:
        for part, tensor in tensors.items():
            self.tensors[f"{self.key(component, layer)}.{part}"] = tensor
        for leaf, change in added.items():
            self.added.setdefault(component, {})[f"{layer}.{leaf}"] = change

    def key(self, component: str, layer: str) -> str:
        """As kohya's and LyCORIS' scripts call it."""
        if component.startswith("text_encoder"):
            prefix = "lora_te2_" if component == "text_encoder_2" else "lora_te1_"
            return prefix + with_text_model("text_encoder", layer).replace(".", "_")
        if component == "unet" and self.name.endswith("_ldm"):
            layer = ldm_name(self.pipeline.unet.config, layer)
        return ("lora_unet_" if component == "unet" else "lycoris_") + layer.replace(".", "_")

    def save(self, folder: Path) -> dict[str, Arrays]:
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in self.tensors.items()}
        save_file(tensors, folder / f"{self.name}.safetensors")
        return self.added


def gain(weight: np.ndarray) -> float:
    """A third of what a weight of unit gain does."""
    return 0.3 / np.sqrt(weight[0].size)


def unit(delta: np.ndarray, weight: np.ndarray) -> float:
    """What brings a change to that size."""
    return float(gain(weight) / delta.std())


def loha(pipeline, name: str) -> Writer:
    file = Writer(pipeline, name)
    for index, (component, layer, module) in enumerate(file.layers()):
        weight = module.weight.detach().numpy()
        out, rank, core = weight.shape[0], 1 + index % 3, weight.ndim == 4 and weight.shape[2] > 1 and index % 2 == 0
        tensors, halves = {}, []
        for half in ("w1", "w2"):
            if core:  # Tucker's decomposition
                a, b = file.draw(rank, out), file.draw(rank, weight.shape[1])
                t = file.draw(rank, rank, *weight.shape[2:])
                tensors[f"hada_{half.replace('w', 't')}"] = t
                halves.append(np.einsum("ijkl,jr,ip->prkl", t, b, a))
            else:
                a, b = file.draw(out, rank), file.draw(rank, weight[0].size)
                halves.append((a @ b).reshape(weight.shape))
            tensors |= {f"hada_{half}_a": a, f"hada_{half}_b": b}
        delta = halves[0] * halves[1]
        alpha = np.float32(unit(delta, weight) * rank)
        file.put(component, layer, tensors | {"alpha": np.array(alpha)}, weight=delta * (alpha / rank))
    return file


def divisor(size: int, largest: int) -> int:
    return max(number for number in range(1, largest + 1) if size % number == 0)


def lokr(pipeline, name: str) -> Writer:
    file = Writer(pipeline, name)
    for index, (component, layer, module) in enumerate(file.layers()):
        weight = module.weight.detach().numpy()
        out, into, kernel = weight.shape[0], weight.shape[1], weight.shape[2:]
        o1, i1, rank = divisor(out, 4), divisor(into, 4), 2
        o2, i2 = out // o1, into // i1
        tensors, factor = {}, 1.0
        if index % 3 == 0:  # both factors whole: there is no rank for alpha
            left, right = file.draw(o1, i1), file.draw(o2, i2, *kernel)
            tensors |= {"lokr_w1": left, "lokr_w2": right}
        elif index % 3 == 1 or not kernel or kernel[0] == 1:
            left = file.draw(o1, i1)
            a, b = file.draw(o2, rank), file.draw(rank, i2 * int(np.prod(kernel)))
            right = (a @ b).reshape(o2, i2, *kernel)
            tensors |= {"lokr_w1": left, "lokr_w2_a": a, "lokr_w2_b": b}
            factor = 1 / rank
        else:
            c, d = file.draw(o1, 1), file.draw(1, i1)
            a, b, t = file.draw(rank, o2), file.draw(rank, i2), file.draw(rank, rank, *kernel)
            left, right = c @ d, np.einsum("ijkl,jr,ip->prkl", t, b, a)
            tensors |= {"lokr_w1_a": c, "lokr_w1_b": d, "lokr_w2_a": a, "lokr_w2_b": b, "lokr_t2": t}
            factor = 1 / rank
        delta = np.kron(left.reshape(o1, i1, *(1 for _ in kernel)), right)
        size = unit(delta, weight)
        if factor == 1.0:
            tensors["lokr_w2"] = tensors["lokr_w2"] * np.float32(size)
            delta = delta * np.float32(size)
        else:
            alpha = np.float32(size / factor)
            tensors["alpha"], delta = np.array(alpha), delta * (alpha * factor)
        file.put(component, layer, tensors, weight=delta)
    return file


def dora(pipeline, name: str) -> Writer:
    """kohya's: a magnitude for each output, or in older files for each input."""
    file = Writer(pipeline, name)
    for index, (component, layer, module) in enumerate(file.layers()):
        weight = module.weight.detach().numpy()
        rank, axis = 2, 0 if index % 2 else 1
        down, up = file.draw(rank, *weight.shape[1:], size=gain(weight)), file.draw(weight.shape[0], rank, *(1 for _ in weight.shape[2:]))
        alpha = np.float32(1.5)
        changed = weight + (up.reshape(-1, rank) @ down.reshape(rank, -1)).reshape(weight.shape) * (alpha / rank)
        others = tuple(dimension for dimension in range(weight.ndim) if dimension != axis)
        length = np.sqrt((changed**2).sum(axis=others, keepdims=True))
        magnitude = (length * (1 + 0.3 * file.draw(*length.shape))).astype(np.float32)
        tensors = {"lora_down.weight": down, "lora_up.weight": up, "alpha": np.array(alpha), "dora_scale": magnitude}
        file.put(component, layer, tensors, weight=changed * (magnitude / length) - weight)
    return file


def locon(pipeline, name: str) -> Writer:
    """A convolution in three parts; the others are as in any LoRA."""
    file = Writer(pipeline, name)
    for component, layer, module in file.layers(torch.nn.Conv2d):
        weight = module.weight.detach().numpy()
        if weight.shape[2] == 1:
            continue
        down, mid, up = file.draw(2, weight.shape[1], 1, 1), file.draw(3, 2, *weight.shape[2:]), file.draw(weight.shape[0], 3, 1, 1)
        delta = np.einsum("ijkl,jr,pi->prkl", mid, down[:, :, 0, 0], up[:, :, 0, 0])
        alpha = np.float32(2 * unit(delta, weight))
        tensors = {"lora_down.weight": down, "lora_mid.weight": mid, "lora_up.weight": up, "alpha": np.array(alpha)}
        file.put(component, layer, tensors, weight=delta * (alpha / 2))
    return file


def norms(pipeline, name: str) -> Writer:
    file = Writer(pipeline, name)
    for component, layer, module in file.layers((torch.nn.GroupNorm, torch.nn.LayerNorm), ()):
        if module.weight is None:
            continue
        weight, bias = file.draw(*module.weight.shape, size=0.2), file.draw(*module.bias.shape, size=0.2)
        file.put(component, layer, {"w_norm": weight, "b_norm": bias}, weight=weight, bias=bias)
    return file


def differences(pipeline, name: str) -> Writer:
    """Whole changes, as tools write that take one model from another."""
    file = Writer(pipeline, name)
    for component, layer, module in file.layers():
        weight = module.weight.detach().numpy()
        tensors, added = {"diff": file.draw(*weight.shape, size=gain(weight))}, {}
        if module.bias is not None:
            tensors["diff_b"] = added["bias"] = file.draw(weight.shape[0], size=0.1)
        file.put(component, layer, tensors, weight=tensors["diff"], **added)
    return file


UNET_KINDS = {"loha": loha, "lokr": lokr, "lokr_ldm": lokr, "dora": dora, "dora_ldm": dora, "locon": locon, "norms": norms, "diff": differences}
KINDS = {"loha": loha, "lokr": lokr, "dora": dora}


def build_adapters(pipeline, folder: Path) -> dict[str, dict[str, Arrays]]:
    is_unet, is_xl = hasattr(pipeline, "unet"), hasattr(pipeline, "text_encoder_2")
    kinds = UNET_KINDS if is_unet else KINDS
    chosen = {name: kind for name, kind in kinds.items() if is_xl or not name.endswith("_ldm")}
    return {name: kind(pipeline, name).save(folder) for name, kind in chosen.items()}
