"""The lifeless subjects. Each is drawn around its foot point (0, 0), about 140 pixels tall."""

from __future__ import annotations

from canvas import INK, WHITE, Canvas, Colour, light, mix, shade

GLASS: Colour = (176, 222, 246)
WOOD: Colour = (142, 92, 58)
METAL: Colour = (196, 202, 214)


def car(canvas: Canvas, paint: Colour) -> None:
    """A small car that drives to the right."""
    canvas.blob([(-56, -66), (-40, -104), (-10, -112), (26, -110), (52, -68), (0, -60)], paint)
    canvas.polygon([(-44, -68), (-34, -96), (-4, -100), (-4, -68)], GLASS, width=2)
    canvas.polygon([(6, -68), (6, -100), (24, -98), (40, -68)], GLASS, width=2)
    canvas.box((-88, -72), (88, -18), paint, 20)
    canvas.box((-84, -34), (84, -21), shade(paint), 6, None)
    canvas.line([(1, -66), (1, -38)], shade(paint), 3)
    canvas.line([(8, -58), (18, -58)], INK, 3)
    canvas.ellipse(80, -52, 7, 8, (255, 240, 160), width=2)
    canvas.box((-90, -58), (-82, -44), (226, 66, 66), 3, width=2)
    for x in (-50, 50):
        canvas.ellipse(x, -20, 22, 22, (64, 60, 74))
        canvas.ellipse(x, -20, 10, 10, METAL, width=2)


def boat(canvas: Canvas, paint: Colour) -> None:
    """A sailing boat with a painted hull and a flag of the same colour."""
    canvas.line([(0, -42), (0, -152)], INK, 8)
    canvas.line([(0, -42), (0, -152)], WOOD, 4)
    canvas.polygon([(3, -158), (34, -148), (3, -138)], paint, width=2)
    canvas.polygon([(8, -132), (64, -52), (8, -52)], (252, 248, 238))
    canvas.polygon([(-8, -122), (-8, -52), (-54, -52)], mix((252, 248, 238), paint, 0.35))
    canvas.blob([(-84, -44), (-40, -40), (40, -40), (84, -44), (66, -8), (40, 0), (-40, 0), (-66, -8)], paint)
    canvas.line([(-72, -26), (72, -26)], light(paint), 6)
    for x in (-36, 0, 36):
        canvas.ellipse(x, -14, 5, 5, GLASS, width=2)


def house(canvas: Canvas, paint: Colour) -> None:
    """A house with painted walls, a slate roof and lit windows."""
    slate = (112, 104, 128)
    canvas.box((32, -142), (52, -96), (186, 112, 92))
    canvas.box((-62, -80), (62, 0), paint)
    canvas.box((-60, -78), (60, -66), shade(paint), 0, None)
    canvas.polygon([(-80, -76), (0, -142), (80, -76)], slate)
    canvas.polygon([(-46, -88), (0, -126), (46, -88)], light(slate), None)
    canvas.ellipse(0, -96, 10, 10, (255, 226, 130), width=3)
    canvas.box((-16, -50), (16, 0), WOOD, 4)
    canvas.ellipse(8, -24, 3, 3, (255, 226, 130), None)
    for x in (-42, 42):
        canvas.box((x - 14, -54), (x + 14, -26), (255, 226, 130), 2)
        canvas.line([(x, -52), (x, -28)], INK, 2)
        canvas.line([(x - 12, -40), (x + 12, -40)], INK, 2)


