#!/usr/bin/env python3
"""Measures models/demo: 200 prompts whose combination of subject, colour and scene no training picture shows.

    python3 tools/demo_model/evaluate.py                       the default of 20 steps
    python3 tools/demo_model/evaluate.py --steps 8 12 28       the share that is right at several step counts
    python3 tools/demo_model/evaluate.py --sheet docs/images/demo_contact_sheet.jpg
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, StableDiffusion3Pipeline
from PIL import Image
from torch import Tensor

from classifier import KINDS, Classifier, train_classifier, trustworthiness
from vae import decibels, fresh_pictures, to_tensor
from words import SCENES, held_out

ROOT = Path(__file__).resolve().parents[2]
KITTEN = "a kitten in front of a fireplace"
SHEET = [
    KITTEN, "a red car in the city at night", "a white rabbit in the snow", "a blue bird on the beach at sunset",
    "a robot on the moon", "a yellow boat on the sea", "a brown puppy in a meadow", "a pink balloon in the desert",
    "a purple fish in the kitchen", "a green house in the forest at night", "an orange tree in the snow",
    "a blue mug by the fireplace", "a grey cat on the beach", "a yellow car in the desert at sunset", "a pink house in a meadow",
    "a black bird in the forest", "a purple robot in the city", "a red boat on the sea at sunset", "a green balloon in space",
    "an orange bunny in the woods", "a white mug in the kitchen", "a blue kitten on the moon",
    "a black puppy on the beach at night", "a red fish on the ocean",
]


def article(words: str) -> str:
    """Returns the words with "a" or "an" before them."""
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


class Painter:
    """Generates pictures in several processes of one thread each, which a busy machine slows less than threads."""

    def __init__(self, model: Path, workers: int, guidance: float):
        self.guidance = guidance
        self.pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _load, (model,))

    def __call__(self, prompts: list[str], seeds: list[int], steps: int) -> list[Image.Image]:
        """Returns one picture for each prompt and seed; a picture does not depend on the others."""
        starts = range(0, len(prompts), 5)
        jobs = [self.pool.submit(_generate, prompts[i : i + 5], seeds[i : i + 5], steps, self.guidance) for i in starts]
        return [picture for job in jobs for picture in job.result()]


def _load(model: Path) -> None:
    """Loads the pipeline once in each process."""
    global pipeline
    torch.set_num_threads(1)
    pipeline = StableDiffusion3Pipeline.from_pretrained(model, text_encoder_3=None, tokenizer_3=None)
    pipeline.set_progress_bar_config(disable=True)


def _generate(prompts: list[str], seeds: list[int], steps: int, guidance: float) -> list[Image.Image]:
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    return pipeline(prompts, generator=generators, num_inference_steps=steps, guidance_scale=guidance).images


def tensor_of(pictures: list[Image.Image]) -> Tensor:
    """Returns pictures as the classifier takes them."""
    return to_tensor(np.stack([np.asarray(picture) for picture in pictures]))


def judge_held_out(paint: Painter, classifier: Classifier, steps: int) -> list[str]:
    """Prints one line of the table and returns the prompts that came out wrong, with what was seen."""
    combinations = held_out()
    prompts = [f"{article(f'{colour} {subject}')} {SCENES[scene][0]}" for subject, colour, scene in combinations]
    found = classifier.names(tensor_of(paint(prompts, list(range(len(prompts))), steps)))
    hits = {kind: [f[kind] == wanted[i] for f, wanted in zip(found, combinations)] for i, kind in enumerate(KINDS)}
    shares = [100 * np.mean(hits[kind]) for kind in KINDS] + [100 * np.mean(np.all(list(hits.values()), 0))]
    print(f"| {steps} | {paint.guidance:g} | " + " | ".join(f"{share:.1f}" for share in shares) + " |", flush=True)
    judged = zip(prompts, found, *hits.values())
    return [f"{prompt}: seen as {' '.join(f.values())}" for prompt, f, *good in judged if not all(good)]


def judge_kitten(paint: Painter, classifier: Classifier, steps: int) -> int:
    """Returns how many of 20 seeds show a kitten at a fireplace."""
    found = classifier.names(tensor_of(paint([KITTEN] * 20, list(range(20)), steps)))
    return sum(f["subject"] == "kitten" and f["scene"] == "fireplace" for f in found)


def write_sheet(paint: Painter, path: Path, steps: int) -> None:
    """Writes a sheet of 24 pictures, seed 1 to 24, none chosen by hand."""
    pictures = paint(SHEET, list(range(1, len(SHEET) + 1)), steps)
    sheet = Image.new("RGB", (6 * 192, 4 * 192))
    for index, picture in enumerate(pictures):
        sheet.paste(picture.resize((192, 192), Image.Resampling.LANCZOS), (index % 6 * 192, index // 6 * 192))
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path, quality=90, optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=ROOT / "models/demo")
    parser.add_argument("--steps", type=int, nargs="+", default=[20])
    parser.add_argument("--guidance", type=float, default=4.0)
    parser.add_argument("--workers", type=int, default=2, help="processes that generate at the same time")
    parser.add_argument("--sheet", type=Path, help="also write a contact sheet to this file")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    folder = ROOT / "build/demo_model"
    folder.mkdir(parents=True, exist_ok=True)
    classifier = train_classifier(folder / "classifier.pt")
    trust = trustworthiness(classifier)
    print("classifier on 1000 fresh renders: " + ", ".join(f"{kind} {100 * share:.1f} %" for kind, share in trust.items()))
    vae = AutoencoderKL.from_pretrained(arguments.model, subfolder="vae")
    print(f"autoencoder on 100 fresh renders: {decibels(vae, fresh_pictures(100, 3)):.2f} dB")
    paint = Painter(arguments.model, arguments.workers, arguments.guidance)
    if arguments.sheet:
        write_sheet(paint, arguments.sheet, arguments.steps[-1])
    kittens = judge_kitten(paint, classifier, arguments.steps[-1])
    print(f'"{KITTEN}", {arguments.steps[-1]} steps: right at {kittens} of 20 seeds')
    print("| steps | guidance | subject | colour | scene | all three |\n|---|---|---|---|---|---|", flush=True)
    for steps in arguments.steps:
        wrong = judge_held_out(paint, classifier, steps)
    print("\n".join(["wrong in the last line:", *wrong]) if wrong else "nothing wrong in the last line")


if __name__ == "__main__":
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    main()
