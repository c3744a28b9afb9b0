"""Whole tiny Qwen-Image folders: FOLDERS by name, and build_folder(path, name) as save_pretrained writes them."""

import json
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import diffusers
import torch
from diffusers import AutoencoderKLQwenImage, FlowMatchEulerDiscreteScheduler, QwenImageTransformer2DModel
from safetensors.torch import load_file, save_file
from transformers import BatchFeature, Qwen2_5_VLForConditionalGeneration, Qwen2Tokenizer
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

import folder_files
import folders
import tiny_models
import tiny_tokenizers


@dataclass(frozen=True)
class Folder(folders.Folder):
    """What differs from the plain folder, with one text encoder: Qwen2.5-VL."""

    text: dict = field(default_factory=dict)
    pipeline: str = "QwenImagePipeline"
    vision: dict = field(default_factory=dict)  # of an edit's
    processor: dict = field(default_factory=dict)
    flat_config: bool = False  # config.json as transformers 4 wrote it, tensors under the names that version 5 has inside


# As the published ones: a shift that grows with the picture, and a last noise level that is not small.
SCHEDULER = {
    "use_dynamic_shifting": True, "shift": 1.0, "base_shift": 0.5, "max_shift": 0.9, "max_image_seq_len": 8192,
    "shift_terminal": 0.02,
}  # fmt: skip
LIGHTNING = SCHEDULER | {"base_shift": 1.0986122886681098, "max_shift": 1.0986122886681098, "shift_terminal": None}
FOLDERS = {
    "plain": Folder("Qwen-Image"),
    "lightning": Folder("the noise levels of Lightning: one shift for all sizes", scheduler=LIGHTNING),
    "steep": Folder("a shift that tells small pictures apart", scheduler={"base_shift": 0.2, "max_shift": 2.1, "base_image_seq_len": 4, "max_image_seq_len": 64}),
    "own_keys": Folder("each head of queries has its own keys; four layers", text={"num_key_value_heads": 2, "num_hidden_layers": 4}),
    "six_to_two": Folder("three heads of queries to one of keys; wide text", text={"num_attention_heads": 6, "num_key_value_heads": 2, "hidden_size": 48}, transformer={"joint_attention_dim": 48}),
    "one_layer": Folder("an encoder of one layer, another base of positions", text={"num_hidden_layers": 1, "rope_parameters": {"rope_theta": 1e4, "rope_type": "default", "mrope_section": [4, 2, 2]}}),
    "one_head": Folder("one head of 32; four blocks", transformer={"num_attention_heads": 1, "attention_head_dim": 32, "axes_dims_rope": (8, 12, 12), "num_layers": 4}),
    "three_heads": Folder("three heads of 24", transformer={"num_attention_heads": 3, "attention_head_dim": 24, "axes_dims_rope": (8, 8, 8), "num_layers": 1}),
    "no_picture_axis": Folder("an axis of size zero; time of finished pictures for those to go by", transformer={"axes_dims_rope": (0, 8, 8), "zero_cond_t": True}),
    "sixteen_channels": Folder("16 latent channels, two layers a block", transformer={"in_channels": 64, "out_channels": 16}, vae={"z_dim": 16, "num_res_blocks": 2}),
    "two_levels": Folder("a VAE of two levels, wide", vae={"base_dim": 16, "dim_mult": [1, 2]}, default_size=(32, 32), odd_size=(52, 36)),
    "five_levels": Folder("a VAE of five levels, odd multiples", vae={"dim_mult": [1, 3, 1, 2, 2]}, default_size=(96, 96), odd_size=(160, 64)),
    "flat": Folder("a flat config, tensors under other names, classic tokenizer files", flat_config=True, classic_tokenizers=True),
    "sharded_bf16": Folder("bf16 weights in many shards", max_shard_size="60KB", dtype=torch.bfloat16),
}  # fmt: skip
# Pictures to go by are a million pixels for the autoencoder whatever their size, so that it halves them once more here.
EDIT = {"pipeline": "QwenImageEditPipeline", "vae": {"dim_mult": [1, 2, 2, 2, 2]}, "default_size": (64, 64), "odd_size": (96, 64)}
SMALL = {"size": {"shortest_edge": 56 * 56, "longest_edge": 28 * 28 * 24}}
PLUS = EDIT | {"pipeline": "QwenImageEditPlusPipeline"}
EDIT_FOLDERS = {
    "edit": Folder("Qwen-Image-Edit, its eyes on few pixels", processor=SMALL, **EDIT),
    "edit_full": Folder("pictures seen whole", **EDIT),
    "edit_sharp": Folder("three heads of 8 for pictures, layers that all see all", processor=SMALL, vision={"hidden_size": 24, "num_heads": 3, "fullatt_block_indexes": [0, 1]}, **EDIT),
    "edit_flat": Folder("a flat config, tensors under other names", processor=SMALL, flat_config=True, classic_tokenizers=True, **EDIT),
    "plus": Folder("Qwen-Image-Edit-2509", **PLUS),
    "plus_zero": Folder("Qwen-Image-Edit-2511: references are told the time of finished pictures", transformer={"zero_cond_t": True}, **PLUS),
    "plus_one_head": Folder("one head of 32; windows of three vectors", transformer={"num_attention_heads": 1, "attention_head_dim": 32, "axes_dims_rope": (8, 12, 12)}, vision={"window_size": 84, "depth": 3}, **PLUS),
    "plus_wide": Folder("wide text, own keys", text={"hidden_size": 48, "num_attention_heads": 3, "num_key_value_heads": 3}, transformer={"joint_attention_dim": 48}, **PLUS),
    "plus_deep": Folder("three blocks, another norm of colours", transformer={"num_layers": 3}, processor={"image_mean": [0.5, 0.4, 0.3], "image_std": [0.5, 0.6, 0.7]}, **PLUS),
    "plus_sharded": Folder("bf16 weights in many shards", max_shard_size="60KB", dtype=torch.bfloat16, **PLUS),
    "plus_steep": Folder("a shift that tells small pictures apart", scheduler={"base_shift": 0.2, "max_shift": 2.1, "base_image_seq_len": 4, "max_image_seq_len": 64}, **PLUS),
    "plus_three_heads": Folder("three heads of 24, an encoder of one layer", text={"num_hidden_layers": 1}, transformer={"num_attention_heads": 3, "attention_head_dim": 24, "axes_dims_rope": (8, 8, 8)}, **PLUS),
}  # fmt: skip
FOLDERS |= EDIT_FOLDERS
TEXT_FOLDERS = [name for name in FOLDERS if name not in EDIT_FOLDERS]
IMAGE_TOKEN = "<|image_pad|>"