def tree(canvas: Canvas, leaves: Colour) -> None:
    """A round tree whose whole crown has the colour."""
    canvas.polygon([(-18, 0), (-12, -62), (12, -62), (18, 0)], WOOD)
    crown = [(-44, -74, 28), (0, -68, 26), (44, -74, 28), (-34, -108, 30), (36, -108, 30), (0, -128, 30), (0, -98, 34)]
    for grow, colour in ((3, INK), (0, leaves)):
        for x, y, r in crown:
            canvas.ellipse(x, y, r + grow, r + grow, colour, None)
    for x, y, r in ((-44, -66, 20), (0, -60, 18), (44, -66, 20)):
        canvas.ellipse(x, y, r + 4, r - 4, shade(leaves), None)
    for x, y, r in ((-34, -112, 16), (2, -136, 16), (36, -112, 15)):
        canvas.ellipse(x, y, r, r * 0.7, light(leaves), None)


def balloon(canvas: Canvas, rubber: Colour) -> None:
    """A toy balloon on a string, floating."""
    canvas.line([(0, -62), (8, -44), (-6, -26), (2, -6)], INK, 3, curved=True)
    canvas.polygon([(-9, -54), (9, -54), (0, -68)], shade(rubber))
    canvas.blob([(0, -62), (-36, -84), (-50, -118), (-38, -154), (0, -170), (38, -154), (50, -118), (36, -84)], rubber)
    canvas.blob([(10, -74), (36, -96), (42, -124), (34, -148), (32, -118), (22, -92)], shade(rubber), None)
    canvas.ellipse(-20, -138, 11, 16, light(rubber), None)
    canvas.ellipse(-22, -144, 4, 6, WHITE, None)


def mug(canvas: Canvas, glaze: Colour) -> None:
    """A steaming mug with a heart, its handle on the right."""
    canvas.ellipse(50, -52, 28, 28, glaze)
    canvas.ellipse(50, -52, 14, 14, (236, 228, 222))
    canvas.box((-54, -100), (50, 0), glaze, 16)
    canvas.box((30, -92), (44, -10), shade(glaze), 7, None)
    canvas.ellipse(-2, -98, 52, 14, light(glaze))
    canvas.ellipse(-2, -96, 42, 9, (112, 70, 48), width=2)
    heart = (255, 250, 244) if glaze[1] < 120 else (214, 52, 76)
    canvas.polygon([(-2, -26), (-24, -50), (-22, -62), (-12, -66), (-2, -56), (8, -66), (18, -62), (20, -50)], heart, width=2)
    for x in (-22, 14):
        canvas.line([(x, -114), (x + 7, -126), (x - 3, -138), (x + 4, -150)], (248, 246, 250), 7, curved=True)


def robot(canvas: Canvas, paint: Colour) -> None:
    """A friendly robot with glowing eyes and an antenna."""
    canvas.line([(0, -134), (0, -154)], INK, 4)
    canvas.ellipse(0, -158, 7, 7, (250, 92, 92), width=2)
    for side in (-1, 1):
        canvas.line([(side * 38, -66), (side * 62, -56), (side * 62, -36)], INK, 17)
        canvas.line([(side * 38, -66), (side * 62, -56), (side * 62, -36)], METAL, 11)
        canvas.ellipse(side * 62, -32, 10, 10, paint)
        canvas.box((side * 22 - 11, -24), (side * 22 + 11, 0), METAL, 4)
        canvas.box((side * 46 - 7, -116), (side * 46 + 7, -96), METAL, 3)
    canvas.box((-40, -82), (40, -16), paint, 10)
    canvas.box((-24, -68), (24, -34), light(paint), 6, width=2)
    for x, glow in ((-12, (250, 92, 92)), (0, (255, 210, 80)), (12, (110, 220, 140))):
        canvas.ellipse(x, -51, 5, 5, glow, None)
    canvas.box((-46, -136), (46, -82), paint, 14)
    canvas.box((-36, -126), (36, -92), (52, 60, 84), 10, width=2)
    for x in (-16, 16):
        canvas.ellipse(x, -111, 8, 9, (120, 240, 250), None)
        canvas.ellipse(x - 2, -114, 3, 3, WHITE, None)
    canvas.line([(-8, -98), (0, -96), (8, -98)], (120, 240, 250), 3)
