"""The judge: a small network that names subject, colour and scene of a picture."""

from __future__ import annotations

import os
import random
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from pictures import render
from words import COLOURS, SCENES, SUBJECTS, Content, draw_content

KINDS = {"subject": list(SUBJECTS), "colour": list(COLOURS), "scene": list(SCENES)}
SIDE, STEPS, SEED = 64, 1200, 5


class Classifier(nn.Module):
    """Judges pictures from -1 to 1 of any size; they are first reduced to 64 pixels a side."""

    def __init__(self):
        super().__init__()
        layers, channels = [], 3
        for width in (32, 64, 96, 128):
            layers += [nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(2)]
            channels = width
        self.features = nn.Sequential(*layers, nn.Flatten(), nn.Dropout(0.2))
        self.heads = nn.ModuleDict({kind: nn.Linear(128 * 16, len(names)) for kind, names in KINDS.items()})

    def forward(self, pictures: Tensor) -> dict[str, Tensor]:
        features = self.features(functional.interpolate(pictures, size=(SIDE, SIDE), mode="area"))
        return {kind: head(features) for kind, head in self.heads.items()}

    @torch.no_grad()
    def names(self, pictures: Tensor) -> list[dict[str, str]]:
        """Returns what each picture shows."""
        found = {kind: scores.argmax(1).tolist() for kind, scores in self.eval()(pictures).items()}
        return [{kind: KINDS[kind][found[kind][i]] for kind in KINDS} for i in range(len(pictures))]


def _draw_small(seed: str) -> tuple[np.ndarray, list[Content]]:
    """Draws 200 pictures of all combinations, held out or not, and reduces them."""
    source = random.Random(seed)
    contents = [draw_content(source) for _ in range(200)]
    small = [np.asarray(render(c, source.random() < 0.5).reduce(256 // SIDE)) for c in contents]
    return np.stack(small), contents


def draw_small(count: int, seed: str, processes: int = 4) -> tuple[Tensor, list[Content]]:
    """Returns reduced pictures (count, 3, 64, 64) from -1 to 1 and what they show."""
    seeds = [f"{seed}/{part}" for part in range(count // 200)]
    with ProcessPoolExecutor(processes, initializer=os.nice, initargs=(5,)) as pool:
        parts = list(pool.map(_draw_small, seeds))
    pixels = torch.from_numpy(np.concatenate([p for p, _ in parts])).permute(0, 3, 1, 2)
    return pixels.float() / 127.5 - 1, [content for _, contents in parts for content in contents]


def answers(contents: list[Content]) -> dict[str, Tensor]:
    """Returns the right class numbers."""
    return {kind: torch.tensor([names.index(getattr(c, kind)) for c in contents]) for kind, names in KINDS.items()}


def disturbed(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Returns pictures shifted, softened and made noisy, as generated ones may be."""
    down, across = torch.randint(0, 7, (2,), generator=generator).tolist()
    shifted = functional.pad(pictures, (3, 3, 3, 3), mode="replicate")[..., down : down + SIDE, across : across + SIDE]
    soft = functional.avg_pool2d(functional.pad(shifted, (1, 1, 1, 1), mode="replicate"), 3, 1)
    share = torch.rand(len(pictures), 1, 1, 1, generator=generator) * 0.8
    gain = 1 + 0.06 * torch.randn(len(pictures), 1, 1, 1, generator=generator)
    return gain * torch.lerp(shifted, soft, share) + 0.06 * torch.randn(pictures.shape, generator=generator)


def train_classifier(path: Path) -> Classifier:
    """Returns the judge, trained now or loaded from `path`."""
    torch.manual_seed(SEED)
    classifier = Classifier()
    if path.exists():
        classifier.load_state_dict(torch.load(path, weights_only=True))
        return classifier.eval()
    pictures, contents = draw_small(10000, "classifier")
    right, generator = answers(contents), torch.Generator().manual_seed(SEED)
    optimiser = torch.optim.AdamW(classifier.parameters(), lr=2e-3, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, STEPS)
    for step in range(STEPS):
        chosen = torch.randint(len(pictures), (64,), generator=generator)
        scores = classifier(disturbed(pictures[chosen], generator))
        loss = sum(functional.cross_entropy(scores[kind], right[kind][chosen]) for kind in KINDS)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        if step % 200 == 0:
            print(f"classifier: step {step} of {STEPS}, loss {loss.item():.3f}", flush=True)
    torch.save(classifier.state_dict(), path)
    return classifier.eval()


def trustworthiness(classifier: Classifier, count: int = 1000) -> dict[str, float]:
    """Returns the share of fresh renders judged right, for each kind."""
    pictures, contents = draw_small(count, "fresh for the classifier")
    found = classifier.names(pictures)
    return {kind: sum(f[kind] == getattr(c, kind) for f, c in zip(found, contents)) / count for kind in KINDS}
