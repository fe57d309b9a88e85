"""Network columns: the common layout of the network pictures. The figure, the page and the graph place their columns by it.

The figure and the page draw a layer as a column of units: `columns` says which units are shown, which columns a layer takes
its input from and which units are connected; `heights` gives the positions of the units. The graph draws a column of calls.
All three place columns of different widths side by side by `beside`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from bpengine.backend import HostArray
from bpengine.explain.trace.layers import LayerTrace
from bpengine.explain.trace.trace import Trace
from bpengine.kernels import KERNELS
from bpengine.layers import Activation, BatchNorm, Dense, Dropout, Residual

WHOLE = 10  # a layer of more units is drawn only in part
DRAWN = 60  # units of all layers; with more, a layer of more than FEWER units is drawn only in part
FEWER = 6  # units drawn of such a layer
ALONE = (Activation, BatchNorm, Dropout)  # layers in which each unit takes one input


@dataclass(frozen=True, kw_only=True)
class Column:
    """One layer as a column of units: `units` are drawn, of `total`; `sources` are the columns whose outputs it takes.

    place: "" for the network's inputs. kind: "Dense, sigmoid". joined: whether each unit takes the outputs of all units of
    its sources, and not only that of the unit of the same number. constant: the position of the constant 1 that the biases of
    the next layer are multiplied by, "first" or "last", or None without biases.
    """

    place: str
    kind: str
    units: tuple[int, ...]
    total: int
    sources: tuple[int, ...]
    joined: bool
    constant: str | None = None

    @property
    def whole(self) -> bool:
        """True when every unit is drawn."""
        return len(self.units) == self.total

    @property
    def marks(self) -> tuple[int | None, ...]:
        """The drawn marks from top to bottom: the units, and None for the constant 1."""
        if self.constant is None:
            return self.units
        return (None, *self.units) if self.constant == "first" else (*self.units, None)


def columns(trace: Trace, *, detailed: bool = True) -> list[Column]:
    """Return the columns of a network, inputs first.

    `detailed`: the layers inside a Residual are columns too, and the shifts (beta) of a normalization count as biases.
    Of a layer too large to be drawn completely, the units with the largest gradients in this step are drawn; of the inputs,
    those with the largest values.
    """
    layers = [layer for place, layer in trace.layers.items() if detailed or "." not in place]
    sizes = [trace.x.shape[1], *(layer.units for layer in layers)]
    most = WHOLE if max(sizes) <= WHOLE and sum(sizes) <= DRAWN else FEWER
    outputs, sources = {id(trace.x): 0}, list[tuple[int, ...]]()
    for number, layer in enumerate(layers, start=1):
        sources.append(_sources(layer, outputs, number - 1, detailed))
        outputs.setdefault(id(layer.a), number)
    constants = dict[int, str]()
    # The first layer that reads a column decides where its constant 1 stands: a column has one of them.
    for layer, taken in zip(layers, sources, strict=True):
        if taken and (constant := _constant(layer, detailed)):
            constants.setdefault(taken[0], constant)
    inputs = Column(
        place="", kind="", units=_largest(trace.x, most), total=sizes[0], sources=(), joined=False, constant=constants.get(0)
    )  # fmt: skip
    return [inputs] + [
        Column(
            place=layer.place,
            kind=", ".join([type(layer.layer).__name__, *([layer.activation] if layer.activation else [])]),
            units=_largest(layer.dz, most),
            total=layer.units,
            sources=taken,
            joined=_joined(layer, detailed),
            constant=constants.get(number),
        )
        for number, (layer, taken) in enumerate(zip(layers, sources, strict=True), start=1)
    ]


def heights(marks: Sequence[object]) -> list[float]:
    """Return the positions of the marks of a column, from 0 at the top to 1 at the bottom, evenly spaced."""
    return [(i + 0.5) / len(marks) for i in range(len(marks))]


def beside(widths: Sequence[float], gaps: Sequence[float], start: float = 0.0) -> Iterator[float]:
    """Yield where each column begins: `gaps` are the distances between neighbours, one fewer than columns (or as many)."""
    left = start
    for i, width in enumerate(widths):
        yield left
        left += width + (gaps[i] if i < len(gaps) else 0.0)


def _sources(layer: LayerTrace, outputs: dict[int, int], last: int, detailed: bool) -> tuple[int, ...]:
    """Return the columns that a layer takes its input from; a residual adds the output of its last inner layer."""
    past = [outputs[id(layer.x)]] if id(layer.x) in outputs else []
    ahead = [last] if detailed and isinstance(layer.layer, Residual) else []
    return tuple(dict.fromkeys([*ahead, *past]))


def _joined(layer: LayerTrace, detailed: bool) -> bool:
    """Tell whether each unit takes the outputs of all units before it; a residual whose inner layers are drawn only adds."""
    if isinstance(layer.layer, Residual):
        return not detailed
    return not isinstance(layer.layer, ALONE) or _mixes_units(layer.activation)


def _mixes_units(activation: str | None) -> bool:
    """Tell whether each output of an activation depends on all inputs, as those of a softmax."""
    kernel = KERNELS.get(activation or "")
    return kernel is not None and kernel.local_derivatives is not None


def _constant(layer: LayerTrace, detailed: bool) -> str | None:
    """Return the position of the constant 1 that a layer's biases are multiplied by: "first", "last", or None without one."""
    if isinstance(layer.layer, Dense) and layer.layer.bias is not False:
        return layer.layer.penalized().get("weight") or "last"
    return "last" if detailed and "beta" in layer.parameters else None


def _largest(values: HostArray, most: int) -> tuple[int, ...]:
    """Return the columns of values (rows, units) with the largest sums of absolute values, in their order."""
    size = np.sum(np.abs(np.where(np.isfinite(values), values, np.inf)), axis=0)
    return tuple(sorted(int(i) for i in np.argsort(-size, kind="stable")[:most]))
