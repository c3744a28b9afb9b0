"""Token ids of `tokenizer_encode` against transformers, on folders of both kinds of file.

The vocabularies are trained here (tools/golden/tokenizer_folders.py), in a few seconds, under the build folder.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BUILD = Path(os.environ.get("DIFFUSED_BUILD", ROOT / "build/release"))
sys.path.insert(0, str(ROOT / "tools/golden"))

import tokenizer_folders  # noqa: E402
import tokenizer_texts  # noqa: E402

SEED = 7
NAMES = ["clip_l", "clip_g", "clip_g3", "clip_small", "clip_l_json", "clip_g_json", "clip_flags_json"]
NAMES += ["t5", "t5_decoder", "t5_json", "qwen2", "qwen2_small", "qwen2_json"]


@pytest.fixture(scope="module")
def folders() -> Path:
    folder = BUILD / "parity/tokenizers"
    tokenizer_folders.write_large(folder)
    return folder


def our_ids(folder: Path, texts: list[str], length: int) -> list[list[int]]:
    kind = folder.name.split("_")[0]
    lines = "".join(json.dumps(text) + "\n" for text in texts)
    command = [BUILD / "tokenizer_encode", kind, folder, str(length)]
    done = subprocess.run(command, input=lines, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def assert_equal(folder: Path, texts: list[str]) -> None:
    tokenizer = tokenizer_folders.load(folder)
    ours, theirs = our_ids(folder, texts, 0), tokenizer(texts)["input_ids"]
    assert len(ours) == len(texts)
    different = [(text, a, b) for text, a, b in zip(texts, ours, theirs, strict=True) if a != b]
    shown = "\n".join(f"{text!r:.200}\n  ours   {a}\n  theirs {b}"[:1000] for text, a, b in different[:5])
    assert not different, f"{len(different)} of {len(texts)} texts differ\n{shown}"


@pytest.mark.parametrize("name", NAMES)
def test_prompts(folders: Path, name: str) -> None:
    texts = list(tokenizer_texts.prompts(SEED))
    assert len(texts) >= 2000
    assert {len(text.encode()) for text in texts} >= {0, 1, 2, 3, 5000}
    assert_equal(folders / name, texts)


@pytest.mark.parametrize("name", NAMES)
def test_fuzz_with_combining_marks(folders: Path, name: str) -> None:
    assert_equal(folders / name, list(tokenizer_texts.fuzz(SEED, 2000)))


@pytest.mark.parametrize("name", ["clip_l", "t5", "qwen2"])
def test_every_character(folders: Path, name: str) -> None:
    assert_equal(folders / name, list(tokenizer_texts.every_character()))


@pytest.mark.parametrize(("name", "length"), [("clip_l", 77), ("clip_g", 77), ("clip_l_json", 5), ("t5", 256), ("t5_json", 1), ("qwen2", 64), ("qwen2_json", 1)])
def test_truncation_and_padding(folders: Path, name: str, length: int) -> None:
    texts = list(tokenizer_texts.prompts(SEED))[-600:]
    options = {"padding": "max_length", "truncation": True, "max_length": length}
    theirs = tokenizer_folders.load(folders / name)(texts, **options)["input_ids"]
    assert our_ids(folders / name, texts, length) == theirs
