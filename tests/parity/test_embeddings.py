"""Textual inversions from a folder against Diffusers' load_textual_inversion: every form of file, one vector and several, words
that touch other characters, both dialects of prompts. Pictures are within 1 of 255."""

import functools
from pathlib import Path

import numpy
import pytest
import torch
from comparing import BUILD, assert_same, our_pictures
from safetensors.torch import save_file

import flux_folders
import unet_folders

REQUEST = {"num_inference_steps": 4, "guidance_scale": 5.0, "height": 64, "width": 64, "seed": 5, "n": 1}
SEED = 5


@functools.cache
def model(kind: str, name: str):
    folders = {"unet": unet_folders, "flux": flux_folders}[kind]
    return folders.build_folder(BUILD / "parity/embeddings" / f"{kind}_{name}", name)


def load(kind: str, name: str):
    return {"unet": unet_folders, "flux": flux_folders}[kind].load_pipeline(model(kind, name))


def vectors(count: int, width: int, seed: int) -> torch.Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed)) * 2


def width_of(encoder) -> int:
    return encoder.config.hidden_size


def their_picture(pipeline, arguments: dict) -> numpy.ndarray:
    theirs = {key: value for key, value in arguments.items() if key not in ("seed", "n", "embeddings", "prompt_syntax")}
    return numpy.asarray(pipeline(**theirs, generator=torch.Generator().manual_seed(SEED)).images[0])


def compare(pipeline, kind: str, name: str, folder: Path, arguments: dict) -> None:
    theirs = their_picture(pipeline, arguments)
    (folder / "out").mkdir(exist_ok=True)
    ours = our_pictures(model(kind, name), arguments | {"embeddings": folder / "embeddings"}, folder / "out")
    assert_same(ours, [theirs])
    without = their_picture(load(kind, name), arguments)
    assert numpy.abs(theirs.astype(int) - without).mean() > 2, "the words change nothing"


# What is in the file, and by which word Diffusers is to know it.
FORMS = {
    "of_one_vector": (lambda w: {"emb_params": vectors(1, w, 1)}, "ink-wash"),
    "of_several": (lambda w: {"emb_params": vectors(5, w, 2)}, "ink-wash"),
    "diffusers_flat": (lambda w: {"<ink>": vectors(1, w, 3)[0]}, "<ink>"),
    "diffusers_several": (lambda w: {"<ink>": vectors(3, w, 4)}, "<ink>"),
    "by_the_files_name": (lambda w: {"<ink>": vectors(3, w, 5)}, "ink-wash"),
}
PROMPTS = {
    "alone": "{}",
    "between": "a castle in {}, at night, {} again",
    "in_capitals": "A painting in the style of {}!",
}


@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ["plain", "linear"])
def test_files_of_one_encoder(name: str, form: str, prompt: str, tmp_path: Path) -> None:
    content, word = FORMS[form]
    if prompt == "in_capitals" and form not in ("of_one_vector", "diffusers_flat"):
        pytest.skip("Diffusers then takes the first vector alone (docs/traps.md)")
    pipeline = load("unet", name)
    (tmp_path / "embeddings/styles").mkdir(parents=True)
    file = tmp_path / "embeddings/styles/ink-wash.safetensors"
    save_file(content(width_of(pipeline.text_encoder)), file)
    pipeline.load_textual_inversion(str(file.parent), weight_name=file.name, token=word)
    written = word.upper() if prompt == "in_capitals" else word
    arguments = REQUEST | {"prompt": PROMPTS[prompt].format(*[written] * 2), "negative_prompt": f"blurry, {word}"}
    if prompt == "alone":
        arguments["negative_prompt"] = "blurry"
    compare(pipeline, "unet", name, tmp_path, arguments)


