"""The families that follow a flow with a transformer: what each class of them is made of. See worker_folders.py."""

import diffusers
import transformers

import tiny_models
import worker_parts as parts

FLUX = {
    "patch_size": 1, "num_layers": 1, "num_single_layers": 1, "attention_head_dim": 16, "num_attention_heads": 2,
    "joint_attention_dim": 32, "pooled_projection_dim": 32, "axes_dims_rope": (4, 4, 8),
}  # fmt: skip
QWEN = {
    "patch_size": 2, "in_channels": 16, "out_channels": 4, "num_layers": 2, "attention_head_dim": 16, "num_attention_heads": 3,
    "joint_attention_dim": 16, "axes_dims_rope": (8, 4, 4),
}  # fmt: skip


def stable_diffusion_3(name: str) -> dict:
    encoder, tokenizer = parts.clip(projection=True)
    encoder_2, tokenizer_2 = parts.clip(projection=True)
    options = {"joint_attention_dim": 64, "pooled_projection_dim": 64, "pos_embed_max_size": 64, "sample_size": 32}
    encoder_3, tokenizer_3 = parts.t5(64)
    transformer = tiny_models.transformer(4, **options)
    made = {
        "text_encoder": encoder, "tokenizer": tokenizer, "text_encoder_2": encoder_2, "tokenizer_2": tokenizer_2, "text_encoder_3": encoder_3,
        "tokenizer_3": tokenizer_3, "transformer": transformer, "vae": parts.autoencoder(16), "scheduler": parts.flow(),
    }  # fmt: skip
    if "ControlNet" in name:
        sizes = {"in_channels": 16, "out_channels": 16, "num_layers": 2, "attention_head_dim": 16, "num_attention_heads": 2, "caption_projection_dim": 32}
        made["controlnet"] = parts.drawn(diffusers.SD3ControlNetModel(**(options | sizes)))
    return made


def flux(name: str) -> dict:
    encoder, tokenizer = parts.clip()
    encoder_2, tokenizer_2 = parts.t5()
    channels = 4
    sizes = {"in_channels": 4 * channels * (2 if name == "FluxControlPipeline" else 1), "out_channels": 4 * channels}
    made = {
        "text_encoder": encoder, "tokenizer": tokenizer, "text_encoder_2": encoder_2, "tokenizer_2": tokenizer_2, "scheduler": parts.flow(),
        "vae": parts.autoencoder(channels, levels=4 if "Kontext" in name else 2), "transformer": parts.drawn(diffusers.FluxTransformer2DModel(**(FLUX | sizes))),
    }  # fmt: skip
    if "ControlNet" in name:
        made["controlnet"] = parts.drawn(diffusers.FluxControlNetModel(**(FLUX | {"in_channels": 4 * channels})))
    return made


def flux_2_transformer(guidance_embeds: bool):
    return diffusers.Flux2Transformer2DModel(
        patch_size=1, in_channels=4, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=48, timestep_guidance_channels=32, axes_dims_rope=[4, 4, 4, 4], guidance_embeds=guidance_embeds,
    )  # fmt: skip


def flux_2_klein(_name: str) -> dict:
    tokenizer = parts.qwen_tokenizer()
    transformer = flux_2_transformer(guidance_embeds=False)
    vae = diffusers.AutoencoderKLFlux2(
        sample_size=32, down_block_types=("DownEncoderBlock2D",), up_block_types=("UpDecoderBlock2D",), block_out_channels=(4,),
        layers_per_block=1, latent_channels=1, norm_num_groups=1, use_quant_conv=False, use_post_quant_conv=False,
    )  # fmt: skip
    encoder = parts.causal("Qwen3ForCausalLM", tokenizer, layers=28)  # the layers 9, 18 and 27 are what it conditions on
    return {"transformer": transformer, "vae": vae, "scheduler": parts.flow(), "text_encoder": encoder, "tokenizer": tokenizer}


def krea_2(_name: str) -> dict:
    tokenizer = parts.qwen_tokenizer()
    transformer = diffusers.Krea2Transformer2DModel(
        in_channels=16, num_layers=2, attention_head_dim=8, num_attention_heads=4, num_key_value_heads=2, intermediate_size=32,
        timestep_embed_dim=8, text_hidden_dim=16, num_text_layers=3, text_num_attention_heads=2, text_num_key_value_heads=1,
        text_intermediate_size=16, num_layerwise_text_blocks=1, num_refiner_text_blocks=1, axes_dims_rope=(4, 2, 2), rope_theta=1000.0,
    )  # fmt: skip
    return {
        "transformer": transformer, "vae": parts.qwen_autoencoder(), "tokenizer": tokenizer, "text_encoder_select_layers": (0, 1, 2),
        "text_encoder": parts.qwen_vision_language("Qwen3VLModel", tokenizer),
        "scheduler": parts.flow(use_dynamic_shifting=True, base_image_seq_len=256, max_image_seq_len=6400),
    }  # fmt: skip


