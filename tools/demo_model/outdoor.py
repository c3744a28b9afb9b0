"""The outdoor scenes, each by day, at sunset and at night. Backgrounds are pale and soft so that the subject stands out."""

from __future__ import annotations

from canvas import WHITE, Canvas, Colour, mix

SKIES: dict[str, list[Colour]] = {
    "day": [(112, 190, 250), (206, 236, 254)],
    "sunset": [(142, 92, 168), (244, 128, 110), (255, 206, 120)],
    "night": [(28, 34, 92), (70, 84, 158)],
}
STARS = ((24, 24), (64, 56), (104, 16), (152, 40), (232, 72), (40, 88), (120, 72))


def toned(colour: Colour, time: str) -> Colour:
    """Returns the colour as the light of that time shows it."""
    if time == "night":
        return mix(colour, (44, 54, 128), 0.55)
    return mix(colour, (240, 116, 90), 0.26) if time == "sunset" else colour


def cloud(canvas: Canvas, x: float, y: float, time: str) -> None:
    """Draws one soft cloud around (x, y)."""
    colour = {"day": WHITE, "sunset": (255, 196, 168), "night": (92, 106, 176)}[time]
    for dx, dy, rx, ry in ((-20, 4, 16, 10), (0, -3, 20, 15), (20, 4, 16, 10)):
        canvas.ellipse(x + dx, y + dy, rx, ry, colour, None)


def sky(canvas: Canvas, horizon: float, time: str, mirrored: bool) -> None:
    """Draws the sky with sun, clouds, or moon and stars; `mirrored` swaps the sides of sun and cloud."""
    canvas.gradient(0, horizon + 2, SKIES[time])
    sun, other = (216, 40) if mirrored else (40, 216)
    if time == "day":
        canvas.ellipse(sun, 40, 30, 30, (255, 244, 190), None)
        canvas.ellipse(sun, 40, 22, 22, (255, 218, 74), None)
    elif time == "sunset":
        canvas.ellipse(sun, min(horizon, 160) - 24, 34, 34, (255, 222, 140), None)
        canvas.ellipse(sun, min(horizon, 160) - 24, 26, 26, (255, 240, 180), None)
    else:
        for x, y in STARS:
            canvas.ellipse(x, y, 2.2, 2.2, (255, 250, 214), None)
        canvas.ellipse(sun, 40, 22, 22, (255, 246, 206), None)
        canvas.ellipse(sun + 6, 35, 5, 5, (236, 222, 178), None)
    cloud(canvas, other, 40, time)


def pine(canvas: Canvas, x: float, y: float, size: float, colour: Colour) -> None:
    """Draws a fir tree that stands at (x, y)."""
    canvas.box((x - 5, y - 14), (x + 5, y), mix(colour, (90, 60, 50), 0.7), 0, None)
    for step in range(3):
        top, half = y - size + step * size * 0.24, size * (0.2 + 0.07 * step)
        bottom = top + size * 0.42
        canvas.polygon([(x, top), (x + half, bottom), (x - half, bottom)], mix(colour, WHITE, 0.1 - 0.05 * step), None)


def beach(canvas: Canvas, time: str, mirrored: bool) -> None:
    """Sand, a strip of sea and a palm."""
    sky(canvas, 128, time, mirrored)
    canvas.gradient(128, 176, [toned((70, 170, 214), time), toned((128, 214, 226), time)])
    sand = [(-20, 180), (60, 168), (150, 176), (276, 166), (276, 280), (-20, 280)]
    canvas.blob(sand, toned((250, 224, 160), time), None)
    canvas.line([(-6, 178), (60, 168), (150, 176), (262, 167)], toned((255, 250, 236), time), 5, curved=True)
    x, lean = (228, -1) if mirrored else (28, 1)
    canvas.line([(x, 208), (x + lean * 6, 150), (x + lean * 2, 104)], toned((168, 118, 78), time), 11, curved=True)
    for dx, dy in ((-36, 12), (-26, -18), (8, -30), (34, -10), (36, 18)):
        canvas.line([(x + lean * 2, 102), (x + dx * 0.6, 96 + dy), (x + dx, 108 + dy)], toned((76, 176, 96), time), 9, curved=True)


def forest(canvas: Canvas, time: str, mirrored: bool) -> None:
    """Rows of firs and a clearing."""
    sky(canvas, 160, time, mirrored)
    for x in (0, 44, 88, 132, 176, 220, 256):
        pine(canvas, x, 184, 104, toned((126, 190, 150), time))
    for x in (16, 64, 192, 240):
        pine(canvas, x, 204, 144, toned((66, 146, 104), time))
    canvas.blob([(-30, 192), (128, 184), (286, 192), (286, 290), (-30, 290)], toned((134, 196, 104), time), None)


