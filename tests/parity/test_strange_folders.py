"""Folders and files of strangers, as they are found: configs of 2022, tokens of several vectors, checkpoints beside parts of
another generation, marks that change what a file means, parts that no network needs, other namings, another autoencoder.
Pictures are within 1 of 255 of real Diffusers', or bit for bit those of the folder that a file was made of."""

import json
import shutil
import subprocess
from pathlib import Path

import diffusers
import numpy
import pytest
import torch
from comparing import BUILD, PROMPT, STEPS, arguments_of, assert_same, our_pictures
from safetensors.torch import load_file, save_file
from test_single_files import arguments_for, bytes_of, model, parts_of

import flux_folders
import single_files
import tiny_tokenizers
import unet_folders


def their_picture(pipeline, arguments: dict) -> numpy.ndarray:
    arguments = {key: value for key, value in arguments.items() if key not in ("seed", "n")}
    return numpy.asarray(pipeline(**arguments, generator=torch.Generator().manual_seed(3)).images[0])


def change_json(file: Path, **values) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


@pytest.mark.parametrize(("version", "side"), [("0.8.0", 8), ("0.6.0.dev0", 4), ("0.9.0", 8), ("0.10.2", 8)])
def test_sizes_of_old_configs(version: str, side: int, tmp_path: Path) -> None:
    path = unet_folders.build_folder(tmp_path / "model", "one_level")
    change_json(path / "unet/config.json", _diffusers_version=version, sample_size=side)
    arguments = {"prompt": PROMPT, "num_inference_steps": 1, "seed": 3, "n": 1, "guidance_scale": 1.0}
    assert_same(our_pictures(path, arguments, tmp_path), [their_picture(unet_folders.load_pipeline(path), arguments)])


CAT = "<cat-toy>"
CAT_PROMPT = f"a {CAT} beside another{CAT}, {CAT}_1 alone, in the style of <one>"


def with_tokens(path: Path, classic: bool) -> Path:
    """The folder with a token of three vectors and one of a single vector, in each CLIP."""
    pipeline = diffusers.DiffusionPipeline.from_pretrained(path)
    for number in ("", "_2"):
        tokenizer, encoder = getattr(pipeline, "tokenizer" + number, None), getattr(pipeline, "text_encoder" + number, None)
        if encoder is None or "CLIP" not in type(encoder).__name__:
            continue
        tokens = [CAT, f"{CAT}_1", f"{CAT}_2", "<one>"]
        before = len(tokenizer)
        tokenizer.add_tokens(tokens)
        encoder.resize_token_embeddings(len(tokenizer), mean_resizing=False)
        drawn = torch.randn(len(tokens), encoder.config.hidden_size, generator=torch.Generator().manual_seed(8))
        encoder.get_input_embeddings().weight.data[before:] = drawn
        encoder.save_pretrained(path / f"text_encoder{number}")
        if not classic:
            tokenizer.save_pretrained(path / f"tokenizer{number}")
            continue
        ids = {token: before + index for index, token in enumerate(tokens)}
        (path / f"tokenizer{number}/added_tokens.json").write_text(json.dumps(ids))
    return path


@pytest.mark.parametrize("classic", [False, True], ids=["tokenizer.json", "added_tokens.json"])
@pytest.mark.parametrize("name", ["plain", "xl", "flux"])
def test_tokens_of_several_vectors(name: str, classic: bool, tmp_path: Path) -> None:
    if name == "flux":
        path, number = flux_folders.build_folder(tmp_path / "model", "schnell"), [""]
    else:
        path, number = unet_folders.build_folder(tmp_path / "model", name), ["", "_2"] if name == "xl" else [""]
    if classic:
        for each in number:
            shutil.rmtree(path / f"tokenizer{each}")
            tiny_tokenizers.save_clip_tokenizer(path / f"tokenizer{each}", "!" if each else tiny_tokenizers.END, True)
    elif (path / "tokenizer/vocab.json").exists():
        shutil.rmtree(path / "tokenizer")
        tiny_tokenizers.save_clip_tokenizer(path / "tokenizer", tiny_tokenizers.END, False)
    with_tokens(path, classic)
    arguments = {"prompt": CAT_PROMPT, "num_inference_steps": STEPS, "seed": 3, "n": 1, "width": 64, "height": 64, "guidance_scale": 4.0}
    if name == "flux":
        arguments |= {"max_sequence_length": 64}
    pipeline = diffusers.DiffusionPipeline.from_pretrained(path)
    pipeline.set_progress_bar_config(disable=True)
    theirs = their_picture(pipeline, arguments)
    assert_same(our_pictures(path, arguments, tmp_path), [theirs])
    pipeline.maybe_convert_prompt = lambda prompt, tokenizer: prompt  # the test can fail
    assert numpy.abs(theirs.astype(int) - their_picture(pipeline, arguments)).max() > 1