def qwen_image(name: str) -> dict:
    tokenizer = parts.qwen_tokenizer()
    made = {
        "transformer": parts.drawn(diffusers.QwenImageTransformer2DModel(**QWEN, guidance_embeds=False)), "vae": parts.qwen_autoencoder(),
        "scheduler": parts.flow(), "tokenizer": tokenizer,
        "text_encoder": parts.qwen_vision_language("Qwen2_5_VLForConditionalGeneration", tokenizer),
    }  # fmt: skip
    if "ControlNet" in name:
        made["controlnet"] = parts.drawn(diffusers.QwenImageControlNetModel(**QWEN))
    return made


def flux_2(_name: str) -> dict:
    tokenizer = parts.qwen_tokenizer()
    encoder = parts.causal("MistralForCausalLM", tokenizer, layers=31, sliding_window=None)  # of which it takes layers 10, 20 and 30
    return flux_2_klein(_name) | {"text_encoder": encoder, "tokenizer": tokenizer, "transformer": flux_2_transformer(guidance_embeds=True)}


def nucleus(_name: str) -> dict:
    tokenizer = parts.qwen_tokenizer()
    transformer = diffusers.NucleusMoEImageTransformer2DModel(
        patch_size=2, in_channels=16, out_channels=4, num_layers=2, attention_head_dim=16, num_attention_heads=4, joint_attention_dim=16,
        axes_dims_rope=(8, 4, 4), moe_enabled=False, capacity_factors=[8.0, 8.0],
    )  # fmt: skip
    encoder = parts.qwen_vision_language("Qwen3VLForConditionalGeneration", tokenizer, layers=8)  # it takes the eighth from the end
    return {
        "transformer": parts.drawn(transformer), "vae": parts.qwen_autoencoder(), "scheduler": parts.flow(), "text_encoder": encoder,
        "processor": tokenizer,
    }  # fmt: skip


def z_image(name: str) -> dict:
    tokenizer = parts.qwen_tokenizer()
    sizes = {
        "all_patch_size": (2,), "all_f_patch_size": (1,), "in_channels": 16, "dim": 32, "n_layers": 2, "n_refiner_layers": 1, "n_heads": 2,
        "n_kv_heads": 2, "norm_eps": 1e-5, "qk_norm": True, "cap_feat_dim": 16, "rope_theta": 256.0, "t_scale": 1000.0,
        "axes_dims": [8, 4, 4], "axes_lens": [256, 64, 64],
    }  # fmt: skip
    made = {
        "transformer": parts.drawn(diffusers.ZImageTransformer2DModel(**sizes)), "vae": parts.autoencoder(16), "scheduler": parts.flow(),
        "text_encoder": parts.causal("Qwen3Model", tokenizer), "tokenizer": tokenizer,
    }  # fmt: skip
    if "Omni" in name:
        vision = transformers.Siglip2VisionConfig(hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, num_patches=16)
        made |= {"siglip": transformers.Siglip2VisionModel(vision).eval(), "siglip_processor": transformers.Siglip2ImageProcessorPil()}
    if "ControlNet" in name:
        made["controlnet"] = diffusers.ZImageControlNetModel(
            control_layers_places=[0], control_refiner_layers_places=[0], control_in_dim=16, dim=32, n_refiner_layers=1, n_heads=2, n_kv_heads=2
        )
    return made


def ovis(_name: str) -> dict:
    tokenizer = parts.qwen_tokenizer()
    transformer = diffusers.OvisImageTransformer2DModel(
        patch_size=1, in_channels=16, out_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=32, axes_dims_rope=(4, 4, 8),
    )  # fmt: skip
    return {
        "transformer": parts.drawn(transformer), "vae": parts.autoencoder(4), "scheduler": parts.flow(), "tokenizer": tokenizer,
        "text_encoder": parts.causal("Qwen3Model", tokenizer, width=32),
    }  # fmt: skip


def sana(_name: str) -> dict:
    tokenizer = parts.through_a_folder(parts.gemma_tokenizer(), transformers.GemmaTokenizer)
    transformer = diffusers.SanaTransformer2DModel(
        patch_size=1, in_channels=4, out_channels=4, num_layers=2, num_attention_heads=2, attention_head_dim=4, num_cross_attention_heads=2,
        cross_attention_head_dim=4, cross_attention_dim=8, caption_channels=16, sample_size=32,
    )  # fmt: skip
    vae = diffusers.AutoencoderDC(
        in_channels=3, latent_channels=4, attention_head_dim=2, encoder_block_types=("ResBlock", "EfficientViTBlock"),
        decoder_block_types=("ResBlock", "EfficientViTBlock"), encoder_block_out_channels=(8, 8), decoder_block_out_channels=(8, 8),
        encoder_qkv_multiscales=((), (5,)), decoder_qkv_multiscales=((), (5,)), encoder_layers_per_block=(1, 1),
        decoder_layers_per_block=(1, 1), downsample_block_type="conv", upsample_block_type="interpolate", decoder_norm_types="rms_norm",
        decoder_act_fns="silu", scaling_factor=0.41407,
    )  # fmt: skip
    return {
        "transformer": parts.drawn(transformer), "vae": vae, "scheduler": parts.flow(shift=7.0), "tokenizer": tokenizer,
        "text_encoder": parts.causal("Gemma2Model", tokenizer),
    }  # fmt: skip


