"""The indoor scenes."""

from __future__ import annotations

from canvas import WHITE, Canvas, mix
from outdoor import SKIES


def flame(canvas: Canvas, x: float, y: float, width: float, height: float) -> None:
    """Draws one tongue of fire that stands at (x, y)."""
    for share, colour in ((1.0, (250, 122, 44)), (0.7, (255, 178, 52)), (0.4, (255, 236, 130))):
        w, h = width * share, height * share
        canvas.blob([(x, y), (x - w / 2, y - h * 0.22), (x - w * 0.3, y - h * 0.6), (x, y - h),
                     (x + w * 0.28, y - h * 0.6), (x + w / 2, y - h * 0.22)], colour, None)


def fireplace(canvas: Canvas, time: str, mirrored: bool) -> None:
    """A wide brick fireplace with a large fire, its flames on both sides of whatever sits in front."""
    canvas.gradient(0, 208, [(232, 190, 150), (220, 168, 126)])
    canvas.gradient(208, 256, [(164, 108, 74), (146, 92, 62)])
    canvas.box((16, 40), (240, 212), (196, 104, 84), 0, None)
    mortar = (216, 136, 112)
    for row, y in enumerate(range(72, 212, 32)):
        canvas.line([(16, y), (240, y)], mortar, 3)
        for x in range(32 + 32 * (row % 2), 240, 64):
            canvas.line([(x, y), (x, min(y + 32, 210))], mortar, 3)
    canvas.box((8, 32), (248, 52), (140, 88, 60), 4, None)
    canvas.box((40, 76), (216, 212), (74, 40, 46), 40, None)
    canvas.box((40, 140), (216, 212), (74, 40, 46), 0, None)
    canvas.blob([(40, 212), (48, 130), (128, 92), (208, 130), (216, 212)], (132, 54, 44), None)
    for x, width, height in ((128, 64, 128), (96, 48, 116), (160, 48, 116), (64, 46, 104), (192, 46, 104)):
        flame(canvas, x, 208, width, height)
    for x in (72, 184):
        canvas.line([(x - 26, 206), (x + 26, 206)], (128, 80, 54), 13)
    canvas.ellipse(128, 244, 124, 26, (216, 96, 96), None)
    canvas.ellipse(128, 244, 108, 20, (242, 196, 160), None)
    vase, clock = (208, 48) if mirrored else (48, 208)
    canvas.ellipse(clock, 18, 15, 15, WHITE, (140, 88, 60), 4)
    canvas.line([(clock, 10), (clock, 18), (clock + 6, 18)], (90, 60, 50), 3)
    canvas.box((vase - 8, 12), (vase + 8, 33), (112, 168, 190), 6, None)


def kitchen(canvas: Canvas, time: str, mirrored: bool) -> None:
    """A tiled kitchen with a window, a cupboard and a wooden counter."""
    canvas.gradient(0, 192, [(255, 240, 208), (250, 228, 190)])
    for row, y in enumerate(range(128, 192, 32)):
        for x in range(32 * (row % 2), 256, 64):
            canvas.box((x, y), (x + 32, y + 32), (188, 222, 214), 0, None)
    canvas.gradient(192, 256, [(206, 150, 102), (184, 126, 82)])
    canvas.gradient(192, 202, [(226, 176, 128)])
    window, cupboard = (176, 16) if mirrored else (16, 144)
    canvas.box((window, 16), (window + 64, 96), WHITE, 3, None)
    sky = mix(SKIES[time][0], SKIES[time][-1], 0.5)
    for x in (window + 6, window + 35):
        for y in (22, 59):
            canvas.box((x, y), (x + 23, y + 31), sky, 0, None)
    canvas.box((cupboard, 16), (cupboard + 96, 80), (128, 190, 178), 4, None)
    for x in (cupboard + 6, cupboard + 50):
        canvas.box((x, 22), (x + 40, 74), (156, 212, 200), 3, None)
    for x in (cupboard + 40, cupboard + 56):
        canvas.ellipse(x, 50, 3.4, 3.4, (244, 206, 120), None)
