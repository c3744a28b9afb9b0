"""The peer of `./dev bench qwen3`, a process that obeys "prompt", "step", "decode" and "save PATH" on stdin, and what makes its files.

    weights FOLDER KIND TEXT BLOCKS    Qwen3-4B with so many of its layers, the denoiser with so many blocks, and its autoencoder
    inputs FOLDER KIND                 token ids, text states, image tokens and latents of a picture of 512x512
    diffusers FOLDER KIND N            Diffusers and transformers on N threads, bfloat16, the autoencoder in channels_last

KIND is klein or z_image. All weights are random, in bfloat16; of klein there are four blocks of one stream to each of two.
"""

import pathlib
import sys
import time

import torch

import sd3_peers

QWEN3 = {"vocab_size": 151936, "hidden_size": 2560, "intermediate_size": 9728, "num_attention_heads": 32, "num_key_value_heads": 8,
         "head_dim": 128, "rms_norm_eps": 1e-6, "rope_parameters": {"rope_theta": 1e6, "rope_type": "default"}}
KLEIN = {"in_channels": 128, "attention_head_dim": 128, "num_attention_heads": 24, "joint_attention_dim": 7680, "guidance_embeds": False,
         "axes_dims_rope": [32, 32, 32, 32]}
Z_IMAGE = {"in_channels": 16, "dim": 3840, "n_refiner_layers": 2, "n_heads": 30, "n_kv_heads": 30, "cap_feat_dim": 2560,
           "axes_dims": [32, 48, 48], "axes_lens": [1024, 512, 512]}
KLEIN_VAE = {"block_out_channels": [128, 256, 512, 512], "layers_per_block": 2, "latent_channels": 32}
Z_IMAGE_VAE = sd3_peers.VAE | {"scaling_factor": 0.3611, "shift_factor": 0.1159}
TEXT_TOKENS = {"klein": 512, "z_image": 64}
SIDE = 64  # of the latents
NAMES = ("ids", "text", "image", "timestep", "decoded")


def write_text_encoder(folder: pathlib.Path, layers: int, generator: torch.Generator) -> None:
    from safetensors.torch import save_file
    from transformers import Qwen3Config, Qwen3Model

    config = Qwen3Config(**QWEN3, num_hidden_layers=layers)
    with torch.device("meta"):
        shapes = {key: value.shape for key, value in Qwen3Model(config).state_dict().items()}
    tensors = {key: sd3_peers.random_tensor(key, shape, generator) for key, shape in shapes.items()}
    config.save_pretrained(folder)
    save_file({f"model.{key}": value for key, value in tensors.items()}, folder / "model.safetensors")


def make_weights(folder: pathlib.Path, kind: str, text_layers: str, blocks: str) -> None:
    import diffusers

    generator, count = torch.Generator().manual_seed(0), int(blocks)
    write_text_encoder(folder / "text_encoder", int(text_layers), generator)
    if kind == "klein":
        config = KLEIN | {"num_layers": count, "num_single_layers": 4 * count}
        sd3_peers.write_network(folder / "transformer", diffusers.Flux2Transformer2DModel, config, generator)
        sd3_peers.write_network(folder / "vae", diffusers.AutoencoderKLFlux2, KLEIN_VAE, generator)
    else:
        sd3_peers.write_network(folder / "transformer", diffusers.ZImageTransformer2DModel, Z_IMAGE | {"n_layers": count}, generator)
        sd3_peers.write_network(folder / "vae", diffusers.AutoencoderKL, Z_IMAGE_VAE, generator)


def make_inputs(folder: pathlib.Path, kind: str) -> None:
    from safetensors.torch import save_file

    tokens, generator = TEXT_TOKENS[kind], torch.Generator().manual_seed(SIDE)
    shapes = {"text": (1, tokens, 2560), "image": (1, 16, SIDE, SIDE), "decoded": (1, 16, SIDE, SIDE)}
    if kind == "klein":
        half = SIDE // 2
        shapes = {"text": (1, tokens, 7680), "image": (1, half * half, 128), "decoded": (1, 128, half, half)}
    tensors = {name: torch.randn(shape, generator=generator).to(torch.bfloat16) for name, shape in shapes.items()}
    tensors["ids"] = torch.randint(QWEN3["vocab_size"], (1, tokens), generator=generator)
    tensors["timestep"] = torch.tensor([0.25], dtype=torch.bfloat16)
    save_file(tensors, folder / "inputs.safetensors")


def klein_works(folder: pathlib.Path, inputs: dict[str, torch.Tensor]) -> dict:
    import diffusers

    dtype = torch.bfloat16
    transformer = diffusers.Flux2Transformer2DModel.from_pretrained(folder / "transformer", torch_dtype=dtype).eval()
    vae = diffusers.AutoencoderKLFlux2.from_pretrained(folder / "vae", torch_dtype=dtype).eval().to(memory_format=torch.channels_last)
    pipeline = diffusers.Flux2KleinPipeline
    image_ids = pipeline._prepare_latent_ids(inputs["decoded"])
    text_ids = pipeline._prepare_text_ids(inputs["text"])

    def step() -> torch.Tensor:
        return transformer(hidden_states=inputs["image"], timestep=inputs["timestep"], guidance=None, encoder_hidden_states=inputs["text"],
                           txt_ids=text_ids, img_ids=image_ids, return_dict=False)[0].float()  # fmt: skip

    def decode() -> torch.Tensor:
        latents = pipeline._unpatchify_latents(inputs["decoded"]).contiguous(memory_format=torch.channels_last)
        return vae.decode(latents, return_dict=False)[0].float()

    return {"step": step, "decode": decode}


def z_image_works(folder: pathlib.Path, inputs: dict[str, torch.Tensor]) -> dict:
    import diffusers

    dtype = torch.bfloat16
    transformer = diffusers.ZImageTransformer2DModel.from_pretrained(folder / "transformer", torch_dtype=dtype).eval()
    vae = diffusers.AutoencoderKL.from_pretrained(folder / "vae", torch_dtype=dtype).eval().to(memory_format=torch.channels_last)
    image = inputs["decoded"].contiguous(memory_format=torch.channels_last)

    def step() -> torch.Tensor:
        velocity = transformer([inputs["image"][0].unsqueeze(1)], inputs["timestep"].float(), [inputs["text"][0]], return_dict=False)[0]
        return velocity[0].squeeze(1).float()

    return {"step": step, "decode": lambda: vae.decode(image, return_dict=False)[0].float()}


def run_diffusers(folder: pathlib.Path, kind: str, threads: str) -> None:
    from safetensors.torch import load_file
    from transformers import AutoModel

    torch.set_num_threads(int(threads))
    torch.set_flush_denormal(True)
    torch.set_grad_enabled(False)
    inputs = load_file(folder / "inputs.safetensors")
    began = time.perf_counter()
    text = AutoModel.from_pretrained(folder / "text_encoder", dtype=torch.bfloat16).eval()
    works = (klein_works if kind == "klein" else z_image_works)(folder, inputs)
    print(f"ready load {time.perf_counter() - began:.3f}", flush=True)
    sd3_peers.obey(works | {"prompt": lambda: text(inputs["ids"]).last_hidden_state.float()})


if __name__ == "__main__":
    command, folder, *words = sys.argv[1:]
    {"weights": make_weights, "inputs": make_inputs, "diffusers": run_diffusers}[command](pathlib.Path(folder), *words)
