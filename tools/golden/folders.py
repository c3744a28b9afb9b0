"""Whole tiny Stable Diffusion 3 folders of varied shapes, with random weights and tiny tokenizers.

    build_folder(path, name)    writes the folder `name` (a key of FOLDERS) to `path`, as save_pretrained does
    load_pipeline(path, name)   loads it with real Diffusers, in float32

From the command line: python3 tools/golden/folders.py PATH [NAME…] writes them under PATH/NAME.
"""

import json
import sys
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import diffusers
import torch
from diffusers import StableDiffusion3Pipeline
from safetensors.torch import load_file, save_file

import tiny_models
import tiny_tokenizers

NO_T5 = {"text_encoder_3": None, "tokenizer_3": None}


@dataclass(frozen=True)
class Folder:
    """What differs from the plain folder: the options of each component and the form of the files."""

    about: str
    t5: dict | None = None  # None: the folder has no T5
    transformer: dict = field(default_factory=dict)
    vae: dict = field(default_factory=dict)
    scheduler: dict = field(default_factory=dict)
    true_eos: bool = False  # config.json names the end token's own id, not the usual wrong 2
    classic_tokenizers: bool = False  # vocab.json, merges.txt, spiece.model instead of tokenizer.json
    max_shard_size: str | None = None
    dtype: torch.dtype = torch.float32
    variant: str | None = None
    old_attention_names: bool = False  # query, key, value, proj_attn in the VAE's file
    default_size: tuple[int, int] = (64, 64)  # width and height that Diffusers takes when none is asked for
    odd_size: tuple[int, int] = (80, 48)  # width and height that are no square


SD35 = {"qk_norm": "rms_norm"}
CLIP_2 = {
    "hidden_size": 48, "projection_dim": 40, "num_attention_heads": 3, "num_hidden_layers": 2, "hidden_act": "gelu",
}  # fmt: skip
FOLDERS = {
    "plain": Folder("SD3-medium without T5"),
    "t5": Folder("SD3-medium with T5", t5={}),
    "qk_norm": Folder("SD3.5-large: RMS QK-norm", t5={}, transformer=SD35),
    "dual": Folder(
        "SD3.5-medium: QK-norm and dual attention", t5={}, transformer=SD35 | {"dual_attention_layers": (0, 1)}
    ),
    "dual_all": Folder("dual attention in every layer, the last too", transformer={"dual_attention_layers": (0, 1, 2)}),
    "one_head": Folder("one head of 64", transformer={"num_attention_heads": 1, "attention_head_dim": 64}),
    "three_heads": Folder(
        "three heads of 8, one layer", transformer={"num_attention_heads": 3, "attention_head_dim": 8, "num_layers": 1}
    ),
    "four_heads": Folder(
        "four heads, shift 1, a T5 with relu",
        t5={"feed_forward_proj": "relu", "num_heads": 2, "d_kv": 24},
        transformer={"num_attention_heads": 4} | SD35,
        scheduler={"shift": 1.0},
    ),
    "patch_one": Folder(
        "patch 1 and a VAE of one level; the text is narrower than the joint CLIP states, so it is cropped",
        t5={},
        transformer={
            "patch_size": 1, "joint_attention_dim": 48, "pos_embed_max_size": 24, "in_channels": 4, "out_channels": 4,
        },  # fmt: skip
        vae={"block_out_channels": (8,), "latent_channels": 4, "sample_size": 8},
        default_size=(8, 8),
        odd_size=(14, 9),
    ),
    "dynamic_shift": Folder(
        "dynamic shifting by the number of tokens",
        scheduler={"use_dynamic_shifting": True, "base_image_seq_len": 4, "max_image_seq_len": 64},
    ),
    "quant_convs": Folder(
        "4 latent channels, quant convolutions, no shift factor, two layers a block",
        transformer={"in_channels": 4, "out_channels": 4},
        vae={
            "latent_channels": 4, "use_quant_conv": True, "use_post_quant_conv": True, "shift_factor": 0.0,
            "scaling_factor": 0.18215, "layers_per_block": 2,
        },  # fmt: skip
    ),
    "five_levels": Folder(
        "a VAE of five levels without mid attention",
        transformer={"sample_size": 6},
        vae={"block_out_channels": (4, 8, 8, 16, 16), "mid_block_add_attention": False},
        default_size=(96, 96),
        odd_size=(160, 64),
    ),
    "wide_table": Folder(
        "latents of 40x56 fit the position table", transformer={"pos_embed_max_size": 32}, odd_size=(448, 320)
    ),
    "true_eos": Folder(
        "the end token's true id; classic tokenizer files", t5={}, true_eos=True, classic_tokenizers=True
    ),
    "sharded": Folder("weights in many shards", t5={}, max_shard_size="60KB"),
    "fp16": Folder("fp16 weights under the plain names", t5={}, dtype=torch.float16),
    "fp16_variant": Folder("fp16 weights in .fp16 files only", dtype=torch.float16, variant="fp16"),
    "fp16_variant_sharded": Folder(
        "sharded .fp16 files only", dtype=torch.float16, variant="fp16", max_shard_size="40KB"
    ),
    "bf16": Folder("bf16 weights", transformer=SD35, dtype=torch.bfloat16),
    "old_names": Folder("a VAE file with the old attention names", old_attention_names=True),
}


