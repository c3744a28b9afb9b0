"""The peers of `./dev bench sd3`, each a process of its own that obeys lines on stdin (see sd3.cpp), and what makes their files.

    weights FOLDER BLOCKS       SD3-medium's transformer of so many blocks, and its autoencoder; random bfloat16 weights
    inputs FOLDER SIDE          latents, text and pooled embeddings for latents of SIDE x SIDE
    diffusers FOLDER SIDE N     Diffusers on N threads, bfloat16, the autoencoder in channels_last (its faster layout)
    convert FOLDER SIDE         the networks as OpenVINO's own files
    openvino FOLDER SIDE N      OpenVINO on N threads, bfloat16, compiled for this very shape (its fastest configuration)
"""

import json
import pathlib
import sys
import time

import numpy
import torch

TRANSFORMER = {"sample_size": 128, "patch_size": 2, "in_channels": 16, "attention_head_dim": 64,
               "num_attention_heads": 24, "joint_attention_dim": 4096, "caption_projection_dim": 1536,
               "pooled_projection_dim": 2048, "out_channels": 16, "pos_embed_max_size": 192}
VAE = {"in_channels": 3, "out_channels": 3, "down_block_types": ["DownEncoderBlock2D"] * 4,
       "up_block_types": ["UpDecoderBlock2D"] * 4, "block_out_channels": [128, 256, 512, 512], "layers_per_block": 2,
       "latent_channels": 16, "scaling_factor": 1.5305, "shift_factor": 0.0609, "use_quant_conv": False, "use_post_quant_conv": False}
TEXT_TOKENS = 333
NAMES = ("latents", "text", "pooled", "timestep")


def random_tensor(name: str, shape: torch.Size, generator: torch.Generator) -> torch.Tensor:
    """Values that keep activations in scale from layer to layer."""
    values = torch.randn(shape, generator=generator, dtype=torch.bfloat16)
    if len(shape) > 1:
        values *= shape[1:].numel() ** -0.5
    elif name.endswith(("weight", "running_var")):
        values = 1 + 0.1 * values  # norms
    else:
        values *= 0.1
    return values.to(torch.bfloat16)


def write_network(folder: pathlib.Path, network: type, config: dict, generator: torch.Generator) -> None:
    from safetensors.torch import save_file

    with torch.device("meta"):
        shapes = {key: value.shape for key, value in network(**config).state_dict().items()}
    tensors = {key: random_tensor(key, shape, generator) for key, shape in shapes.items()}
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "diffusion_pytorch_model.safetensors")
    (folder / "config.json").write_text(json.dumps({"_class_name": network.__name__} | config))


def make_weights(folder: pathlib.Path, blocks: int) -> None:
    from diffusers import AutoencoderKL, SD3Transformer2DModel

    generator = torch.Generator().manual_seed(0)
    write_network(folder / "transformer", SD3Transformer2DModel, TRANSFORMER | {"num_layers": blocks}, generator)
    write_network(folder / "vae", AutoencoderKL, VAE, generator)


def write_inputs(folder: pathlib.Path, side: int, shapes: dict[str, tuple], told: dict[str, torch.Tensor]) -> None:
    """Random tensors of these shapes in bfloat16, and what is told."""
    from safetensors.torch import save_file

    generator = torch.Generator().manual_seed(side)
    tensors = {name: torch.randn(shape, generator=generator).to(torch.bfloat16) for name, shape in shapes.items()}
    save_file(tensors | told, folder / f"inputs_{side}.safetensors")


def make_inputs(folder: pathlib.Path, side: int) -> None:
    # Timestep 0: in its bfloat16 mode OpenVINO rounds the angles of the timestep's sinusoid, which at 0 are exact. At 500 its result
    # was 11 % off; ours and Diffusers keep the angles in float32.
    shapes = {"latents": (2, 16, side, side), "text": (2, TEXT_TOKENS, 4096), "pooled": (2, 2048)}
    write_inputs(folder, side, shapes, {"timestep": torch.zeros(2)})


def read_inputs(folder: pathlib.Path, side: int) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(folder / f"inputs_{side}.safetensors")


def obey(works: dict) -> None:
    """Each of `works` returns what it computed, as float32."""
    result = None
    for line in sys.stdin:
        order, _, path = line.strip().partition(" ")
        began = time.perf_counter()
        if order in works:
            result = works[order]()
        seconds = time.perf_counter() - began
        if order == "save":
            numpy.asarray(result, dtype=numpy.float32).tofile(path)
        print(f"{seconds:.4f}", flush=True)


