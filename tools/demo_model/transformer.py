"""Trains the transformer and its text encoders together on the latents of the drawn pictures."""

from __future__ import annotations

import multiprocessing
import os
import random
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor

from networks import PromptedTransformer
from pictures import load_set
from tokenizer import LENGTH, build_tokenizers
from training import Log, Muon, Trainer, split_parameters, worker
from vae import to_tensor
from words import caption

ENCODED = 8000
STEPS, BATCH, SEED = 2000, 32, 4  # The batch is each worker's.
# Captions have at most this many tokens. For most of the run the padding after them is left out, which saves a third of
# the time; the last part learns with all 77 tokens, as the pipeline gives them.
SHORT_LENGTH, SHORT_SHARE = 24, 0.8
EMPTY_SHARE = 0.1


@torch.no_grad()
def encode_part(vae_folder: Path, pictures: Path, start: int, stop: int) -> Tensor:
    """Returns the latents of some of the drawn pictures."""
    torch.set_num_threads(1)
    vae = AutoencoderKL.from_pretrained(vae_folder)
    pixels, parts = load_set(pictures)[0], []
    for first in range(start, stop, 10):
        with torch.autocast("cpu", torch.bfloat16):
            mean = vae.encode(to_tensor(pixels[first : min(first + 10, stop)])).latent_dist.mean
        parts.append((mean.float() - vae.config.shift_factor) * vae.config.scaling_factor)
    return torch.cat(parts)


def encode_set(folder: Path, log: Log, processes: int = 4) -> Tensor:
    """Returns the latents (count, 16, 16, 16) of the drawn pictures, from the disk if they were made before."""
    path = folder / "latents.pt"
    if not path.exists():
        edges = range(0, ENCODED + 1, 500)
        with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), os.nice, (5,)) as pool:
            jobs = [pool.submit(encode_part, folder / "vae", folder / "pictures", a, b) for a, b in zip(edges, edges[1:])]
            parts = []
            for job in jobs:
                parts.append(job.result().numpy())
                log(f"latents: {len(parts) * 500} of {ENCODED}")
        torch.save(torch.from_numpy(np.concatenate(parts)), path)
    return torch.load(path, weights_only=True)


class Captions:
    """Writes and tokenizes the captions of a batch."""

    def __init__(self):
        self.tokenizer, _ = build_tokenizers()

    def __call__(self, contents: list, length: int, source: random.Random) -> tuple[Tensor, Tensor]:
        texts = ["" if source.random() < EMPTY_SHARE else caption(content, source) for content in contents]
        encoded = self.tokenizer(texts, padding="max_length", max_length=length, truncation=True, return_tensors="pt")
        # The second tokenizer differs only in what it pads with.
        return encoded.input_ids, encoded.input_ids * encoded.attention_mask


def draw_times(count: int, generator: torch.Generator) -> Tensor:
    """Returns shares of noise: three quarters near the middle, where there is most to learn, one quarter anywhere."""
    middle = torch.sigmoid(torch.randn(count, generator=generator) + 0.4)
    anywhere = torch.rand(count, generator=generator)
    return torch.where(torch.rand(count, generator=generator) < 0.75, middle, anywhere)


def loss_of(model: PromptedTransformer, latents: Tensor, tokens: tuple[Tensor, Tensor], generator: torch.Generator) -> Tensor:
    """Returns the squared error of the velocity (rectified flow)."""
    noise = torch.randn(latents.shape, generator=generator)
    share = draw_times(len(latents), generator)
    mixed = latents + share[:, None, None, None] * (noise - latents)
    with torch.autocast("cpu", torch.bfloat16):
        velocity = model(mixed, share * 1000, *tokens)
    return ((velocity.float() - (noise - latents)) ** 2).mean()


def optimisers_of(model: PromptedTransformer) -> list:
    """Returns Muon for the matrices inside the layers and AdamW for all else."""
    def is_matrix(name: str, parameter: Tensor) -> bool:
        return parameter.ndim == 2 and (".layers." in name or "transformer_blocks" in name)

    matrices, rest = split_parameters(model, is_matrix)
    return [Muon(matrices, lr=2e-3, weight_decay=0.02), torch.optim.AdamW(rest, lr=1e-3, betas=(0.9, 0.98), weight_decay=0)]


def train_transformer(folder: Path, log: Log, each_save=lambda model: None) -> PromptedTransformer:
    """Trains, or goes on training, the transformer; `each_save` is called with the averaged model now and then."""
    torch.manual_seed(SEED)
    latents, (_, contents) = encode_set(folder, log), load_set(folder / "pictures")
    captions = Captions()
    model = PromptedTransformer(len(captions.tokenizer))
    trainer = Trainer(model, optimisers_of(model), STEPS, 100, folder / "transformer.pt")
    for each in (trainer.network, trainer.average):
        each.shorten()
    losses = []
    while trainer.step < STEPS:
        source = random.Random(f"{SEED}/{trainer.step}/{worker()}")
        length = SHORT_LENGTH if trainer.step < STEPS * SHORT_SHARE else LENGTH
        chosen = [source.randrange(len(latents)) for _ in range(BATCH)]
        tokens = captions([contents[i] for i in chosen], length, source)
        loss = loss_of(model, latents[chosen], tokens, torch.Generator().manual_seed(2 * trainer.step + worker()))
        trainer.update(loss, decay_from=0.44)
        losses.append(loss.item())
        if trainer.step % 50 == 0:
            log(f"transformer: step {trainer.step} of {STEPS}, loss {np.mean(losses[-50:]):.4f}")
        if trainer.step % 250 == 0 or trainer.step == STEPS:
            trainer.save()
            if not worker():
                each_save(trainer.average)
    return trainer.average
