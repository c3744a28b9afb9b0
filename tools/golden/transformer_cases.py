"""Golden cases of denoisers whose positions are rotations: FLUX.1, FLUX.2 and Z-Image, stage by stage."""

import torch

import tiny_models
from cases import case, draw, record


def flux_case(seed: int, rows: int, columns: int, text_tokens: int = 11, **options):
    model = tiny_models.flux_transformer(seed, joint_attention_dim=40, pooled_projection_dim=24, **options)
    config = model.config
    inputs = {
        "image": draw(seed + 1, 3, rows * columns, config.in_channels),
        "grid": torch.tensor([float(rows), float(columns)]),
        "text": draw(seed + 2, 3, text_tokens, config.joint_attention_dim),
        "pooled": draw(seed + 3, 3, config.pooled_projection_dim),
        "timesteps": torch.tensor([1.0, 0.6021506, 0.008928572]),  # each row at its own
    }
    if config.guidance_embeds:
        inputs["guidance"] = torch.tensor([3.5, 0.0, 30.0])
    axes = [torch.zeros(1), torch.arange(float(rows)), torch.arange(float(columns))]
    outputs, modulations = {}, {}
    record(model.context_embedder, outputs, "context")
    for index, block in enumerate(model.transformer_blocks):
        record(block.norm1.linear, modulations, f"{index}.image")
        record(block.norm1_context.linear, modulations, f"{index}.text")
    for index, block in enumerate(model.single_transformer_blocks):
        record(block.norm.linear, modulations, f"{index}.single")
    record(model.norm_out.linear, modulations, "out")
    velocity = model(
        inputs["image"], inputs["text"], inputs["pooled"], inputs["timesteps"], torch.cartesian_prod(*axes),
        torch.zeros(text_tokens, 3), inputs.get("guidance"),
    ).sample  # fmt: skip
    outputs |= {"velocity": velocity, "modulations": torch.cat(list(modulations.values()), dim=1)}
    return case(model, dict(config), inputs, outputs)


def flux_schnell():
    return flux_case(200, 4, 6)


def flux_dev():
    """A head of 32, which our kernels take; a grid with places far from the corner."""
    return flux_case(
        210, 3, 40, guidance_embeds=True, num_layers=1, num_single_layers=3, num_attention_heads=1,
        attention_head_dim=32, axes_dims_rope=(8, 12, 12),
    )  # fmt: skip


def flux_double_only():
    return flux_case(
        220, 5, 3, in_channels=48, out_channels=16, num_single_layers=0, num_attention_heads=3,
        attention_head_dim=12, axes_dims_rope=(0, 4, 8),
    )  # fmt: skip


def flux_single_only():
    return flux_case(230, 2, 2, text_tokens=1, in_channels=8, num_layers=0, num_attention_heads=4)


def positions(grids: list[tuple[int, int, int]], axes: int) -> torch.Tensor:
    """Of the tokens of pictures, each of so many rows and columns and at its place on the first axis."""
    parts = [
        torch.cartesian_prod(torch.tensor([float(picture)]), torch.arange(float(rows)), torch.arange(float(columns)))
        for rows, columns, picture in grids
    ]
    return torch.nn.functional.pad(torch.cat(parts), (0, axes - 3))


def flux_references():
    """FLUX.1 Kontext: a picture to go by behind the one that is made."""
    model = tiny_models.flux_transformer(240, joint_attention_dim=40, pooled_projection_dim=24)
    grids = [(3, 5, 0), (4, 2, 1)]
    inputs = {
        "image": draw(241, 2, 23, model.config.in_channels),
        "grids": torch.tensor(grids, dtype=torch.float32),
        "text": draw(242, 2, 7, model.config.joint_attention_dim),
        "pooled": draw(243, 2, model.config.pooled_projection_dim),
        "timesteps": torch.tensor([1.0, 0.25]),
    }
    velocity = model(
        inputs["image"], inputs["text"], inputs["pooled"], inputs["timesteps"], positions(grids, 3), torch.zeros(7, 3)
    ).sample
    return case(model, dict(model.config), inputs, {"velocity": velocity[:, :15]})


def flux2_case(seed: int, grids: list[tuple[int, int, int]], text_tokens: int, **options):
    model = tiny_models.flux2_transformer(seed, **options)
    config = model.config
    tokens = sum(rows * columns for rows, columns, _ in grids)
    inputs = {
        "image": draw(seed + 1, 3, tokens, config.in_channels),
        "grids": torch.tensor(grids, dtype=torch.float32),
        "text": draw(seed + 2, 3, text_tokens, config.joint_attention_dim),
        "timesteps": torch.tensor([1.0, 0.6021506, 0.008928572]),  # each row at its own
    }
    if config.guidance_embeds:
        inputs["guidance"] = torch.tensor([3.5, 0.0, 30.0])
    outputs, modulations = {}, {}
    record(model.context_embedder, outputs, "context")
    for name in ("double_stream_modulation_img", "double_stream_modulation_txt", "single_stream_modulation"):
        record(getattr(model, name).linear, modulations, name)
    record(model.norm_out.linear, modulations, "out")
    text_ids = torch.nn.functional.pad(torch.arange(float(text_tokens)).unsqueeze(1), (3, 0))
    velocity = model(
        inputs["image"], inputs["text"], inputs["timesteps"], positions(grids, 4), text_ids, inputs.get("guidance")
    ).sample
    outputs["velocity"] = velocity[:, : grids[0][0] * grids[0][1]]
    outputs["modulations"] = torch.cat(list(modulations.values()), dim=1)
    return case(model, dict(config), inputs, outputs)


