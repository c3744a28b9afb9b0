"""The living subjects. Each is drawn around its foot point (0, 0), about 140 pixels tall, always facing the same way."""

from __future__ import annotations

from canvas import INK, WHITE, Canvas, Colour, light, mix, shade

PINK: Colour = (246, 148, 164)
BEAK: Colour = (250, 168, 44)


def eyes(canvas: Canvas, x: float, y: float, size: float = 9) -> None:
    """Draws two large shining eyes, x to either side of the middle."""
    for side in (-x, x):
        canvas.ellipse(side, y, size + 3, size + 5, WHITE, width=2)
        canvas.ellipse(side, y + 1, size, size + 2, INK, None)
        canvas.ellipse(side - 3, y - 4, 3.6, 3.6, WHITE, None)


def sitting_body(canvas: Canvas, fur: Colour) -> None:
    """Draws the body that the kitten, the puppy and the rabbit share."""
    canvas.blob([(-30, -70), (30, -70), (44, -28), (36, -3), (0, 2), (-36, -3), (-44, -28)], fur)
    canvas.ellipse(0, -32, 20, 25, light(fur), None)
    for side in (-20, 20):
        canvas.ellipse(side, -5, 17, 9, light(fur))


def kitten(canvas: Canvas, fur: Colour) -> None:
    """A sitting kitten with a striped forehead and a raised tail."""
    tail = [(34, -12), (62, -18), (68, -46), (56, -66)]
    canvas.line(tail, INK, 20, curved=True)
    canvas.line(tail, fur, 14, curved=True)
    sitting_body(canvas, fur)
    for side in (-1, 1):
        canvas.polygon([(side * 48, -96), (side * 46, -146), (side * 10, -124)], fur)
        canvas.polygon([(side * 41, -112), (side * 40, -132), (side * 24, -122)], PINK, None)
    canvas.blob([(-52, -90), (-38, -122), (0, -130), (38, -122), (52, -90), (34, -62), (0, -56), (-34, -62)], fur)
    for x in (-12, 0, 12):
        canvas.line([(x, -126), (x * 0.8, -114)], shade(fur), 5)
    eyes(canvas, 22, -91)
    canvas.polygon([(-5, -76), (5, -76), (0, -71)], PINK, width=2)
    canvas.line([(-8, -66), (-4, -64), (0, -69), (4, -64), (8, -66)], INK, 2)
    for side in (-1, 1):
        for dy in (-2, 5):
            canvas.line([(side * 40, -74 + dy / 2), (side * 64, -76 + dy * 2)], INK, 2)


def puppy(canvas: Canvas, fur: Colour) -> None:
    """A sitting puppy with hanging ears, a light muzzle and its tongue out."""
    tail = [(34, -14), (56, -30), (60, -50)]
    canvas.line(tail, INK, 22, curved=True)
    canvas.line(tail, fur, 16, curved=True)
    sitting_body(canvas, fur)
    canvas.blob([(-42, -94), (-34, -128), (0, -138), (34, -128), (42, -94), (30, -64), (0, -56), (-30, -64)], fur)
    canvas.ellipse(20, -98, 19, 20, light(fur), None)
    for side in (-1, 1):
        canvas.blob([(side * 26, -134), (side * 50, -128), (side * 62, -88), (side * 48, -68), (side * 38, -96)], shade(fur))
    eyes(canvas, 19, -97, 8)
    canvas.box((-8, -66), (8, -48), PINK, 8, width=2)
    canvas.ellipse(0, -72, 24, 14, light(fur), width=2)
    canvas.ellipse(0, -79, 10, 7, INK, None)
    canvas.line([(0, -74), (0, -66)], INK, 2)


