"""LoRA files of every kind that Diffusers reads, with random weights that matter, for any pipeline of tiny networks.

    build_loras(pipeline, folder)   writes the family's files under `folder` and returns {name: what Diffusers is to load}

What Diffusers is to load is the file itself, but where it reads a kohya file only for networks of the published sizes
or gives some layers another layer's alpha (docs/traps.md): then it is the same LoRA in Diffusers' own format.
"""

import re
import zlib
from dataclasses import dataclass
from pathlib import Path

import torch
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from safetensors.torch import save_file

from lora_names import FLUX2_LAYERS, FLUX2_REST, FLUX_BLOCKS, FLUX_REST, SD3_LAYERS, Z_IMAGE_LAYERS

ATTENTION = ["to_q", "to_k", "to_v", "to_out.0", "add_q_proj", "add_k_proj", "add_v_proj", "to_add_out", "q_proj", "v_proj"]
RANKS = {"to_q": 1, "to_k": 2, "conv1": 3, "proj_in": 5, "ff.net.2": 8, "fc1": 6, "linear_1": 7}
ALPHAS = {"to_v": 2, "conv2": 7, "to_q": 3, "fc2": 1, "norm1.linear": 9, "conv_in": 4}


@dataclass(frozen=True)
class Change:
    """Of one layer's weight: up @ down * alpha / rank."""

    down: torch.Tensor
    up: torch.Tensor
    alpha: float | None = None  # as the rank

    @property
    def scale(self) -> float:
        return 1.0 if self.alpha is None else self.alpha / self.down.shape[0]


def layers_of(model: torch.nn.Module) -> dict[str, torch.nn.Module]:
    return {name: layer for name, layer in model.named_modules() if isinstance(layer, torch.nn.Linear | torch.nn.Conv2d)}


def draw(shape: torch.Size, rank: int, alpha: float | None, generator: torch.Generator) -> Change:
    """A third of a weight of unit gain, whatever rank and alpha are."""
    down = torch.randn(rank, *shape[1:], generator=generator) / shape[1:].numel() ** 0.5
    up = torch.randn(shape[0], rank, *(1 for _ in shape[2:]), generator=generator) * 0.3 / rank**0.5
    return Change(down, up / Change(down, up, alpha).scale, alpha)


def draw_all(model: torch.nn.Module, seed: str, alpha=lambda index: None, rank=lambda index: 1 + index % 8) -> dict[str, Change]:
    generator = torch.Generator().manual_seed(zlib.crc32(seed.encode()))
    layers = [(name, layer.weight.shape) for name, layer in layers_of(model).items() if name != "text_projection"]
    return {name: draw(shape, rank(i), alpha(i), generator) for i, (name, shape) in enumerate(layers)}


def adapted_components(pipeline) -> dict[str, torch.nn.Module]:
    """What Diffusers loads LoRAs into: the denoiser and CLIP, never T5."""
    names = [name for name in pipeline._lora_loadable_modules if getattr(pipeline, name, None) is not None]
    return {name: getattr(pipeline, name) for name in names}


def save_adapters(pipeline, path: Path, metadata: bool, targets=None, **config) -> None:
    """What Diffusers' own training scripts save; of DoRA's magnitudes and of biases such as training leaves. Magnitudes of
    text encoders transformers does not load (docs/traps.md)."""
    given = {}
    torch.manual_seed(zlib.crc32(path.stem.encode()))
    for name, model in adapted_components(pipeline).items():
        if config.get("use_dora") and name.startswith("text_encoder"):
            continue
        wanted = targets or list(layers_of(model))
        model.add_adapter(LoraConfig(target_modules=wanted, init_lora_weights=False, **config), adapter_name="new")
        for parameter, value in model.named_parameters():
            if "lora_magnitude_vector" in parameter:
                value.data *= 1 + 0.3 * torch.randn_like(value)
            if "lora_B" in parameter and parameter.endswith("bias"):
                value.data = 0.3 * torch.randn_like(value)
        given[f"{name}_lora_layers"] = get_peft_model_state_dict(model, adapter_name="new")
        if metadata:
            given[f"{name}_lora_adapter_metadata"] = model.peft_config["new"].to_dict()
    pipeline.save_lora_weights(path.parent, weight_name=path.name, **given)
    pipeline.unload_lora_weights()


