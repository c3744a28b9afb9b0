"""Golden cases of autoencoders, both ways."""

import torch
from diffusers import Flux2KleinPipeline

import tiny_models
from cases import case, draw


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


def vae_qwen_image():
    """One moment of a film."""
    model = tiny_models.qwen_image_vae(395, base_dim=4, dim_mult=[1, 4, 2])
    inputs = {"latents": draw(396, 2, 4, 5, 3), "image": draw(397, 2, 3, 20, 12).clamp(-1, 1)}
    mean, deviation = (torch.tensor(model.config[key]).view(1, -1, 1, 1) for key in ("latents_mean", "latents_std"))
    latents = inputs["latents"] / (1 / deviation) + mean
    distribution = model.encode(inputs["image"].unsqueeze(2)).latent_dist
    outputs = {
        "image": model._decode(latents.unsqueeze(2)).sample.squeeze(2),
        "mean": distribution.mean.squeeze(2),
        "logvar": distribution.logvar.squeeze(2),
        "scaled": (distribution.mean.squeeze(2) - mean) * (1 / deviation),
    }
    return case(model, dict(model.config), inputs, outputs)


def vae_flux2():
    model = tiny_models.flux2_vae(390, block_out_channels=(8, 16, 16), decoder_block_out_channels=(12, 8, 20))
    inputs = {"latents": draw(391, 2, 16, 3, 5), "image": draw(392, 2, 3, 24, 40).clamp(-1, 1)}
    pipeline = Flux2KleinPipeline
    deviation = torch.sqrt(model.bn.running_var + model.config.batch_norm_eps).view(1, -1, 1, 1)
    mean = model.bn.running_mean.view(1, -1, 1, 1)
    latents = pipeline._unpatchify_latents(inputs["latents"] * deviation + mean)
    encoded = pipeline._patchify_latents(model.encode(inputs["image"]).latent_dist.mode())
    outputs = {"image": model.decode(latents).sample, "scaled": (encoded - mean) / deviation}
    tensors, config = case(model, dict(model.config), inputs, outputs)
    del tensors["weights.bn.num_batches_tracked"]
    return tensors, config
