"""`./dev bench whole`: whole pictures of SD3-medium at full width, over HTTP, beside the server of Diffusers' guide; then eight clients at once.

The folder is made of `./dev bench sd3`'s and `./dev bench text`'s random weights, without T5, as SD3 may be used; its tokenizer is the
demo model's. Ours repeats each prompt that the guide's server gets, so both encode it once. Takes some minutes: `--steps`, `--blocks`.
"""
# builds: diffused

import argparse
import asyncio
import json
import os
import pathlib
import shutil

import torch

import contest
import load
import picture
import sd3_peers
import text_peers

DEMO = pathlib.Path(__file__).parent.parent / "models/demo"
CLIENTS = 8


def make_folder(blocks: int) -> pathlib.Path:
    """A model folder of SD3-medium's shapes with so many of its 24 blocks; made once."""
    folder = contest.CACHE / f"folder_{blocks}"
    if (folder / "model_index.json").exists():
        return folder
    print(f"making random weights, {blocks} blocks", flush=True)
    folder.mkdir(parents=True, exist_ok=True)
    sd3_peers.make_weights(folder, blocks)
    # The tokens that begin and end a prompt are those of the demo's tokenizer.
    demo = json.loads((DEMO / "text_encoder/config.json").read_text())
    tokens = {key: demo[key] for key in ("vocab_size", "bos_token_id", "eos_token_id", "pad_token_id")}
    clips = {"text_encoder": text_peers.CLIP_L | tokens, "text_encoder_2": text_peers.CLIP_G | tokens}
    text_peers.make_clips(folder, clips, torch.Generator().manual_seed(1))
    for part in ("tokenizer", "tokenizer_2", "scheduler"):
        shutil.copytree(DEMO / part, folder / part, dirs_exist_ok=True)
    shutil.copy(DEMO / "model_index.json", folder)
    return folder


def one_at_a_time(arguments: argparse.Namespace, ours: str, guide: str) -> None:
    own, theirs = [], []
    for number in range(arguments.rounds + 1):
        arguments.steps = 1 if number == 0 else arguments.whole_steps  # the first of each warms up
        body = picture.request(arguments, number)
        pair = [asyncio.run(picture.one_picture(address, body)) for address in (ours, guide)]
        if number > 0:
            own.append(pair[0])
            theirs.append(pair[1])
    ratios = [a / b for a, b in zip(own, theirs)]
    print(f"one {arguments.size} picture, {arguments.steps} steps: ours {load.median(own):.1f} s, the guide's server {load.median(theirs):.1f} s,"
          f" ratio {load.median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f})", flush=True)


def many_at_a_time(arguments: argparse.Namespace, ours: str) -> None:
    """Steps a second with one client and with eight, in turn; decoding and all else included in both."""
    arguments.steps = arguments.serving_steps
    shares = []
    for number in range(arguments.rounds):
        body = lambda n: picture.request(arguments, 100 * number + n)  # noqa: E731
        alone = asyncio.run(load.closed_loop(ours, 1, body, requests=2))
        together = asyncio.run(load.closed_loop(ours, CLIENTS, body, requests=CLIENTS))
        shares.append(together.pictures_per_second / alone.pictures_per_second)
    print(f"{CLIENTS} clients, {arguments.steps} steps: {load.median(shares):.2f} ({min(shares):.2f}–{max(shares):.2f}) of one client's steps a second")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--blocks", type=int, default=24)
    parser.add_argument("--size", default="512x512")
    parser.add_argument("--steps", dest="whole_steps", type=int, default=28)
    parser.add_argument("--serving-steps", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=2)
    arguments = parser.parse_args()
    folder = make_folder(arguments.blocks)
    print(load.machine())
    print(f"{arguments.blocks} of 24 blocks, {picture.best_dtype()}, {os.cpu_count()} cores")
    with picture.ours(str(folder)) as (_, ours):
        with picture.guide(str(folder)) as (_, guide):
            one_at_a_time(arguments, ours, guide)
        many_at_a_time(arguments, ours)


if __name__ == "__main__":
    main()