def load_diffusers(folder: pathlib.Path):
    from diffusers import AutoencoderKL, SD3Transformer2DModel

    torch.set_grad_enabled(False)
    transformer = SD3Transformer2DModel.from_pretrained(folder / "transformer", torch_dtype=torch.bfloat16).eval()
    vae = AutoencoderKL.from_pretrained(folder / "vae", torch_dtype=torch.bfloat16).eval()
    return transformer, vae.to(memory_format=torch.channels_last)


def run_diffusers(folder: pathlib.Path, side: int, threads: int) -> None:
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    began = time.perf_counter()
    transformer, vae = load_diffusers(folder)
    print(f"ready load {time.perf_counter() - began:.3f}", flush=True)
    latents, text, pooled, timestep = (read_inputs(folder, side)[name] for name in NAMES)
    image = latents[:1].contiguous(memory_format=torch.channels_last)
    obey({"step": lambda: transformer(latents, text, pooled, timestep, return_dict=False)[0].float(),
          "decode": lambda: vae.decode(image, return_dict=False)[0].float()})


class Step(torch.nn.Module):
    def __init__(self, transformer):
        super().__init__()
        self.transformer = transformer

    def forward(self, latents, text, pooled, timestep):
        return self.transformer(latents, text, pooled, timestep, return_dict=False)[0]


class Decode(torch.nn.Module):
    def __init__(self, vae):
        super().__init__()
        self.vae = vae

    def forward(self, latents):
        return self.vae.decode(latents, return_dict=False)[0]


def convert_network(folder: pathlib.Path, name: str, network: torch.nn.Module, arguments: list[torch.Tensor]) -> None:
    import openvino
    from openvino.frontend.pytorch.patch_model import __make_16bit_traceable as keep_16_bit_weights

    (folder / "openvino").mkdir(exist_ok=True)
    keep_16_bit_weights(network)
    model = openvino.convert_model(network, example_input=tuple(x.float() for x in arguments))
    openvino.save_model(model, folder / "openvino" / f"{name}.xml", compress_to_fp16=False)


def compiled_network(folder: pathlib.Path, name: str, arguments: list[numpy.ndarray], threads: int):
    """For the shapes of these arguments."""
    import openvino

    core = openvino.Core()
    model = core.read_model(folder / "openvino" / f"{name}.xml")
    model.reshape({i: list(x.shape) for i, x in enumerate(arguments)})
    return core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "bf16", "INFERENCE_NUM_THREADS": threads,
                                             "PERFORMANCE_HINT": "LATENCY"}).create_infer_request()


def run_torch_step(load, names: tuple[str, ...], folder: pathlib.Path, side: int, threads: int) -> None:
    """The module that `load` makes, whose arguments are the inputs of these names."""
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    torch.set_grad_enabled(False)
    began = time.perf_counter()
    network = load()
    print(f"ready load {time.perf_counter() - began:.3f}", flush=True)
    arguments = [read_inputs(folder, side)[name] for name in names]
    obey({"step": lambda: network(*arguments).float()})


def convert_step(network: torch.nn.Module, names: tuple[str, ...], folder: pathlib.Path, side: int) -> None:
    torch.set_grad_enabled(False)
    inputs = read_inputs(folder, side)
    convert_network(folder, f"denoiser_{side}", network, [inputs[name] for name in names])


def run_openvino_step(names: tuple[str, ...], folder: pathlib.Path, side: int, threads: int) -> None:
    """The denoiser alone, its arguments by their names among the inputs."""
    inputs = [read_inputs(folder, side)[name].float().numpy() for name in names]
    began = time.perf_counter()
    network = compiled_network(folder, f"denoiser_{side}", inputs, threads)
    print(f"ready load {time.perf_counter() - began:.3f}", flush=True)
    obey({"step": lambda: network.infer(inputs)[0]})


def convert(folder: pathlib.Path, side: int) -> None:
    transformer, vae = load_diffusers(folder)
    inputs = read_inputs(folder, side)
    convert_network(folder, "transformer", Step(transformer), [inputs[name] for name in NAMES])
    convert_network(folder, "vae", Decode(vae), [inputs["latents"][:1]])


def run_openvino(folder: pathlib.Path, side: int, threads: int) -> None:
    inputs = [read_inputs(folder, side)[name].float().numpy() for name in NAMES]
    began = time.perf_counter()
    transformer = compiled_network(folder, "transformer", inputs, threads)
    vae = compiled_network(folder, "vae", [inputs[0][:1]], threads)
    print(f"ready load {time.perf_counter() - began:.3f}", flush=True)
    obey({"step": lambda: transformer.infer(inputs)[0], "decode": lambda: vae.infer([inputs[0][:1]])[0]})


if __name__ == "__main__":
    command, folder, *numbers = sys.argv[1:]
    {"weights": make_weights, "inputs": make_inputs, "diffusers": run_diffusers, "convert": convert,
     "openvino": run_openvino}[command](pathlib.Path(folder), *map(int, numbers))
