"""Tokenizer folders in the true formats, classic files and tokenizer.json, for the tests of src/tokenizers.

    python3 tools/golden/tokenizer_folders.py           writes tests/tokenizers/data: small folders and expected ids
    python3 tools/golden/tokenizer_folders.py FOLDER    writes the larger ones of tests/parity/test_tokenizers.py

Vocabularies are laid out as the published ones are, trained on tokenizer_texts.py. What the folders say of special
tokens is varied: that is where published folders differ.
"""

import io
import json
import sys
from pathlib import Path

import sentencepiece
from sentencepiece import sentencepiece_model_pb2
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import CLIPTokenizer, Qwen2Tokenizer, T5Tokenizer

import tokenizer_texts
from tiny_tokenizers import END, QWEN2_ADDED, START, byte_symbols, clip_vocabulary, qwen2_vocabulary

DATA = Path(__file__).parents[2] / "tests/tokenizers/data"
SEED = 20
Merges = list[tuple[str, str]]


def special(content: str, **flags: bool) -> dict:
    """A token as special_tokens_map.json, tokenizer_config.json and tokenizer.json write it."""
    return {"content": content, "lstrip": False, "normalized": False, "rstrip": False, "single_word": False} | flags


def write_json(file: Path, value: object) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def train_merges(lines: list[str], count: int) -> Merges:
    """Byte-pair merges with CLIP's word splitting and end-of-word mark, most frequent first."""
    clip = CLIPTokenizer().backend_tokenizer
    trainer = trainers.BpeTrainer(
        vocab_size=count + 2 * len(byte_symbols()),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    tokenizer = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = clip.normalizer, clip.pre_tokenizer
    tokenizer.train_from_iterator(lines, trainer)
    return [tuple(merge) for merge in json.loads(tokenizer.to_str())["model"]["merges"]][:count]


def write_clip(folder: Path, merges: Merges, vocabulary: dict[str, int], config: dict, special_tokens: dict | None) -> None:
    """vocab.json and merges.txt, and the folder's word on special tokens."""
    write_json(folder / "vocab.json", vocabulary)
    lines = ["#version: 0.2", *(" ".join(merge) for merge in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    write_json(folder / "tokenizer_config.json", config)
    if special_tokens is not None:
        write_json(folder / "special_tokens_map.json", special_tokens)


def write_clip_json(folder: Path, classic: Path, merges_as_text: bool = False, **options: object) -> None:
    """The same tokenizer as transformers 5 saves it; merges as "a b" as it did up to 2024 on request."""
    CLIPTokenizer.from_pretrained(classic, **options).save_pretrained(folder)
    if merges_as_text:
        file = folder / "tokenizer.json"
        saved = json.loads(file.read_text(encoding="utf-8"))
        saved["model"]["merges"] = [" ".join(merge) for merge in saved["model"]["merges"]]
        write_json(file, saved)


def write_clip_folders(folder: Path, merges: Merges) -> None:
    vocabulary = clip_vocabulary(merges)
    normal = {"normalized": True}
    roles = {"bos_token": special(START, **normal), "eos_token": special(END, **normal), "unk_token": special(END, **normal)}
    names = {"bos_token": START, "eos_token": END, "unk_token": END, "model_max_length": 77}
    ids = {START: len(vocabulary) - 2, END: len(vocabulary) - 1}

    # As openai/clip-vit-large-patch14 and Stable Diffusion 1 to XL: flags in special_tokens_map.json.
    write_clip(folder / "clip_l", merges, vocabulary, {"model_max_length": 77}, roles | {"pad_token": END})
    write_clip(folder / "clip_g", merges, vocabulary, names | {"pad_token": "!"}, roles | {"pad_token": "!"})
    # As Stable Diffusion 3: flags in added_tokens_decoder.
    decoder = {
        "0": special("!", special=True),
        str(ids[START]): special(START, normalized=True, special=True),
        str(ids[END]): special(END, special=True),
    }
    write_clip(folder / "clip_g3", merges, vocabulary, names | {"pad_token": "!", "added_tokens_decoder": decoder}, None)
    # A vocabulary without most bytes and without the begin token, as tiny random folders have.
    kept = [token for token in vocabulary if token == END or (token.isascii() and "|" not in token and token[0] > "A")]
    small = {token: index for index, token in enumerate(kept)}
    some = [merge for merge in merges if all(part in small for part in (*merge, "".join(merge)))]
    write_clip(folder / "clip_small", some, small, {}, None)
    write_json(folder / "clip_small/added_tokens.json", {"<fresh>": len(small), "Mixed Case": len(small) + 1})

    write_clip_json(folder / "clip_l_json", folder / "clip_l")
    write_clip_json(folder / "clip_g_json", folder / "clip_g3", merges_as_text=True)
    # Every flag an added token can have.
    write_clip_json(folder / "clip_flags_json", folder / "clip_l")
    file = folder / "clip_flags_json/tokenizer.json"
    saved = json.loads(file.read_text(encoding="utf-8"))
    flags = [{"lstrip": True}, {"rstrip": True}, {"single_word": True}, {"normalized": True, "lstrip": True, "rstrip": True}]
    for index, (content, flag) in enumerate(zip(["<l>", "<r>", "cat", "É X"], flags, strict=True)):
        saved["added_tokens"].append({"id": len(vocabulary) + index, "special": False} | special(content, **flag))
    write_json(file, saved)
    config = json.loads((folder / "clip_flags_json/tokenizer_config.json").read_text(encoding="utf-8"))
    config.pop("added_tokens_decoder", None)
    write_json(folder / "clip_flags_json/tokenizer_config.json", config)


def train_unigram(lines: list[str], pieces: int, coverage: float, rules: Path | None = None) -> bytes:
    """A SentencePiece model with T5's special pieces; the normalisation is T5's, or that of a file of rules."""
    model = io.BytesIO()
    normalisation = {"normalization_rule_tsv": str(rules)} if rules else {"normalization_rule_name": "nmt_nfkc"}
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines),
        model_writer=model,
        model_type="unigram",
        vocab_size=pieces,
        hard_vocab_limit=False,
        character_coverage=coverage,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        num_threads=1,
        minloglevel=2,
        **normalisation,
    )
    trained = sentencepiece_model_pb2.ModelProto.FromString(model.getvalue())
    trained.normalizer_spec.ClearField("normalization_rule_tsv")  # where the rules lay; they are in the model
    return trained.SerializeToString()


def write_t5_folders(folder: Path, model: bytes) -> None:
    for name in ("t5", "t5_decoder"):
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name / "spiece.model").write_bytes(model)
    write_json(folder / "t5/tokenizer_config.json", {"extra_ids": 100, "model_max_length": 512})
    tokenizer = T5Tokenizer.from_pretrained(folder / "t5")
    tokenizer.save_pretrained(folder / "t5_json")
    # As saved by the older T5Tokenizer: the extra ids take the spaces around them along.
    names = [f"<extra_id_{index}>" for index in range(100)]
    decoder = {str(tokenizer.convert_tokens_to_ids(name)): special(name, lstrip=True, rstrip=True, special=True) for name in names}
    decoder |= {str(index): special(name, special=True) for index, name in enumerate(["<pad>", "</s>", "<unk>"])}
    config = {"eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>", "extra_ids": 100, "model_max_length": 1e30}
    write_json(
        folder / "t5_decoder/tokenizer_config.json",
        config | {"additional_special_tokens": names, "added_tokens_decoder": decoder},
    )


