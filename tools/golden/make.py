"""Golden tensors: what real Diffusers and transformers compute, stage by stage, on tiny networks with random weights.

    python3 tools/golden/make.py            writes those of tests/golden/*.safetensors that are missing or differ
    python3 tools/golden/make.py --check    compares, a line per tensor; exit status 1 on a difference

One file is one case: the network's tensors under `weights.`, named inputs under `in.`, stage outputs under `out.`, and
in the metadata its config.json as `config` and the versions of the libraries that made it.
"""

import argparse
import importlib.metadata
import json
import sys
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

import tiny_models

FOLDER = Path(__file__).resolve().parents[2] / "tests" / "golden"
# Of the largest value of a tensor: other processors and builds of torch add up in another order.
TOLERANCE = 1e-5


def draw(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def draw_ids(seed: int, below: int, *shape: int) -> torch.Tensor:
    return torch.randint(below, shape, generator=torch.Generator().manual_seed(seed))


def case(model: torch.nn.Module, config: dict, inputs: dict, outputs: dict) -> tuple[dict, dict]:
    """The tensors and the config of one case."""
    weights = model.state_dict()
    weights.pop("encoder.embed_tokens.weight", None)  # T5's second name for `shared.weight`
    tensors = {f"weights.{key}": tensor for key, tensor in weights.items()}
    tensors |= {f"in.{key}": tensor for key, tensor in inputs.items()}
    tensors |= {f"out.{key}": tensor for key, tensor in outputs.items()}
    return {key: tensor.detach().contiguous().clone() for key, tensor in tensors.items()}, config


# Text encoders ------------------------------------------------------------------------------------------------------


def clip_case(seed: int, ids: torch.Tensor, **options) -> tuple[dict, dict]:
    model = tiny_models.clip(seed, vocab_size=120, max_position_embeddings=ids.shape[1], **options)
    result = model(ids, output_hidden_states=True)
    outputs = {f"hidden_states.{index}": state for index, state in enumerate(result.hidden_states)}
    outputs["last_hidden_state"] = result.last_hidden_state
    outputs["pooled"] = result.text_embeds if "text_embeds" in result else result.pooler_output
    config = model.config.to_dict() | {"architectures": [type(model).__name__]}
    return case(model, config, {"ids": ids}, outputs)


def padded_ids(seed: int, length: int, start: int, end: int, pad: int, words: range) -> torch.Tensor:
    """Four prompts: empty, short, longer, cut off at the end."""
    rows = []
    for count in [0, 3, length // 2, length - 2]:
        ids = [start, *(words[int(i)] for i in draw_ids(seed + count, len(words), count)), end]
        rows.append(ids + [pad] * (length - len(ids)))
    return torch.tensor(rows)


def clip_l():
    ids = padded_ids(1, 77, start=118, end=119, pad=119, words=range(118))
    return clip_case(10, ids, eos_token_id=2, projection_dim=24)


def clip_g():
    # The end token is not the highest id here: only its own rule finds it.
    ids = padded_ids(2, 40, start=99, end=100, pad=0, words=range(101, 120))
    return clip_case(20, ids, eos_token_id=100, hidden_size=36, num_attention_heads=3, hidden_act="gelu")


def clip_plain():
    ids = padded_ids(3, 16, start=118, end=119, pad=119, words=range(118))
    return clip_case(30, ids, with_projection=False, eos_token_id=119, num_hidden_layers=1, num_attention_heads=1)


def t5_case(seed: int, **options) -> tuple[dict, dict]:
    model = tiny_models.t5(seed, vocab_size=100, d_model=40, **options)
    ids = draw_ids(seed, 100, 2, 160)  # longer than the largest distance with a bucket of its own
    ids[1, 30:] = 0
    return case(model, model.config.to_dict(), {"ids": ids}, {"last_hidden_state": model(ids).last_hidden_state})


def t5_gated():
    return t5_case(40)


def t5_relu():
    return t5_case(50, feed_forward_proj="relu", d_kv=8, num_heads=4, relative_attention_num_buckets=16)


# Denoiser -----------------------------------------------------------------------------------------------------------


def record(module: torch.nn.Module, into: dict, name: str) -> None:
    module.register_forward_hook(lambda _module, _inputs, output: into.__setitem__(name, output))


def mmdit_case(seed: int, height: int, width: int, text_tokens: int = 11, zero_tokens: int = 0, skips=(), **options):
    model = tiny_models.transformer(seed, joint_attention_dim=40, pooled_projection_dim=24, **options)
    config = model.config
    inputs = {
        "latents": draw(seed + 1, 3, config.in_channels, height, width),
        "text": draw(seed + 2, 3, text_tokens, config.joint_attention_dim),
        "pooled": draw(seed + 3, 3, config.pooled_projection_dim),
        "timesteps": torch.tensor([1000.0, 602.1506, 8.928572]),  # each row at its own
    }
    text = torch.nn.functional.pad(inputs["text"], (0, 0, 0, zero_tokens))
    arguments = (inputs["latents"], text, inputs["pooled"], inputs["timesteps"])
    outputs, modulations = {}, {}
    record(model.pos_embed, outputs, "patches")
    record(model.context_embedder, outputs, "context")
    record(model.time_text_embed, outputs, "conditioning")
    for index, block in enumerate(model.transformer_blocks):
        record(block.norm1.linear, modulations, f"{index}.image")
        record(block.norm1_context.linear, modulations, f"{index}.text")
    record(model.norm_out.linear, modulations, "out")
    velocity = model(*arguments).sample
    outputs |= {"velocity": velocity, "modulations": torch.cat(list(modulations.values()), dim=1)}
    if zero_tokens:
        del outputs["context"]
    stages = dict(outputs)
    for skip in skips:
        stages["velocity.skip" + "".join(f"_{index}" for index in skip)] = model(*arguments, skip_layers=skip).sample
    return case(model, dict(config), inputs, stages)


def mmdit_sd3():
    return mmdit_case(60, 8, 12, skips=[[1, 2], [0, 2], [0, 1], [1]])


def mmdit_sd35_medium():
    return mmdit_case(
        70, 6, 4, qk_norm="rms_norm", attention_head_dim=12, dual_attention_layers=(0, 1), skips=[[1, 2], [0, 2]]
    )


def mmdit_sd35_large():
    return mmdit_case(80, 4, 4, qk_norm="rms_norm", num_layers=2, num_attention_heads=1)


def mmdit_patch_one():
    return mmdit_case(
        90, 7, 5, patch_size=1, in_channels=4, out_channels=6, num_layers=1, num_attention_heads=3,
        attention_head_dim=8, dual_attention_layers=(0,), pos_embed_max_size=8,
    )  # fmt: skip


def mmdit_without_t5():
    """Text tokens, then 256 zero tokens as the pipeline gives them without T5; `text` leaves the zeros out."""
    return mmdit_case(100, 8, 8, zero_tokens=256, num_layers=2)


def flux_case(seed: int, rows: int, columns: int, text_tokens: int = 11, **options):
    model = tiny_models.flux_transformer(seed, joint_attention_dim=40, pooled_projection_dim=24, **options)
    config = model.config
    inputs = {
        "image": draw(seed + 1, 3, rows * columns, config.in_channels),
        "grid": torch.tensor([float(rows), float(columns)]),
        "text": draw(seed + 2, 3, text_tokens, config.joint_attention_dim),
        "pooled": draw(seed + 3, 3, config.pooled_projection_dim),
        "timesteps": torch.tensor([1.0, 0.6021506, 0.008928572]),  # each row at its own
    }
    if config.guidance_embeds:
        inputs["guidance"] = torch.tensor([3.5, 0.0, 30.0])
    axes = [torch.zeros(1), torch.arange(float(rows)), torch.arange(float(columns))]
    outputs, modulations = {}, {}
    record(model.context_embedder, outputs, "context")
    for index, block in enumerate(model.transformer_blocks):
        record(block.norm1.linear, modulations, f"{index}.image")
        record(block.norm1_context.linear, modulations, f"{index}.text")
    for index, block in enumerate(model.single_transformer_blocks):
        record(block.norm.linear, modulations, f"{index}.single")
    record(model.norm_out.linear, modulations, "out")
    velocity = model(
        inputs["image"], inputs["text"], inputs["pooled"], inputs["timesteps"], torch.cartesian_prod(*axes),
        torch.zeros(text_tokens, 3), inputs.get("guidance"),
    ).sample  # fmt: skip
    outputs |= {"velocity": velocity, "modulations": torch.cat(list(modulations.values()), dim=1)}
    return case(model, dict(config), inputs, outputs)


def flux_schnell():
    return flux_case(200, 4, 6)


def flux_dev():
    """A head of 32, which our kernels take; a grid with places far from the corner."""
    return flux_case(
        210, 3, 40, guidance_embeds=True, num_layers=1, num_single_layers=3, num_attention_heads=1,
        attention_head_dim=32, axes_dims_rope=(8, 12, 12),
    )  # fmt: skip


def flux_double_only():
    return flux_case(
        220, 5, 3, in_channels=48, out_channels=16, num_single_layers=0, num_attention_heads=3,
        attention_head_dim=12, axes_dims_rope=(0, 4, 8),
    )  # fmt: skip


def flux_single_only():
    return flux_case(230, 2, 2, text_tokens=1, in_channels=8, num_layers=0, num_attention_heads=4)


def unet_case(seed: int, height: int, width: int, **options):
    model = tiny_models.unet(seed, **options)
    config = model.config
    inputs = {
        "latents": draw(seed + 1, 3, config.in_channels, height, width),
        "text": draw(seed + 2, 3, 7, config.cross_attention_dim),
        "timesteps": torch.tensor([999.0, 501.25, 1.0]),  # each row at its own
    }
    if config.time_cond_proj_dim:
        inputs["guidance"] = draw(seed + 3, 3, config.time_cond_proj_dim)
    if config.addition_embed_type:
        inputs["pooled"] = draw(seed + 4, 3, options["pooled_size"])
        inputs["time_ids"] = torch.tensor([[64.0, 80, 0, 0, 64, 80], [1024, 768, 8, 16, 512, 512], [9, 9, 0, 3, 9, 9]])
    shifts, contexts = {}, {}
    blocks = [*model.down_blocks, *([model.mid_block] if model.mid_block else []), *model.up_blocks]
    for index, block in enumerate(blocks):
        for resnet_index, resnet in enumerate(block.resnets):
            record(resnet.time_emb_proj, shifts, f"{index}.{resnet_index}")
        for attention in getattr(block, "attentions", []):
            for transformer in attention.transformer_blocks:
                for projection in (transformer.attn2.to_k, transformer.attn2.to_v):
                    name = str(len(contexts))
                    contexts[name] = None  # its place
                    record(projection, contexts, name)
    outputs = {
        "noise": model(
            inputs["latents"], inputs["timesteps"], inputs["text"], timestep_cond=inputs.get("guidance"),
            added_cond_kwargs={"text_embeds": inputs.get("pooled"), "time_ids": inputs.get("time_ids")},
        ).sample
    }  # fmt: skip
    outputs |= {"modulations": torch.cat(list(shifts.values()), dim=1), "context": torch.cat(list(contexts.values()), dim=2)}
    return case(model, dict(config), inputs, outputs)


def unet_sd1():
    return unet_case(150, 8, 12)


def unet_odd_size():
    """Sides that no level halves evenly; levels that differ in all they can."""
    return unet_case(
        160, 9, 7, block_out_channels=(8, 16, 24), layers_per_block=(1, 2, 1), attention_head_dim=(2, 4, 3),
        transformer_layers_per_block=(1, 2, 1), use_linear_projection=True, mid_block_type=None,
    )  # fmt: skip


def unet_xl():
    return unet_case(
        170, 4, 8, addition_embed_type="text_time", pooled_size=20, use_linear_projection=True,
        transformer_layers_per_block=(1, 1, 2), block_out_channels=(8, 16, 16),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    )  # fmt: skip


def unet_distilled():
    return unet_case(
        180, 6, 5, time_cond_proj_dim=10, block_out_channels=(32,), attention_head_dim=1, norm_num_groups=8,
        down_block_types=("CrossAttnDownBlock2D",), up_block_types=("CrossAttnUpBlock2D",),
    )  # fmt: skip


# Autoencoder --------------------------------------------------------------------------------------------------------


def vae_case(seed: int, latent_height: int, latent_width: int, rename=lambda key: key, **options):
    model = tiny_models.vae(seed, **options)
    factor = 2 ** (len(model.config.block_out_channels) - 1)
    inputs = {
        "latents": draw(seed + 1, 2, model.config.latent_channels, latent_height, latent_width),
        "image": draw(seed + 2, 2, 3, factor * latent_height, factor * latent_width).clamp(-1, 1),
    }
    distribution = model.encode(inputs["image"]).latent_dist
    outputs = {
        "image": model.decode(inputs["latents"]).sample,
        "mean": distribution.mean,
        "logvar": distribution.logvar,
    }
    tensors, config = case(model, dict(model.config), inputs, outputs)
    return {rename(key): tensor for key, tensor in tensors.items()}, config


def old_attention_name(key: str) -> str:
    head, _, tail = key.partition("attentions.0.")
    for new, old in {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}.items():
        tail = tail.replace(new + ".", old + ".")
    return f"{head}attentions.0.{tail}" if tail else key


def vae_sd3():
    return vae_case(110, 4, 6)


def vae_sd1():
    return vae_case(
        120, 5, 3, old_attention_name, block_out_channels=(8, 16), latent_channels=4, layers_per_block=2,
        use_quant_conv=True, use_post_quant_conv=True, norm_num_groups=8, shift_factor=None,
    )  # fmt: skip


def vae_one_level():
    return vae_case(130, 9, 8, block_out_channels=(6,), latent_channels=4, norm_num_groups=1)


def vae_without_attention():
    return vae_case(
        140, 2, 3, block_out_channels=(4, 8, 8, 8, 12), norm_num_groups=2, mid_block_add_attention=False, out_channels=4
    )


CASES = [
    clip_l, clip_g, clip_plain, t5_gated, t5_relu, mmdit_sd3, mmdit_sd35_medium, mmdit_sd35_large, mmdit_patch_one,
    mmdit_without_t5, flux_schnell, flux_dev, flux_double_only, flux_single_only, unet_sd1, unet_odd_size, unet_xl,
    unet_distilled, vae_sd3, vae_sd1, vae_one_level, vae_without_attention,
]  # fmt: skip


def write(path: Path, tensors: dict, config: dict) -> None:
    versions = {name: importlib.metadata.version(name) for name in ["torch", "diffusers", "transformers"]}
    save_file(tensors, path, metadata={"config": json.dumps(config, default=list), "versions": json.dumps(versions)})
    path.chmod(0o644)
    print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")


def differences(path: Path, tensors: dict) -> tuple[list[str], bool]:
    """A line per input and stage, and whether all of them agree with the file: weights and inputs exactly."""
    if not path.exists():
        return [f"{path.name}: missing"], False
    with safe_open(path, "pt") as file:
        stored = {key: file.get_tensor(key) for key in file.keys()}
    lines = [f"{path.name} {key}: only in one of the two" for key in sorted(stored.keys() ^ tensors.keys())]
    agree = not lines
    for key in sorted(stored.keys() & tensors.keys()):
        new, old = tensors[key].double(), stored[key].double()
        difference = (new - old).abs() if new.shape == old.shape else torch.tensor([torch.inf]).double()
        good = bool(difference.max() <= (TOLERANCE * old.abs().max() if key.startswith("out.") else 0))
        agree &= good
        if not key.startswith("weights.") or not good:
            text = f"max {difference.max():.3g} mean {difference.mean():.3g} of {old.abs().max():.3g}"
            lines.append(f"{path.name} {key}: {text}{'' if good else ' DIFFERENT'}")
    return lines, agree


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    arguments = parser.parse_args()
    FOLDER.mkdir(exist_ok=True)
    good = True
    with torch.inference_mode():
        for make in CASES:
            tensors, config = make()
            path = FOLDER / f"{make.__name__}.safetensors"
            lines, agree = differences(path, tensors)
            good &= agree
            if arguments.check:
                print("\n".join(lines))
            elif not agree:  # the last bits vary from run to run: what agrees stays as it is
                write(path, tensors, config)
    return 1 if arguments.check and not good else 0


if __name__ == "__main__":
    sys.exit(main())
