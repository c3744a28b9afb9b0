"""Byte-pair vocabularies in CLIP's layout, learnt from the captions."""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from pathlib import Path

from transformers import CLIPTokenizer

from words import caption, draw_content

START, END = "<|startoftext|>", "<|endoftext|>"
LENGTH = 77


def byte_letters() -> list[str]:
    """Returns the printable letter that stands for each byte, in the order of CLIP's vocabulary."""
    plain = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    return [chr(byte) for byte in plain] + [chr(0x100 + i) for i in range(256 - len(plain))]


def learn_merges(seed: int, captions: int = 20000) -> list[tuple[str, str]]:
    """Returns the pairs to merge, most frequent first, until every common caption word is one token."""
    source = random.Random(seed)
    counts: Counter = Counter()
    for _ in range(captions):
        counts.update(re.findall(r"[a-z]+|[0-9]|[^\sa-z0-9]+", caption(draw_content(source), source)))
    words = {(*word[:-1], word[-1] + "</w>"): count for word, count in counts.items()}
    merges = []
    while True:
        pairs: Counter = Counter()
        for word, count in words.items():
            for pair in zip(word, word[1:]):
                pairs[pair] += count
        if not pairs:
            return merges
        best = max(pairs, key=lambda pair: (pairs[pair], pair))
        merges.append(best)
        words = {merge(word, best): count for word, count in words.items()}


def merge(word: tuple[str, ...], pair: tuple[str, str]) -> tuple[str, ...]:
    """Returns the word with each occurrence of the pair joined."""
    joined, index = [], 0
    while index < len(word):
        found = word[index : index + 2] == pair
        joined.append(word[index] + word[index + 1] if found else word[index])
        index += 2 if found else 1
    return tuple(joined)


def build_tokenizers(seed: int = 3) -> tuple[CLIPTokenizer, CLIPTokenizer]:
    """Returns both tokenizers: the first pads with the end token, the second with "!" (id 0), as Stable Diffusion's do."""
    letters, merges = byte_letters(), learn_merges(seed)
    tokens = [*letters, *(letter + "</w>" for letter in letters), *dict.fromkeys(a + b for a, b in merges), START, END]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    return tuple(
        CLIPTokenizer(vocab=vocabulary, merges=list(merges), pad_token=pad, model_max_length=LENGTH) for pad in (END, "!")
    )


def save_tokenizer(tokenizer: CLIPTokenizer, folder: Path) -> None:
    """Saves tokenizer.json, which is all that transformers 5 writes, and the classic files beside it."""
    tokenizer.save_pretrained(folder)
    model = json.loads((folder / "tokenizer.json").read_text())["model"]
    (folder / "vocab.json").write_text(json.dumps(model["vocab"], ensure_ascii=False))
    pairs = [" ".join(pair) if isinstance(pair, list) else pair for pair in model["merges"]]
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *pairs, ""]))
    special = {name: getattr(tokenizer, name) for name in ("bos_token", "eos_token", "unk_token", "pad_token")}
    (folder / "special_tokens_map.json").write_text(json.dumps(special, indent=2) + "\n")
