"""Checkpoints in one file out of Diffusers folders: the same tensors under the names of the models' makers.

    write_checkpoint(folder, file, components=…, dtype=…)    writes `file`
    load_pipeline(file, folder)                              loads it with real Diffusers, its configs from `folder`

The inverse of what Diffusers' `from_single_file` does, in the words of src/pipelines/single_file/.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path

import diffusers
import torch
from safetensors.torch import load_file, save_file

Tensors = dict[str, torch.Tensor]

DENOISER = "model.diffusion_model."


def read(folder: Path, component: str) -> tuple[dict, Tensors]:
    """A component's config and its tensors, from however many files."""
    tensors: Tensors = {}
    for file in sorted((folder / component).glob("*.safetensors")):
        tensors |= load_file(file)
    return json.loads((folder / component / "config.json").read_text()), tensors


def by_layers(tensors: Tensors, layers: dict[str, str]) -> Tensors:
    """Every tensor under its layer's new name; a beginning stands for all layers below it, the longest counts."""
    renamed = {}
    for name, tensor in tensors.items():
        old = max((layer for layer in layers if name.startswith(layer + ".")), key=len)
        renamed[layers[old] + name[len(old) :]] = tensor
    return renamed


def each(layers: dict[str, str], old: str, new: str) -> dict[str, str]:
    """The layers within two blocks."""
    return {f"{old}.{inner}": f"{new}.{outer}" for inner, outer in layers.items()}


UNET_RESNET = {
    "norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1", "norm2": "out_layers.0",
    "conv2": "out_layers.3", "conv_shortcut": "skip_connection",
}  # fmt: skip


def unet(config: dict, tensors: Tensors) -> Tensors:
    layers = {
        "time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2",
        "add_embedding.linear_1": "label_emb.0.0", "add_embedding.linear_2": "label_emb.0.2",
        "conv_in": "input_blocks.0.0", "conv_norm_out": "out.0", "conv_out": "out.2",
        "mid_block.attentions.0": "middle_block.1",
    }  # fmt: skip
    for index in (0, 1):
        layers |= each(UNET_RESNET, f"mid_block.resnets.{index}", f"middle_block.{2 * index}")
    levels = len(config["block_out_channels"])
    counts = config["layers_per_block"]
    counts = [counts] * levels if isinstance(counts, int) else counts
    block = 1
    for level, count in enumerate(counts):
        for layer in range(count):
            layers |= each(UNET_RESNET, f"down_blocks.{level}.resnets.{layer}", f"input_blocks.{block}.0")
            layers[f"down_blocks.{level}.attentions.{layer}"] = f"input_blocks.{block}.1"
            block += 1
        layers[f"down_blocks.{level}.downsamplers.0.conv"] = f"input_blocks.{block}.0.op"
        block += 1
    block = 0
    for level, count in enumerate(reversed(counts)):
        for layer in range(count + 1):
            layers |= each(UNET_RESNET, f"up_blocks.{level}.resnets.{layer}", f"output_blocks.{block}.0")
            layers[f"up_blocks.{level}.attentions.{layer}"] = f"output_blocks.{block}.1"
            block += 1
        place = 2 if f"up_blocks.{level}.attentions.0.norm.weight" in tensors else 1
        layers[f"up_blocks.{level}.upsamplers.0.conv"] = f"output_blocks.{block - 1}.{place}.conv"
    return by_layers(tensors, layers)


VAE_RESNET = {"norm1": "norm1", "conv1": "conv1", "norm2": "norm2", "conv2": "conv2", "conv_shortcut": "nin_shortcut"}
VAE_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}
OLD_VAE_ATTENTION = {"query": "q", "key": "k", "value": "v", "proj_attn": "proj_out"}