def build_folder(path: str | Path, name: str, dtype: torch.dtype | None = None) -> Path:
    """Writes the folder `name` to `path` (which need not exist) and returns it; the same bytes every time."""
    folder, path = FOLDERS[name], Path(path)
    seed = zlib.crc32(name.encode()) % 100_000
    vocabulary = tiny_tokenizers.save_qwen2_tokenizer(path / "tokenizer", folder.classic_tokenizers)
    components = {
        "text_encoder": tiny_models.qwen2_5_vl(seed + 1, {"vocab_size": vocabulary + 12} | folder.text, folder.vision),
        "transformer": tiny_models.qwen_image_transformer(seed + 2, **folder.transformer),
        "vae": tiny_models.qwen_image_vae(seed + 3, **folder.vae),
    }
    edits = folder.pipeline != "QwenImagePipeline"
    if edits:
        components["text_encoder"].config.image_token_id = image_token(path)
        Qwen2VLImageProcessorPil(**folder.processor).save_pretrained(path / "processor")
    index = {
        "_class_name": folder.pipeline,
        "text_encoder": ["transformers", "Qwen2_5_VLForConditionalGeneration"],
        "tokenizer": ["transformers", "Qwen2Tokenizer"],
        "transformer": ["diffusers", "QwenImageTransformer2DModel"],
        "vae": ["diffusers", "AutoencoderKLQwenImage"],
    }
    index |= {"processor": ["transformers", "Qwen2VLProcessor"]} if edits else {}
    folder_files.save(path, components, SCHEDULER | folder.scheduler, index, dtype or folder.dtype, folder.max_shard_size)
    if folder.flat_config:
        flatten(path / "text_encoder")
    return path


def image_token(path: Path) -> int:
    return Qwen2Tokenizer.from_pretrained(path / "tokenizer").convert_tokens_to_ids(IMAGE_TOKEN)


class Processor:
    """The half of transformers' Qwen2VLProcessor that is for still pictures: the whole of it needs torchvision."""

    def __init__(self, path: Path) -> None:
        self.tokenizer = Qwen2Tokenizer.from_pretrained(path / "tokenizer")
        self.pictures = Qwen2VLImageProcessorPil.from_pretrained(path / "processor")

    def __call__(self, text: list[str], images: list, padding: bool, return_tensors: str) -> BatchFeature:
        seen = self.pictures(images=images, return_tensors=return_tensors)
        counts = iter(seen["image_grid_thw"].prod(-1) // self.pictures.merge_size**2)
        texts = []
        for one in text:
            first, *others = one.split(IMAGE_TOKEN)
            texts.append(first + "".join(IMAGE_TOKEN * int(next(counts)) + other for other in others))
        return BatchFeature(dict(self.tokenizer(texts, padding=padding, return_tensors=return_tensors)) | dict(seen))


def load_pipeline(path: Path, name: str, dtype: torch.dtype = torch.float32):
    """The folder in real Diffusers, on the CPU."""
    folder = FOLDERS[name]
    if folder.pipeline == "QwenImagePipeline":
        return folder_files.load_pipeline(path, dtype)
    pipeline = getattr(diffusers, folder.pipeline)(
        scheduler=FlowMatchEulerDiscreteScheduler.from_pretrained(path / "scheduler"),
        vae=AutoencoderKLQwenImage.from_pretrained(path / "vae", torch_dtype=dtype),
        text_encoder=Qwen2_5_VLForConditionalGeneration.from_pretrained(path / "text_encoder", dtype=dtype),
        tokenizer=Qwen2Tokenizer.from_pretrained(path / "tokenizer"),
        processor=Processor(path),
        transformer=QwenImageTransformer2DModel.from_pretrained(path / "transformer", torch_dtype=dtype),
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def flatten(path: Path) -> None:
    """Gives the encoder's config its keys at the top, and its tensors the names that they have in memory."""
    file = path / "config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    text = config.pop("text_config")
    rotation = text.pop("rope_parameters")
    text |= {"rope_theta": rotation["rope_theta"], "rope_scaling": {"type": "mrope", "rope_type": "default", "mrope_section": rotation["mrope_section"]}}
    file.write_text(json.dumps(text | config), encoding="utf-8")
    weights = path / "model.safetensors"
    heads = {"model.": "model.language_model.", "visual.": "model.visual."}
    tensors = load_file(weights)
    for old, new in heads.items():
        tensors = {new + key.removeprefix(old) if key.startswith(old) and not key.startswith(new) else key: tensor for key, tensor in tensors.items()}
    save_file(tensors, weights, metadata={"format": "pt"})


if __name__ == "__main__":
    folder_files.write_asked(FOLDERS, build_folder)
