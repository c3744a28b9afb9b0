"""Tiny tokenizers in the true formats: CLIP's and Qwen2's byte pairs and T5's unigram pieces, trained on the lines below.

The vocabularies are laid out as the published ones are (bytes, bytes with </w>, merges, then the two special tokens;
bytes, merges, then added tokens; pad, end, unknown, pieces, then a hundred sentinels), only shorter. Training is
deterministic.
"""

import collections
import io
import itertools
import json
from pathlib import Path

import sentencepiece
from tokenizers import AddedToken
from transformers import CLIPTokenizer, Qwen2Tokenizer, T5Tokenizer

START, END = "<|startoftext|>", "<|endoftext|>"
CLIP_LENGTH = 77
CLIP_MERGES = 180
T5_SENTINELS = 100
QWEN2_MERGES = 180
QWEN2_ADDED = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<think>", "</think>"]
# What Qwen3's template makes of a user's message, and of one to a model that shall not think.
QWEN2_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)

LINES = [
    f"a {adjective} {animal} {place}, {style}"
    for adjective in ["small", "red", "sleepy", "shiny", "very old", "green and yellow"]
    for animal in ["kitten", "puppy", "robot", "fish", "house on a hill", "hot air balloon"]
    for place in ["in front of a fireplace", "under the sea", "on the moon", "in the snow", "at the beach at night"]
    for style in ["oil painting", "a photograph, 35 mm", "pencil drawing", "vector art, highly detailed"]
] + [
    "It's the artist's best work; they've 12 others, don't they?",
    "a naïve café in São Paulo, où l'été dure",
    "猫と犬の絵",
    "The Quick Brown Fox Jumps Over A Lazy Dog; VEXING WIZARD 0123456789 (100 %)",
]


def byte_symbols() -> list[str]:
    """The printable characters that stand for the 256 bytes, in the order of CLIP's vocabulary."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    rest = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) for byte in printable] + [chr(256 + index) for index in range(len(rest))]


def clip_merges(count: int = CLIP_MERGES) -> list[tuple[str, str]]:
    return most_frequent_pairs(CLIPTokenizer(), count, "</w>")


def qwen2_merges(count: int = QWEN2_MERGES) -> list[tuple[str, str]]:
    return most_frequent_pairs(Qwen2Tokenizer(), count, "")


def most_frequent_pairs(tokenizer, count: int, end_of_word: str) -> list[tuple[str, str]]:
    """The most frequent pairs, one after the other; of equally frequent ones the first in the alphabet."""
    backend = tokenizer.backend_tokenizer
    lines = [backend.normalizer.normalize_str(line) for line in LINES]
    words = collections.Counter(word for line in lines for word, _ in backend.pre_tokenizer.pre_tokenize_str(line))
    symbols = {word: [*word[:-1], word[-1] + end_of_word] for word in words}
    merges = []
    for _ in range(count):
        pairs = collections.Counter()
        for word, parts in symbols.items():
            for pair in itertools.pairwise(parts):
                pairs[pair] += words[word]
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        symbols = {word: merge(parts, best) for word, parts in symbols.items()}
    return merges


def merge(parts: list[str], pair: tuple[str, str]) -> list[str]:
    merged = []
    for part in parts:
        if merged and (merged[-1], part) == pair:
            merged[-1] += part
        else:
            merged.append(part)
    return merged


def clip_vocabulary(merges: list[tuple[str, str]]) -> dict[str, int]:
    symbols = byte_symbols()
    tokens = symbols + [symbol + "</w>" for symbol in symbols] + ["".join(pair) for pair in merges] + [START, END]
    return {token: index for index, token in enumerate(dict.fromkeys(tokens))}


def qwen2_vocabulary(merges: list[tuple[str, str]]) -> dict[str, int]:
    tokens = byte_symbols() + ["".join(pair) for pair in merges]
    return {token: index for index, token in enumerate(dict.fromkeys(tokens))}


def clip_tokenizer(pad_token: str = END) -> CLIPTokenizer:
    """A CLIP tokenizer; the end token has the highest id, as in the published vocabulary."""
    pairs = clip_merges()
    return CLIPTokenizer(vocab=clip_vocabulary(pairs), merges=pairs, pad_token=pad_token, model_max_length=CLIP_LENGTH)


def sentencepiece_model(pieces: int = 200) -> bytes:
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(LINES),
        model_writer=model,
        model_type="unigram",
        vocab_size=pieces,
        hard_vocab_limit=False,
        normalization_rule_name="nmt_nfkc",
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        num_threads=1,
        minloglevel=2,
    )
    return model.getvalue()


def save_clip_tokenizer(folder: Path, pad_token: str, classic: bool) -> int:
    """Writes the tokenizer's folder, as vocab.json + merges.txt or as tokenizer.json; returns the vocabulary's size."""
    tokenizer = clip_tokenizer(pad_token)
    tokenizer.save_pretrained(folder)
    if classic:
        (folder / "tokenizer.json").unlink()
        pairs = clip_merges()
        (folder / "vocab.json").write_text(json.dumps(clip_vocabulary(pairs), ensure_ascii=False), encoding="utf-8")
        lines = ["#version: 0.2", *(" ".join(pair) for pair in pairs)]
        (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return len(tokenizer)


def save_t5_tokenizer(folder: Path, classic: bool) -> int:
    """Writes the tokenizer's folder, as spiece.model or as tokenizer.json; returns the vocabulary's size."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "spiece.model").write_bytes(sentencepiece_model())
    tokenizer = T5Tokenizer.from_pretrained(folder, extra_ids=T5_SENTINELS)
    tokenizer.save_pretrained(folder)
    (folder / ("tokenizer.json" if classic else "spiece.model")).unlink()
    return len(tokenizer)


def save_qwen2_tokenizer(folder: Path, classic: bool) -> int:
    """Writes the tokenizer's folder, as vocab.json + merges.txt or as tokenizer.json; returns the vocabulary's size."""
    pairs = qwen2_merges()
    vocabulary = qwen2_vocabulary(pairs)
    tokenizer = Qwen2Tokenizer(vocab=vocabulary, merges=pairs, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    tokenizer.add_tokens([AddedToken(token, special="think" not in token, normalized=False) for token in QWEN2_ADDED])
    tokenizer.chat_template = QWEN2_TEMPLATE
    tokenizer.save_pretrained(folder)
    if classic:
        added = {str(index): token.__getstate__() for index, token in tokenizer.added_tokens_decoder.items()}
        (folder / "tokenizer.json").unlink()
        (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False), encoding="utf-8")
        lines = ["#version: 0.2", *(" ".join(pair) for pair in pairs)]
        (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
        config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
        config["added_tokens_decoder"] = added
        (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    return len(tokenizer)
