"""The families with a UNet, and those that diffuse by betas: what each class of them is made of. See worker_folders.py."""

import tempfile
from pathlib import Path

import diffusers
from transformers import (
    BertConfig,
    BertModel,
    CLIPImageProcessor,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
    XLMRobertaTokenizerFast,
)

import tiny_models
import tiny_tokenizers
import worker_parts as parts

NO_SAFETY = {"safety_checker": None, "feature_extractor": None}
VOCABULARIES = tempfile.TemporaryDirectory()
EULER = {"steps_offset": 1, "timestep_spacing": "leading"}


def of_controlnet(unet):
    return parts.drawn(diffusers.ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(16, 32, 32, 32)))


def stable_diffusion(name: str) -> dict:
    encoder, tokenizer = parts.clip()
    lcm = name.startswith("Latent")
    unet = tiny_models.unet(4, **({"time_cond_proj_dim": 32} if lcm else {}))
    made = {
        "text_encoder": encoder, "tokenizer": tokenizer, "unet": unet, "vae": tiny_models.unet_vae(5),
        "scheduler": parts.diffusion("LCMScheduler" if lcm else "DDIMScheduler", clip_sample=False, set_alpha_to_one=False, steps_offset=1),
    } | NO_SAFETY  # fmt: skip
    if not lcm:
        made["requires_safety_checker"] = False
    if "ControlNet" in name:
        made["controlnet"] = of_controlnet(unet)
    return made


def stable_diffusion_xl(name: str) -> dict:
    encoder, tokenizer = parts.clip()
    encoder_2, tokenizer_2 = parts.clip(projection=True)
    xl = {"addition_embed_type": "text_time", "addition_time_embed_dim": 8, "use_linear_projection": True}
    unet = tiny_models.unet(4, pooled_size=32, cross_attention_dim=64, **xl)
    made = {
        "text_encoder": encoder, "tokenizer": tokenizer, "text_encoder_2": encoder_2, "tokenizer_2": tokenizer_2, "unet": unet,
        "vae": tiny_models.unet_vae(5), "scheduler": parts.diffusion("EulerDiscreteScheduler", **EULER),
    }  # fmt: skip
    if "ControlNet" in name:
        made["controlnet"] = of_controlnet(unet)
    return made


def deep_floyd(_name: str) -> dict:
    encoder, tokenizer = parts.t5()
    unet = diffusers.UNet2DConditionModel(
        sample_size=32, layers_per_block=1, block_out_channels=[32, 64], mid_block_type="UNetMidBlock2DSimpleCrossAttn",
        down_block_types=["ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"],
        up_block_types=["SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"], in_channels=3, out_channels=6, cross_attention_dim=32,
        encoder_hid_dim=32, attention_head_dim=8, addition_embed_type="text", addition_embed_type_num_heads=2,
        cross_attention_norm="group_norm", resnet_time_scale_shift="scale_shift", act_fn="gelu",
    )  # fmt: skip
    scheduler = diffusers.DDPMScheduler(
        beta_schedule="squaredcos_cap_v2", thresholding=True, dynamic_thresholding_ratio=0.95, sample_max_value=1.0, variance_type="learned_range"
    )
    return {
        "text_encoder": encoder, "tokenizer": tokenizer, "unet": unet, "scheduler": scheduler, "watermarker": None,
        "requires_safety_checker": False,
    } | NO_SAFETY  # fmt: skip


