"""What edits start from: small pictures and masks of every shape, the same for the same arguments."""

import numpy
from PIL import Image


def picture(width: int, height: int) -> Image.Image:
    """Soft colours with a hard edge and some noise in it."""
    y, x = numpy.mgrid[0:height, 0:width]
    waves = [numpy.sin(x / 7 + y / (5 + channel)) * 90 + 128 for channel in range(3)]
    pixels = numpy.stack(waves, axis=-1) + numpy.random.default_rng(width).normal(0, 12, (height, width, 3))
    pixels[height // 4 : height // 2, width // 3 :] = (250, 10, 60)
    return Image.fromarray(pixels.clip(0, 255).astype(numpy.uint8))


def mask(kind: str, width: int, height: int) -> Image.Image:
    """White is repainted. The greys of the ramp lie on both sides of the threshold."""
    y, x = numpy.mgrid[0:height, 0:width]
    kinds = {
        "box": (abs(x - width / 2) < width / 4) & (abs(y - height / 3) < height / 4),
        "disc": (x - width / 2) ** 2 + (y - height / 2) ** 2 < (min(width, height) / 3) ** 2,
        "stripes": (x // 5) % 2 == 0,
        "all": x >= 0,
        "nothing": x < 0,
    }
    if kind == "ramp":
        return Image.fromarray(numpy.linspace(96, 160, width * height).reshape(height, width).astype(numpy.uint8))
    return Image.fromarray((kinds[kind] * 255).astype(numpy.uint8))
