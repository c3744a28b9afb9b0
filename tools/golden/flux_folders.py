"""Whole tiny FLUX folders: FOLDERS by name, and build_folder(path, name) as save_pretrained writes them."""

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
    """What differs from the plain folder, with two text encoders: CLIP and T5."""

    t5: dict = field(default_factory=dict)
    pipeline: str = "FluxPipeline"
    clip: dict = field(default_factory=dict)


DYNAMIC = {"use_dynamic_shifting": True, "shift": 3.0, "base_shift": 0.5, "max_shift": 1.15}
FOLDERS = {
    "schnell": Folder("FLUX.1-schnell: no guidance embedding, no shift"),
    "dev": Folder("FLUX.1-dev: a guidance embedding, dynamic shifting", transformer={"guidance_embeds": True}, scheduler=DYNAMIC),
    "steep": Folder(
        "dynamic shifting that tells small pictures apart; one head of 32, deeper in its single blocks",
        transformer={
            "guidance_embeds": True, "num_layers": 1, "num_single_layers": 4, "num_attention_heads": 1,
            "attention_head_dim": 32, "axes_dims_rope": (8, 12, 12),
        },
        scheduler=DYNAMIC | {"base_shift": 0.2, "max_shift": 2.1, "base_image_seq_len": 4, "max_image_seq_len": 64},
    ),
    "three_heads": Folder(
        "three heads of 24, static shift 3",
        transformer={"num_attention_heads": 3, "attention_head_dim": 24, "axes_dims_rope": (8, 8, 8), "num_layers": 3},
        scheduler={"shift": 3.0},
    ),
    "four_heads": Folder(
        "four heads, wide text, a T5 with relu, a CLIP of one layer",
        clip={"hidden_size": 48, "num_attention_heads": 3, "num_hidden_layers": 1, "hidden_act": "gelu"},
        t5={"feed_forward_proj": "relu", "num_heads": 2, "d_kv": 24},
        transformer={"num_attention_heads": 4, "joint_attention_dim": 112, "guidance_embeds": True},
    ),
    "double_only": Folder(
        "blocks of two streams alone, an axis of size zero",
        transformer={"num_single_layers": 0, "num_layers": 3, "axes_dims_rope": (0, 6, 10)},
    ),
    "single_only": Folder(
        "blocks of one stream alone", transformer={"num_layers": 0, "num_single_layers": 3}, scheduler=DYNAMIC
    ),
    "linear_shift": Folder(
        "a time shift of the other kind, and karras noise levels",
        scheduler=DYNAMIC | {"time_shift_type": "linear", "use_karras_sigmas": True},
    ),
    "four_channels": Folder(
        "4 latent channels, two layers a block",
        transformer={"in_channels": 16},
        vae={"latent_channels": 4, "layers_per_block": 2},
    ),
    "five_levels": Folder(
        "a VAE of five levels without mid attention",
        transformer={"guidance_embeds": True},
        vae={"block_out_channels": (4, 8, 8, 16, 16), "mid_block_add_attention": False},
        scheduler=DYNAMIC,
        default_size=(96, 96),
        odd_size=(160, 64),
    ),
    "one_level": Folder(
        "a VAE of one level: every pixel is a latent",
        transformer={"in_channels": 16},
        vae={"block_out_channels": (8,), "latent_channels": 4},
        default_size=(16, 16),
        odd_size=(26, 10),
    ),
    "fill": Folder(
        "FLUX.1-Fill: the denoiser sees mask and masked picture",
        pipeline="FluxFillPipeline",
        transformer={"in_channels": 384, "out_channels": 64, "guidance_embeds": True},
        scheduler=DYNAMIC,
    ),
    "fill_small": Folder(
        "the same with other numbers of channels and pixels a latent",
        pipeline="FluxFillPipeline",
        transformer={"in_channels": 96, "out_channels": 16},
        vae={"block_out_channels": (4, 8, 8), "latent_channels": 4},
        default_size=(32, 32),
        odd_size=(56, 24),
    ),
    "kontext": Folder(
        "FLUX.1 Kontext: the denoiser sees a picture to go by",
        pipeline="FluxKontextPipeline",
        transformer={"guidance_embeds": True},
        scheduler=DYNAMIC,
    ),
    "kontext_four_channels": Folder(
        "the same with 4 latent channels, one head of 32",
        pipeline="FluxKontextPipeline",
        transformer={"in_channels": 16, "num_attention_heads": 1, "attention_head_dim": 32, "axes_dims_rope": (8, 12, 12)},
        vae={"latent_channels": 4},
    ),
    "control": Folder(
        "FLUX.1 Canny and Depth: the denoiser sees a picture to go by as further channels",
        pipeline="FluxControlPipeline",
        transformer={"in_channels": 128, "out_channels": 64, "guidance_embeds": True},
        scheduler=DYNAMIC,
    ),
    "control_four_channels": Folder(
        "the same with 4 latent channels, no guidance embedding",
        pipeline="FluxControlPipeline",
        transformer={"in_channels": 32, "out_channels": 16},
        vae={"latent_channels": 4},
    ),
    "sharded_bf16": Folder("bf16 weights in many shards", max_shard_size="60KB", dtype=torch.bfloat16),
    "true_eos": Folder("the end token's true id; classic tokenizer files", true_eos=True, classic_tokenizers=True),
}  # fmt: skip


def build_folder(path: str | Path, name: str) -> Path:
    """Writes the folder `name` to `path` (which need not exist) and returns it; the same bytes every time."""
    folder, path = FOLDERS[name], Path(path)
    seed = zlib.crc32(name.encode()) % 100_000
    vocabulary = tiny_tokenizers.save_clip_tokenizer(path / "tokenizer", tiny_tokenizers.END, folder.classic_tokenizers)
    ids = {"vocab_size": vocabulary, "eos_token_id": vocabulary - 1 if folder.true_eos else 2}
    text_encoder = tiny_models.clip(seed + 1, with_projection=False, **(ids | folder.clip))
    network = {"pooled_projection_dim": text_encoder.config.hidden_size, "joint_attention_dim": 48} | folder.transformer
    t5_vocabulary = tiny_tokenizers.save_t5_tokenizer(path / "tokenizer_2", folder.classic_tokenizers)
    t5_sizes = {"vocab_size": t5_vocabulary + 28, "d_model": network["joint_attention_dim"]}
    components = {
        "text_encoder": text_encoder,
        "text_encoder_2": tiny_models.t5(seed + 2, **(t5_sizes | folder.t5)),
        "transformer": tiny_models.flux_transformer(seed + 3, **network),
        "vae": tiny_models.vae(seed + 4, **({"scaling_factor": 0.3611, "shift_factor": 0.1159} | folder.vae)),
    }
    index = {
        "_class_name": folder.pipeline,
        "feature_extractor": [None, None],
        "image_encoder": [None, None],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "text_encoder_2": ["transformers", "T5EncoderModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "tokenizer_2": ["transformers", "T5TokenizerFast"],
        "transformer": ["diffusers", "FluxTransformer2DModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    return folder_files.save(path, components, {"shift": 1.0} | folder.scheduler, index, folder.dtype, folder.max_shard_size)


if __name__ == "__main__":
    folder_files.write_asked(FOLDERS, build_folder)
