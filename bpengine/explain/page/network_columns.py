"""Drawing: which units of which layers are drawn, and which column of units takes its input from which."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bpengine.backend import HostArray
from bpengine.explain.trace.layers import LayerTrace
from bpengine.explain.trace.trace import Trace
from bpengine.layers import Dense, Residual

WHOLE = 10  # a layer of more units is not drawn whole
DRAWN = 60  # units in all; with more, no layer of more than FEWER is drawn whole either
FEWER = 6  # units of a layer that is not drawn whole


@dataclass(frozen=True, kw_only=True)
class Column:
    """One layer as a column of units: `units` are drawn, of `total`; `sources` are the columns whose outputs it takes.

    place: "" for the network's inputs. kind: "Dense, sigmoid". joined: each unit takes the outputs of all units of its
    sources, where it otherwise takes that of the unit of the same number.
    """

    place: str
    kind: str
    units: tuple[int, ...]
    total: int
    sources: tuple[int, ...]
    joined: bool

    @property
    def whole(self) -> bool:
        """True when every unit is drawn."""
        return len(self.units) == self.total


def columns(trace: Trace) -> list[Column]:
    """Return the columns of a network, inputs first.

    Of a layer too large to draw whole those units are drawn whose gradients are largest in this step, of the inputs the
    largest.
    """
    sizes = [trace.x.shape[1], *(layer.units for layer in trace.layers.values())]
    room = WHOLE if max(sizes) <= WHOLE and sum(sizes) <= DRAWN else FEWER
    inputs = Column(place="", kind="", units=_largest(trace.x, room), total=trace.x.shape[1], sources=(), joined=False)
    drawn, outputs = [inputs], {id(trace.x): 0}
    for layer in trace.layers.values():
        sources = _sources(layer, outputs, len(drawn) - 1)
        joined = isinstance(layer.layer, Dense) or layer.a.shape != layer.x.shape
        kind = ", ".join([type(layer.layer).__name__, *([layer.activation] if layer.activation else [])])
        drawn.append(
            Column(
                place=layer.place,
                kind=kind,
                units=_largest(layer.dz, room),
                total=layer.units,
                sources=sources,
                joined=joined,
            )
        )
        outputs.setdefault(id(layer.a), len(drawn) - 1)
    return drawn


def _sources(layer: LayerTrace, outputs: dict[int, int], last: int) -> tuple[int, ...]:
    """Return where a layer's input comes from; a residual adds the output of its last inner layer."""
    past = [outputs[id(layer.x)]] if id(layer.x) in outputs else []
    inner = [last] if isinstance(layer.layer, Residual) else []
    return tuple(dict.fromkeys([*inner, *past]))


def _largest(values: HostArray, room: int) -> tuple[int, ...]:
    """Return the columns of values (rows, units) with the largest sums of absolute values, in their order."""
    size = np.sum(np.abs(np.where(np.isfinite(values), values, np.inf)), axis=0)
    return tuple(sorted(int(i) for i in np.argsort(-size, kind="stable")[:room]))


def spread(count: int, wanted: int) -> list[int]:
    """Return `wanted` numbers from 0 to count - 1, first and last among them, as evenly as whole numbers can be."""
    return sorted({int(i) for i in np.rint(np.linspace(0, count - 1, min(count, wanted)))})


def named(names: Sequence[str] | None, count: int) -> list[str] | None:
    """Return names as text where there is one for each, else None."""
    return [str(name) for name in names] if names is not None and len(names) == count else None