def peft_tensors(changes: dict[str, dict[str, Change]], rename=lambda component, name: name) -> dict[str, torch.Tensor]:
    """In Diffusers' format, with nothing but the two matrices."""
    tensors = {}
    for component, layers in changes.items():
        for name, change in layers.items():
            key = f"{component}.{rename(component, name)}"
            tensors[f"{key}.lora_A.weight"] = change.down * change.scale
            tensors[f"{key}.lora_B.weight"] = change.up.contiguous()
    return tensors


def kohya_tensors(changes: dict[str, Change], prefix: str, rename=lambda name: name) -> dict[str, torch.Tensor]:
    tensors = {}
    for name, change in changes.items():
        key = prefix + rename(name).replace(".", "_")
        tensors[f"{key}.lora_down.weight"], tensors[f"{key}.lora_up.weight"] = change.down, change.up
        if change.alpha is not None:
            tensors[f"{key}.alpha"] = torch.tensor(change.alpha)
    return tensors


def with_text_model(component: str, name: str) -> str:
    """A text encoder's layer as it was called before transformers 5."""
    plain = component.startswith("text_encoder") and not name.startswith(("text_model.", "text_projection"))
    return f"text_model.{name}" if plain else name


def ldm_name(config, name: str) -> str:
    """A layer of the UNet as Stability's own code calls it, which is what kohya trains for SDXL."""
    resnet = {"conv1": "in_layers.2", "conv2": "out_layers.3", "time_emb_proj": "emb_layers.1", "conv_shortcut": "skip_connection"}
    fixed = {"conv_in": "input_blocks.0.0", "conv_out": "out.2", "time_embedding.linear_1": "time_embed.0",
             "time_embedding.linear_2": "time_embed.2", "add_embedding.linear_1": "label_emb.0.0", "add_embedding.linear_2": "label_emb.0.2"}  # fmt: skip
    if name in fixed:
        return fixed[name]
    if match := re.match(r"mid_block\.(resnets|attentions)\.(\d)\.(.*)", name):
        place = 1 if match[1] == "attentions" else 2 * int(match[2])
        return f"middle_block.{place}.{resnet.get(match[3], match[3])}"
    side, block, kind, layer, rest = re.match(r"(down|up)_blocks\.(\d+)\.(\w+)\.(\d+)\.(.*)", name).groups()
    first = int(block) * (config.layers_per_block + 1)
    if kind == "downsamplers":
        return f"input_blocks.{first + config.layers_per_block + 1}.0.op"
    if kind == "upsamplers":
        return f"output_blocks.{first + config.layers_per_block}.2.conv"
    number = first + int(layer) + (1 if side == "down" else 0)
    return f"{'input' if side == 'down' else 'output'}_blocks.{number}.{0 if kind == 'resnets' else 1}.{resnet.get(rest, rest)}"


def kohya_text_tensors(changes: dict[str, dict[str, Change]], first: str) -> dict[str, torch.Tensor]:
    prefixes = {"text_encoder": first, "text_encoder_2": "lora_te2_"}
    tensors = {}
    for component, prefix in prefixes.items():
        tensors |= kohya_tensors(changes.get(component, {}), prefix, lambda name: with_text_model("text_encoder", name))
    return tensors


def build_unet_loras(pipeline, folder: Path) -> dict[str, Path]:
    """Stable Diffusion 1, 2 and XL."""
    components = adapted_components(pipeline)
    first = "lora_te1_" if "text_encoder_2" in components else "lora_te_"
    # Diffusers loses the two layers of the added conditions under their own names.
    own_names = lambda changes: {name: change for name, change in changes.items() if not name.startswith("add_embedding")}  # noqa: E731
    files = {}
    for name, alpha in {"kohya": lambda i: 3.0, "kohya_plain": lambda i: None, "kohya_mixed": lambda i: 1.0 + i % 5}.items():
        changes = {component: draw_all(model, name + component, alpha) for component, model in components.items()}
        changes["unet"] = own_names(changes["unet"])
        save_file(kohya_tensors(changes["unet"], "lora_unet_") | kohya_text_tensors(changes, first), folder / f"{name}.safetensors")
        files[name] = folder / f"{name}.safetensors"
    save_file(peft_tensors(changes), folder.parent / "kohya_mixed_reference.safetensors")
    files["kohya_mixed"] = folder.parent / "kohya_mixed_reference.safetensors"
    one, other = ({component: draw_all(model, seed + component, lambda i: 2.0) for component, model in components.items()} for seed in "ab")
    one["unet"], other["unet"] = own_names(one["unet"]), own_names(other["unet"])
    files["twice"] = folder / "twice.safetensors"
    save_file(peft_tensors(one) | kohya_tensors(other["unet"], "lora_unet_") | kohya_text_tensors(other, first), files["twice"])
    if "text_encoder_2" in components:
        files["twice_ldm"] = folder / "twice_ldm.safetensors"
        theirs = kohya_tensors(other["unet"], "lora_unet_", lambda name: ldm_name(pipeline.unet.config, name))
        save_file(theirs | kohya_tensors(one["unet"], "lora_unet_") | kohya_text_tensors(one, first), files["twice_ldm"])
    if "text_encoder_2" in components:
        changes = {component: draw_all(model, "ldm" + component, lambda i: 2.0) for component, model in components.items()}
        tensors = kohya_tensors(changes["unet"], "lora_unet_", lambda name: ldm_name(pipeline.unet.config, name))
        files["ldm"] = folder / "ldm.safetensors"
        save_file(tensors | kohya_text_tensors(changes, first), files["ldm"])
    return files