def snow(canvas: Canvas, time: str, mirrored: bool) -> None:
    """Snowy mountains, a white plain and slow flakes."""
    sky(canvas, 160, time, mirrored)
    for x, top, half in ((64, 72, 96), (192, 88, 90)):
        canvas.polygon([(x - half, 180), (x, top), (x + half, 180)], toned((146, 170, 206), time), None)
        peak = 34
        canvas.polygon([(x - peak * half / (180 - top), top + peak), (x, top), (x + peak * half / (180 - top), top + peak),
                        (x + 8, top + peak - 8), (x - 6, top + peak + 4)], toned(WHITE, time), None)
    canvas.blob([(-30, 176), (70, 164), (190, 174), (286, 164), (286, 290), (-30, 290)], toned((236, 243, 252), time), None)
    for x in (24, 232):
        pine(canvas, x, 196, 76, toned((128, 172, 172), time))
    for x, y in ((24, 104), (72, 24), (120, 56), (168, 24), (232, 104), (88, 136), (184, 136)):
        canvas.ellipse(x, y, 3.6, 3.6, WHITE, None)


def space(canvas: Canvas, time: str, mirrored: bool) -> None:
    """The surface of the moon under planets and stars."""
    canvas.gradient(0, 180, [(34, 22, 78), (88, 60, 150)])
    for x, y in (*STARS, (184, 104), (24, 136), (232, 136)):
        canvas.ellipse(x, y, 2.6, 2.6, (255, 250, 214), None)
    planet, earth = (208, 48) if mirrored else (48, 208)
    canvas.ellipse(planet, 52, 26, 26, (244, 176, 112), None)
    canvas.line([(planet - 42, 62), (planet, 58), (planet + 42, 42)], (255, 224, 170), 6, curved=True)
    canvas.ellipse(earth, 44, 18, 18, (92, 176, 240), None)
    canvas.ellipse(earth - 4, 42, 9, 7, (132, 208, 140), None)
    canvas.blob([(-40, 196), (40, 176), (128, 168), (216, 176), (296, 196), (296, 300), (-40, 300)], (196, 196, 214), None)
    for x, y, r in ((40, 208, 20), (216, 216, 24), (104, 240, 16)):
        canvas.ellipse(x, y, r, r * 0.36, (172, 172, 196), None)


def city(canvas: Canvas, time: str, mirrored: bool) -> None:
    """Tall buildings behind a street."""
    sky(canvas, 192, time, mirrored)
    window = {"day": (222, 238, 252), "sunset": (255, 226, 160), "night": (255, 226, 130)}[time]
    walls = ((150, 168, 204), (186, 168, 198), (142, 186, 200), (196, 180, 176))
    heights = (88, 56, 112, 72) if mirrored else (72, 112, 56, 88)
    for index, (wall, top) in enumerate(zip(walls, heights)):
        left = index * 64
        canvas.box((left + 2, top), (left + 62, 196), toned(wall, time), 0, None)
        for y in range(top + 14, 180, 32):
            for x in (left + 12, left + 38):
                canvas.box((x, y), (x + 14, y + 16), window, 0, None)
    canvas.gradient(192, 256, [toned((134, 136, 152), time)])
    canvas.gradient(192, 202, [toned((206, 204, 210), time)])
    for x in (0, 64, 128, 192):
        canvas.box((x + 16, 240), (x + 48, 246), toned((250, 240, 200), time), 0, None)


def meadow(canvas: Canvas, time: str, mirrored: bool) -> None:
    """Green hills with a few flowers."""
    sky(canvas, 192, time, mirrored)
    canvas.blob([(-60, 190), (40, 136), (160, 162), (300, 150), (300, 300), (-60, 300)], toned((164, 214, 128), time), None)
    canvas.blob([(-60, 200), (60, 188), (200, 168), (310, 190), (310, 300), (-60, 300)], toned((126, 200, 96), time), None)
    pink, yellow, white = (255, 150, 180), (255, 236, 120), (255, 250, 250)
    for x, y, petal in ((24, 216, pink), (56, 240, yellow), (200, 240, pink), (232, 216, white)):
        for dx, dy in ((-4, 0), (4, 0), (0, -4), (0, 4)):
            canvas.ellipse(x + dx, y + dy, 3.6, 3.6, toned(petal, time), None)


def desert(canvas: Canvas, time: str, mirrored: bool) -> None:
    """Dunes and cactuses."""
    sky(canvas, 192, time, mirrored)
    canvas.blob([(-60, 186), (50, 140), (150, 168), (310, 142), (310, 300), (-60, 300)], toned((244, 198, 130), time), None)
    canvas.blob([(-60, 196), (60, 184), (180, 190), (310, 178), (310, 300), (-60, 300)], toned((236, 176, 104), time), None)
    for x, y in ((26, 208), (230, 208)):
        cactus = toned((94, 164, 104), time)
        canvas.line([(x, y), (x, y - 72)], cactus, 14)
        canvas.line([(x, y - 30), (x - 18, y - 32), (x - 18, y - 50)], cactus, 9)
        canvas.line([(x, y - 24), (x + 18, y - 26), (x + 18, y - 42)], cactus, 9)


def sea(canvas: Canvas, time: str, mirrored: bool) -> None:
    """Open water with three rows of waves."""
    sky(canvas, 144, time, mirrored)
    canvas.gradient(144, 256, [toned((110, 196, 232), time), toned((46, 134, 204), time)])
    for y, shift in ((160, 0), (192, 32), (232, 0)):
        for x in range(-32 + shift, 256, 64):
            canvas.line([(x, y), (x + 16, y - 6), (x + 32, y), (x + 48, y - 6)], toned((178, 228, 248), time), 5, curved=True)