def generations(tmp_path: Path) -> dict[str, tuple[Path, Path]]:
    """Stable Diffusion 1 and 2 of the published widths, each as a folder and as its makers' file."""
    wide = {"block_out_channels": (8, 16), "norm_num_groups": 4} | unet_folders.blocks(True, False)
    clip = {"intermediate_size": 64, "num_hidden_layers": 2, "hidden_size": 768, "num_attention_heads": 12}
    unet_folders.FOLDERS["v1"] = unet_folders.Folder("", unet=wide | {"cross_attention_dim": 768, "attention_head_dim": 8}, clip=clip)
    unet_folders.FOLDERS["v2"] = unet_folders.Folder(
        "", unet=wide | {"cross_attention_dim": 1024, "use_linear_projection": True, "attention_head_dim": (1, 1)},
        clip=clip | {"hidden_size": 1024, "num_attention_heads": 16, "hidden_act": "gelu"},
        scheduler=("DDIMScheduler", unet_folders.V_PREDICTION),
    )  # fmt: skip
    made = {}
    for name in ("v1", "v2"):
        path = unet_folders.build_folder(tmp_path / name, name)
        del unet_folders.FOLDERS[name]
        if name == "v2":
            shutil.rmtree(path / "tokenizer")
            tiny_tokenizers.save_clip_tokenizer(path / "tokenizer", "!", False)
        tensors = single_files.checkpoint_of(path, ("unet", "vae"))
        tensors |= single_files.checkpoint_of(path, ("text_encoder",)) if name == "v1" else single_files.second_generation(path)
        save_file(tensors, tmp_path / f"{name}.safetensors")
        save_file(single_files.checkpoint_of(path, ("unet",)), tmp_path / f"{name}_alone.safetensors")
        made[name] = path, tmp_path / f"{name}.safetensors"
    return made


def test_parts_of_the_files_own_generation_are_taken(tmp_path: Path) -> None:
    made = generations(tmp_path)
    arguments = {"prompt": PROMPT, "num_inference_steps": 2, "seed": 3, "n": 1, "width": 64, "height": 64, "guidance_scale": 3.0}
    for name, other in (("v1", "v2"), ("v2", "v1")):
        folder, file = made[name]
        theirs = bytes_of(folder, arguments, tmp_path / "folder")
        alone = file.with_name(f"{name}_alone.safetensors")
        for parts in ([folder, made[other][0]], [made[other][0], folder]):
            options = ["--parts", parts[0], "--parts", parts[1]]
            assert (generated(file, arguments, tmp_path, *options) == theirs).all()
            assert (generated(alone, arguments, tmp_path, *options) == theirs).all()
        for each in (file, alone):
            refused = run(each, arguments, tmp_path, "--parts", made[other][0])
            assert refused.returncode != 0
            assert "no folder of --parts is of this StableDiffusionPipeline's generation" in refused.stderr


def run(path: Path, arguments: dict, folder: Path, *options):
    command = [BUILD / "diffused", "generate", path, arguments["prompt"], "-o", folder / "out.png", "--dtype", "fp32", *options]
    for option, key in (("--steps", "num_inference_steps"), ("--seed", "seed"), ("--guidance-scale", "guidance_scale")):
        command += [option, str(arguments[key])]
    command += ["--size", f"{arguments['width']}x{arguments['height']}"]
    return subprocess.run(command, check=False, capture_output=True, timeout=300, text=True)


def generated(path: Path, arguments: dict, folder: Path, *options) -> numpy.ndarray:
    from PIL import Image

    done = run(path, arguments, folder, *options)
    assert done.returncode == 0, done.stderr
    return numpy.asarray(Image.open(folder / "out.png"))


def xl_request(name: str) -> dict:
    folder = unet_folders.FOLDERS[name]
    return arguments_of(folder, {"guidance_scale": folder.guidance_scale, "num_inference_steps": 3, "seed": 3})


@pytest.mark.parametrize("own_parts", [True, False])
@pytest.mark.parametrize("name", ["playground", "cosxl"])
def test_marks_of_continuous_noise_levels(name: str, own_parts: bool, tmp_path: Path) -> None:
    path = model("unet", name)
    tensors = single_files.checkpoint_of(path)
    if name == "playground":
        config = json.loads((path / "vae/config.json").read_text())
        for mark in ("mean", "std"):
            tensors[f"edm_{mark}"] = torch.tensor(config[f"latents_{mark}"]).view(1, 4, 1, 1)
    else:
        tensors |= {"edm_vpred.sigma_max": torch.tensor(120.0), "edm_vpred.sigma_min": torch.tensor(0.002)}
    save_file(tensors, tmp_path / "model.safetensors")
    parts = parts_of(path, tmp_path / "parts")
    if not own_parts:  # those of plain Stable Diffusion XL
        change_json(parts / "model_index.json", scheduler=["diffusers", "EulerDiscreteScheduler"])
        plain = diffusers.EulerDiscreteScheduler(**unet_folders.BETAS)
        shutil.rmtree(parts / "scheduler")
        plain.save_pretrained(parts / "scheduler")
        change_json(parts / "vae/config.json", latents_mean=None, latents_std=None, scaling_factor=0.13025 if name == "playground" else 0.18215)
    arguments = xl_request(name)
    theirs = bytes_of(path, arguments, tmp_path / "folder")
    assert (bytes_of(tmp_path / "model.safetensors", arguments, tmp_path / "file", parts=parts) == theirs).all()
    assert_same([theirs], [their_picture(unet_folders.load_pipeline(path), arguments)])


