"""Tiny folders of every class there is one of, and the picture and mask that edits start from."""

import sys
from pathlib import Path

import numpy
import pytest
import torch
from PIL import Image

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "python"), str(ROOT / "tools/golden")]

import worker_folders

# Tiny networks gain nothing from more threads.
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def folder_of(tmp_path_factory):
    """Class name → its folder, made when it is first asked for."""
    made = {}

    def get(name: str) -> Path:
        if name not in made:
            made[name] = worker_folders.build_folder(tmp_path_factory.mktemp(name) / name, name)
        return made[name]

    return get


@pytest.fixture(scope="session")
def picture() -> Image.Image:
    blocks = numpy.random.default_rng(3).integers(0, 256, (8, 8, 3), dtype=numpy.uint8)
    return Image.fromarray(blocks).resize((64, 64), Image.Resampling.BICUBIC)


@pytest.fixture(scope="session")
def mask() -> Image.Image:
    return Image.fromarray(numpy.kron([[0, 255], [255, 0]], numpy.ones((32, 32))).astype(numpy.uint8))
