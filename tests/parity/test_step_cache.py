"""Pictures with steps left out (`--cache`), against real Diffusers whose network is asked by the same rule.

The rule is written here once more, in numpy, from EasyCache's formula (arXiv 2507.02860); Diffusers has no EasyCache.
"""

import math
from pathlib import Path

import numpy
import pytest
import torch
from comparing import MADE, arguments_of, assert_same, our_pictures

import flux_folders
import folders
import unet_folders

STEPS = 20


class EasyRule:
    """Stands in the place of a network's forward; `skipped` counts the calls that it answers by itself.

    Rows of a call are the prompts of one picture, the positive one last.
    """

    def __init__(self, forward, threshold: float) -> None:
        self.forward, self.threshold = forward, threshold
        self.calls = self.skipped = 0
        self.error = 0.0
        self.rate = self.input = self.made = None

    def estimate(self, x: numpy.ndarray) -> float:
        _, made_answer = self.made
        return self.rate * float(numpy.abs(x - self.input)[-1].mean() / numpy.abs(made_answer)[-1].mean())

    def learn(self, x: numpy.ndarray, answer: numpy.ndarray) -> None:
        if self.made is not None:
            made_input, made_answer = self.made
            self.rate = float(numpy.abs(answer - made_answer)[-1].mean() / numpy.abs(x - made_input)[-1].mean())
        self.made = (x, answer)
        self.error = 0.0

    def __call__(self, *args, **kwargs):
        x = (args[0] if args else kwargs["hidden_states"]).numpy(force=True).copy()
        call, self.calls = self.calls, self.calls + 1
        must = call < math.ceil(0.15 * STEPS) or call == STEPS - 1 or self.rate is None
        if not must and self.error + self.estimate(x) < self.threshold:
            self.error += self.estimate(x)
            self.input = x
            self.skipped += 1
            made_input, made_answer = self.made
            return (torch.from_numpy(x + (made_answer - made_input)),)
        output = self.forward(*args, **kwargs)[0]
        self.learn(x, output.numpy(force=True))
        self.input = x
        return (output,)


def sd3():
    path = folders.build_folder(MADE / "step_cache/sd3", "t5")
    return path, folders.load_pipeline(path, "t5"), folders.FOLDERS["t5"], {"guidance_scale": 4.0, "negative_prompt": "wet"}


def xl():
    path = unet_folders.build_folder(MADE / "step_cache/xl", "xl")
    return path, unet_folders.load_pipeline(path), unet_folders.FOLDERS["xl"], {"guidance_scale": 4.0}


def flux():
    path = flux_folders.build_folder(MADE / "step_cache/flux", "dev")
    return path, flux_folders.load_pipeline(path), flux_folders.FOLDERS["dev"], {"guidance_scale": 3.5, "max_sequence_length": 64}


@pytest.mark.parametrize("threshold", [0.05, 0.3, 1.5])
@pytest.mark.parametrize("model", [sd3, xl, flux])
def test_pictures_with_steps_left_out(model, threshold: float, tmp_path: Path) -> None:
    path, pipeline, folder, request = model()
    arguments = arguments_of(folder, request | {"num_inference_steps": STEPS, "seed": 3})
    ours = our_pictures(path, arguments | {"cache": f"easy={threshold}"}, tmp_path)
    network = pipeline.unet if hasattr(pipeline, "unet") else pipeline.transformer
    rule = EasyRule(network.forward, threshold)
    network.forward = rule
    theirs = dict(arguments)
    theirs.pop("n")
    generator = torch.Generator().manual_seed(theirs.pop("seed"))
    assert_same(ours, [numpy.asarray(pipeline(**theirs, generator=generator).images[0])])
    assert rule.calls == STEPS
    print(model.__name__, threshold, rule.skipped)
    if threshold > 1:
        assert rule.skipped > 2
