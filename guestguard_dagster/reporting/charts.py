"""Stacked bars as a small PNG: for an asset's metadata and for reports.

Drawn with Pillow, whose own font knows ASCII alone: labels are dates, numbers and our own words.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from math import ceil, floor, log10
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import PIL.Image
    import PIL.ImageDraw
    import PIL.ImageFont

# A chart is kept in Dagster's event log with every materialization.
LARGEST_PNG = 40_000

_WIDTH, _HEIGHT = 760, 300
# as wide as fits into Dagster's dialog for Markdown
_SCALE = 1.4
_LEFT, _TOP, _RIGHT, _BOTTOM = 64, 44, 16, 64
_INK, _FAINT, _GRID, _PAPER = "#29253a", "#6f6b80", "#e6e4ec", "#ffffff"
_COLOURS = 48
_TICKS = 4
_EASY_STEPS = (1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10)
_NARROWEST_LABEL = 44


@dataclass(frozen=True, slots=True)
class Series:
    """One kind of thing that is counted, in its colour (`#rrggbb`): a value for each label."""

    name: str
    colour: str
    values: Sequence[float]


def stacked_bars(title: str, labels: Sequence[str], series: Sequence[Series]) -> bytes:
    """A PNG, 1064 x 420 pixels, of one bar per label with the series on top of each other. All text is ASCII."""
    import PIL.Image
    import PIL.ImageDraw

    image = PIL.Image.new("RGB", (round(_WIDTH * _SCALE), round(_HEIGHT * _SCALE)), _PAPER)
    chart = _Chart(PIL.ImageDraw.Draw(image))
    chart.write((_LEFT, 14), title, 14, _INK)
    totals = [sum(values) for values in zip(*(each.values for each in series), strict=True)]
    highest = _round_up(max(totals, default=0))
    chart.draw_grid(highest)
    if not any(totals):
        chart.write((_LEFT + 12, (_TOP + _HEIGHT - _BOTTOM) / 2), "Nothing to show", 13, _FAINT)
    chart.draw_bars(labels, series, highest)
    chart.draw_legend([each for each in series if any(each.values)])
    return _as_png(image)


def as_data_uri(png: bytes) -> str:
    """The image within a page of its own."""
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


class _Chart:
    """Draws in units of the small size; the image is `_SCALE` times as large."""

    def __init__(self, draw: "PIL.ImageDraw.ImageDraw") -> None:
        self._draw = draw

    def write(self, at: tuple[float, float], text: str, size: int, colour: str, anchor: str = "la") -> None:
        x, y = at
        self._draw.text((x * _SCALE, y * _SCALE), text, colour, font=_font(size * _SCALE), anchor=anchor)

    def box(self, left: float, top: float, right: float, bottom: float, colour: str) -> None:
        corners = [round(value * _SCALE) for value in (left, top, right, bottom)]
        if corners[2] > corners[0] and corners[3] > corners[1]:
            self._draw.rectangle((corners[0], corners[1], corners[2] - 1, corners[3] - 1), fill=colour)

    def draw_grid(self, highest: float) -> None:
        for tick in range(_TICKS + 1):
            value = highest * tick / _TICKS
            y = _y(value, highest)
            self.box(_LEFT, y, _WIDTH - _RIGHT, y + 1, _GRID)
            self.write((_LEFT - 8, y), _short(value), 11, _FAINT, anchor="rm")

    def draw_bars(self, labels: Sequence[str], series: Sequence[Series], highest: float) -> None:
        slot = (_WIDTH - _RIGHT - _LEFT) / max(len(labels), 1)
        every = ceil(_NARROWEST_LABEL / slot)
        for number, label in enumerate(labels):
            left, right = _LEFT + (number + 0.15) * slot, _LEFT + (number + 0.85) * slot
            below = 0.0
            for each in series:
                above = below + each.values[number]
                self.box(left, _y(above, highest), right, _y(below, highest), each.colour)
                below = above
            # counted from the last one, which is the one that is looked for
            if (len(labels) - 1 - number) % every == 0:
                self.write(((left + right) / 2, _HEIGHT - _BOTTOM + 8), label, 11, _FAINT, anchor="ma")

    def draw_legend(self, series: Sequence[Series]) -> None:
        x: float = _LEFT
        for each in series:
            self.box(x, _HEIGHT - 24, x + 10, _HEIGHT - 14, each.colour)
            self.write((x + 15, _HEIGHT - 19), each.name, 11, _INK, anchor="lm")
            x += 15 + _font(11 * _SCALE).getlength(each.name) / _SCALE + 18


def _y(value: float, highest: float) -> float:
    return _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * value / highest


@cache
def _font(size: float) -> "PIL.ImageFont.FreeTypeFont | PIL.ImageFont.ImageFont":
    import PIL.ImageFont

    return PIL.ImageFont.load_default(size)


def _round_up(value: float) -> float:
    """The next number whose quarters are easy to read; 4 at least."""
    if value <= _TICKS:
        return _TICKS
    step = value / _TICKS
    power = 10.0 ** floor(log10(step))
    return next(factor * power for factor in _EASY_STEPS if factor * power >= step) * _TICKS


def _short(value: float) -> str:
    for size, unit in ((1_000_000, "M"), (1_000, "k")):
        if value >= size:
            return f"{value / size:g}{unit}"
    return f"{value:g}"


def _as_png(image: "PIL.Image.Image") -> bytes:
    import PIL.Image

    png = BytesIO()
    image.quantize(_COLOURS, method=PIL.Image.Quantize.FASTOCTREE).save(png, "PNG")
    if png.tell() > LARGEST_PNG:
        raise ValueError(f"a chart takes {png.tell()} bytes as PNG, more than the {LARGEST_PNG} that may be kept")
    return png.getvalue()