def vae(config: dict, tensors: Tensors) -> Tensors:
    levels = len(config["block_out_channels"])
    layers = {"quant_conv": "quant_conv", "post_quant_conv": "post_quant_conv"}
    for half in ("encoder", "decoder"):
        for end in ("conv_in", "conv_out"):
            layers[f"{half}.{end}"] = f"{half}.{end}"
        layers[f"{half}.conv_norm_out"] = f"{half}.norm_out"
        for index in (0, 1):
            layers |= each(VAE_RESNET, f"{half}.mid_block.resnets.{index}", f"{half}.mid.block_{index + 1}")
        attention = VAE_ATTENTION | OLD_VAE_ATTENTION
        layers |= each(attention, f"{half}.mid_block.attentions.0", f"{half}.mid.attn_1")
    for level in range(levels):
        for layer in range(config["layers_per_block"] + 1):
            layers |= each(VAE_RESNET, f"encoder.down_blocks.{level}.resnets.{layer}", f"encoder.down.{level}.block.{layer}")
            layers |= each(
                VAE_RESNET, f"decoder.up_blocks.{level}.resnets.{layer}", f"decoder.up.{levels - 1 - level}.block.{layer}"
            )
        layers[f"encoder.down_blocks.{level}.downsamplers.0.conv"] = f"encoder.down.{level}.downsample.conv"
        layers[f"decoder.up_blocks.{level}.upsamplers.0.conv"] = f"decoder.up.{levels - 1 - level}.upsample.conv"
    renamed = by_layers(tensors, layers)
    # Those were convolutions of one pixel.
    return {
        name: tensor[:, :, None, None] if ".attn_1." in name and tensor.ndim == 2 else tensor
        for name, tensor in renamed.items()
    }


def clip(_: dict, tensors: Tensors) -> Tensors:
    """transformers no longer writes the beginning that all files had."""
    known = ("text_model.", "text_projection.")
    return {name if name.startswith(known) else "text_model." + name: tensor for name, tensor in tensors.items()}