def train_qwen2_merges(lines: list[str], count: int) -> Merges:
    """Byte-pair merges of Qwen2's words, most frequent first."""
    qwen2 = Qwen2Tokenizer().backend_tokenizer
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=count + len(alphabet), initial_alphabet=alphabet, show_progress=False)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer, tokenizer.pre_tokenizer = qwen2.normalizer, qwen2.pre_tokenizer
    tokenizer.train_from_iterator(lines, trainer)
    return [tuple(merge) for merge in json.loads(tokenizer.to_str())["model"]["merges"]][:count]


def write_qwen2_folders(folder: Path, merges: Merges) -> None:
    vocabulary = qwen2_vocabulary(merges)
    # As Qwen3: the special tokens follow the vocabulary; some of them are no special ones.
    decoder = {str(len(vocabulary) + index): special(token, special="think" not in token) for index, token in enumerate(QWEN2_ADDED)}
    config = {"add_prefix_space": False, "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", "unk_token": None}
    config |= {"added_tokens_decoder": decoder, "additional_special_tokens": QWEN2_ADDED[1:3], "model_max_length": 131072}
    write_clip(folder / "qwen2", merges, vocabulary, config, None)
    # Of symbols that the vocabulary lacks nothing remains.
    small = {token: index for index, token in enumerate(token for token in vocabulary if token.isascii())}
    some = [merge for merge in merges if all(part in small for part in (*merge, "".join(merge)))]
    write_clip(folder / "qwen2_small", some, small, {}, None)
    Qwen2Tokenizer.from_pretrained(folder / "qwen2").save_pretrained(folder / "qwen2_json")


