"""Tiny components of pipelines that the server does not have itself: text encoders with their tokenizers, autoencoders, schedulers.

Shapes follow what the networks allow at the least. Everything is made here; nothing is downloaded.
"""

import tempfile
from pathlib import Path

import diffusers
import tokenizers
import torch
import transformers
from diffusers import AutoencoderKL, AutoencoderKLQwenImage, FlowMatchEulerDiscreteScheduler, VQModel
from tokenizers import decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

import tiny_models
import tiny_tokenizers

CHAT = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{{ message['content'] if message['content'] is string else message['content'][0]['text'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
QWEN_TOKENS = [
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>",
    "<|video_pad|>",
]  # fmt: skip


def byte_pairs(specials: list[str], size: int = 400) -> tokenizers.Tokenizer:
    """A byte-level tokenizer, trained on the lines of tiny_tokenizers."""
    backend = tokenizers.Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=specials, initial_alphabet=alphabet, show_progress=False)
    backend.train_from_iterator(tiny_tokenizers.LINES, trainer)
    return backend


def qwen_tokenizer():
    backend = byte_pairs(QWEN_TOKENS)
    made = PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<|endoftext|>", eos_token="<|im_end|>", additional_special_tokens=QWEN_TOKENS[1:],
        padding_side="right", model_max_length=2048,
    )  # fmt: skip
    made.chat_template = CHAT
    return through_a_folder(made, transformers.Qwen2Tokenizer)


def gemma_tokenizer():
    backend = byte_pairs(["<pad>", "<eos>", "<bos>", "<unk>"])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", eos_token="<eos>", bos_token="<bos>", unk_token="<unk>",
        model_max_length=256, padding_side="right",
    )  # fmt: skip


def glm_tokenizer():
    backend = byte_pairs(["<|endoftext|>", "[gMASK]", "<sop>"])
    backend.post_processor = processors.TemplateProcessing(single="[gMASK] <sop> $A", special_tokens=[("[gMASK]", 1), ("<sop>", 2)])
    return PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<|endoftext|>", eos_token="<|endoftext|>", padding_side="left")


def bert_tokenizer():
    return PreTrainedTokenizerFast(
        tokenizer_object=byte_pairs(["[PAD]", "[UNK]", "[CLS]", "[SEP]"]), pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]",
        sep_token="[SEP]", model_max_length=77,
    )  # fmt: skip


def t5_tokenizer():
    with tempfile.TemporaryDirectory() as folder:
        tiny_tokenizers.save_t5_tokenizer(Path(folder), classic=False)
        return transformers.T5TokenizerFast.from_pretrained(folder)


def through_a_folder(made, kind):
    """The same tokenizer as the class that pipelines name."""
    with tempfile.TemporaryDirectory() as folder:
        made.save_pretrained(folder)
        loaded = kind.from_pretrained(folder)
    loaded.chat_template = made.chat_template
    return loaded


def clip(projection: bool = False, **options):
    tokenizer = tiny_tokenizers.clip_tokenizer()
    sizes = {"vocab_size": len(tokenizer), "eos_token_id": len(tokenizer) - 1, "bos_token_id": len(tokenizer) - 2, "max_position_embeddings": 77}
    return tiny_models.clip(1, projection, **(sizes | options)), tokenizer


def t5(width: int = 32):
    tokenizer = t5_tokenizer()
    return tiny_models.t5(2, vocab_size=len(tokenizer), d_model=width), tokenizer


def causal(kind: str, tokenizer, width: int = 16, layers: int = 2, **options):
    """A decoder-only language model: kind "Qwen3" gives Qwen3Model of a Qwen3Config; "Qwen3ForCausalLM" the one with a head."""
    model = getattr(transformers, kind)
    sizes = {
        "vocab_size": len(tokenizer), "hidden_size": width, "intermediate_size": 2 * width, "num_hidden_layers": layers,
        "num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": width // 2, "max_position_embeddings": 2048,
        "pad_token_id": 0, "bos_token_id": None, "eos_token_id": None,
    }  # fmt: skip
    return model(model.config_class(**(sizes | options))).eval()


def qwen_vision_language(kind: str, tokenizer, layers: int = 2):
    """A Qwen model that could see: its text part is what pipelines use."""
    model = getattr(transformers, kind)
    text = {
        "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": layers, "num_attention_heads": 2, "num_key_value_heads": 2,
        "head_dim": 8, "vocab_size": len(tokenizer), "rope_scaling": {"mrope_section": [1, 1, 2], "rope_type": "default", "type": "default"},
    }  # fmt: skip
    vision = {"depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "out_hidden_size": 16}
    ids = {name + "_token_id": tokenizer.convert_tokens_to_ids(f"<|{name}|>") for name in ("vision_start", "vision_end")}
    config = model.config_class(text_config=text, vision_config=vision, vocab_size=len(tokenizer), hidden_size=16, **ids)
    return model(config).eval()


def autoencoder(channels: int = 4, levels: int = 2, **options) -> AutoencoderKL:
    """Each level but the first halves the sides."""
    return tiny_models.vae(5, latent_channels=channels, block_out_channels=(8,) * levels, **options)


def qwen_autoencoder() -> AutoencoderKLQwenImage:
    return AutoencoderKLQwenImage(
        base_dim=24, z_dim=4, dim_mult=[1, 2, 4], num_res_blocks=1, temperal_downsample=[False, True], latents_mean=[0.0] * 4,
        latents_std=[1.0] * 4,
    )  # fmt: skip


def movq() -> VQModel:
    return VQModel(
        block_out_channels=[32, 64], down_block_types=["DownEncoderBlock2D", "AttnDownEncoderBlock2D"],
        up_block_types=["AttnUpDecoderBlock2D", "UpDecoderBlock2D"], in_channels=3, out_channels=3, latent_channels=4, layers_per_block=1,
        norm_num_groups=8, norm_type="spatial", num_vq_embeddings=12, vq_embed_dim=4,
    )  # fmt: skip


def flow(**options) -> FlowMatchEulerDiscreteScheduler:
    return FlowMatchEulerDiscreteScheduler(**options)


def diffusion(kind: str, **options):
    return getattr(diffusers, kind)(beta_start=0.00085, beta_end=0.012, **({"beta_schedule": "scaled_linear"} | options))


def drawn(module: torch.nn.Module, seed: int = 3) -> torch.nn.Module:
    """Zeros and ones that a constructor left would hide mistakes."""
    return tiny_models.randomise(module, seed)