def flux2_klein():
    return flux2_case(350, [(4, 6, 0)], text_tokens=9)


def flux2_references():
    """Two pictures to go by; a head of 32, which our kernels take; no blocks of two streams."""
    return flux2_case(
        360, [(3, 5, 0), (2, 2, 10), (4, 3, 20)], text_tokens=5, num_layers=0, num_attention_heads=1,
        attention_head_dim=32, axes_dims_rope=(8, 8, 8, 8), out_channels=12,
    )  # fmt: skip


def flux2_dev():
    """With a guidance scale; deeper; perceptrons of another width."""
    return flux2_case(370, [(2, 7, 0)], text_tokens=6, guidance_embeds=True, num_layers=2, mlp_ratio=2.5, num_attention_heads=3)


def qwen_image_case(seed: int, grids: list[tuple[int, int, int]], text_tokens: int, **options):
    model = tiny_models.qwen_image_transformer(seed, **options)
    config = model.config
    inputs = {
        "image": draw(seed + 1, 3, sum(rows * columns for rows, columns, _ in grids), config.in_channels),
        "grids": torch.tensor(grids, dtype=torch.float32),
        "text": draw(seed + 2, 3, text_tokens, config.joint_attention_dim),
        "timesteps": torch.tensor([1.0, 0.6021506, 0.008928572]),  # each row at its own
    }
    outputs, modulations = {}, {}
    record(model.txt_in, outputs, "context")
    for index, block in enumerate(model.transformer_blocks):
        record(block.img_mod, modulations, f"{index}.image")
        record(block.txt_mod, modulations, f"{index}.text")
    record(model.norm_out.linear, modulations, "out")
    shapes = [[(1, rows, columns) for rows, columns, _ in grids]] * 3
    velocity = model(inputs["image"], inputs["text"], timestep=inputs["timesteps"], img_shapes=shapes).sample
    outputs["velocity"] = velocity[:, : grids[0][0] * grids[0][1]]
    parts = []
    for name, part in modulations.items():
        if config.zero_cond_t and name.endswith("image"):  # behind those of the timesteps are those of time 0
            now, finished = part.chunk(2)
            parts += [now, modulations[name.replace("image", "text")], finished]
        elif not (config.zero_cond_t and name.endswith("text")):
            parts.append(part)
    outputs["modulations"] = torch.cat(parts, dim=1)
    return case(model, dict(config), inputs, outputs)


def qwen_image():
    """Odd sides, whose middles are no place of a token."""
    return qwen_image_case(400, [(5, 6, 0)], text_tokens=9)


def qwen_image_references():
    """Two pictures to go by, told the time of finished ones; a head of 32, which our kernels take."""
    return qwen_image_case(
        410, [(3, 5, 0), (2, 2, 1), (4, 7, 2)], text_tokens=5, num_layers=1, num_attention_heads=1, attention_head_dim=32,
        axes_dims_rope=(8, 12, 12), out_channels=3, zero_cond_t=True,
    )  # fmt: skip


def qwen_image_far():
    """A wide picture before a long text: positions in the hundreds."""
    return qwen_image_case(420, [(2, 300, 0)], text_tokens=150, num_layers=1, num_attention_heads=3)


def z_image_case(seed: int, height: int, width: int, text_tokens: int, **options):
    model = tiny_models.z_image_transformer(seed, **options)
    config = model.config
    inputs = {
        "latents": draw(seed + 1, 3, config.in_channels, height, width),
        "text": draw(seed + 2, 3, text_tokens, config.cap_feat_dim),
        "timesteps": torch.tensor([0.0, 0.3978494, 0.991071]),  # each row at its own
    }
    outputs, modulations = {}, {}
    for name in ("noise_refiner", "layers"):
        for index, block in enumerate(getattr(model, name)):
            record(block.adaLN_modulation, modulations, f"{name}.{index}")
    record(model.all_final_layer["2-1"].adaLN_modulation, modulations, "out")
    if model.context_refiner:
        record(model.context_refiner[-1], outputs, "context")
    velocity = model(list(inputs["latents"].unsqueeze(2)), inputs["timesteps"], list(inputs["text"])).sample
    outputs["velocity"] = torch.stack(velocity).squeeze(2)
    parts = list(modulations.values())
    for index, part in enumerate(parts[:-1]):  # as they are applied
        scale_1, gate_1, scale_2, gate_2 = part.chunk(4, dim=1)
        parts[index] = torch.cat([1 + scale_1, gate_1.tanh(), 1 + scale_2, gate_2.tanh()], dim=1)
    outputs["modulations"] = torch.cat(parts, dim=1)
    return case(model, dict(config), inputs, outputs)


def z_image():
    """Both streams are padded."""
    return z_image_case(320, 6, 10, text_tokens=21)


def z_image_whole():
    """Neither is: 32 tokens of each; one head of 32, which our kernels take."""
    return z_image_case(
        330, 8, 16, text_tokens=32, n_heads=1, axes_dims=[8, 12, 12], n_layers=1, n_refiner_layers=2, in_channels=4,
        cap_feat_dim=24,
    )  # fmt: skip


def z_image_far():
    """A wide picture behind a long text: positions in the hundreds; a width that eight thirds make odd."""
    return z_image_case(
        340, 2, 320, text_tokens=170, dim=60, n_heads=3, axes_dims=[4, 8, 8], axes_lens=[256, 4, 256], n_layers=3,
    )  # fmt: skip
