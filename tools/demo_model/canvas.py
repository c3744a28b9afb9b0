"""A small drawing board: shapes in 256-pixel coordinates, drawn three times larger and reduced, so edges come out smooth."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

Colour = tuple[int, int, int]
Point = tuple[float, float]

INK: Colour = (44, 36, 58)
WHITE: Colour = (255, 255, 255)
OVERSAMPLING = 3


def mix(first: Colour, second: Colour, share: float) -> Colour:
    """Returns `first` moved towards `second` by `share` (0 to 1)."""
    return tuple(round(a + (b - a) * share) for a, b in zip(first, second))


def shade(colour: Colour) -> Colour:
    """Returns the colour of the same thing in shadow."""
    return mix(colour, (40, 20, 60), 0.28)


def light(colour: Colour) -> Colour:
    """Returns the colour of the same thing in bright light."""
    return mix(colour, WHITE, 0.42)


def smooth(points: list[Point], closed: bool = True, pieces: int = 8) -> list[Point]:
    """Returns a Catmull-Rom curve through the points."""
    given = np.asarray(points, float)
    around = np.concatenate([given[-1:], given, given[:2]] if closed else [given[:1], given, given[-1:]])
    t = np.linspace(0, 1, pieces, endpoint=False)[:, None]
    curve = []
    for p0, p1, p2, p3 in zip(around, around[1:], around[2:], around[3:]):
        curve.append(p1 + 0.5 * t * (p2 - p0 + t * (2 * p0 - 5 * p1 + 4 * p2 - p3 + t * (3 * (p1 - p2) + p3 - p0))))
    return [tuple(p) for p in np.concatenate(curve if closed else [*curve, given[-1:]])]


class Canvas:
    """A picture being drawn. `move` sets where (0, 0) lies, so that subjects are written around their own foot point."""

    def __init__(self, width: int = 256, height: int = 256):
        self.size = (width, height)
        self.image = Image.new("RGB", (width * OVERSAMPLING, height * OVERSAMPLING))
        self.pen = ImageDraw.Draw(self.image)
        self.origin = (0.0, 0.0)

    def move(self, x: float, y: float) -> None:
        """Makes (x, y) of the picture the new (0, 0)."""
        self.origin = (x, y)

    def _place(self, points: list[Point]) -> list[Point]:
        left, top = self.origin
        return [((x + left) * OVERSAMPLING, (y + top) * OVERSAMPLING) for x, y in points]

    def polygon(self, points: list[Point], fill: Colour | None, outline: Colour | None = INK, width: float = 3) -> None:
        """Draws a filled shape with an outline that has round corners."""
        placed = self._place(points)
        if fill:
            self.pen.polygon(placed, fill=fill)
        if outline:
            self.pen.line([*placed, *placed[:2]], fill=outline, width=round(width * OVERSAMPLING), joint="curve")

    def blob(self, points: list[Point], fill: Colour, outline: Colour | None = INK, width: float = 3) -> None:
        """Draws a soft closed shape through the points."""
        self.polygon(smooth(points), fill, outline, width)

    def ellipse(
        self, x: float, y: float, rx: float, ry: float, fill: Colour, outline: Colour | None = INK, width: float = 3
    ) -> None:
        """Draws an ellipse around (x, y)."""
        grow = width / 2 if outline else 0
        box = self._place([(x - rx - grow, y - ry - grow), (x + rx + grow, y + ry + grow)])
        self.pen.ellipse([*box[0], *box[1]], fill=fill, outline=outline, width=round(width * OVERSAMPLING))

    def box(
        self, left_top: Point, right_bottom: Point, fill: Colour, radius: float = 0,
        outline: Colour | None = INK, width: float = 3,
    ) -> None:
        """Draws a rectangle with corners rounded by `radius`."""
        corners = self._place([left_top, right_bottom])
        self.pen.rounded_rectangle(
            [*corners[0], *corners[1]], radius * OVERSAMPLING, fill, outline, round(width * OVERSAMPLING) if outline else 0
        )

    def line(self, points: list[Point], colour: Colour = INK, width: float = 3, curved: bool = False) -> None:
        """Draws a line with round ends; `curved` bends it through its points."""
        placed = self._place(smooth(points, closed=False) if curved else points)
        thick = width * OVERSAMPLING
        self.pen.line(placed, fill=colour, width=round(thick), joint="curve")
        for x, y in (placed[0], placed[-1]):
            self.pen.ellipse([x - thick / 2, y - thick / 2, x + thick / 2, y + thick / 2], fill=colour)

    def gradient(self, top: float, bottom: float, colours: list[Colour]) -> None:
        """Fills the full width between two heights with colours that run into each other."""
        width, first, last = self.image.width, round(top * OVERSAMPLING), round(bottom * OVERSAMPLING)
        height = last - first
        stops = np.linspace(0, height - 1, len(colours))
        column = np.stack([np.interp(np.arange(height), stops, channel) for channel in zip(*colours)], -1)
        strip = Image.fromarray(column.round().astype(np.uint8)[:, None])
        self.image.paste(strip.resize((width, height), Image.Resampling.NEAREST), (0, first))

    def finish(self) -> Image.Image:
        """Returns the picture at its true size."""
        # A triangle filter is a little softer than a box: one pixel of blending keeps edges free of stairs.
        return self.image.resize(self.size, Image.Resampling.BILINEAR)
