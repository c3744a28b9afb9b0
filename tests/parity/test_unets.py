"""Pictures of `diffused generate` against real Diffusers, on tiny folders of Stable Diffusion 1, 2 and XL of every
shape. The folders are built here (tools/golden/unet_folders.py), in a few seconds, under the build folder."""

from pathlib import Path

import numpy
import pytest
import torch
from comparing import MADE, arguments_of, assert_same, differences, our_pictures

import unet_folders

# Every request draws `n` pictures from the seeds `seed`, `seed` + 1 …; "odd_size" takes the folder's own odd size.
# Where no guidance scale stands the folder's own is taken.
REQUESTS = {
    "plain": {"seed": 1},
    "negative_odd_size": {"negative_prompt": "blurry, ugly", "clip_skip": 1, "guidance_rescale": 0.6, "odd_size": True, "n": 2, "seed": 2},
}  # fmt: skip
XL_REQUESTS = {
    "sizes": {"original_size": (96, 40), "crops_coords_top_left": (8, 0), "target_size": (64, 80), "prompt_2": "un château fort", "seed": 3},
    "negative_sizes": {
        "negative_prompt": "", "negative_prompt_2": "dark", "negative_original_size": (32, 32),
        "negative_crops_coords_top_left": (4, 12), "negative_target_size": (128, 64), "seed": 4,
    },
}  # fmt: skip
XL_FOLDERS = ["xl", "xl_sizes", "xl_kernels"]


@pytest.fixture(scope="module", params=unet_folders.FOLDERS)
def model(request):
    """A folder's name, its path, and real Diffusers on it."""
    name = request.param
    path = unet_folders.build_folder(MADE / "unets" / name, name)
    return name, path, unet_folders.load_pipeline(path)


def their_pictures(pipeline, arguments: dict) -> list[numpy.ndarray]:
    arguments = dict(arguments)
    n, seed = arguments.pop("n"), arguments.pop("seed")
    generators = [torch.Generator().manual_seed(seed + index) for index in range(n)]
    images = pipeline(**arguments, num_images_per_prompt=n, generator=generators).images
    return [numpy.asarray(image) for image in images]


def request_of(name: str, request: dict) -> dict:
    folder = unet_folders.FOLDERS[name]
    return arguments_of(folder, {"guidance_scale": folder.guidance_scale} | request)


@pytest.mark.parametrize("request_name", REQUESTS)
def test_pictures_in_fp32(model, request_name: str, tmp_path: Path) -> None:
    name, path, pipeline = model
    arguments = request_of(name, REQUESTS[request_name])
    assert_same(our_pictures(path, arguments, tmp_path), their_pictures(pipeline, arguments))


@pytest.mark.parametrize("request_name", XL_REQUESTS)
@pytest.mark.parametrize("name", XL_FOLDERS)
def test_conditioning_sizes(name: str, request_name: str, tmp_path: Path) -> None:
    path = unet_folders.build_folder(MADE / "unets" / name, name)
    arguments = request_of(name, XL_REQUESTS[request_name])
    assert_same(our_pictures(path, arguments, tmp_path), their_pictures(unet_folders.load_pipeline(path), arguments))


@pytest.mark.parametrize("name", ["plain", "kernels", "xl"])
def test_pictures_in_bf16(name: str, tmp_path: Path) -> None:
    """bfloat16 rounds everywhere, and elsewhere in another kernel: the pictures are close, not equal."""
    path = unet_folders.build_folder(MADE / "unets" / name, name)
    arguments = request_of(name, REQUESTS["plain"])
    pipeline = unet_folders.load_pipeline(path, torch.bfloat16)
    ours = our_pictures(path, arguments, tmp_path, "bf16")
    for difference in differences(ours, their_pictures(pipeline, arguments)):
        assert difference.mean() < 4