def build_folder(path: str | Path, name: str) -> Path:
    """Writes the folder `name` to `path` (which need not exist) and returns it; the same bytes every time."""
    folder, path = FOLDERS[name], Path(path)
    seed = zlib.crc32(name.encode()) % 100_000
    classic = folder.classic_tokenizers
    clip_vocabulary = tiny_tokenizers.save_clip_tokenizer(path / "tokenizer", tiny_tokenizers.END, classic)
    tiny_tokenizers.save_clip_tokenizer(path / "tokenizer_2", "!", classic)
    clip_ids = {"vocab_size": clip_vocabulary, "eos_token_id": clip_vocabulary - 1 if folder.true_eos else 2}
    text_encoder = tiny_models.clip(seed + 1, **clip_ids)
    text_encoder_2 = tiny_models.clip(seed + 2, **(clip_ids | CLIP_2))
    joint = {"joint_attention_dim": 96} | folder.transformer
    text_encoder_3 = None
    if folder.t5 is not None:
        t5_vocabulary = tiny_tokenizers.save_t5_tokenizer(path / "tokenizer_3", classic)
        sizes = {"vocab_size": t5_vocabulary + 28, "d_model": joint["joint_attention_dim"]}
        text_encoder_3 = tiny_models.t5(seed + 3, **(sizes | folder.t5))
    pooled = text_encoder.config.projection_dim + text_encoder_2.config.projection_dim
    components = {
        "text_encoder": text_encoder,
        "text_encoder_2": text_encoder_2,
        "text_encoder_3": text_encoder_3,
        "transformer": tiny_models.transformer(seed + 4, **({"pooled_projection_dim": pooled} | joint)),
        "vae": tiny_models.vae(seed + 5, **folder.vae),
    }
    for component, model in components.items():
        if model is not None:
            files = {"max_shard_size": folder.max_shard_size} if folder.max_shard_size else {}
            model.to(folder.dtype).save_pretrained(path / component, variant=folder.variant, **files)
    if folder.old_attention_names:
        rename_attention(path / "vae" / "diffusion_pytorch_model.safetensors")
    tiny_models.scheduler(**folder.scheduler).save_pretrained(path / "scheduler")
    write_index(path, folder.t5 is not None)
    return path


def write_index(path: Path, with_t5: bool) -> None:
    clip, t5 = ["transformers", "CLIPTextModelWithProjection"], ["transformers", "T5EncoderModel"]
    index = {
        "_class_name": "StableDiffusion3Pipeline",
        "_diffusers_version": "0.42.1",
        "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
        "text_encoder": clip,
        "text_encoder_2": clip,
        "text_encoder_3": t5 if with_t5 else [None, None],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "tokenizer_2": ["transformers", "CLIPTokenizer"],
        "tokenizer_3": ["transformers", "T5TokenizerFast"] if with_t5 else [None, None],
        "transformer": ["diffusers", "SD3Transformer2DModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    (path / "model_index.json").write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def rename_attention(file: Path) -> None:
    """Gives the VAE's attention tensors the names they had in files of 2022."""
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    tensors = {}
    for key, tensor in load_file(file).items():
        head, _, tail = key.partition("attentions.0.")
        for new_name, old_name in old.items():
            tail = tail.replace(new_name + ".", old_name + ".")
        tensors[f"{head}attentions.0.{tail}" if tail else key] = tensor
    save_file(tensors, file, metadata={"format": "pt"})


def load_pipeline(path: str | Path, name: str, dtype: torch.dtype = torch.float32) -> StableDiffusion3Pipeline:
    """The folder in real Diffusers, on the CPU."""
    folder = FOLDERS[name]
    absent = NO_T5 if folder.t5 is None else {}
    pipeline = StableDiffusion3Pipeline.from_pretrained(path, torch_dtype=dtype, variant=folder.variant, **absent)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


# What `scheduler` means to a Stable Diffusion 3 folder beside its own class: the options that make a sampler follow
# its flow, as with_flow_options of src/samplers/catalog.h fills them in.
def with_scheduler(pipeline: StableDiffusion3Pipeline, name: str | None) -> StableDiffusion3Pipeline:
    """The pipeline with another scheduler of the same options; itself for None."""
    if name is None:
        return pipeline
    config = dict(pipeline.scheduler.config)
    flow = {"use_flow_sigmas": True, "prediction_type": "flow_prediction", "flow_shift": config["shift"]}
    scheduler_class = getattr(diffusers, name)
    scheduler = scheduler_class.from_config(config, **(flow if not name.startswith("FlowMatch") else {}))
    other = StableDiffusion3Pipeline(**(pipeline.components | {"scheduler": scheduler}))
    other.set_progress_bar_config(disable=True)
    return other


def decode(pipeline, latents: torch.Tensor) -> torch.Tensor:
    """Latents to pictures as StableDiffusion3Pipeline does; Diffusers' inpainting forgets the shift."""
    config = pipeline.vae.config
    with torch.no_grad():
        return pipeline.vae.decode(latents / config.scaling_factor + config.shift_factor).sample


if __name__ == "__main__":
    for folder_name in sys.argv[2:] or FOLDERS:
        build_folder(Path(sys.argv[1]) / folder_name, folder_name)
        print(f"{folder_name}: {FOLDERS[folder_name].about}")
