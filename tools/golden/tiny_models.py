"""Tiny but shape-faithful components of pipelines with random weights, built from Diffusers' own classes.

Every tensor is drawn: the ones and zeros that norms and biases start with would hide mistakes. Scales are those of a
trained network, so that activations keep a size of about one and every branch matters.
"""

import math

import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderKLFlux2,
    AutoencoderKLQwenImage,
    FlowMatchEulerDiscreteScheduler,
    Flux2Transformer2DModel,
    FluxTransformer2DModel,
    QwenImageTransformer2DModel,
    SD3Transformer2DModel,
    UNet2DConditionModel,
    ZImageTransformer2DModel,
)
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3Model,
    T5Config,
    T5EncoderModel,
)


SHARPNESS = 6


def randomise(module: torch.nn.Module, seed: int) -> torch.nn.Module:
    """Draws every parameter: matrices with unit gain, norm weights around one, biases around zero."""
    generator = torch.Generator().manual_seed(seed)
    embeddings = {id(child.weight) for child in module.modules() if isinstance(child, torch.nn.Embedding)}
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if id(parameter) in embeddings:
                parameter.copy_(0.5 * noise)
            elif parameter.ndim > 1:
                parameter.copy_(noise / math.sqrt(parameter[0].numel()))
            elif name.endswith("weight"):
                parameter.copy_(1 + 0.2 * noise)
            else:
                parameter.copy_(0.1 * noise)
    return module.eval()


def clip(seed: int, with_projection: bool = True, **options) -> torch.nn.Module:
    config = {
        "vocab_size": 700, "hidden_size": 32, "intermediate_size": 80, "projection_dim": 32, "num_hidden_layers": 3,
        "num_attention_heads": 2, "hidden_act": "quick_gelu", "bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 1,
    }  # fmt: skip
    kind = CLIPTextModelWithProjection if with_projection else CLIPTextModel
    return randomise(kind(CLIPTextConfig(**(config | options))), seed)


def t5(seed: int, **options) -> T5EncoderModel:
    config = {
        "vocab_size": 320, "d_model": 48, "d_kv": 16, "d_ff": 96, "num_layers": 2, "num_heads": 3,
        "feed_forward_proj": "gated-gelu",
    }  # fmt: skip
    model = randomise(T5EncoderModel(T5Config(**(config | options))), seed)
    with torch.no_grad():
        for block in model.encoder.block:  # T5 does not scale its scores: its queries are small instead
            block.layer[0].SelfAttention.q.weight /= math.sqrt(model.config.d_kv)
    return model


def qwen3(seed: int, causal: bool = False, **options) -> torch.nn.Module:
    config = {
        "vocab_size": 500, "hidden_size": 32, "intermediate_size": 56, "num_hidden_layers": 3, "num_attention_heads": 4,
        "num_key_value_heads": 2, "head_dim": 16, "rms_norm_eps": 1e-6, "max_position_embeddings": 1024,
        "rope_parameters": {"rope_theta": 1e6, "rope_type": "default"},
    }  # fmt: skip
    kind = Qwen3ForCausalLM if causal else Qwen3Model
    return randomise(kind(Qwen3Config(**(config | options))), seed)


def transformer(seed: int, **options) -> SD3Transformer2DModel:
    config = {
        "sample_size": 8, "patch_size": 2, "in_channels": 16, "out_channels": 16, "num_layers": 3,
        "attention_head_dim": 16, "num_attention_heads": 2, "joint_attention_dim": 80, "pooled_projection_dim": 64,
        "pos_embed_max_size": 12,
    }  # fmt: skip
    config |= options
    config["caption_projection_dim"] = config["num_attention_heads"] * config["attention_head_dim"]
    return randomise(SD3Transformer2DModel(**config), seed)


def flux_transformer(seed: int, **options) -> FluxTransformer2DModel:
    config = {
        "in_channels": 64, "num_layers": 2, "num_single_layers": 2, "attention_head_dim": 16, "num_attention_heads": 2,
        "joint_attention_dim": 48, "pooled_projection_dim": 32, "axes_dims_rope": (4, 6, 6),
    }  # fmt: skip
    return randomise(FluxTransformer2DModel(**(config | options)), seed)


def z_image_transformer(seed: int, **options) -> ZImageTransformer2DModel:
    config = {
        "in_channels": 16, "dim": 32, "n_layers": 2, "n_refiner_layers": 1, "n_heads": 2, "n_kv_heads": 2,
        "cap_feat_dim": 32, "axes_dims": [4, 6, 6], "axes_lens": [256, 32, 32],
    }  # fmt: skip
    return randomise(ZImageTransformer2DModel(**(config | options)), seed)


def flux2_transformer(seed: int, **options) -> Flux2Transformer2DModel:
    config = {
        "in_channels": 16, "num_layers": 1, "num_single_layers": 2, "attention_head_dim": 16, "num_attention_heads": 2,
        "joint_attention_dim": 96, "axes_dims_rope": (4, 4, 4, 4), "guidance_embeds": False,
    }  # fmt: skip
    return sharpened(randomise(Flux2Transformer2DModel(**(config | options)), seed))


