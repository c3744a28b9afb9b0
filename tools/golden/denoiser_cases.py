"""Golden cases of the denoisers of Stable Diffusion, from 1 to 3.5, stage by stage."""

import torch

import tiny_models
from cases import case, draw, record


def mmdit_case(seed: int, height: int, width: int, text_tokens: int = 11, zero_tokens: int = 0, skips=(), **options):
    model = tiny_models.transformer(seed, joint_attention_dim=40, pooled_projection_dim=24, **options)
    config = model.config
    inputs = {
        "latents": draw(seed + 1, 3, config.in_channels, height, width),
        "text": draw(seed + 2, 3, text_tokens, config.joint_attention_dim),
        "pooled": draw(seed + 3, 3, config.pooled_projection_dim),
        "timesteps": torch.tensor([1000.0, 602.1506, 8.928572]),  # each row at its own
    }
    text = torch.nn.functional.pad(inputs["text"], (0, 0, 0, zero_tokens))
    arguments = (inputs["latents"], text, inputs["pooled"], inputs["timesteps"])
    outputs, modulations = {}, {}
    record(model.pos_embed, outputs, "patches")
    record(model.context_embedder, outputs, "context")
    record(model.time_text_embed, outputs, "conditioning")
    for index, block in enumerate(model.transformer_blocks):
        record(block.norm1.linear, modulations, f"{index}.image")
        record(block.norm1_context.linear, modulations, f"{index}.text")
    record(model.norm_out.linear, modulations, "out")
    velocity = model(*arguments).sample
    outputs |= {"velocity": velocity, "modulations": torch.cat(list(modulations.values()), dim=1)}
    if zero_tokens:
        del outputs["context"]
    stages = dict(outputs)
    for skip in skips:
        stages["velocity.skip" + "".join(f"_{index}" for index in skip)] = model(*arguments, skip_layers=skip).sample
    return case(model, dict(config), inputs, stages)


def mmdit_sd3():
    return mmdit_case(60, 8, 12, skips=[[1, 2], [0, 2], [0, 1], [1]])


def mmdit_sd35_medium():
    return mmdit_case(
        70, 6, 4, qk_norm="rms_norm", attention_head_dim=12, dual_attention_layers=(0, 1), skips=[[1, 2], [0, 2]]
    )


def mmdit_sd35_large():
    return mmdit_case(80, 4, 4, qk_norm="rms_norm", num_layers=2, num_attention_heads=1)


def mmdit_patch_one():
    return mmdit_case(
        90, 7, 5, patch_size=1, in_channels=4, out_channels=6, num_layers=1, num_attention_heads=3,
        attention_head_dim=8, dual_attention_layers=(0,), pos_embed_max_size=8,
    )  # fmt: skip


def mmdit_without_t5():
    """Text tokens, then 256 zero tokens as the pipeline gives them without T5; `text` leaves the zeros out."""
    return mmdit_case(100, 8, 8, zero_tokens=256, num_layers=2)


def unet_case(seed: int, height: int, width: int, **options):
    model = tiny_models.unet(seed, **options)
    config = model.config
    inputs = {
        "latents": draw(seed + 1, 3, config.in_channels, height, width),
        "text": draw(seed + 2, 3, 7, config.cross_attention_dim),
        "timesteps": torch.tensor([999.0, 501.25, 1.0]),  # each row at its own
    }
    if config.time_cond_proj_dim:
        inputs["guidance"] = draw(seed + 3, 3, config.time_cond_proj_dim)
    if config.addition_embed_type:
        inputs["pooled"] = draw(seed + 4, 3, options["pooled_size"])
        inputs["time_ids"] = torch.tensor([[64.0, 80, 0, 0, 64, 80], [1024, 768, 8, 16, 512, 512], [9, 9, 0, 3, 9, 9]])
    shifts, contexts = {}, {}
    blocks = [*model.down_blocks, *([model.mid_block] if model.mid_block else []), *model.up_blocks]
    for index, block in enumerate(blocks):
        for resnet_index, resnet in enumerate(block.resnets):
            record(resnet.time_emb_proj, shifts, f"{index}.{resnet_index}")
        for attention in getattr(block, "attentions", []):
            for transformer in attention.transformer_blocks:
                for projection in (transformer.attn2.to_k, transformer.attn2.to_v):
                    name = str(len(contexts))
                    contexts[name] = None  # its place
                    record(projection, contexts, name)
    outputs = {
        "noise": model(
            inputs["latents"], inputs["timesteps"], inputs["text"], timestep_cond=inputs.get("guidance"),
            added_cond_kwargs={"text_embeds": inputs.get("pooled"), "time_ids": inputs.get("time_ids")},
        ).sample
    }  # fmt: skip
    outputs |= {"modulations": torch.cat(list(shifts.values()), dim=1), "context": torch.cat(list(contexts.values()), dim=2)}
    return case(model, dict(config), inputs, outputs)


def unet_sd1():
    return unet_case(150, 8, 12)


def unet_odd_size():
    """Sides that no level halves evenly; levels that differ in all they can."""
    return unet_case(
        160, 9, 7, block_out_channels=(8, 16, 24), layers_per_block=(1, 2, 1), attention_head_dim=(2, 4, 3),
        transformer_layers_per_block=(1, 2, 1), use_linear_projection=True, mid_block_type=None,
    )  # fmt: skip


def unet_xl():
    return unet_case(
        170, 4, 8, addition_embed_type="text_time", pooled_size=20, use_linear_projection=True,
        transformer_layers_per_block=(1, 1, 2), block_out_channels=(8, 16, 16),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    )  # fmt: skip


def unet_distilled():
    return unet_case(
        180, 6, 5, time_cond_proj_dim=10, block_out_channels=(32,), attention_head_dim=1, norm_num_groups=8,
        down_block_types=("CrossAttnDownBlock2D",), up_block_types=("CrossAttnUpBlock2D",),
    )  # fmt: skip
