"""What the parity suites share: pictures of `diffused generate`, and how far they are from Diffusers'."""

import os
import subprocess
import sys
from pathlib import Path

import numpy
import torch
from PIL import Image

ROOT = Path(__file__).parents[2]
BUILD = Path(os.environ.get("DIFFUSED_BUILD", ROOT / "build/release"))
# Where the model folders are made: one place for each process that runs tests, as two may make the same folder.
MADE = BUILD / "parity" / os.environ.get("PYTEST_XDIST_WORKER", "alone")
sys.path.insert(0, str(ROOT / "tools/golden"))

# Tiny networks gain nothing from more threads, and on a busy machine threads that wait for each other cost seconds.
torch.set_num_threads(1)

PROMPT = "A red fox in the snow, at night: photo, 35mm, it's cold"
STEPS = 4


def arguments_of(folder, request: dict) -> dict:
    """The request with everything it leaves open, by the names of Diffusers' arguments, and `n` and `seed`."""
    arguments = {"prompt": PROMPT, "num_inference_steps": STEPS, "n": 1} | request
    width, height = folder.odd_size if arguments.pop("odd_size", False) else folder.default_size
    return arguments | {"width": width, "height": height}


def our_pictures(path: Path, arguments: dict, folder: Path, dtype: str = "fp32") -> list[numpy.ndarray]:
    """Pictures are handed over as files in `folder`."""
    options = dict(arguments)
    if "num_inference_steps" in options:
        options["steps"] = options.pop("num_inference_steps")
    if "width" in options:
        options["size"] = f"{options.pop('width')}x{options.pop('height')}"
    for name in ("image", "mask"):
        if name in options:
            options[name].save(folder / f"{name}.png")
            options[name] = folder / f"{name}.png"
    references = [folder / f"reference-{index}.png" for index in range(len(options.get("references", ())))]
    for file, reference in zip(references, options.pop("references", ()), strict=True):
        reference.save(file)
    command = [BUILD / "diffused", "generate", path, options.pop("prompt"), "-o", folder / "out.png", "--dtype", dtype]
    for option, value in options.items():
        values = value if isinstance(value, tuple) else [value]
        command += [f"--{option.replace('_', '-')}", *map(str, values)]
    for file in references:
        command += ["--reference", file]
    done = subprocess.run(command, check=False, capture_output=True, timeout=300, text=True)
    assert done.returncode == 0, done.stderr
    n = arguments["n"]
    files = ["out.png"] if n == 1 else [f"out-{index}.png" for index in range(n)]
    return [numpy.asarray(Image.open(folder / file)) for file in files]


def their_pictures(text_to_image, arguments: dict, image_to_image=None, inpaint=None) -> list[numpy.ndarray]:
    """Pictures of real Diffusers, each by a call of its own; with a picture or a mask by those classes, of its parts."""
    arguments = dict(arguments)
    n, seed = arguments.pop("n"), arguments.pop("seed")
    pipeline = text_to_image
    kind = inpaint if "mask" in arguments else image_to_image
    if "image" in arguments and kind:
        pipeline = kind(**text_to_image.components)
        pipeline.set_progress_bar_config(disable=True)
    if "mask" in arguments:
        arguments["mask_image"] = arguments.pop("mask")
    drawn = [pipeline(**arguments, generator=torch.Generator().manual_seed(seed + index)).images[0] for index in range(n)]
    return [numpy.asarray(image) for image in drawn]


def differences(ours: list[numpy.ndarray], theirs: list[numpy.ndarray]) -> list[numpy.ndarray]:
    assert [picture.shape for picture in ours] == [picture.shape for picture in theirs]
    return [numpy.abs(a.astype(int) - b.astype(int)) for a, b in zip(ours, theirs, strict=True)]


def assert_same(ours: list[numpy.ndarray], theirs: list[numpy.ndarray]) -> None:
    """Each value within 1 of 255. A flat picture would compare with anything, so it is refused."""
    assert all(picture.std() > 1 for picture in theirs)
    for difference in differences(ours, theirs):
        assert difference.max() <= 1, f"{(difference > 1).mean():.2%} of the values differ by more than 1"
