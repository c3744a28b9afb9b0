"""Prompts in AUTOMATIC1111's syntax: pictures of `diffused generate --prompt-syntax a1111` against Diffusers that is given
embeddings computed here with transformers, by a reader of that syntax of our own in Python."""

import re
from pathlib import Path

import numpy
import pytest
import torch
from comparing import MADE, arguments_of, assert_same, our_pictures

import flux_folders
import folder_files
import folders
import unet_folders

WEIGHTED = "a (red:1.4) [sleepy] kitten, ((in the (snow:0.7))) \\(at night\\), (on a hill"
LONG = "a small robot in front of a fireplace, (oil painting:1.3), under the sea, [at the beach], " * 3 + "BREAK a very old (puppy:1.5)"
REQUESTS = {
    "weights": {"prompt": WEIGHTED, "seed": 1},
    "chunks": {"prompt": LONG, "negative_prompt": "blurry, (ugly:1.2), [[dark]]", "seed": 2, "n": 2},
    "long_negative": {"prompt": WEIGHTED, "negative_prompt": LONG, "clip_skip": 1, "seed": 3},
    "plain": {"prompt": "a kitten, red", "seed": 4},
    "zero": {"prompt": "a (red:0) kitten (at night:-0.5)", "seed": 5},
}  # fmt: skip

TOKEN = re.compile(r"\\[()\[\]\\]|\\|\(|\[|:\s*[+-]?(?:\d+\.?\d*|\.\d+)\s*\)|\)|\]|[^\\()\[\]:]+|:")


def read(prompt: str) -> list[tuple[str | None, float]]:
    """(text, weight) in order; None is BREAK."""
    pieces, opened = [], {"(": [], "[": []}

    def scale(kind, factor):
        start = opened[kind].pop()
        pieces[start:] = [(text, weight if text is None else weight * factor) for text, weight in pieces[start:]]

    for token in TOKEN.findall(prompt):
        if token[0] == "\\":
            pieces.append((token[1:], 1.0))
        elif token in opened:
            opened[token].append(len(pieces))
        elif token[-1] == ")" and opened["("]:
            scale("(", float(token[1:-1]) if token[0] == ":" else 1.1)
        elif token == "]" and opened["["]:
            scale("[", 1 / 1.1)
        else:
            for index, part in enumerate(re.split(r"\s*\bBREAK\b\s*", token)):
                pieces += [(None, 1.0)] * (index > 0) + [(part, 1.0)]
    for kind, factor in (("(", 1.1), ("[", 1 / 1.1)):
        while opened[kind]:
            scale(kind, factor)
    merged = []
    for text, weight in pieces:
        if merged and text is not None and merged[-1][0] is not None and abs(merged[-1][1] - weight) < 1e-12:
            merged[-1] = (merged[-1][0] + text, weight)
        else:
            merged.append((text, weight))
    return merged


def ids_of(tokenizer, text: str) -> list[int]:
    return tokenizer(text, add_special_tokens=False, truncation=False).input_ids if text else []


def chunks_of(tokenizer, prompt: str, room: int) -> list[list[tuple[int, float]]]:
    """The prompt's ids and weights in chunks of at most `room`."""
    [comma] = ids_of(tokenizer, ",")
    chunks, last_comma = [[]], None
    for text, weight in read(prompt):
        if text is None:
            chunks.append([])
            last_comma = None
            continue
        for token in ids_of(tokenizer, text):
            if token == comma:
                last_comma = len(chunks[-1])
            elif len(chunks[-1]) == room and last_comma is not None and room - last_comma <= 20:
                rest = chunks[-1][last_comma + 1 :]
                del chunks[-1][last_comma + 1 :]
                chunks.append(rest)
                last_comma = None
            if len(chunks[-1]) == room:
                chunks.append([])
                last_comma = None
            chunks[-1].append((token, weight))
    return chunks[:-1] if len(chunks) > 1 and not chunks[-1] else chunks


def emphasise(states: torch.Tensor, weights: list[float]) -> torch.Tensor:
    factors = torch.tensor(weights, dtype=torch.float32)
    if (factors == 1).all():
        return states
    weighted = states * factors[None, :, None]
    return weighted * (states.mean() / weighted.mean())


def clip(tokenizer, encoder, prompt: str, count: int, skip: int, penultimate: bool):
    """The tokens of `count` chunks, and the first one's pooled text."""
    length = tokenizer.model_max_length
    chunks = chunks_of(tokenizer, prompt, length - 2)
    states, pooled = [], None
    for chunk in chunks + [[]] * (count - len(chunks)):
        ids = [tokenizer.bos_token_id, *(token for token, _ in chunk), tokenizer.eos_token_id]
        ids += [tokenizer.pad_token_id] * (length - len(ids))
        weights = [1.0, *(weight for _, weight in chunk)]
        out = encoder(torch.tensor([ids]), output_hidden_states=True)
        if penultimate:
            state = out.hidden_states[-2 - skip]
        elif skip == 0:
            state = out.last_hidden_state
        else:
            state = getattr(encoder, "text_model", encoder).final_layer_norm(out.hidden_states[-1 - skip])
        states.append(emphasise(state, weights + [1.0] * (length - len(weights))))
        first = out.text_embeds if hasattr(out, "text_embeds") else out.pooler_output
        pooled = first if pooled is None else pooled
    return torch.cat(states, 1), pooled


def t5(tokenizer, encoder, prompt: str, length: int) -> torch.Tensor:
    tokens = [(token, weight) for text, weight in read(prompt) if text is not None for token in ids_of(tokenizer, text)][: length - 1]
    ids = [*(token for token, _ in tokens), tokenizer.eos_token_id]
    weights = [weight for _, weight in tokens]
    ids += [tokenizer.pad_token_id] * (length - len(ids))
    return emphasise(encoder(torch.tensor([ids]))[0], weights + [1.0] * (length - len(weights)))