def load(folder: Path) -> CLIPTokenizer | T5Tokenizer | Qwen2Tokenizer:
    kinds = {"clip": CLIPTokenizer, "t5": T5Tokenizer, "qwen2": Qwen2Tokenizer}
    return kinds[folder.name.split("_")[0]].from_pretrained(folder)


def write_large(folder: Path) -> None:
    lines = tokenizer_texts.training_lines(SEED)
    write_clip_folders(folder, train_merges(lines, 6000))
    write_t5_folders(folder, train_unigram(lines, 12000, coverage=0.98))
    write_qwen2_folders(folder, train_qwen2_merges(lines, 6000))


def write_small(folder: Path) -> None:
    """Small enough to commit: a short vocabulary, and a charsmap of a few rules in place of the 240 kB of nmt_nfkc."""
    lines = tokenizer_texts.training_lines(SEED, script_lines=0, documentation_lines=300)
    write_clip_folders(folder, train_merges(lines, 150))
    pairs = [("ｄ", "d"), ("ſ", "s"), ("ﬁ", "fi"), ("①", "1"), ("　", " "), ("\t", " "), ("\n", " "), ("\x01", "")]
    pairs += [("e\u0301", "\u00e9"), ("E\u0301", "\u00c9"), ("＜", "<"), ("＞", ">"), ("\u200d", " ")]
    rules = folder / "rules.tsv"
    hexadecimal = ["\t".join(" ".join(f"{ord(c):X}" for c in side) for side in pair) for pair in dict(pairs).items()]
    rules.write_text("\n".join(hexadecimal) + "\n", encoding="utf-8")
    write_t5_folders(folder, train_unigram(lines, 400, coverage=0.98, rules=rules))
    rules.unlink()
    write_qwen2_folders(folder, train_qwen2_merges(lines, 150))

    texts = ["", " ", "a photo of a CAT, it's 12 o'clock!", "x" * 400, "word " * 300]
    texts += [*tokenizer_texts.TRICKY, *tokenizer_texts.EMOJI, *tokenizer_texts.LITERALS, *tokenizer_texts.fuzz(SEED, 40)]
    texts += tokenizer_texts.CHATS
    texts += ["a <l> b <r> c cat cats <r>\t<l>", "é x  É X e\u0301 X", "\x01 \x00 \x7f\ttab\r\nline", "a<extra_id_1> b </s> c"]
    cases = {"texts": texts, "length": 20, "folders": {}}
    for name in sorted(path.name for path in folder.iterdir() if path.is_dir()):
        tokenizer = load(folder / name)
        cut = tokenizer(texts, padding="max_length", truncation=True, max_length=cases["length"])["input_ids"]
        cases["folders"][name] = {"ids": cut, "token_counts": [len(ids) for ids in tokenizer(texts)["input_ids"]]}
    (folder / "expected.json").write_text(json.dumps(cases, ensure_ascii=False, separators=(",", ":")) + "\n", encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        write_large(Path(sys.argv[1]))
    else:
        write_small(DATA)