def aura_flow(_name: str) -> dict:
    tokenizer = parts.t5_tokenizer()
    config = transformers.UMT5Config(vocab_size=len(tokenizer), d_model=32, d_kv=8, d_ff=37, num_layers=2, num_heads=4)
    transformer = diffusers.AuraFlowTransformer2DModel(
        sample_size=32, patch_size=2, in_channels=4, num_mmdit_layers=1, num_single_dit_layers=1, attention_head_dim=8,
        num_attention_heads=4, caption_projection_dim=32, joint_attention_dim=32, out_channels=4, pos_embed_max_size=256,
    )  # fmt: skip
    return {
        "transformer": parts.drawn(transformer), "vae": parts.autoencoder(), "scheduler": parts.flow(), "tokenizer": tokenizer,
        "text_encoder": transformers.UMT5EncoderModel(config).eval(),
    }  # fmt: skip


def lumina_2(_name: str) -> dict:
    tokenizer = parts.gemma_tokenizer()
    transformer = diffusers.Lumina2Transformer2DModel(
        sample_size=16, patch_size=2, in_channels=4, hidden_size=24, num_layers=2, num_attention_heads=3, num_kv_heads=1, multiple_of=2,
        norm_eps=1e-5, scaling_factor=1.0, axes_dim_rope=(4, 2, 2), cap_feat_dim=16,
    )  # fmt: skip
    return {
        "transformer": parts.drawn(transformer), "vae": parts.autoencoder(levels=4), "scheduler": parts.flow(), "tokenizer": tokenizer,
        "text_encoder": parts.causal("Gemma2Model", tokenizer),
    }  # fmt: skip


def chroma(_name: str) -> dict:
    encoder, tokenizer = parts.t5()
    transformer = diffusers.ChromaTransformer2DModel(
        patch_size=1, in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2, joint_attention_dim=32,
        axes_dims_rope=(4, 4, 8), approximator_hidden_dim=32, approximator_layers=1, approximator_num_channels=16,
    )  # fmt: skip
    return {
        "transformer": parts.drawn(transformer), "vae": parts.autoencoder(4), "scheduler": parts.flow(), "text_encoder": encoder,
        "tokenizer": tokenizer,
    }  # fmt: skip


def cogview_3(_name: str) -> dict:
    encoder, tokenizer = parts.t5()
    transformer = diffusers.CogView3PlusTransformer2DModel(
        patch_size=2, in_channels=4, num_layers=1, attention_head_dim=4, num_attention_heads=2, out_channels=4, text_embed_dim=32,
        time_embed_dim=8, condition_dim=2, pos_embed_max_size=32, sample_size=8,
    )  # fmt: skip
    return {
        "transformer": parts.drawn(transformer), "vae": parts.autoencoder(shift_factor=None), "text_encoder": encoder,
        "scheduler": diffusers.CogVideoXDDIMScheduler(), "tokenizer": tokenizer,
    }  # fmt: skip


def cogview_4(name: str) -> dict:
    tokenizer = parts.glm_tokenizer()
    transformer = diffusers.CogView4Transformer2DModel(
        patch_size=2, in_channels=8 if "Control" in name else 4, num_layers=2, attention_head_dim=4, num_attention_heads=4, out_channels=4,
        text_embed_dim=32, time_embed_dim=8, condition_dim=4, sample_size=16,
    )  # fmt: skip
    scheduler = parts.flow(base_shift=0.25, max_shift=0.75, base_image_seq_len=256, use_dynamic_shifting=True, time_shift_type="linear")
    return {
        "transformer": parts.drawn(transformer), "vae": parts.autoencoder(shift_factor=None), "scheduler": scheduler, "tokenizer": tokenizer,
        "text_encoder": parts.causal("GlmModel", tokenizer, width=32),
    }  # fmt: skip


BUILDERS = {
    "StableDiffusion3Pipeline": stable_diffusion_3,
    "StableDiffusion3PAGPipeline": stable_diffusion_3,
    "StableDiffusion3ControlNetPipeline": stable_diffusion_3,
    "FluxPipeline": flux,
    "FluxControlPipeline": flux,
    "FluxControlNetPipeline": flux,
    "FluxKontextPipeline": flux,
    "Flux2KleinPipeline": flux_2_klein,
    "Krea2Pipeline": krea_2,
    "QwenImagePipeline": qwen_image,
    "QwenImageControlNetPipeline": qwen_image,
    "ZImagePipeline": z_image,
    "ZImageControlNetPipeline": z_image,
    "ZImageOmniPipeline": z_image,
    "Flux2Pipeline": flux_2,
    "NucleusMoEImagePipeline": nucleus,
    "OvisImagePipeline": ovis,
    "SanaPipeline": sana,
    "SanaPAGPipeline": sana,
    "AuraFlowPipeline": aura_flow,
    "Lumina2Pipeline": lumina_2,
    "ChromaPipeline": chroma,
    "CogView3PlusPipeline": cogview_3,
    "CogView4Pipeline": cogview_4,
    "CogView4ControlPipeline": cogview_4,
}