@pytest.mark.parametrize("counts", [(1, 1), (4, 4), (3, 2)])
def test_files_of_two_encoders(counts: tuple[int, int], tmp_path: Path) -> None:
    pipeline = load("unet", "xl")
    pair = {
        "clip_l": vectors(counts[0], width_of(pipeline.text_encoder), 6),
        "clip_g": vectors(counts[1], width_of(pipeline.text_encoder_2), 7),
    }
    (tmp_path / "embeddings").mkdir()
    save_file(pair, tmp_path / "embeddings/unaesthetic.SAFETENSORS")
    word = "unaesthetic"
    pipeline.load_textual_inversion(pair["clip_l"], token=word, text_encoder=pipeline.text_encoder, tokenizer=pipeline.tokenizer)
    pipeline.load_textual_inversion(pair["clip_g"], token=word, text_encoder=pipeline.text_encoder_2, tokenizer=pipeline.tokenizer_2)
    compare(pipeline, "unet", "xl", tmp_path, REQUEST | {"prompt": "a lake and a boat", "negative_prompt": f"{word}, dark"})
    compare(pipeline, "unet", "xl", tmp_path, REQUEST | {"prompt": f"a lake, {word}", "prompt_2": f"{word} and a boat"})


def test_one_tensor_is_for_the_first_encoder(tmp_path: Path) -> None:
    pipeline = load("unet", "xl")
    (tmp_path / "embeddings").mkdir()
    save_file({"<ink>": vectors(2, width_of(pipeline.text_encoder), 8)}, tmp_path / "embeddings/washed.safetensors")
    pipeline.load_textual_inversion(str(tmp_path / "embeddings"), weight_name="washed.safetensors")
    compare(pipeline, "unet", "xl", tmp_path, REQUEST | {"prompt": "a lake in <ink>", "negative_prompt": ""})


def test_words_of_flux(tmp_path: Path) -> None:
    pipeline = load("flux", "dev")
    (tmp_path / "embeddings").mkdir()
    save_file({"<ink>": vectors(2, width_of(pipeline.text_encoder), 9)}, tmp_path / "embeddings/washed.safetensors")
    pipeline.load_textual_inversion(str(tmp_path / "embeddings"), weight_name="washed.safetensors")
    compare(pipeline, "flux", "dev", tmp_path, REQUEST | {"prompt": "a lake in <ink>", "max_sequence_length": 64})


def test_words_in_capitals_bring_all_their_vectors(tmp_path: Path) -> None:
    path, width = model("unet", "plain"), width_of(load("unet", "plain").text_encoder)
    pictures = []
    for name, written in (("easyink", "easyink"), ("EasyInk", "EasyInk"), ("EasyInk", "EASYINK")):
        folder = tmp_path / f"{name}{written}"
        folder.mkdir()
        save_file({"emb_params": vectors(4, width, 11)}, folder / f"{name}.safetensors")
        pictures += our_pictures(path, REQUEST | {"prompt": f"a lake, {written}", "embeddings": folder}, tmp_path)
    assert_same([pictures[0]], [pictures[1]])
    assert_same([pictures[0]], [pictures[2]])


def test_weighted_prompts_read_the_same_words(tmp_path: Path) -> None:
    """A1111's prompts: by the file's name, in any case, and no part of another word."""
    pipeline = load("unet", "plain")
    (tmp_path / "embeddings").mkdir()
    pair = vectors(3, width_of(pipeline.text_encoder), 10)
    save_file({"emb_params": pair}, tmp_path / "embeddings/EasyInk.safetensors")
    pipeline.load_textual_inversion({"emb_params": pair}, token="easyink")
    arguments = REQUEST | {"prompt": "a lake, easyink, night", "negative_prompt": "easyink", "prompt_syntax": "a1111"}
    compare(pipeline, "unet", "plain", tmp_path, arguments)
    options = {"embeddings": tmp_path / "embeddings"}
    part = REQUEST | {"prompt": "a lake, easyinks, night", "negative_prompt": "", "prompt_syntax": "a1111"}
    assert_same(our_pictures(model("unet", "plain"), part | options, tmp_path), our_pictures(model("unet", "plain"), part, tmp_path))


def test_files_of_other_models_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "embeddings").mkdir()
    save_file({"emb_params": torch.ones(2, 7)}, tmp_path / "embeddings/wide.safetensors")
    save_file({"a.lora_A.weight": torch.ones(2, 7), "a.lora_B.weight": torch.ones(7, 2)}, tmp_path / "embeddings/lora.safetensors")
    (tmp_path / "embeddings/cut.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{")
    arguments = REQUEST | {"prompt": "wide and a lora"}
    ours = our_pictures(model("unet", "plain"), arguments | {"embeddings": tmp_path / "embeddings"}, tmp_path)
    assert_same(ours, our_pictures(model("unet", "plain"), arguments, tmp_path))