def draw_original(model: torch.nn.Module, seed: str, names: dict[str, list[str]]) -> tuple[dict[str, Change], dict[str, Change]]:
    """The same LoRA under the makers' names and under Diffusers'."""
    generator = torch.Generator().manual_seed(zlib.crc32(seed.encode()))
    layers = layers_of(model)
    each_block = {name.format(block): [part.format(block) for part in parts] for block in range(8) for name, parts in names.items()}
    theirs, ours = {}, {}
    for index, (name, parts) in enumerate(each_block.items()):
        if any(part not in layers for part in parts):
            continue
        heights = [layers[part].weight.shape[0] for part in parts]
        shape = torch.Size([sum(heights), *layers[parts[0]].weight.shape[1:]])
        change = theirs[name] = draw(shape, 1 + index % 8, 1.0 + index % 3, generator)
        for part, up in zip(parts, change.up.split(heights), strict=True):
            ours[part] = Change(change.down, torch.cat(up.chunk(2)[::-1]) if shifts_first(part, layers) else up, change.alpha)
    return theirs, ours


def shifts_first(layer: str, layers: dict[str, torch.nn.Module]) -> bool:
    """Whether the layer gives a scale and a shift alone, which the makers have in the other order."""
    last_text = layer.endswith("norm1_context.linear") and layer.replace("norm1_context.linear", "ff_context.net.2") not in layers
    return layer == "norm_out.linear" or last_text


def build_flux_loras(pipeline, folder: Path) -> dict[str, Path]:
    text = draw_all(pipeline.text_encoder, "flux text", lambda i: 3.0)
    text_tensors = kohya_text_tensors({"text_encoder": text}, "lora_te1_")
    files = {name: folder / f"{name}.safetensors" for name in ("kohya", "comfy", "alphas")}
    bfl, _ = draw_original(pipeline.transformer, "kohya", FLUX_BLOCKS)
    save_file(kohya_tensors(bfl, "lora_unet_") | text_tensors, files["kohya"])
    bfl, _ = draw_original(pipeline.transformer, "comfy", FLUX_BLOCKS)
    save_file({re.sub("^X", "diffusion_model.", key): value for name, change in bfl.items()
               for key, value in kohya_tensors({"": change}, "X" + name).items()}, files["comfy"])  # fmt: skip
    bfl, parts = draw_original(pipeline.transformer, "fused", FLUX_BLOCKS | FLUX_REST)
    save_file(kohya_tensors(bfl, "lora_unet_") | text_tensors, folder / "fused.safetensors")
    files["fused"] = folder.parent / "fused_reference.safetensors"
    save_file(peft_tensors({"transformer": parts, "text_encoder": text}), files["fused"])
    changes = draw_all(pipeline.transformer, "alphas", lambda i: 1.0 + i % 5)
    del changes["proj_out"]  # whose alpha Diffusers may give to the blocks' layers of that name
    tensors = peft_tensors({"transformer": {name: Change(change.down, change.up) for name, change in changes.items()}})
    alphas = {f"transformer.{name}.alpha": torch.tensor(change.alpha) for name, change in changes.items()}
    save_file(tensors | alphas, files["alphas"])
    return files | build_odd_flux_loras(pipeline, folder, text_tensors)


def matrices(name: str, shape: tuple[int, int], generator: torch.Generator, ends=("lora_down.weight", "lora_up.weight")):
    change = draw(torch.Size(shape), 2, None, generator)
    return {f"{name}.{ends[0]}": change.down, f"{name}.{ends[1]}": change.up}


