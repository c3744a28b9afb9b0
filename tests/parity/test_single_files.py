"""Checkpoints in one file: the pictures of `diffused generate` are those of the folder that the file was made of, bit
for bit, and within 1 of 255 of real Diffusers' `from_single_file`.

Folders and files are built here (tools/golden/single_files.py), in a few seconds, under the build folder.
"""

import functools
import json
import re
import shutil
import subprocess
from pathlib import Path

import diffusers
import numpy
import pytest
import torch
from comparing import BUILD, MADE, arguments_of, assert_same, our_pictures
from safetensors.torch import load_file, save_file

import flux2_folders
import flux_folders
import folders
import single_files
import unet_folders
import z_image_folders
from tiny_pictures import mask, picture

FAMILIES = {"unet": unet_folders, "sd3": folders, "flux": flux_folders, "flux2": flux2_folders, "z_image": z_image_folders}
# A file has no place for what tells a distilled UNet the guidance scale; the rest of the shapes is as in the folders.
UNETS = [name for name, folder in unet_folders.FOLDERS.items() if "time_cond_proj_dim" not in folder.unet]
SD3 = [
    "plain", "t5", "qk_norm", "dual", "dual_all", "one_head", "three_heads", "four_heads", "patch_one", "quant_convs",
    "five_levels", "sharded", "bf16", "old_names",
]  # fmt: skip
# Of Fill a file tells nothing but its 384 channels.
FLUX = [name for name in flux_folders.FOLDERS if name not in ("true_eos", "fill_small", "control_four_channels")]
NAMES = {"unet": UNETS, "sd3": SD3, "flux": FLUX, "flux2": flux2_folders.FOLDERS, "z_image": z_image_folders.FOLDERS}
MODELS = [(family, name) for family, names in NAMES.items() for name in names]
# Diffusers knows one width for FLUX, and one number of layers for all levels of a UNet.
THEIRS = [("unet", name) for name in ("plain", "linear", "kernels", "two_levels", "four_levels", "xl", "xl_v")]
THEIRS += [("sd3", name) for name in ("plain", "t5", "qk_norm", "dual")]


@functools.cache
def model(family: str, name: str) -> Path:
    path = MADE / "single_files" / family / name
    shutil.rmtree(path, ignore_errors=True)
    FAMILIES[family].build_folder(path, name)
    if family == "sd3":
        single_files.without_projection(path)
    return path


def arguments_for(family: str, name: str, **request) -> dict:
    folder = FAMILIES[family].FOLDERS[name]
    steps = 4 if name == "prk" else 2  # Runge-Kutta begins with four
    arguments = {"guidance_scale": getattr(folder, "guidance_scale", 3.0), "num_inference_steps": steps, "seed": 5} | request
    if getattr(folder, "pipeline", "") == "FluxFillPipeline":
        arguments |= {"image": picture(64, 64), "mask": mask("box", 64, 64)}
    if getattr(folder, "pipeline", "") in ("FluxKontextPipeline", "FluxControlPipeline"):
        arguments |= {"references": [picture(64, 64)], "num_inference_steps": 1}
    return arguments_of(folder, arguments)


def bytes_of(path: Path, arguments: dict, folder: Path, **options) -> numpy.ndarray:
    folder.mkdir(exist_ok=True)
    (picture,) = our_pictures(path, arguments | options, folder)
    assert picture.std() > 1
    return picture


def parts_of(path: Path, target: Path, *components: str) -> Path:
    """A folder of what such a file lacks: the tokenizers, the configs, and the weights of these components."""
    shutil.copytree(path, target, ignore=lambda at, names: [
        name for name in names if name.endswith(".safetensors") and Path(at).name not in components
    ])
    return target


@pytest.mark.parametrize(("family", "name"), MODELS)
def test_a_whole_file_has_the_folders_pictures(family: str, name: str, tmp_path: Path) -> None:
    path = model(family, name)
    file = single_files.write_checkpoint(path, tmp_path / "model.safetensors")
    arguments = arguments_for(family, name)
    theirs = bytes_of(path, arguments, tmp_path / "folder")
    ours = bytes_of(file, arguments, tmp_path / "file", parts=parts_of(path, tmp_path / "parts"))
    assert (ours == theirs).all()


