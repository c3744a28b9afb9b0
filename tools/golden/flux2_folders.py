"""Whole tiny FLUX.2 klein folders: FOLDERS by name, and build_folder(path, name) as save_pretrained writes them."""

import zlib
from dataclasses import dataclass, field
from pathlib import Path

import torch

import folder_files
import folders
import tiny_models
import tiny_tokenizers


@dataclass(frozen=True)
class Folder(folders.Folder):
    """What differs from the plain folder, with one text encoder: Qwen3, of which layers 9, 18 and 27 count."""

    qwen3: dict = field(default_factory=dict)
    distilled: bool = False


FOLDERS = {
    "distilled": Folder("klein: never guided", distilled=True),
    "base": Folder("klein-base: guided"),
    "last_layer": Folder("an encoder of 27 layers, whose last state is normed; own keys", qwen3={"num_hidden_layers": 27, "num_key_value_heads": 4}),
    "one_key": Folder("one head of keys for all; a wide head", qwen3={"num_key_value_heads": 1, "head_dim": 24, "hidden_size": 40}),
    "one_head": Folder("one head of 32, deeper in its single blocks", transformer={"num_attention_heads": 1, "attention_head_dim": 32, "axes_dims_rope": (8, 8, 8, 8), "num_single_layers": 4}),
    "three_heads": Folder("three heads of 24; three blocks of two streams", transformer={"num_attention_heads": 3, "attention_head_dim": 24, "axes_dims_rope": (4, 8, 8, 4), "num_layers": 3}),
    "single_only": Folder("blocks of one stream alone", transformer={"num_layers": 0, "num_single_layers": 3}),
    "other_ratio": Folder("other perceptrons, another base of positions", transformer={"mlp_ratio": 2.5, "rope_theta": 100, "eps": 1e-4}),
    "static_shift": Folder("a shift that no size changes", scheduler={"use_dynamic_shifting": False, "shift": 3.0}),
    "linear_shift": Folder("a time shift of the other kind", scheduler={"time_shift_type": "linear"}),
    "small_decoder": Folder("a decoder of other widths, no quant convolutions", vae={"decoder_block_out_channels": (4, 12, 8, 8), "use_quant_conv": False, "use_post_quant_conv": False}),
    "two_levels": Folder(
        "8 latent channels, a VAE of two levels",
        transformer={"in_channels": 32},
        vae={"block_out_channels": (8, 8), "latent_channels": 8, "layers_per_block": 2},
        odd_size=(52, 36),
        default_size=(32, 32),
    ),
    "sharded_bf16": Folder("bf16 weights in many shards", max_shard_size="60KB", dtype=torch.bfloat16),
    "classic": Folder("classic tokenizer files", classic_tokenizers=True, distilled=True),
}  # fmt: skip


def build_folder(path: str | Path, name: str, dtype: torch.dtype | None = None) -> Path:
    """Writes the folder `name` to `path` (which need not exist) and returns it; the same bytes every time."""
    folder, path = FOLDERS[name], Path(path)
    seed = zlib.crc32(name.encode()) % 100_000
    vocabulary = tiny_tokenizers.save_qwen2_tokenizer(path / "tokenizer", folder.classic_tokenizers)
    # Of many layers each may add little, or nothing of the prompt is left.
    text_encoder = tiny_models.qwen3(seed + 1, True, **({"vocab_size": vocabulary + 12, "num_hidden_layers": 28} | folder.qwen3))
    joint = {"joint_attention_dim": 3 * text_encoder.config.hidden_size}
    components = {
        "text_encoder": text_encoder,
        "transformer": tiny_models.flux2_transformer(seed + 2, **(joint | folder.transformer)),
        "vae": tiny_models.flux2_vae(seed + 3, **folder.vae),
    }
    index = {
        "_class_name": "Flux2KleinPipeline",
        "is_distilled": folder.distilled,
        "text_encoder": ["transformers", "Qwen3ForCausalLM"],
        "tokenizer": ["transformers", "Qwen2TokenizerFast"],
        "transformer": ["diffusers", "Flux2Transformer2DModel"],
        "vae": ["diffusers", "AutoencoderKLFlux2"],
    }
    dynamic = {"use_dynamic_shifting": True, "shift": 3.0, "base_shift": 0.5, "max_shift": 1.15}
    return folder_files.save(path, components, dynamic | folder.scheduler, index, dtype or folder.dtype, folder.max_shard_size)


if __name__ == "__main__":
    folder_files.write_asked(FOLDERS, build_folder)