def build_odd_flux_loras(pipeline, folder: Path, text_tensors: dict) -> dict[str, Path]:
    """Files that Diffusers reads in part."""
    files = {name: folder / f"{name}.safetensors" for name in ("twice", "extraction", "xlabs", "guided")}
    generator = torch.Generator().manual_seed(5)
    width = pipeline.transformer.inner_dim
    own = draw_all(pipeline.transformer, "twice")
    bfl, _ = draw_original(pipeline.transformer, "twice", FLUX_BLOCKS)
    save_file(peft_tensors({"transformer": own}) | kohya_tensors(bfl, "lora_unet_") | text_tensors, files["twice"])

    bfl, _ = draw_original(pipeline.transformer, "extraction", FLUX_BLOCKS)
    tensors = {key.replace("X", "diffusion_model.", 1): value for name, change in bfl.items()
               for key, value in kohya_tensors({"": change}, "X" + name).items()}  # fmt: skip
    for name, change in bfl.items():
        tensors[f"diffusion_model.{name}.diff_b"] = torch.randn(change.up.shape[0], generator=generator)
    tensors["diffusion_model.double_blocks.0.img_attn.norm.key_norm.diff"] = torch.randn(16, generator=generator)
    tensors |= matrices("text_encoders.t5xxl.transformer.encoder.block.0.layer.0.SelfAttention.q", (48, 48), generator)
    tensors |= matrices("text_encoders.clip_l.transformer.text_model.embeddings.position_embedding", (77, 32), generator)
    tensors |= matrices("lora_te3_encoder_block_0_layer_0_SelfAttention_k", (48, 48), generator)
    save_file(tensors, files["extraction"])

    tensors, xlabs = {}, ("down.weight", "up.weight")
    for block in range(pipeline.transformer.config.num_layers):
        for stream in (1, 2):
            place = f"double_blocks.{block}.processor"
            tensors |= matrices(f"{place}.qkv_lora{stream}", (3 * width, width), generator, xlabs)
            tensors |= matrices(f"{place}.proj_lora{stream}", (width, width), generator, xlabs)
    for block in range(pipeline.transformer.config.num_single_layers):
        place = f"single_blocks.{block}.processor"
        tensors |= matrices(f"{place}.qkv_lora", (3 * width, width), generator, xlabs)
        tensors |= matrices(f"{place}.proj_lora", (width, 5 * width), generator, xlabs)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, files["xlabs"])

    # Made for a model that is told the guidance scale.
    own = {name: change for name, change in draw_all(pipeline.transformer, "guided").items() if "guidance" not in name}
    tensors = peft_tensors({"transformer": own})
    for index, shape in ((1, (width, 256)), (2, (width, width))):
        layer = f"transformer.time_text_embed.guidance_embedder.linear_{index}"
        tensors |= matrices(layer, shape, generator, ("lora_A.weight", "lora_B.weight"))
    save_file(tensors, files["guided"])
    return files


def build_sd3_loras(pipeline, folder: Path) -> dict[str, Path]:
    """Diffusers reads no kohya files of this family."""
    theirs, changes = draw_original(pipeline.transformer, "sd3", SD3_LAYERS)
    text = {name: draw_all(getattr(pipeline, name), "sd3" + name, lambda i: 3.0) for name in ("text_encoder", "text_encoder_2")}
    save_file(kohya_tensors(theirs, "lora_unet_") | kohya_text_tensors(text, "lora_te1_"), folder / "kohya.safetensors")
    reference = folder.parent / "kohya_reference.safetensors"
    save_file(peft_tensors({"transformer": changes} | text), reference)
    return {"kohya": reference}


def dotted_tensors(changes: dict[str, Change], prefix: str, ends=("lora_A.weight", "lora_B.weight")) -> dict[str, torch.Tensor]:
    tensors = {}
    for name, change in changes.items():
        tensors[f"{prefix}{name}.{ends[0]}"] = change.down * change.scale
        tensors[f"{prefix}{name}.{ends[1]}"] = change.up.contiguous()
    return tensors


