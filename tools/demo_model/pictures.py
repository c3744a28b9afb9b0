"""Draws the pictures, one or many at a time."""

from __future__ import annotations

import os
import pickle
import random
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

import animals
import indoor
import outdoor
import things
from canvas import Canvas, Colour, mix
from words import COLOURS, Content, draw_content, held_out

DRAWERS = {**vars(animals), **vars(things)}
BACKGROUNDS = {**vars(outdoor), **vars(indoor)}
SHADOWS: dict[str, Colour] = {
    "sea": (62, 120, 186), "space": (146, 144, 172), "snow": (176, 190, 220), "fireplace": (150, 76, 66),
}
# Places are whole 32-pixel steps, the grid of the transformer's tokens: a shape then always meets it the same way.
ACROSS = {"left": 96, "middle": 128, "right": 160}
FOOT = 236


def render(content: Content, mirrored: bool = False) -> Image.Image:
    """Draws the content at 256x256; `mirrored` swaps details of the background."""
    canvas = Canvas()
    BACKGROUNDS[content.scene](canvas, content.time, mirrored)
    shadow = SHADOWS.get(content.scene, (118, 112, 120))
    if content.time == "night" and content.scene not in ("fireplace", "kitchen"):
        shadow = mix(shadow, (30, 34, 84), 0.6)
    canvas.move(ACROSS[content.place], FOOT)
    canvas.ellipse(0, 0, 62, 9, shadow, None)
    DRAWERS[content.subject](canvas, COLOURS[content.colour])
    return canvas.finish()


def _draw_part(folder: str, part: int, count: int, seed: int) -> list[Content]:
    """Draws pictures `part * count` onwards into the folder's array."""
    random_source = random.Random(f"{seed}/{part}")
    excluded = frozenset(held_out())
    pixels = np.load(Path(folder) / "pixels.npy", mmap_mode="r+")
    contents = []
    for index in range(part * count, (part + 1) * count):
        content = draw_content(random_source, excluded)
        pixels[index] = np.asarray(render(content, random_source.random() < 0.5))
        contents.append(content)
    return contents


def draw_set(folder: Path, count: int, seed: int, log, processes: int = 4) -> None:
    """Draws a training set into `folder`: pixels.npy (count, 256, 256, 3) and contents.pickle."""
    folder.mkdir(parents=True, exist_ok=True)
    np.lib.format.open_memmap(folder / "pixels.npy", "w+", np.uint8, (count, 256, 256, 3)).flush()
    parts, contents = count // 200, []
    with ProcessPoolExecutor(processes, initializer=os.nice, initargs=(5,)) as pool:
        for done in pool.map(_draw_part, [str(folder)] * parts, range(parts), [200] * parts, [seed] * parts):
            contents += done
            if len(contents) % 4000 == 0:
                log(f"pictures: {len(contents)} of {count} drawn")
    # Written last: its presence says that the set is complete.
    (folder / "contents.pickle").write_bytes(pickle.dumps(contents))


def load_set(folder: Path) -> tuple[np.ndarray, list[Content]]:
    """Returns the pixels (memory-mapped) and the contents of a drawn set."""
    return np.load(folder / "pixels.npy", mmap_mode="r"), pickle.loads((folder / "contents.pickle").read_bytes())
