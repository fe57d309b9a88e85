"""Diagram: positions of a small network's circles and lines, in inches, with the numbers of one row of a traced step."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from bpengine.backend import HostArray
from bpengine.errors import ConfigError
from bpengine.explain.network_columns import Column, beside, columns, heights
from bpengine.explain.trace.layers import LayerTrace
from bpengine.explain.trace.trace import Trace
from bpengine.layers import Dense

UNITS, LAYERS, WEIGHTS = 8, 5, 24  # limits of a readable page; weights are those of one layer
ROW = 1.3  # distance of the circles' middles in the tallest column, in inches


@dataclass(frozen=True, kw_only=True)
class UnitMark:
    """A circle: place of its layer ("" for inputs), unit (None for the constant 1 of a bias), output and dL/dz."""

    place: str
    unit: int | None
    x: float
    y: float
    value: float
    gradient: float | None


@dataclass(frozen=True)
class Line:
    """A connection of two circles."""

    start: UnitMark
    end: UnitMark

    @property
    def angle(self) -> float:
        """The direction of the line, in radians."""
        return math.atan2(self.end.y - self.start.y, self.end.x - self.start.x)


@dataclass(frozen=True)
class Weighted(Line):
    """A connection that has a weight, with its gradient over the whole batch."""

    weight: float
    gradient: float


@dataclass(frozen=True, kw_only=True)
class Diagram:
    """A network's columns, the inputs first, the circles of each, and the lines."""

    columns: tuple[Column, ...]
    marks: tuple[tuple[UnitMark, ...], ...]
    lines: tuple[Line, ...]
    width: float
    height: float

    @property
    def spots(self) -> Iterator[UnitMark]:
        """Every circle."""
        return (spot for column in self.marks for spot in column)


def diagram(traced: Trace, row: int) -> Diagram:
    """Lay out a traced step; raise ConfigError for a network too large to be read."""
    layers = [layer for place, layer in traced.layers.items() if "." not in place]
    check_size(traced.network.sizes, layers)
    drawn = columns(traced, detailed=False)
    height = max(len(column.marks) for column in drawn) * ROW
    gaps = [3.0 + 0.1 * parameters(layer) for layer in layers]  # the more texts between two columns, the more room
    places = list(beside([0.0] * len(drawn), gaps))
    values = [(traced.x[row], None), *((layer.a[row], layer.dz[row]) for layer in layers)]
    marks = [_marks(column, x, height, *of) for column, x, of in zip(drawn, places, values, strict=True)]
    lines = [
        line for i, layer in enumerate(layers) for line in _lines(layer, marks[i], marks[i + 1], drawn[i + 1].joined)
    ]
    return Diagram(columns=tuple(drawn), marks=tuple(marks), lines=tuple(lines), width=places[-1], height=height)


def check_size(sizes: list[int], layers: list[LayerTrace]) -> None:
    """Raise ConfigError for a network with too many layers, units or weights to be read."""
    most = max(parameters(layer) for layer in layers)
    if max(sizes) > UNITS or len(layers) > LAYERS or most > WEIGHTS:
        raise ConfigError(
            f"the network figure draws at most {LAYERS} layers, {UNITS} units and {WEIGHTS} parameters in each, got "
            f"{'-'.join(map(str, sizes))}, up to {most} parameters in a layer. Use gradient_histograms, or bp.explain for "
            "one unit."
        )


def parameters(layer: LayerTrace) -> int:
    """Return how many parameters a layer has."""
    return sum(array.size for array in layer.parameters.values())


def _marks(
    column: Column, x: float, height: float, values: HostArray, gradients: HostArray | None
) -> tuple[UnitMark, ...]:
    """Return the circles of a column, from the top, in inches from the bottom of the picture."""
    return tuple(
        UnitMark(
            place=column.place,
            unit=unit,
            x=x,
            y=height * (1.0 - down),
            value=1.0 if unit is None else float(values[unit]),
            gradient=None if unit is None or gradients is None else float(gradients[unit]),
        )
        for unit, down in zip(column.marks, heights(column.marks), strict=True)
    )


def _lines(
    layer: LayerTrace, before: tuple[UnitMark, ...], after: tuple[UnitMark, ...], joined: bool
) -> Iterator[Line]:
    ends = [spot for spot in after if spot.unit is not None]
    dense = layer.layer if isinstance(layer.layer, Dense) else None
    tables = [_table(arrays, dense) for arrays in (layer.parameters, layer.gradients)] if dense else []
    for i, start in enumerate(before):
        for end in ends:
            if tables:
                yield Weighted(start, end, *(float(table[i, end.unit]) for table in tables))
            elif joined or start.unit == end.unit:
                yield Line(start, end)


def _table(arrays: dict[str, Any], layer: Dense) -> HostArray:
    """Return weights with the bias as a row, in the order of the circles before the layer."""
    bias = [arrays["bias"][np.newaxis]] if layer.bias is True else []
    return np.concatenate([arrays["weight"], *bias])