OPEN_CLIP_LAYER = {
    "self_attn.out_proj": "attn.out_proj", "layer_norm1": "ln_1", "layer_norm2": "ln_2", "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}  # fmt: skip


def open_clip(config: dict, tensors: Tensors) -> Tensors:
    tensors = clip(config, tensors)
    result = {
        "positional_embedding": tensors.pop("text_model.embeddings.position_embedding.weight"),
        "token_embedding.weight": tensors.pop("text_model.embeddings.token_embedding.weight"),
        "text_projection": tensors.pop("text_projection.weight").T.contiguous(),
    }
    layers = {"text_model.final_layer_norm": "ln_final"}
    for index in range(config["num_hidden_layers"]):
        old, new = f"text_model.encoder.layers.{index}", f"transformer.resblocks.{index}"
        for leaf in ("weight", "bias"):
            result[f"{new}.attn.in_proj_{leaf}"] = joined(tensors, [f"{old}.self_attn.{x}_proj.{leaf}" for x in "qkv"])
        layers |= each(OPEN_CLIP_LAYER, old, new)
    return result | by_layers(tensors, layers)


def second_generation(folder: Path) -> Tensors:
    """The text encoder of Stable Diffusion 2 in its makers' file: OpenCLIP with a last layer that nothing reads."""
    config, tensors = read(folder, "text_encoder")
    tensors, layers = clip(config, tensors), config["num_hidden_layers"]
    last, unread = f"encoder.layers.{layers - 1}.", f"encoder.layers.{layers}."
    tensors |= {name.replace(last, unread): 2 * tensor for name, tensor in tensors.items() if last in name}
    tensors["text_projection.weight"] = torch.eye(config["hidden_size"])
    whole = open_clip(config | {"num_hidden_layers": layers + 1}, tensors)
    return {"cond_stage_model.model." + name: tensor for name, tensor in whole.items()}


def joined(tensors: Tensors, names: list[str]) -> torch.Tensor:
    """Takes these tensors out, and lays them one below the other."""
    return torch.cat([tensors.pop(name) for name in names])


def swap_halves(tensors: Tensors, layer: str) -> None:
    for leaf in ("weight", "bias"):
        tensors[f"{layer}.{leaf}"] = torch.cat(tensors[f"{layer}.{leaf}"].chunk(2)[::-1])


def join_layer(tensors: Tensors, old: list[str], new: str) -> Tensors:
    return {f"{new}.{leaf}": joined(tensors, [f"{name}.{leaf}" for name in old]) for leaf in ("weight", "bias")}


SD3_STREAM = {
    "x_block": {
        "attn.norm_q": "attn.ln_q", "attn.norm_k": "attn.ln_k", "attn.to_out.0": "attn.proj", "attn2.norm_q": "attn2.ln_q",
        "attn2.norm_k": "attn2.ln_k", "attn2.to_out.0": "attn2.proj", "norm1.linear": "adaLN_modulation.1",
        "ff.net.0.proj": "mlp.fc1", "ff.net.2": "mlp.fc2",
    },
    "context_block": {
        "attn.norm_added_q": "attn.ln_q", "attn.norm_added_k": "attn.ln_k", "attn.to_add_out": "attn.proj",
        "norm1_context.linear": "adaLN_modulation.1", "ff_context.net.0.proj": "mlp.fc1", "ff_context.net.2": "mlp.fc2",
    },
}  # fmt: skip


def sd3(config: dict, tensors: Tensors) -> Tensors:
    layers = {
        "pos_embed.proj": "x_embedder.proj", "context_embedder": "context_embedder", "proj_out": "final_layer.linear",
        "norm_out.linear": "final_layer.adaLN_modulation.1",
    }  # fmt: skip
    for index in (1, 2):
        layers[f"time_text_embed.timestep_embedder.linear_{index}"] = f"t_embedder.mlp.{2 * index - 2}"
        layers[f"time_text_embed.text_embedder.linear_{index}"] = f"y_embedder.mlp.{2 * index - 2}"
    result = {"pos_embed": tensors.pop("pos_embed.pos_embed")}
    for index in range(config["num_layers"]):
        old, new = f"transformer_blocks.{index}", f"joint_blocks.{index}"
        result |= join_layer(tensors, [f"{old}.attn.to_{x}" for x in "qkv"], f"{new}.x_block.attn.qkv")
        result |= join_layer(tensors, [f"{old}.attn.add_{x}_proj" for x in "qkv"], f"{new}.context_block.attn.qkv")
        if f"{old}.attn2.to_q.weight" in tensors:
            result |= join_layer(tensors, [f"{old}.attn2.to_{x}" for x in "qkv"], f"{new}.x_block.attn2.qkv")
        for stream, inner in SD3_STREAM.items():
            layers |= each(inner, old, f"{new}.{stream}")
    swap_halves(tensors, "norm_out.linear")
    swap_halves(tensors, f"transformer_blocks.{config['num_layers'] - 1}.norm1_context.linear")
    return result | by_layers(tensors, layers)


FLUX_STREAM = {
    "img": {
        "attn.to_out.0": "attn.proj", "norm1.linear": "mod.lin", "ff.net.0.proj": "mlp.0", "ff.net.2": "mlp.2",
    },
    "txt": {
        "attn.to_add_out": "attn.proj", "norm1_context.linear": "mod.lin", "ff_context.net.0.proj": "mlp.0",
        "ff_context.net.2": "mlp.2",
    },
}  # fmt: skip


def flux(config: dict, tensors: Tensors) -> Tensors:
    layers = {
        "context_embedder": "txt_in", "x_embedder": "img_in", "proj_out": "final_layer.linear",
        "norm_out.linear": "final_layer.adaLN_modulation.1",
    }  # fmt: skip
    for old, new in (("timestep", "time"), ("text", "vector"), ("guidance", "guidance")):
        layers[f"time_text_embed.{old}_embedder.linear_1"] = f"{new}_in.in_layer"
        layers[f"time_text_embed.{old}_embedder.linear_2"] = f"{new}_in.out_layer"
    result = {}

    def norms(old: str, new: str, added: str = "") -> None:
        for letter, word in (("q", "query"), ("k", "key")):
            result[f"{new}.{word}_norm.scale"] = tensors.pop(f"{old}.attn.norm_{added}{letter}.weight")

    for index in range(config["num_layers"]):
        old, new = f"transformer_blocks.{index}", f"double_blocks.{index}"
        result |= join_layer(tensors, [f"{old}.attn.to_{x}" for x in "qkv"], f"{new}.img_attn.qkv")
        result |= join_layer(tensors, [f"{old}.attn.add_{x}_proj" for x in "qkv"], f"{new}.txt_attn.qkv")
        norms(old, f"{new}.img_attn.norm")
        norms(old, f"{new}.txt_attn.norm", "added_")
        for stream, inner in FLUX_STREAM.items():
            layers |= {f"{old}.{a}": f"{new}.{stream}_{b}" for a, b in inner.items()}
    for index in range(config["num_single_layers"]):
        old, new = f"single_transformer_blocks.{index}", f"single_blocks.{index}"
        parts = [f"{old}.attn.to_{x}" for x in "qkv"] + [f"{old}.proj_mlp"]
        result |= join_layer(tensors, parts, f"{new}.linear1")
        norms(old, f"{new}.norm")
        layers |= {f"{old}.norm.linear": f"{new}.modulation.lin", f"{old}.proj_out": f"{new}.linear2"}
    swap_halves(tensors, "norm_out.linear")
    return result | by_layers(tensors, layers)


FLUX2_STREAM = {
    "img": {"attn.to_out.0": "attn.proj", "ff.linear_in": "mlp.0", "ff.linear_out": "mlp.2"},
    "txt": {"attn.to_add_out": "attn.proj", "ff_context.linear_in": "mlp.0", "ff_context.linear_out": "mlp.2"},
}


def flux2(config: dict, tensors: Tensors) -> Tensors:
    layers = {
        "context_embedder": "txt_in", "x_embedder": "img_in", "proj_out": "final_layer.linear",
        "norm_out.linear": "final_layer.adaLN_modulation.1",
        "time_guidance_embed.timestep_embedder.linear_1": "time_in.in_layer",
        "time_guidance_embed.timestep_embedder.linear_2": "time_in.out_layer",
    }  # fmt: skip
    for part in ("double_stream_modulation_img", "double_stream_modulation_txt", "single_stream_modulation"):
        layers[f"{part}.linear"] = f"{part}.lin"
    result = {}

    def norms(old: str, new: str, added: str = "") -> None:
        for letter, word in (("q", "query"), ("k", "key")):
            result[f"{new}.{word}_norm.scale"] = tensors.pop(f"{old}.attn.norm_{added}{letter}.weight")

    for index in range(config["num_layers"]):
        old, new = f"transformer_blocks.{index}", f"double_blocks.{index}"
        result[f"{new}.img_attn.qkv.weight"] = joined(tensors, [f"{old}.attn.to_{x}.weight" for x in "qkv"])
        result[f"{new}.txt_attn.qkv.weight"] = joined(tensors, [f"{old}.attn.add_{x}_proj.weight" for x in "qkv"])
        norms(old, f"{new}.img_attn.norm")
        norms(old, f"{new}.txt_attn.norm", "added_")
        for stream, inner in FLUX2_STREAM.items():
            layers |= {f"{old}.{a}": f"{new}.{stream}_{b}" for a, b in inner.items()}
    for index in range(config["num_single_layers"]):
        old, new = f"single_transformer_blocks.{index}", f"single_blocks.{index}"
        norms(old, f"{new}.norm")
        layers |= {f"{old}.attn.to_qkv_mlp_proj": f"{new}.linear1", f"{old}.attn.to_out": f"{new}.linear2"}
    tensors["norm_out.linear.weight"] = torch.cat(tensors["norm_out.linear.weight"].chunk(2)[::-1])
    return result | by_layers(tensors, layers)


def flux2_vae(config: dict, tensors: Tensors) -> Tensors:
    """Its makers keep the convolutions of the latents in the halves, and the statistics beside them."""
    statistics = {name: tensor for name, tensor in tensors.items() if name.startswith("bn.")}
    renamed = vae(config, {name: tensor for name, tensor in tensors.items() if name not in statistics})
    halves = {"quant_conv": "encoder.quant_conv", "post_quant_conv": "decoder.post_quant_conv"}
    moved = {name: halves.get(name.split(".")[0], name.split(".")[0]) + name[name.index(".") :] for name in renamed}
    return statistics | {moved[name]: tensor for name, tensor in renamed.items()}


def z_image(config: dict, tensors: Tensors) -> Tensors:
    result = {}
    blocks = [f"layers.{i}" for i in range(config["n_layers"])]
    blocks += [f"{kind}_refiner.{i}" for kind in ("noise", "context") for i in range(config["n_refiner_layers"])]
    for block in blocks:
        result[f"{block}.attention.qkv.weight"] = joined(tensors, [f"{block}.attention.to_{x}.weight" for x in "qkv"])
        result[f"{block}.attention.out.weight"] = tensors.pop(f"{block}.attention.to_out.0.weight")
        for letter in "qk":
            result[f"{block}.attention.{letter}_norm.weight"] = tensors.pop(f"{block}.attention.norm_{letter}.weight")
    rest = {re.sub(r"^all_(.*?)\.2-1\.", r"\1.", name): tensor for name, tensor in tensors.items()}
    return result | rest | {"norm_final.weight": torch.ones(config["dim"])}  # which nothing reads


def qwen3(_: dict, tensors: Tensors) -> Tensors:
    """As a model that makes words, of which the head is not kept."""
    kept = {name: tensor for name, tensor in tensors.items() if not name.startswith("lm_head.")}
    return {name if name.startswith("model.") else "model." + name: tensor for name, tensor in kept.items()}


def same(_: dict, tensors: Tensors) -> Tensors:
    return tensors


# A pipeline's components with their prefix and renaming.
Conversion = tuple[str, Callable[[dict, Tensors], Tensors]]
SD_VAE = ("first_stage_model.", vae)
CLIP_L, CLIP_G = "text_encoders.clip_l.transformer.", "text_encoders.clip_g.transformer."
T5 = ("text_encoders.t5xxl.transformer.", same)
QWEN3 = ("text_encoders.qwen3_4b.transformer.", qwen3)
LAYOUTS: dict[str, dict[str, Conversion]] = {
    "StableDiffusionPipeline": {
        "unet": (DENOISER, unet), "vae": SD_VAE, "text_encoder": ("cond_stage_model.transformer.", clip),
    },
    "StableDiffusionXLPipeline": {
        "unet": (DENOISER, unet), "vae": SD_VAE, "text_encoder": ("conditioner.embedders.0.transformer.", clip),
        "text_encoder_2": ("conditioner.embedders.1.model.", open_clip),
    },
    "StableDiffusion3Pipeline": {
        "transformer": (DENOISER, sd3), "vae": SD_VAE, "text_encoder": (CLIP_L, clip), "text_encoder_2": (CLIP_G, clip),
        "text_encoder_3": T5,
    },
    "FluxPipeline": {"transformer": (DENOISER, flux), "vae": ("vae.", vae), "text_encoder": (CLIP_L, clip), "text_encoder_2": T5},
    "Flux2KleinPipeline": {"transformer": (DENOISER, flux2), "vae": ("vae.", flux2_vae), "text_encoder": QWEN3},
    "ZImagePipeline": {"transformer": (DENOISER, z_image), "vae": ("vae.", vae), "text_encoder": QWEN3},
}  # fmt: skip


def class_of(folder: Path) -> str:
    return json.loads((folder / "model_index.json").read_text())["_class_name"]


def checkpoint_of(folder: Path, components: tuple[str, ...] = (), bare: bool = False) -> Tensors:
    """All tensors of these components, or of all there are. `bare`: the denoiser's have no prefix."""
    tensors: Tensors = {}
    for component, (prefix, rename) in LAYOUTS[re.sub("Inpaint|Fill|Kontext|Control", "", class_of(folder))].items():
        if not (folder / component).is_dir() or (components and component not in components):
            continue
        prefix = "" if bare and prefix == DENOISER else prefix
        tensors |= {prefix + name: tensor.contiguous() for name, tensor in rename(*read(folder, component)).items()}
    return tensors


def write_checkpoint(folder: Path, file: Path, components: tuple[str, ...] = (), bare: bool = False) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    save_file(checkpoint_of(folder, components, bare), file, metadata={"format": "pt"})
    return file


def without_projection(folder: Path) -> None:
    """Stable Diffusion 3 as its makers have it: the first encoder's pooled text stays as it is."""
    name = "text_projection.weight"
    for file in (folder / "text_encoder").glob("*.safetensors"):
        tensors = load_file(file)
        if name in tensors:
            tensors[name] = torch.eye(len(tensors[name]), dtype=tensors[name].dtype)
            save_file(tensors, file, metadata={"format": "pt"})


def load_pipeline(file: Path, folder: Path):
    """The file in real Diffusers, on the CPU, in float32."""
    kind = class_of(folder)
    absent = {}
    if kind == "StableDiffusion3Pipeline" and not (folder / "text_encoder_3").is_dir():
        absent = {"text_encoder_3": None, "tokenizer_3": None}
    pipeline = getattr(diffusers, kind).from_single_file(str(file), config=str(folder), local_files_only=True, **absent)
    pipeline.set_progress_bar_config(disable=True)
    t5 = getattr(pipeline, "text_encoder_3", None)
    if t5 is not None:  # it forgets that two tensors of T5 are one, and leaves it as for training
        t5.encoder.embed_tokens = t5.shared
        t5.eval()
    return pipeline