def build_flux2_loras(pipeline, folder: Path) -> dict[str, Path]:
    files = {name: folder / f"{name}.safetensors" for name in ("kohya", "comfy", "wrapped", "mixed")}
    bfl, _ = draw_original(pipeline.transformer, "kohya", FLUX2_LAYERS)
    save_file(kohya_tensors(bfl, "lora_unet_"), files["kohya"])
    bfl, _ = draw_original(pipeline.transformer, "comfy", FLUX2_LAYERS | FLUX2_REST)
    save_file(dotted_tensors(bfl, "diffusion_model."), files["comfy"])
    bfl, _ = draw_original(pipeline.transformer, "wrapped", FLUX2_LAYERS | FLUX2_REST)
    save_file(dotted_tensors(bfl, "base_model.model."), files["wrapped"])
    # Blocks of one kind by their makers' names, the others by Diffusers'.
    bfl, _ = draw_original(pipeline.transformer, "mixed", FLUX2_LAYERS)
    mixed = {name: change for name, change in bfl.items() if not name.startswith("double_blocks")}
    own = draw_all(pipeline.transformer, "mixed")
    mixed |= {name: change for name, change in own.items() if name.startswith("transformer_blocks")}
    save_file(dotted_tensors(mixed, "diffusion_model."), files["mixed"])
    return files


def build_z_image_loras(pipeline, folder: Path) -> dict[str, Path]:
    files = {name: folder / f"{name}.safetensors" for name in ("kohya", "comfy", "default", "dots")}
    blocks = ("layers", "noise_refiner", "context_refiner")
    own = lambda name: {key: c for key, c in draw_all(pipeline.transformer, name, lambda i: 1.0 + i % 5).items() if key.startswith(blocks)}  # noqa: E731
    save_file(kohya_tensors(own("kohya"), "lora_unet_"), files["kohya"])
    comfy = own("comfy")
    alphas = {f"diffusion_model.{name}.alpha": torch.tensor(change.alpha) for name, change in comfy.items()}
    plain = {name: Change(change.down, change.up) for name, change in comfy.items()}
    save_file(dotted_tensors(plain, "diffusion_model.") | alphas, files["comfy"])
    save_file(dotted_tensors(own("default"), "diffusion_model.", ("lora_A.default.weight", "lora_B.default.weight")), files["default"])
    fused, parts = draw_original(pipeline.transformer, "dots", Z_IMAGE_LAYERS)
    save_file(dotted_tensors(fused, "diffusion_model.", ("lora.down.weight", "lora.up.weight")), files["dots"])
    # Diffusers splits what is fused in files of that form alone.
    fused, parts = draw_original(pipeline.transformer, "fused", Z_IMAGE_LAYERS)
    save_file(kohya_tensors(fused, "lora_unet_"), folder / "fused.safetensors")
    files["fused"] = folder.parent / "fused_reference.safetensors"
    save_file(peft_tensors({"transformer": parts}), files["fused"])
    return files


def build_loras(pipeline, folder: Path) -> dict[str, Path]:
    (folder / "saved").mkdir(parents=True, exist_ok=True)
    names = ("attention", "everything", "stabilised", "older", "dora", "biases")
    files = {name: folder / f"saved/{name}.safetensors" for name in names}
    save_adapters(pipeline, files["attention"], metadata=False, targets=ATTENTION, r=4, lora_alpha=4)
    save_adapters(pipeline, files["everything"], metadata=True, r=4, lora_alpha=6, rank_pattern=RANKS, alpha_pattern=ALPHAS)
    save_adapters(pipeline, files["stabilised"], metadata=True, targets=ATTENTION, r=4, lora_alpha=3, use_rslora=True)
    save_adapters(pipeline, files["dora"], metadata=True, targets=[*ATTENTION, "conv1"], r=4, lora_alpha=3, use_dora=True)
    save_adapters(pipeline, files["biases"], metadata=True, targets=ATTENTION, r=4, lora_alpha=3, lora_bias=True)
    changes = {name: draw_all(model, "older" + name) for name, model in adapted_components(pipeline).items()}
    save_file(peft_tensors(changes, with_text_model), files["older"])
    files = {f"saved/{name}": file for name, file in files.items()}
    if hasattr(pipeline, "unet"):
        files |= build_unet_loras(pipeline, folder)
    elif type(pipeline).__name__.startswith("Flux2"):
        files |= build_flux2_loras(pipeline, folder)
    elif type(pipeline).__name__.startswith("ZImage"):
        files |= build_z_image_loras(pipeline, folder)
    elif type(pipeline).__name__.startswith("Flux"):
        files |= build_flux_loras(pipeline, folder)
    else:
        files |= build_sd3_loras(pipeline, folder)
    return files
