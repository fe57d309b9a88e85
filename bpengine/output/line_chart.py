"""Line charts as SVG, for notebooks: small, without a library, in the colours of the surrounding page.

Axes and letters take the page's colour; the two lines have colours with a contrast of more than 3 to 1 to white and to
black, and one of them is dashed, so that they can be distinguished without colour.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from bpengine.i18n.language import localized
from bpengine.output.rich_form import escaped
from bpengine.system.quiet import Quiet

WIDTH, HEIGHT = 560, 230
LEFT, RIGHT, TOP, BOTTOM = 62, 12, 24, 38
LETTER: Final = 6.6  # pixels of a digit in letters of 11 px, in the widest usual font
POINTS: Final = 300  # points of a line: more cannot be distinguished at this width
DRAWN: Final = (("#2a85c8", ""), ("#d9660a", "6 4"))
Numbers = npt.NDArray[np.float64]
Values = Sequence[float] | npt.NDArray[Any]
Line = tuple[Values, Values]  # positions and values, equally many


def line_chart(series: Mapping[str, Line], x_label: str, y_label: str) -> str:
    """Return one line or two by name as an SVG; points that are not finite leave a gap.

    The scale is logarithmic where all values are positive and the largest is at least 100 times the smallest.
    Returns "" where there are not two finite points.

    >>> line_chart({"loss": ([0, 1], [4.0, 1.0])}, "step", "loss")[:4]
    '<svg'
    """
    data = {name: (np.asarray(x, float), np.asarray(y, float)) for name, (x, y) in series.items() if len(x)}
    values = np.concatenate([np.empty(0), *(y[np.isfinite(y)] for _, y in data.values())])
    if len(values) < 2:
        return ""
    log = bool(values.min() > 0 and values.max() >= 100 * values.min())
    places = np.concatenate([x for x, _ in data.values()])
    across = _Scale(float(places.min()), float(places.max()), LEFT, WIDTH - RIGHT)
    up = _Scale(float(values.min()), float(values.max()), HEIGHT - BOTTOM, TOP, log=log)
    name = ", ".join(data)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        f'role="img" font-family="sans-serif" font-size="11" fill="currentColor"><title>{escaped(name)}</title>',
        *_grid(across, up, escaped(x_label), escaped(y_label + (f", {localized('logarithmic')}" if log else ""))),
    ]
    for number, ((label, (x, y)), (colour, dashes)) in enumerate(zip(data.items(), DRAWN, strict=False)):
        parts += [*_line(across, up, x, y, colour, dashes), *_key(number, escaped(label), colour, dashes)]
    return "".join([*parts, "</svg>"])


class _Scale:
    """Maps values to pixels between two ends, and chooses the values written at the axis."""

    def __init__(self, low: float, high: float, first: float, last: float, *, log: bool = False) -> None:
        self.log, self.first, self.last = log, first, last
        self.low, self.high = (math.log10(low), math.log10(high)) if log else (low, high)
        if self.high <= self.low:
            extra = abs(self.low) * 0.5 or 1.0
            self.low, self.high = self.low - extra, self.high + extra

    def at(self, values: Numbers) -> Numbers:
        with Quiet():
            shown = np.log10(values) if self.log else values
            share = shown / (self.high - self.low) - self.low / (self.high - self.low)
        return self.first + share * (self.last - self.first)

    def ticks(self) -> list[float]:
        if self.log:
            decades = range(math.ceil(self.low), math.floor(self.high) + 1)
            every = max(1, len(decades) // 5)
            return [10.0**d for d in decades if d % every == 0]
        step = 10.0 ** math.floor(math.log10((self.high - self.low) / 4))
        step *= next(k for k in (1, 2, 5, 10) if (self.high - self.low) / (k * step) <= 6)
        first = math.ceil(self.low / step)
        return [k * step for k in range(first, math.floor(self.high / step) + 1)]


def _grid(across: _Scale, up: _Scale, x_label: str, y_label: str) -> Iterator[str]:
    for tick in up.ticks():
        y = float(up.at(np.array(tick)))
        yield f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="currentColor" opacity=".15"/>'
        yield f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end" opacity=".85">{tick:.4g}</text>'
    for tick in across.ticks():
        x = float(across.at(np.array(tick)))
        label = f"{tick:,.6g}"
        middle = min(x, WIDTH - LETTER * len(label) / 2)  # the last one would be cut off at the edge
        yield f'<text x="{middle:.1f}" y="{HEIGHT - BOTTOM + 15}" text-anchor="middle" opacity=".85">{label}</text>'
    bottom = HEIGHT - BOTTOM
    yield f'<path d="M{LEFT} {TOP}V{bottom}H{WIDTH - RIGHT}" fill="none" stroke="currentColor" opacity=".5"/>'
    yield f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 6}" text-anchor="middle">{x_label}</text>'
    yield f'<text x="{LEFT}" y="13">{y_label}</text>'


def _line(across: _Scale, up: _Scale, x: Numbers, y: Numbers, colour: str, dashes: str) -> Iterator[str]:
    """Yield a path for each run of finite points; a single one is a dot."""
    chosen = np.unique(np.linspace(0, len(x) - 1, POINTS).round().astype(int))
    x, y = across.at(x[chosen]), up.at(y[chosen])
    finite = np.flatnonzero(np.isfinite(y))
    for run in np.split(finite, np.flatnonzero(np.diff(finite) > 1) + 1):
        points = "L".join(f"{x[i]:.1f} {y[i]:.1f}" for i in run)
        style = f'stroke="{colour}" stroke-width="2" stroke-dasharray="{dashes}" fill="none"'
        if len(run) == 1:
            yield f'<circle cx="{x[run[0]]:.1f}" cy="{y[run[0]]:.1f}" r="3" fill="{colour}"/>'
        elif len(run):
            yield f'<path d="M{points}" {style} stroke-linejoin="round"/>'


def _key(number: int, label: str, colour: str, dashes: str) -> Iterator[str]:
    x = WIDTH - RIGHT - 130 * (2 - number)
    style = f'stroke="{colour}" stroke-width="2" stroke-dasharray="{dashes}"'
    yield f'<line x1="{x}" x2="{x + 24}" y1="9" y2="9" {style}/><text x="{x + 30}" y="13">{label}</text>'