def clips_of(pipeline):
    """(tokenizer, encoder) of each CLIP."""
    pairs = [("tokenizer", "text_encoder"), ("tokenizer_2", "text_encoder_2")]
    found = [(getattr(pipeline, a, None), getattr(pipeline, b, None)) for a, b in pairs]
    return [pair for pair in found if pair[1] is not None and "T5" not in type(pair[1]).__name__]


def embeddings(pipeline, prompt: str, count: int, skip: int) -> dict:
    penultimate = len(clips_of(pipeline)) > 1
    made = [clip(*pair, prompt, count, skip, penultimate) for pair in clips_of(pipeline)]
    tokens, pooled = torch.cat([tokens for tokens, _ in made], -1), [pooled for _, pooled in made]
    if "StableDiffusion3" in type(pipeline).__name__:
        width = pipeline.transformer.config.joint_attention_dim
        tokens = torch.nn.functional.pad(tokens, (0, width - tokens.shape[-1]))
        rest = torch.zeros(1, 256, width) if pipeline.text_encoder_3 is None else t5(pipeline.tokenizer_3, pipeline.text_encoder_3, prompt, 256)
        return {"prompt_embeds": torch.cat([tokens, rest], 1), "pooled_prompt_embeds": torch.cat(pooled, -1)}
    if "XL" in type(pipeline).__name__:
        return {"prompt_embeds": tokens, "pooled_prompt_embeds": pooled[-1]}
    return {"prompt_embeds": tokens}


@torch.no_grad()
def their_pictures(pipeline, arguments: dict) -> list[numpy.ndarray]:
    arguments = dict(arguments)
    n, seed, skip = arguments.pop("n"), arguments.pop("seed"), arguments.pop("clip_skip", 0)
    prompts = [arguments.pop("prompt"), arguments.pop("negative_prompt", "")]
    count = max(len(chunks_of(pair[0], prompt, pair[0].model_max_length - 2)) for pair in clips_of(pipeline) for prompt in prompts)
    given = embeddings(pipeline, prompts[0], count, skip)
    given |= {f"negative_{name}": value for name, value in embeddings(pipeline, prompts[1], count, skip).items()}
    pictures = []
    for index in range(n):
        made = pipeline(**arguments, **given, generator=torch.Generator().manual_seed(seed + index))
        pictures.append(numpy.asarray(made.images[0]))
    return pictures


def compare(path: Path, pipeline, arguments: dict, folder: Path) -> None:
    # XL's negative prompt that is absent is zeros, in either syntax; here it is always given.
    arguments = {"negative_prompt": ""} | arguments
    ours = our_pictures(path, arguments | {"prompt_syntax": "a1111"}, folder)
    assert_same(ours, their_pictures(pipeline, arguments))


@pytest.mark.parametrize("request_name", REQUESTS)
@pytest.mark.parametrize("name", ["plain", "linear", "xl"])
def test_unets(name: str, request_name: str, tmp_path: Path) -> None:
    path = unet_folders.build_folder(MADE / "unets" / name, name)
    folder = unet_folders.FOLDERS[name]
    arguments = arguments_of(folder, {"guidance_scale": folder.guidance_scale} | REQUESTS[request_name])
    compare(path, unet_folders.load_pipeline(path), arguments, tmp_path)


@pytest.mark.parametrize("request_name", REQUESTS)
@pytest.mark.parametrize("name", ["plain", "t5"])
def test_sd3(name: str, request_name: str, tmp_path: Path) -> None:
    path = MADE / "sd3" / name
    folders.build_folder(path, name)
    arguments = arguments_of(folders.FOLDERS[name], {"guidance_scale": 4.0} | REQUESTS[request_name])
    compare(path, folders.load_pipeline(path, name), arguments, tmp_path)


@torch.no_grad()
def test_flux(tmp_path: Path) -> None:
    """CLIP gives the first chunk's pooled text, T5 the weighted tokens."""
    path = flux_folders.build_folder(MADE / "flux/dev", "dev")
    pipeline = folder_files.load_pipeline(path)
    request = {"prompt": WEIGHTED, "guidance_scale": 3.5, "max_sequence_length": 64, "seed": 1}
    arguments = arguments_of(flux_folders.FOLDERS["dev"], request)
    ours = our_pictures(path, arguments | {"prompt_syntax": "a1111"}, tmp_path)
    options = {name: value for name, value in arguments.items() if name not in ("prompt", "n", "seed")}
    _, pooled = clip(pipeline.tokenizer, pipeline.text_encoder, WEIGHTED, 1, 0, False)
    made = pipeline(**options, prompt_embeds=t5(pipeline.tokenizer_2, pipeline.text_encoder_2, WEIGHTED, 64), pooled_prompt_embeds=pooled,
                    generator=torch.Generator().manual_seed(1))
    assert_same(ours, [numpy.asarray(made.images[0])])


@pytest.mark.parametrize(("prompt", "same"), [("a kitten, red", True), ("a (red:1.4) kitten", False), (LONG, False)])
def test_the_syntaxes_differ_where_there_is_syntax(prompt: str, same: bool, tmp_path: Path) -> None:
    path = unet_folders.build_folder(MADE / "unets/plain", "plain")
    arguments = arguments_of(unet_folders.FOLDERS["plain"], {"prompt": prompt, "guidance_scale": 4.0, "seed": 4})
    [plain], [weighted] = (our_pictures(path, arguments | {"prompt_syntax": syntax}, tmp_path) for syntax in ("diffusers", "a1111"))
    assert (plain == weighted).all() == same