def rabbit(canvas: Canvas, fur: Colour) -> None:
    """A sitting rabbit with long upright ears, two teeth and a white tail."""
    canvas.ellipse(44, -18, 14, 14, WHITE)
    sitting_body(canvas, fur)
    for side in (-1, 1):
        canvas.blob([(side * 10, -108), (side * 8, -150), (side * 20, -168), (side * 34, -150), (side * 32, -108)], fur)
        canvas.blob([(side * 17, -116), (side * 16, -144), (side * 21, -154), (side * 26, -144), (side * 25, -116)], PINK, None)
    canvas.blob([(-44, -86), (-32, -114), (0, -122), (32, -114), (44, -86), (30, -58), (0, -52), (-30, -58)], fur)
    eyes(canvas, 20, -88)
    canvas.box((-6, -64), (6, -52), WHITE, 2, width=2)
    canvas.line([(0, -64), (0, -53)], INK, 2)
    canvas.ellipse(-8, -67, 10, 7, light(fur), None)
    canvas.ellipse(8, -67, 10, 7, light(fur), None)
    canvas.polygon([(-6, -75), (6, -75), (0, -69)], PINK, width=2)


def bird(canvas: Canvas, feathers: Colour) -> None:
    """A round bird that looks to the right."""
    for x in (-8, 14):
        canvas.line([(x, -22), (x, -3)], INK, 8)
        canvas.line([(x - 6, -3), (x + 12, -3)], INK, 8)
        canvas.line([(x, -22), (x, -3)], BEAK, 4)
        canvas.line([(x - 6, -3), (x + 12, -3)], BEAK, 4)
    canvas.polygon([(-40, -52), (-84, -84), (-86, -58), (-70, -40)], shade(feathers))
    canvas.polygon([(52, -92), (84, -80), (54, -70)], BEAK)
    canvas.blob([(8, -132), (46, -116), (58, -80), (50, -40), (16, -18), (-26, -22), (-54, -50), (-40, -88), (-18, -114)], feathers)
    canvas.blob([(54, -66), (44, -40), (16, -24), (2, -40), (20, -62)], light(feathers), None)
    canvas.blob([(-32, -84), (4, -76), (10, -50), (-14, -40), (-56, -50)], shade(feathers))
    canvas.line([(6, -132), (-4, -148)], INK, 6)
    canvas.line([(12, -132), (12, -150)], INK, 6)
    canvas.ellipse(28, -94, 13, 15, WHITE, width=2)
    canvas.ellipse(31, -93, 9, 11, INK, None)
    canvas.ellipse(28, -98, 3.6, 3.6, WHITE, None)


def fish(canvas: Canvas, scales: Colour) -> None:
    """A fat fish that swims to the right, a little above the ground."""
    canvas.blob([(-52, -72), (-92, -116), (-98, -96), (-80, -72), (-98, -46), (-92, -28)], shade(scales))
    canvas.blob([(-34, -106), (-8, -140), (34, -134), (36, -104)], shade(scales))
    canvas.blob([(-16, -38), (-30, -12), (2, -16), (14, -36)], shade(scales))
    canvas.blob([(-62, -72), (-34, -104), (10, -116), (54, -102), (76, -72), (54, -42), (10, -28), (-34, -40)], scales)
    canvas.blob([(-40, -48), (-20, -54), (30, -50), (56, -54), (44, -42), (10, -32), (-26, -38)], light(scales), None)
    for x in (-30, -8):
        canvas.line([(x - 4, -92), (x + 6, -74), (x - 4, -56)], shade(scales), 4, curved=True)
    canvas.blob([(14, -72), (-8, -60), (-2, -44), (20, -56)], shade(scales), width=2)
    canvas.ellipse(44, -82, 14, 15, WHITE, width=2)
    canvas.ellipse(47, -81, 9, 11, INK, None)
    canvas.ellipse(44, -86, 3.6, 3.6, WHITE, None)
    canvas.line([(70, -62), (60, -58), (52, -60)], INK, 3, curved=True)
    for x, y, r in ((84, -106, 6), (84, -128, 8)):
        canvas.ellipse(x, y, r, r, mix((190, 226, 250), WHITE, 0.4), width=2)