def hunyuan(_name: str) -> dict:
    bert_tokenizer = parts.bert_tokenizer()
    bert = BertModel(BertConfig(vocab_size=len(bert_tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=37)).eval()
    encoder_2, tokenizer_2 = parts.t5()
    transformer = diffusers.HunyuanDiT2DModel(
        sample_size=16, num_layers=2, patch_size=2, attention_head_dim=8, num_attention_heads=3, in_channels=4, cross_attention_dim=32,
        cross_attention_dim_t5=32, pooled_projection_dim=16, hidden_size=24, activation_fn="gelu-approximate",
    )  # fmt: skip
    return {
        "transformer": transformer, "vae": parts.autoencoder(levels=4), "scheduler": diffusers.DDPMScheduler(), "text_encoder": bert,
        "tokenizer": bert_tokenizer, "text_encoder_2": encoder_2, "tokenizer_2": tokenizer_2, "requires_safety_checker": False,
    } | NO_SAFETY  # fmt: skip


def kandinsky_unet(**options):
    return diffusers.UNet2DConditionModel(
        sample_size=16, in_channels=4, out_channels=8, down_block_types=("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
        up_block_types=("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"), mid_block_type="UNetMidBlock2DSimpleCrossAttn",
        block_out_channels=(32, 64), layers_per_block=1, encoder_hid_dim=32, cross_attention_dim=32, attention_head_dim=4,
        resnet_time_scale_shift="scale_shift", **options,
    )  # fmt: skip


def kandinsky_prior() -> dict:
    encoder, tokenizer = parts.clip(projection=True)
    vision = CLIPVisionConfig(
        hidden_size=32, projection_dim=32, image_size=56, patch_size=14, intermediate_size=37, num_attention_heads=4, num_hidden_layers=2
    )
    scheduler = diffusers.UnCLIPScheduler(
        variance_type="fixed_small_log", prediction_type="sample", clip_sample=True, clip_sample_range=10.0, num_train_timesteps=1000
    )
    return {
        "prior_prior": diffusers.PriorTransformer(num_attention_heads=2, attention_head_dim=12, embedding_dim=32, num_layers=1),
        "prior_image_encoder": CLIPVisionModelWithProjection(vision).eval(), "prior_text_encoder": encoder, "prior_tokenizer": tokenizer,
        "prior_scheduler": scheduler, "prior_image_processor": CLIPImageProcessor(size=56, crop_size=56),
    }  # fmt: skip


def kandinsky_decoder_scheduler():
    return diffusers.DDIMScheduler(
        beta_schedule="linear", beta_start=0.00085, beta_end=0.012, clip_sample=False, set_alpha_to_one=False, steps_offset=1
    )


def kandinsky(_name: str) -> dict:
    from diffusers.pipelines.kandinsky.text_encoder import MCLIPConfig, MultilingualCLIP

    tokenizer = parts.through_a_folder(parts.t5_tokenizer(), XLMRobertaTokenizerFast)
    config = MCLIPConfig(
        numDims=32, transformerDimensions=32, hidden_size=32, intermediate_size=37, num_attention_heads=4, num_hidden_layers=2,
        vocab_size=len(tokenizer) + 8,
    )  # fmt: skip
    return {
        "text_encoder": MultilingualCLIP(config).eval(), "tokenizer": tokenizer, "movq": parts.movq(), "scheduler": kandinsky_decoder_scheduler(),
        "unet": kandinsky_unet(addition_embed_type="text_image", encoder_hid_dim_type="text_image_proj"),
    } | kandinsky_prior()  # fmt: skip


def kandinsky_2_2(_name: str) -> dict:
    unet = kandinsky_unet(addition_embed_type="image", encoder_hid_dim_type="image_proj")
    return {"unet": unet, "movq": parts.movq(), "scheduler": kandinsky_decoder_scheduler()} | kandinsky_prior()


def kandinsky_3(_name: str) -> dict:
    from diffusers.models.unets.unet_kandinsky3 import Kandinsky3UNet

    encoder, tokenizer = parts.t5()
    unet = Kandinsky3UNet(
        in_channels=4, time_embedding_dim=4, groups=2, attention_head_dim=4, layers_per_block=3, block_out_channels=(32, 64),
        cross_attention_dim=4, encoder_hid_dim=32,
    )  # fmt: skip
    scheduler = parts.diffusion("DDPMScheduler", steps_offset=1, beta_schedule="squaredcos_cap_v2", clip_sample=True)
    return {"unet": unet, "scheduler": scheduler, "movq": parts.movq(), "text_encoder": encoder, "tokenizer": tokenizer}


def pixart(_name: str) -> dict:
    encoder, tokenizer = parts.t5()
    transformer = diffusers.PixArtTransformer2DModel(
        sample_size=8, num_layers=2, patch_size=2, attention_head_dim=8, num_attention_heads=3, caption_channels=32, in_channels=4,
        cross_attention_dim=24, out_channels=8, attention_bias=True, activation_fn="gelu-approximate", num_embeds_ada_norm=1000,
        norm_type="ada_norm_single", norm_elementwise_affine=False, norm_eps=1e-6,
    )  # fmt: skip
    vae = parts.autoencoder(levels=4, shift_factor=None, scaling_factor=0.18215)
    return {"transformer": transformer, "vae": vae, "scheduler": diffusers.DDIMScheduler(), "text_encoder": encoder, "tokenizer": tokenizer}


def kolors(_name: str) -> dict:
    from diffusers.pipelines.kolors.text_encoder import ChatGLMConfig, ChatGLMModel

    tokenizer = kolors_tokenizer()
    config = ChatGLMConfig(
        num_layers=2, padded_vocab_size=400, hidden_size=16, ffn_hidden_size=32, kv_channels=8, num_attention_heads=2, seq_length=64,
        multi_query_attention=True, multi_query_group_num=1, rmsnorm=True, add_qkv_bias=True, post_layer_norm=True,
        apply_residual_connection_post_layernorm=False, bias_dropout_fusion=True, attention_softmax_in_fp32=True,
        apply_query_key_layer_scaling=True, fp32_residual_connection=False, original_rope=True,
    )  # fmt: skip
    xl = {"addition_embed_type": "text_time", "addition_time_embed_dim": 8, "use_linear_projection": True}
    return {
        "unet": tiny_models.unet(4, pooled_size=16, cross_attention_dim=16, **xl), "vae": tiny_models.unet_vae(5),
        "scheduler": parts.diffusion("EulerDiscreteScheduler", **EULER), "text_encoder": parts.drawn(ChatGLMModel(config)), "tokenizer": tokenizer,
    }  # fmt: skip


def kolors_tokenizer():
    from diffusers.pipelines.kolors.tokenizer import ChatGLMTokenizer

    file = Path(VOCABULARIES.name) / "tokenizer.model"  # it is copied from there when the tokenizer is saved
    file.write_bytes(tiny_tokenizers.sentencepiece_model())
    return ChatGLMTokenizer(vocab_file=str(file))


BUILDERS = {
    "StableDiffusionPipeline": stable_diffusion,
    "StableDiffusionPAGPipeline": stable_diffusion,
    "StableDiffusionControlNetPipeline": stable_diffusion,
    "StableDiffusionControlNetPAGPipeline": stable_diffusion,
    "LatentConsistencyModelPipeline": stable_diffusion,
    "StableDiffusionXLPipeline": stable_diffusion_xl,
    "StableDiffusionXLPAGPipeline": stable_diffusion_xl,
    "StableDiffusionXLControlNetPipeline": stable_diffusion_xl,
    "StableDiffusionXLControlNetPAGPipeline": stable_diffusion_xl,
    "IFPipeline": deep_floyd,
    "HunyuanDiTPipeline": hunyuan,
    "HunyuanDiTPAGPipeline": hunyuan,
    "KandinskyCombinedPipeline": kandinsky,
    "KandinskyV22CombinedPipeline": kandinsky_2_2,
    "Kandinsky3Pipeline": kandinsky_3,
    "PixArtAlphaPipeline": pixart,
    "PixArtSigmaPipeline": pixart,
    "PixArtSigmaPAGPipeline": pixart,
    "KolorsPipeline": kolors,
    "KolorsPAGPipeline": kolors,
}