def test_tensors_that_no_network_needs_are_left_out(tmp_path: Path) -> None:
    path = model("unet", "xl")
    tensors = single_files.checkpoint_of(path)
    for name in ("conditioner.embedders.0.text_projection", "cond_stage_model.clip_l.text_projection", "model_sampling.sigmas", "decay",
                 "conditioner.embedders.0.logit_scale", "something_else.weight"):  # fmt: skip
        tensors[name] = torch.ones(3)
    tensors["marks"] = torch.ones(3, dtype=torch.uint32)
    save_file(tensors, tmp_path / "model.safetensors")
    arguments = arguments_for("unet", "xl")
    theirs = bytes_of(path, arguments, tmp_path / "folder")
    assert (bytes_of(tmp_path / "model.safetensors", arguments, tmp_path / "file", parts=parts_of(path, tmp_path / "parts")) == theirs).all()


def add_to(file: Path, **tensors: torch.Tensor) -> None:
    save_file(load_file(file) | tensors, file, metadata={"format": "pt"})


def test_folders_with_more_than_their_networks_need(tmp_path: Path) -> None:
    path = shutil.copytree(model("flux", "schnell"), tmp_path / "model")
    arguments = arguments_for("flux", "schnell")
    theirs = bytes_of(path, arguments, tmp_path / "plain")
    guidance = {f"time_text_embed.guidance_embedder.linear_{index}.weight": torch.ones(32, 32) for index in (1, 2)}
    add_to(next((path / "transformer").glob("*.safetensors")), **guidance)
    vision = {"vision_model.encoder.layers.0.mlp.fc1.weight": torch.ones(4, 4), "visual_projection.weight": torch.ones(4, 4), "logit_scale": torch.ones(1)}
    add_to(path / "text_encoder/model.safetensors", **vision)
    add_to(next((path / "vae").glob("*.safetensors")), decay=torch.ones(1))
    config = path / "text_encoder/config.json"
    config.write_text(json.dumps({"model_type": "clip", "projection_dim": 512, "text_config": json.loads(config.read_text())}))
    assert (bytes_of(path, arguments, tmp_path / "more") == theirs).all()


DENOISERS = [("unet", "plain"), ("unet", "xl"), ("unet", "xl_lcm"), ("unet", "xl_asymmetric"), ("sd3", "dual"), ("flux", "dev")]


@pytest.mark.parametrize("prefix", ["", "unet.", "transformer.", "diffusion_model.", "model.diffusion_model."])
@pytest.mark.parametrize(("family", "name"), DENOISERS)
def test_denoisers_in_diffusers_names(family: str, name: str, prefix: str, tmp_path: Path) -> None:
    path = model(family, name)
    denoiser = "unet" if family == "unet" else "transformer"
    tensors = {prefix + key: tensor for key, tensor in single_files.read(path, denoiser)[1].items()}
    save_file(tensors, tmp_path / "model.safetensors")
    arguments = arguments_for(family, name)
    theirs = bytes_of(path, arguments, tmp_path / "folder")
    parts = parts_of(path, tmp_path / "parts", *(part.name for part in path.iterdir() if part.name != denoiser))
    (parts / denoiser / "config.json").unlink()  # its tensors tell, but what heads there are
    heads = json.loads((path / denoiser / "config.json").read_text())
    kept = ("attention_head_dim", "num_attention_heads", "norm_num_groups", "axes_dims_rope", "addition_time_embed_dim", "sample_size")
    (parts / denoiser / "config.json").write_text(json.dumps({key: heads[key] for key in kept if heads.get(key) is not None}))
    assert (bytes_of(tmp_path / "model.safetensors", arguments, tmp_path / "file", parts=parts) == theirs).all()


@pytest.mark.parametrize("form", ["folder", "model", "diffusers", "makers", "checkpoint"])
def test_another_autoencoder(form: str, tmp_path: Path) -> None:
    path = model("unet", "plain")
    other = unet_folders.build_folder(tmp_path / "other", "kernels")
    arguments = arguments_for("unet", "plain")
    swapped = shutil.copytree(path, tmp_path / "swapped")
    shutil.rmtree(swapped / "vae")
    shutil.copytree(other / "vae", swapped / "vae")
    theirs = bytes_of(swapped, arguments, tmp_path / "folder")
    given = {"folder": other / "vae", "model": other}.get(form, tmp_path / "vae.safetensors")
    config, tensors = single_files.read(other, "vae")
    if form == "diffusers":
        save_file(tensors, given)
    elif form == "makers":
        save_file(single_files.vae(config, tensors), given)
    elif form == "checkpoint":
        save_file(single_files.checkpoint_of(other), given)
    assert (bytes_of(path, arguments, tmp_path / "out", vae=given) == theirs).all()
    assert (bytes_of(path, arguments, tmp_path / "own") != theirs).any()
