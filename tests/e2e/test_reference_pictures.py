"""A model that goes by pictures, over HTTP: FLUX.2 klein, tiny."""

import base64
import io

import numpy
import pytest
import requests
from conftest import ROOT, serve
from PIL import Image

KLEIN = ROOT / "tests/pipelines/data/tiny_klein"


@pytest.fixture(scope="module")
def klein(tmp_path_factory):
    with serve(tmp_path_factory.mktemp("klein"), "--dtype", "fp32", model=KLEIN) as running:
        yield running


def png(width: int, height: int, mode: str = "RGB", shade: int = 120) -> bytes:
    data = io.BytesIO()
    Image.new(mode, (width, height), shade if mode == "L" else (shade, 40, 200)).save(data, "PNG")
    return data.getvalue()


def edit(server, pictures: list[bytes], mask: bytes | None = None, **fields):
    files = [("image[]", (f"{i}.png", picture, "image/png")) for i, picture in enumerate(pictures)]
    files += [("mask", ("mask.png", mask, "image/png"))] if mask else []
    body = {"prompt": "a fox", "steps": 2, "seed": 1, "response_format": "b64_json"} | fields
    return requests.post(server.url + "/v1/images/edits", data=body, files=files, timeout=60)


def picture_of(answer) -> numpy.ndarray:
    assert answer.status_code == 200, answer.text
    return numpy.asarray(Image.open(io.BytesIO(base64.b64decode(answer.json()["data"][0]["b64_json"]))))


def test_a_mask_repaints_the_first_picture(klein):
    mask = Image.new("L", (96, 64), 0)
    mask.paste(255, (0, 0, 48, 64))
    data = io.BytesIO()
    mask.save(data, "PNG")
    alone = picture_of(edit(klein, [png(96, 64)], data.getvalue()))
    beside = picture_of(edit(klein, [png(96, 64), png(64, 80)], data.getvalue()))
    assert alone.shape == beside.shape == (64, 96, 3)  # the size of the picture
    assert (alone[:, :32] != beside[:, :32]).any()
    # What is kept has been through the autoencoder, which mixes in a little of what is beside it.
    difference = numpy.abs(alone.astype(int) - beside)
    assert 3 * difference[:, 80:].mean() < difference[:, :32].mean()


@pytest.mark.parametrize(
    ("pictures", "mask", "field"),
    [
        ([png(1, 1)], None, "image[]"),
        ([png(64, 64), png(64, 600)], None, "image[]"),
        ([png(64, 64)] * 5, None, "image[]"),
        ([png(64, 64)] * 3, png(64, 64, "L"), "image[]"),
        ([png(64, 64)], png(32, 32, "L"), "mask"),
    ],
)
def test_an_error_names_the_clients_field(klein, pictures, mask, field):
    answer = edit(klein, pictures, mask)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == field
    assert "references" not in answer.json()["error"]["message"]
