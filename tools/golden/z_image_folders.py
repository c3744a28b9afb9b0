"""Whole tiny Z-Image folders: FOLDERS by name, and build_folder(path, name) as save_pretrained writes them."""

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
    """What differs from the plain folder, with one text encoder: Qwen3."""

    qwen3: dict = field(default_factory=dict)
    causal: bool = False  # the encoder is a Qwen3ForCausalLM


FOLDERS = {
    "turbo": Folder("Z-Image-Turbo: shift 3"),
    "base": Folder("Z-Image: shift 6", scheduler={"shift": 6.0}),
    "own_keys": Folder("each head of queries has its own keys; four layers", qwen3={"num_key_value_heads": 4, "num_hidden_layers": 4}),
    "one_key": Folder(
        "one head of keys for all; a head wider than its share",
        qwen3={"num_key_value_heads": 1, "num_attention_heads": 6, "head_dim": 24, "hidden_size": 40},
        transformer={"cap_feat_dim": 40},
    ),
    "two_layers": Folder("an encoder of which one layer is needed", qwen3={"num_hidden_layers": 2, "rope_parameters": {"rope_theta": 1e4, "rope_type": "default"}}),
    "one_head": Folder("one head of 32, three refiners", transformer={"n_heads": 1, "axes_dims": [8, 12, 12], "n_refiner_layers": 3}),
    "three_heads": Folder(
        "three heads of 20, deeper; a width that eight thirds make odd",
        transformer={"dim": 60, "n_heads": 3, "axes_dims": [4, 8, 8], "n_layers": 4},
    ),
    "no_refiners": Folder("no refiners", transformer={"n_refiner_layers": 0, "n_layers": 3}),
    "other_time": Folder("another scale of times, another base of positions", transformer={"t_scale": 300.0, "rope_theta": 100.0, "norm_eps": 1e-3}),
    "dynamic_shift": Folder(
        "dynamic shifting, which tells small pictures apart",
        scheduler={"use_dynamic_shifting": True, "base_shift": 0.2, "max_shift": 2.1, "base_image_seq_len": 4, "max_image_seq_len": 64},
    ),
    "four_channels": Folder(
        "4 latent channels, two layers a block",
        transformer={"in_channels": 4},
        vae={"latent_channels": 4, "layers_per_block": 2},
    ),
    "five_levels": Folder(
        "a VAE of five levels without mid attention",
        vae={"block_out_channels": (4, 8, 8, 16, 16), "mid_block_add_attention": False},
        default_size=(96, 96),
        odd_size=(160, 64),
    ),
    "one_level": Folder(
        "a VAE of one level: every pixel is a latent",
        transformer={"in_channels": 4},
        vae={"block_out_channels": (8,), "latent_channels": 4},
        default_size=(16, 16),
        odd_size=(26, 10),
    ),
    "causal": Folder("an encoder with a head, classic tokenizer files", causal=True, classic_tokenizers=True),
    "sharded_bf16": Folder("bf16 weights in many shards", max_shard_size="60KB", dtype=torch.bfloat16),
}  # fmt: skip


def build_folder(path: str | Path, name: str, dtype: torch.dtype | None = None) -> Path:
    """Writes the folder `name` to `path` (which need not exist) and returns it; the same bytes every time."""
    folder, path = FOLDERS[name], Path(path)
    seed = zlib.crc32(name.encode()) % 100_000
    vocabulary = tiny_tokenizers.save_qwen2_tokenizer(path / "tokenizer", folder.classic_tokenizers)
    components = {
        "text_encoder": tiny_models.qwen3(seed + 1, folder.causal, **({"vocab_size": vocabulary + 12} | folder.qwen3)),
        "transformer": tiny_models.z_image_transformer(seed + 2, **folder.transformer),
        "vae": tiny_models.vae(seed + 3, **({"scaling_factor": 0.3611, "shift_factor": 0.1159} | folder.vae)),
    }
    index = {
        "_class_name": "ZImagePipeline",
        "text_encoder": ["transformers", "Qwen3ForCausalLM" if folder.causal else "Qwen3Model"],
        "tokenizer": ["transformers", "Qwen2Tokenizer"],
        "transformer": ["diffusers", "ZImageTransformer2DModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    return folder_files.save(path, components, {"shift": 3.0} | folder.scheduler, index, dtype or folder.dtype, folder.max_shard_size)


if __name__ == "__main__":
    folder_files.write_asked(FOLDERS, build_folder)