def sharpened(model: torch.nn.Module) -> torch.nn.Module:
    """With queries so large that a token sees others, not the mean of all, whatever they are."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(("norm_q.weight", "norm_added_q.weight")):
                parameter *= SHARPNESS
    return model


def qwen_image_transformer(seed: int, **options) -> QwenImageTransformer2DModel:
    config = {
        "in_channels": 16, "out_channels": 4, "num_layers": 2, "attention_head_dim": 16, "num_attention_heads": 2,
        "joint_attention_dim": 32, "axes_dims_rope": (4, 6, 6),
    }  # fmt: skip
    return sharpened(randomise(QwenImageTransformer2DModel(**(config | options)), seed))


def qwen2_5_vl(seed: int, text: dict | None = None, vision: dict | None = None) -> Qwen2_5_VLForConditionalGeneration:
    texts = {
        "vocab_size": 500, "hidden_size": 32, "intermediate_size": 56, "num_hidden_layers": 3, "num_attention_heads": 2,
        "num_key_value_heads": 1, "rms_norm_eps": 1e-6, "max_position_embeddings": 4096,
    } | (text or {})  # fmt: skip
    half = texts["hidden_size"] // texts["num_attention_heads"] // 2
    sections = [half - 2 * (half // 3), half // 3, half // 3]
    texts.setdefault("rope_parameters", {"rope_theta": 1e6, "rope_type": "default", "mrope_section": sections})
    pictures = {
        "depth": 2, "hidden_size": 16, "num_heads": 2, "intermediate_size": 24, "out_hidden_size": texts["hidden_size"],
        "patch_size": 14, "window_size": 56, "fullatt_block_indexes": [1],
    } | (vision or {})  # fmt: skip
    config = Qwen2_5_VLConfig(text_config=texts, vision_config=pictures)
    return randomise(Qwen2_5_VLForConditionalGeneration(config), seed)


def qwen_image_vae(seed: int, **options) -> AutoencoderKLQwenImage:
    generator = torch.Generator().manual_seed(seed + 1)
    channels = options.get("z_dim", 4)
    config = {
        "base_dim": 8, "z_dim": channels, "dim_mult": [1, 2, 2, 2], "num_res_blocks": 1,
        "latents_mean": (0.3 * torch.randn(channels, generator=generator)).tolist(),
        "latents_std": (0.5 + torch.rand(channels, generator=generator)).tolist(),
    }  # fmt: skip
    config |= options
    config.setdefault("temperal_downsample", [level % 2 == 1 for level in range(len(config["dim_mult"]) - 1)])
    model = randomise(AutoencoderKLQwenImage(**config), seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("gamma"):  # norms, though they have the shape of pictures
                parameter.copy_(1 + 0.2 * torch.randn(parameter.shape, generator=generator))
            elif parameter.ndim == 5:  # of which a still picture sees the last slice alone
                parameter *= math.sqrt(parameter.shape[2])
        model.decoder.conv_out.weight *= 0.4  # most pixels within -1…1
        model.encoder.conv_out.weight *= 3  # pictures to go by count as much as noise
    return model


def flux2_vae(seed: int, **options) -> AutoencoderKLFlux2:
    config = {"block_out_channels": (8, 16, 16, 16), "layers_per_block": 1, "latent_channels": 4, "norm_num_groups": 4, "sample_size": 64}
    config |= options
    levels = len(config["block_out_channels"])
    config["down_block_types"] = ("DownEncoderBlock2D",) * levels
    config["up_block_types"] = ("UpDecoderBlock2D",) * levels
    model = randomise(AutoencoderKLFlux2(**config), seed)
    generator = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        model.decoder.conv_out.weight *= 0.4  # most pixels within -1…1
        model.encoder.conv_out.weight *= 3  # pictures to go by count as much as noise
        model.bn.running_mean.copy_(0.3 * torch.randn(model.bn.running_mean.shape, generator=generator))
        model.bn.running_var.copy_(0.5 + torch.rand(model.bn.running_var.shape, generator=generator))
    return model


def vae(seed: int, **options) -> AutoencoderKL:
    config = {
        "block_out_channels": (8, 16, 16, 16), "layers_per_block": 1, "latent_channels": 16, "norm_num_groups": 4,
        "sample_size": 64, "scaling_factor": 1.5305, "shift_factor": 0.0609, "use_quant_conv": False,
        "use_post_quant_conv": False,
    }  # fmt: skip
    config |= options
    levels = len(config["block_out_channels"])
    config["down_block_types"] = ("DownEncoderBlock2D",) * levels
    config["up_block_types"] = ("UpDecoderBlock2D",) * levels
    model = randomise(AutoencoderKL(**config), seed)
    with torch.no_grad():
        model.decoder.conv_out.weight *= 0.4  # most pixels within -1…1
    return model


def unet(seed: int, pooled_size: int = 0, told: int = 6, **options) -> UNet2DConditionModel:
    """With text_time `pooled_size` is that of the pooled text, and `told` how many numbers condition besides."""
    config = {
        "sample_size": 8, "block_out_channels": (12, 24, 24), "layers_per_block": 1, "norm_num_groups": 4,
        "attention_head_dim": 2, "cross_attention_dim": 32,
        "down_block_types": ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
    }  # fmt: skip
    config |= options
    if pooled_size:
        config.setdefault("addition_time_embed_dim", 8)
        config["projection_class_embeddings_input_dim"] = told * config["addition_time_embed_dim"] + pooled_size
    return randomise(UNet2DConditionModel(**config), seed)


def unet_vae(seed: int, **options) -> AutoencoderKL:
    """The autoencoder of Stable Diffusion 1 and XL."""
    config = {
        "latent_channels": 4, "scaling_factor": 0.18215, "shift_factor": None, "use_quant_conv": True,
        "use_post_quant_conv": True,
    }  # fmt: skip
    return vae(seed, **(config | options))


def scheduler(**options) -> FlowMatchEulerDiscreteScheduler:
    return FlowMatchEulerDiscreteScheduler(**({"shift": 3.0} | options))