@pytest.mark.parametrize(
    ("family", "name", "denoiser"),
    [
        ("unet", "xl", "unet"), ("sd3", "dual", "transformer"), ("flux", "dev", "transformer"),
        ("flux2", "base", "transformer"), ("z_image", "causal", "transformer"),
    ],
)  # fmt: skip
def test_a_denoiser_alone_takes_the_rest_from_the_folder(family: str, name: str, denoiser: str, tmp_path: Path) -> None:
    path = model(family, name)
    file = single_files.write_checkpoint(path, tmp_path / "model.safetensors", (denoiser,), bare=True)
    arguments = arguments_for(family, name)
    theirs = bytes_of(path, arguments, tmp_path / "folder")
    rest = [part.name for part in path.iterdir() if part.name != denoiser]
    parts = parts_of(path, tmp_path / "parts", *rest)
    assert (bytes_of(file, arguments, tmp_path / "file", parts=parts) == theirs).all()


@pytest.mark.parametrize(("family", "name"), THEIRS)
def test_pictures_of_from_single_file(family: str, name: str, tmp_path: Path) -> None:
    path = model(family, name)
    file = single_files.write_checkpoint(path, tmp_path / "model.safetensors")
    arguments = arguments_for(family, name)
    ours = our_pictures(file, arguments | {"parts": path}, tmp_path)
    pipeline = single_files.load_pipeline(file, path)
    seed = arguments.pop("seed")
    arguments.pop("n")
    theirs = pipeline(**arguments, generator=torch.Generator().manual_seed(seed)).images
    assert_same(ours, [numpy.asarray(theirs[0])])


@pytest.mark.parametrize(
    ("family", "name", "kind"),
    [(family, name, kind) for family, kind in (("flux2", "Flux2Transformer2DModel"), ("z_image", "ZImageTransformer2DModel"))
     for name in ("sharded_bf16", "three_heads", "one_head")],
)  # fmt: skip
def test_denoisers_of_from_single_file(family: str, name: str, kind: str, tmp_path: Path) -> None:
    """Which drops the prefix from those of Z-Image alone."""
    path = model(family, name)
    file = single_files.write_checkpoint(path, tmp_path / "model.safetensors", ("transformer",), bare=family == "flux2")
    arguments = arguments_for(family, name) | {"max_sequence_length": 128}
    ours = our_pictures(file, arguments | {"parts": path}, tmp_path)
    pipeline = FAMILIES[family].load_pipeline(path)
    loader = getattr(diffusers, kind)
    pipeline.transformer = loader.from_single_file(str(file), config=str(path / "transformer"), local_files_only=True)
    seed = arguments.pop("seed")
    arguments.pop("n")
    theirs = pipeline(**arguments, generator=torch.Generator().manual_seed(seed)).images
    assert_same(ours, [numpy.asarray(theirs[0])])


@pytest.mark.parametrize("own_names", [False, True])
def test_an_autoencoder_alone_for_klein(own_names: bool, tmp_path: Path) -> None:
    path, other = model("flux2", "base"), model("flux2", "distilled")
    file = tmp_path / "ae.safetensors"
    tensors = single_files.checkpoint_of(other, ("vae",))
    save_file({name.removeprefix("vae."): tensor for name, tensor in tensors.items()}, file)
    arguments = arguments_for("flux2", "base")
    theirs = bytes_of(path, arguments, tmp_path / "folder", vae=other)
    ours = bytes_of(path, arguments, tmp_path / "file", vae=other / "vae" if own_names else file)
    assert (ours == theirs).all()
    assert (theirs != bytes_of(path, arguments, tmp_path / "own")).any()


def test_the_name_of_a_file_tells_kontext(tmp_path: Path) -> None:
    kontext, dev = model("flux", "kontext"), model("flux", "dev")
    arguments = arguments_for("flux", "kontext")
    theirs = bytes_of(kontext, arguments, tmp_path / "folder")
    file = single_files.write_checkpoint(kontext, tmp_path / "flux1-dev-Kontext_fp8.safetensors")
    for index, parts in enumerate(((dev,), (dev, kontext), (kontext, dev))):
        options = [word for part in parts for word in ("--parts", part)][1:]
        assert (bytes_of(file, arguments, tmp_path / f"file{index}", parts=tuple(options)) == theirs).all()


def test_the_text_encoder_of_stable_diffusion_2(tmp_path: Path) -> None:
    path = model("unet", "linear")
    tensors = single_files.checkpoint_of(path, ("unet", "vae")) | single_files.second_generation(path)
    save_file(tensors, tmp_path / "model.safetensors")
    arguments = arguments_for("unet", "linear")
    theirs = bytes_of(path, arguments, tmp_path / "folder")
    parts = parts_of(path, tmp_path / "parts")
    assert (bytes_of(tmp_path / "model.safetensors", arguments, tmp_path / "file", parts=parts) == theirs).all()


