"""Pictures of `diffused generate` against real Diffusers, on tiny folders of every shape.

The folders are built here (tools/golden/folders.py), in a few seconds, under the build folder.
"""

from pathlib import Path

import numpy
import pytest
import torch
from comparing import MADE, arguments_of, assert_same, differences, our_pictures

import folders

# Every request draws `n` pictures from the seeds `seed`, `seed` + 1 …; "odd_size" takes the folder's own odd size.
REQUESTS = {
    "guided": {"guidance_scale": 5.0, "seed": 1},
    "negative": {"guidance_scale": 2.5, "negative_prompt": "blurry, ugly", "clip_skip": 1, "seed": 2, "num_inference_steps": 6},
    "unguided_odd_size": {"guidance_scale": 1.0, "odd_size": True, "seed": 3},
    "own_prompts": {
        "prompt_2": "un château fort", "prompt_3": "猫が窓辺で眠っている", "negative_prompt": "dark",
        "negative_prompt_2": "wet", "negative_prompt_3": "noisy", "guidance_scale": 7.0, "max_sequence_length": 40,
        "num_inference_steps": 3, "n": 2, "seed": 2**32 - 2,
    },
    "empty_prompt_odd_size": {"prompt": "", "guidance_scale": 4.0, "odd_size": True, "n": 2, "seed": 0},
}  # fmt: skip


@pytest.fixture(scope="module", params=folders.FOLDERS)
def model(request):
    """A folder's name, its path, and real Diffusers on it."""
    name = request.param
    path = MADE / "sd3" / name
    folders.build_folder(path, name)
    return name, path, folders.load_pipeline(path, name)


def their_pictures(pipeline, arguments: dict) -> list[numpy.ndarray]:
    arguments = dict(arguments)
    n, seed = arguments.pop("n"), arguments.pop("seed")
    generators = [torch.Generator().manual_seed(seed + index) for index in range(n)]
    images = pipeline(**arguments, num_images_per_prompt=n, generator=generators).images
    return [numpy.asarray(image) for image in images]


@pytest.mark.parametrize("request_name", REQUESTS)
def test_pictures_in_fp32(model, request_name: str, tmp_path: Path) -> None:
    name, path, pipeline = model
    arguments = arguments_of(folders.FOLDERS[name], REQUESTS[request_name])
    assert_same(our_pictures(path, arguments, tmp_path), their_pictures(pipeline, arguments))


@pytest.mark.parametrize("name", ["plain", "t5", "dual"])
def test_pictures_in_bf16(name: str, tmp_path: Path) -> None:
    """bfloat16 rounds everywhere, and elsewhere in another kernel: the pictures are close, not equal."""
    path = MADE / "sd3_bf16" / name
    folders.build_folder(path, name)
    pipeline = folders.load_pipeline(path, name, torch.bfloat16)
    arguments = arguments_of(folders.FOLDERS[name], REQUESTS["guided"])
    ours = our_pictures(path, arguments, tmp_path, "bf16")
    for difference in differences(ours, their_pictures(pipeline, arguments)):
        assert difference.mean() < 2
