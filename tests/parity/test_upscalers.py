"""Upscalers: the same picture as the network's definition gives in Python's torch, tile by tile."""

import base64
import io

import numpy
import PIL.Image
import pytest
import safetensors.torch
import torch
import torch.nn.functional as F

from tests.e2e.conftest import serve

SIDE, CONTEXT = 192, 16


def weights(features=32, growth=16, blocks=2, shuffled=1, doublings=2):
    generator, tensors = torch.Generator().manual_seed(5), {}

    def conv(name, into, out):
        tensors[f"{name}.weight"] = torch.randn(out, into, 3, 3, generator=generator) / (3 * into**0.5)
        tensors[f"{name}.bias"] = torch.randn(out, generator=generator) * 0.1

    conv("conv_first", 3 * shuffled**2, features)
    for i in range(blocks):
        for dense in (1, 2, 3):
            for k in range(5):
                conv(f"body.{i}.rdb{dense}.conv{k + 1}", features + k * growth, growth if k < 4 else features)
    for name in ("conv_body", *(f"conv_up{i + 1}" for i in range(doublings)), "conv_hr"):
        conv(name, features, features)
    conv("conv_last", features, 3)
    tensors["conv_last.bias"] += 0.5  # so that little is cut off at black
    return tensors


def forward(tensors, x, shuffled, blocks=2, doublings=2):
    conv = lambda name, y: F.conv2d(y, tensors[f"{name}.weight"], tensors[f"{name}.bias"], padding=1)
    soft = lambda y: F.leaky_relu(y, 0.2)

    def dense(name, y):
        seen = [y]
        for k in range(1, 5):
            seen.append(soft(conv(f"{name}.conv{k}", torch.cat(seen, 1))))
        return y + 0.2 * conv(f"{name}.conv5", torch.cat(seen, 1))

    height, width = x.shape[2:]
    x = F.pad(x, (0, -width % shuffled, 0, -height % shuffled), "replicate")
    first = y = conv("conv_first", F.pixel_unshuffle(x, shuffled))
    for i in range(blocks):
        z = y
        for k in (1, 2, 3):
            z = dense(f"body.{i}.rdb{k}", z)
        y = y + 0.2 * z
    y = first + conv("conv_body", y)
    for i in range(doublings):
        y = soft(conv(f"conv_up{i + 1}", F.interpolate(y, scale_factor=2, mode="nearest")))
    return conv("conv_last", soft(conv("conv_hr", y)))


def enlarged(tensors, picture, shuffled, doublings=2):
    pixels = torch.from_numpy(numpy.asarray(picture).copy()).permute(2, 0, 1)[None].float() / 255
    height, width, scale = picture.height, picture.width, 2**doublings // shuffled
    out = torch.zeros(1, 3, height * scale, width * scale)
    for top in range(0, height, SIDE):
        for left in range(0, width, SIDE):
            y, x = max(0, top - CONTEXT), max(0, left - CONTEXT)
            bottom, right = min(height, top + SIDE), min(width, left + SIDE)
            made = forward(tensors, pixels[:, :, y : min(height, bottom + CONTEXT), x : min(width, right + CONTEXT)], shuffled, doublings=doublings)
            made = made[:, :, (top - y) * scale :, (left - x) * scale :][:, :, : (bottom - top) * scale, : (right - left) * scale]
            out[:, :, top * scale : bottom * scale, left * scale : right * scale] = made
    return (out.clamp(0, 1) * 255).round()[0].permute(1, 2, 0).numpy().astype(int)


def scene(width, height):
    across, down = numpy.meshgrid(numpy.linspace(0, 6, width), numpy.linspace(0, 4, height))
    return PIL.Image.fromarray((127 + 120 * numpy.stack([numpy.sin(across + down), numpy.cos(across * 2), numpy.sin(down * 3)], 2)).astype(numpy.uint8))


@pytest.mark.parametrize(("name", "listed", "shuffled", "size"), [("RealESRGAN_x4plus", "R-ESRGAN 4x+", 1, (61, 47)), ("RealESRGAN_x2plus", "R-ESRGAN 2x+", 2, (45, 33)),
                                                                  ("4x_of_mine", "4x_of_mine", 1, (230, 40))])
def test_a_network_gives_what_its_definition_gives(tmp_path, name, listed, shuffled, size):
    tensors, picture = weights(shuffled=shuffled), scene(*size)
    folder = tmp_path / "upscalers"
    folder.mkdir()
    safetensors.torch.save_file(tensors, folder / f"{name}.safetensors")
    (folder / "other.pth").write_bytes(b"\x80\x02}q\x00.")
    scale = 4 // shuffled
    file = io.BytesIO()
    picture.save(file, "PNG")
    with serve(tmp_path / "data", "--dtype", "fp32", "--upscalers", str(folder)) as server:
        assert [each["name"] for each in server.get("/sdapi/v1/upscalers").json()] == ["None", "Lanczos", listed]
        reply = server.post({"image": base64.b64encode(file.getvalue()).decode(), "upscaler_1": listed, "resize_mode": 1, "upscaling_crop": False,
                             "upscaling_resize_w": size[0] * scale, "upscaling_resize_h": size[1] * scale}, "/sdapi/v1/extra-single-image")
        assert reply.status_code == 200, reply.text
        ours = numpy.asarray(PIL.Image.open(io.BytesIO(base64.b64decode(reply.json()["image"])))).astype(int)
    wanted = enlarged(tensors, picture, shuffled)
    assert ours.shape == wanted.shape
    assert wanted.std() > 10  # a picture, not a plain
    assert numpy.abs(ours - wanted).max() <= 1