def test_marks_of_v_prediction_go_before_the_scheduler_of_the_parts(tmp_path: Path) -> None:
    path = model("unet", "xl_v")
    tensors = single_files.checkpoint_of(path)
    save_file(tensors | {"v_pred": torch.zeros(0), "ztsnr": torch.zeros(0)}, tmp_path / "model.safetensors")
    parts = parts_of(path, tmp_path / "parts")
    file = parts / "scheduler/scheduler_config.json"
    config = json.loads(file.read_text()) | {"prediction_type": "epsilon", "rescale_betas_zero_snr": False}
    file.write_text(json.dumps(config))
    arguments = arguments_for("unet", "xl_v")
    theirs = bytes_of(path, arguments, tmp_path / "folder")
    assert (bytes_of(tmp_path / "model.safetensors", arguments, tmp_path / "file", parts=parts) == theirs).all()


def test_inspect_tells_what_a_file_holds(tmp_path: Path) -> None:
    path = model("unet", "xl")
    file = single_files.write_checkpoint(path, tmp_path / "model.safetensors", ("unet", "text_encoder_2"))
    told = subprocess.run([BUILD / "diffused", "inspect", file], check=True, capture_output=True, text=True).stdout
    assert "model.safetensors: StableDiffusionXLPipeline" in told
    count = sum(tensor.numel() for tensor in single_files.read(path, "unet")[1].values())
    (line,) = [line for line in told.splitlines() if line.startswith("unet ")]
    assert f" {count / 1e6:.2f} M " in line
    assert "text_encoder_2 " in told
    assert "vae " not in told


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize(("family", "name"), [("flux", "dev"), ("flux2", "base"), ("z_image", "base")])
def test_weights_of_8_bits(family: str, name: str, scaled: bool, tmp_path: Path) -> None:
    """The pictures are those of a folder that holds the same rounded weights in float32."""
    path = shutil.copytree(model(family, name), tmp_path / "rounded")
    blocks = re.compile(r"(_blocks|layers)\.\d")
    (file,) = (path / "transformer").glob("*.safetensors")
    rounded, scales = {}, {}
    # A scale for each layer, and equal ones for those that are one layer in the checkpoint.
    scale = 0.0625 if scaled else 1.0
    for key, tensor in load_file(file).items():
        matrix = tensor.ndim == 2 and blocks.search(key)
        rounded[key] = (tensor / scale).to(torch.float8_e4m3fn).float() * scale if matrix else tensor
    save_file(rounded, file)
    checkpoint = single_files.checkpoint_of(path)
    for key, tensor in list(checkpoint.items()):
        if tensor.ndim == 2 and key.startswith(single_files.DENOISER) and blocks.search(key):
            checkpoint[key] = (tensor / scale).to(torch.float8_e4m3fn)
            if scaled:
                scales[key.replace(".weight", ".scale_weight")] = torch.tensor(scale)
    if scaled:
        scales["model.diffusion_model.scaled_fp8"] = torch.zeros(2, dtype=torch.float8_e4m3fn)
    save_file(checkpoint | scales, tmp_path / "model.safetensors")
    arguments = arguments_for(family, name)
    theirs = bytes_of(path, arguments, tmp_path / "folder")
    assert (bytes_of(tmp_path / "model.safetensors", arguments, tmp_path / "file", parts=path) == theirs).all()


def test_published_values_stand_in_for_configs(tmp_path: Path) -> None:
    """Of the parts nothing is left but tokenizers and the class: the shapes and what is usual do the rest."""
    path = shutil.copytree(model("flux", "steep"), tmp_path / "whole")
    # What shapes do not tell is as published ones have it, but for the sizes of heads.
    usual = {
        "vae": {"norm_num_groups": 4}, "text_encoder": {"num_attention_heads": 2}, "transformer": {"axes_dims_rope": [8, 12, 12]},
    }  # fmt: skip
    parts = tmp_path / "parts"
    parts_of(path, parts)
    shutil.rmtree(parts / "text_encoder_2")
    for component, config in usual.items():
        (parts / component / "config.json").write_text(json.dumps(config))
    file = single_files.write_checkpoint(path, tmp_path / "model.safetensors")
    arguments = arguments_for("flux", "steep")
    theirs = bytes_of(path, arguments, tmp_path / "folder")
    assert (bytes_of(file, arguments, tmp_path / "file", parts=parts) == theirs).all()
