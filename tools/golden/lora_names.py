"""How the makers of networks call the layers that LoRAs change, and what Diffusers calls them."""

# How the makers of a network call its layers, and what Diffusers has instead, which may be parts; {} is the block.
FLUX_BLOCKS = {
    "double_blocks.{}.img_attn.qkv": ["transformer_blocks.{}.attn." + part for part in ("to_q", "to_k", "to_v")],
    "double_blocks.{}.txt_attn.qkv": ["transformer_blocks.{}.attn." + part for part in ("add_q_proj", "add_k_proj", "add_v_proj")],
    "double_blocks.{}.img_attn.proj": ["transformer_blocks.{}.attn.to_out.0"],
    "double_blocks.{}.img_mlp.0": ["transformer_blocks.{}.ff.net.0.proj"],
    "double_blocks.{}.img_mlp.2": ["transformer_blocks.{}.ff.net.2"],
    "double_blocks.{}.img_mod.lin": ["transformer_blocks.{}.norm1.linear"],
    "double_blocks.{}.txt_attn.proj": ["transformer_blocks.{}.attn.to_add_out"],
    "double_blocks.{}.txt_mlp.0": ["transformer_blocks.{}.ff_context.net.0.proj"],
    "double_blocks.{}.txt_mlp.2": ["transformer_blocks.{}.ff_context.net.2"],
    "double_blocks.{}.txt_mod.lin": ["transformer_blocks.{}.norm1_context.linear"],
    "single_blocks.{}.linear2": ["single_transformer_blocks.{}.proj_out"],
    "single_blocks.{}.modulation.lin": ["single_transformer_blocks.{}.norm.linear"],
}
# Those that Diffusers reads from kohya's files only for the published width, or not at all.
FLUX_REST = {
    "single_blocks.{}.linear1": ["single_transformer_blocks.{}." + part for part in ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp")],
    "img_in": ["x_embedder"],
    "txt_in": ["context_embedder"],
    "time_in.in_layer": ["time_text_embed.timestep_embedder.linear_1"],
    "time_in.out_layer": ["time_text_embed.timestep_embedder.linear_2"],
    "vector_in.in_layer": ["time_text_embed.text_embedder.linear_1"],
    "vector_in.out_layer": ["time_text_embed.text_embedder.linear_2"],
    "guidance_in.in_layer": ["time_text_embed.guidance_embedder.linear_1"],
    "guidance_in.out_layer": ["time_text_embed.guidance_embedder.linear_2"],
    "final_layer.linear": ["proj_out"],
    "final_layer.adaLN_modulation.1": ["norm_out.linear"],
}
SD3_LAYERS = {
    "joint_blocks.{}.x_block.attn.qkv": ["transformer_blocks.{}.attn." + part for part in ("to_q", "to_k", "to_v")],
    "joint_blocks.{}.x_block.attn2.qkv": ["transformer_blocks.{}.attn2." + part for part in ("to_q", "to_k", "to_v")],
    "joint_blocks.{}.context_block.attn.qkv": ["transformer_blocks.{}.attn." + part for part in ("add_q_proj", "add_k_proj", "add_v_proj")],
    "joint_blocks.{}.x_block.attn.proj": ["transformer_blocks.{}.attn.to_out.0"],
    "joint_blocks.{}.x_block.attn2.proj": ["transformer_blocks.{}.attn2.to_out.0"],
    "joint_blocks.{}.context_block.attn.proj": ["transformer_blocks.{}.attn.to_add_out"],
    "joint_blocks.{}.x_block.mlp.fc1": ["transformer_blocks.{}.ff.net.0.proj"],
    "joint_blocks.{}.x_block.mlp.fc2": ["transformer_blocks.{}.ff.net.2"],
    "joint_blocks.{}.context_block.mlp.fc1": ["transformer_blocks.{}.ff_context.net.0.proj"],
    "joint_blocks.{}.context_block.mlp.fc2": ["transformer_blocks.{}.ff_context.net.2"],
    "joint_blocks.{}.x_block.adaLN_modulation.1": ["transformer_blocks.{}.norm1.linear"],
    "joint_blocks.{}.context_block.adaLN_modulation.1": ["transformer_blocks.{}.norm1_context.linear"],
    "x_embedder.proj": ["pos_embed.proj"],
    "context_embedder": ["context_embedder"],
    "t_embedder.mlp.0": ["time_text_embed.timestep_embedder.linear_1"],
    "t_embedder.mlp.2": ["time_text_embed.timestep_embedder.linear_2"],
    "y_embedder.mlp.0": ["time_text_embed.text_embedder.linear_1"],
    "y_embedder.mlp.2": ["time_text_embed.text_embedder.linear_2"],
    "final_layer.linear": ["proj_out"],
    "final_layer.adaLN_modulation.1": ["norm_out.linear"],
}
FLUX2_LAYERS = {
    "double_blocks.{}.img_attn.qkv": ["transformer_blocks.{}.attn." + part for part in ("to_q", "to_k", "to_v")],
    "double_blocks.{}.txt_attn.qkv": ["transformer_blocks.{}.attn." + part for part in ("add_q_proj", "add_k_proj", "add_v_proj")],
    "double_blocks.{}.img_attn.proj": ["transformer_blocks.{}.attn.to_out.0"],
    "double_blocks.{}.img_mlp.0": ["transformer_blocks.{}.ff.linear_in"],
    "double_blocks.{}.img_mlp.2": ["transformer_blocks.{}.ff.linear_out"],
    "double_blocks.{}.txt_attn.proj": ["transformer_blocks.{}.attn.to_add_out"],
    "double_blocks.{}.txt_mlp.0": ["transformer_blocks.{}.ff_context.linear_in"],
    "double_blocks.{}.txt_mlp.2": ["transformer_blocks.{}.ff_context.linear_out"],
    "single_blocks.{}.linear1": ["single_transformer_blocks.{}.attn.to_qkv_mlp_proj"],
    "single_blocks.{}.linear2": ["single_transformer_blocks.{}.attn.to_out"],
    "img_in": ["x_embedder"],
    "txt_in": ["context_embedder"],
    "time_in.in_layer": ["time_guidance_embed.timestep_embedder.linear_1"],
    "time_in.out_layer": ["time_guidance_embed.timestep_embedder.linear_2"],
    "final_layer.linear": ["proj_out"],
}
# Those that Diffusers does not read from kohya's files.
FLUX2_REST = {
    "double_stream_modulation_img.lin": ["double_stream_modulation_img.linear"],
    "double_stream_modulation_txt.lin": ["double_stream_modulation_txt.linear"],
    "single_stream_modulation.lin": ["single_stream_modulation.linear"],
    "final_layer.adaLN_modulation.1": ["norm_out.linear"],
}
Z_IMAGE_LAYERS = {
    f"{block}.{{}}.attention.{name}": [f"{block}.{{}}.attention.{part}" for part in parts]
    for block in ("layers", "noise_refiner", "context_refiner")
    for name, parts in {"qkv": ["to_q", "to_k", "to_v"], "out": ["to_out.0"]}.items()
}
