"""Diagram: a small network as points and lines in a plane, in inches, with the numbers of one row of a traced step."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from bpengine.backend import HostArray
from bpengine.errors import ConfigError
from bpengine.explain.trace.layers import LayerTrace
from bpengine.explain.trace.trace import Trace
from bpengine.kernels import KERNELS
from bpengine.layers import Activation, BatchNorm, Dense, Dropout

UNITS, LAYERS, WEIGHTS = 8, 5, 24  # what can be read on one page; weights, of one layer
ROW = 1.3  # distance of the circles' middles, in inches
ALONE = (Activation, BatchNorm, Dropout)  # layers whose every unit takes one input


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
        """The direction it goes in, in radians."""
        return math.atan2(self.end.y - self.start.y, self.end.x - self.start.x)


@dataclass(frozen=True)
class Weighted(Line):
    """A connection that has a weight, with its gradient over the whole batch."""

    weight: float
    gradient: float


@dataclass(frozen=True)
class Diagram:
    """A network's circles by column, the inputs first, and its lines."""

    columns: tuple[tuple[UnitMark, ...], ...]
    layers: tuple[LayerTrace, ...]
    lines: tuple[Line, ...]
    width: float
    height: float

    @property
    def spots(self) -> Iterator[UnitMark]:
        """Every circle."""
        return (spot for column in self.columns for spot in column)


def diagram(traced: Trace, row: int) -> Diagram:
    """Lay out a traced step; raise ConfigError for a network too large to be read."""
    layers = [layer for place, layer in traced.layers.items() if "." not in place]
    check_size(traced.network.sizes, layers)
    feeds = [_constant(layer) for layer in layers]
    tallest = max(n + (feed is not None) for n, feed in zip(traced.network.sizes, [*feeds, None], strict=True))
    height, x = tallest * ROW, 0.0
    columns = [_column("", x, traced.x[row], None, feeds[0], height)]
    for layer, feed in zip(layers, [*feeds[1:], None], strict=True):
        x += 2.5 + 0.1 * parameters(layer)  # the more texts between two columns, the more room
        columns.append(_column(layer.place, x, layer.a[row], layer.dz[row], feed, height))
    lines = [line for i, layer in enumerate(layers) for line in _lines(layer, columns[i], columns[i + 1])]
    return Diagram(tuple(columns), tuple(layers), tuple(lines), x, height)


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


def _constant(layer: LayerTrace) -> str | None:
    """Return where the constant 1 that a layer's biases are multiplied by stands: "first", "last", or None without one."""
    if isinstance(layer.layer, Dense) and layer.layer.bias is not False:
        return layer.layer.penalized()["weight"] or "last"
    return None


def _column(
    place: str, x: float, values: HostArray, gradients: HostArray | None, constant: str | None, height: float
) -> tuple[UnitMark, ...]:
    units: list[int | None] = list(range(len(values)))
    if constant is not None:
        units.insert(0 if constant == "first" else len(units), None)
    top = (height + (len(units) - 1) * ROW) / 2
    marks = []
    for i, unit in enumerate(units):
        value = 1.0 if unit is None else float(values[unit])
        gradient = None if unit is None or gradients is None else float(gradients[unit])
        marks.append(UnitMark(place=place, unit=unit, x=x, y=top - i * ROW, value=value, gradient=gradient))
    return tuple(marks)


def _lines(layer: LayerTrace, before: tuple[UnitMark, ...], after: tuple[UnitMark, ...]) -> Iterator[Line]:
    ends = [spot for spot in after if spot.unit is not None]
    if isinstance(layer.layer, Dense):
        tables = [_table(arrays, layer.layer) for arrays in (layer.parameters, layer.gradients)]
        for i, start in enumerate(before):
            for end in ends:
                yield Weighted(start, end, *(float(table[i, end.unit]) for table in tables))
        return
    alone = isinstance(layer.layer, ALONE) and not _mixes_units(layer.activation)
    for start in before:
        for end in ends:
            if not alone or start.unit == end.unit:
                yield Line(start, end)


def _mixes_units(activation: str | None) -> bool:
    """Tell whether each output of an activation depends on all inputs, as those of a softmax."""
    kernel = KERNELS.get(activation or "")
    return kernel is not None and kernel.local_derivatives is not None


def _table(arrays: dict[str, Any], layer: Dense) -> HostArray:
    """Return weights with the bias as a row, in the order of the circles before the layer."""
    bias = [arrays["bias"][np.newaxis]] if layer.bias is True else []
    return np.concatenate([arrays["weight"], *bias])
