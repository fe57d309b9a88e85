"""Sensitivity: how much each parameter moves the loss, ranked; and the units and layers through which no gradient passes.

The gradient is the list of every parameter's partial derivative: how much the loss changes per change of that parameter.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from bpengine.backend import HostArray
from bpengine.check.report import finite
from bpengine.explain.layertrace import LayerTrace
from bpengine.explain.trace import Trace
from bpengine.explain.words import Words, aligned, shown, words
from bpengine.kernels import KERNELS
from bpengine.layers.layer import HostArrays

SATURATED = 0.05  # of the activation's steepest slope: what passes is a twentieth, as at sigmoid 0.013 or 0.987
VANISHING = 1e-3  # about 4^-5: what five sigmoids, whose slope is at most 1/4, leave of a gradient at the very best
EXPLODING = 1e3


@dataclass(frozen=True)
class Partial:
    """One parameter: its value, the partial derivative of the loss with respect to it, and its share of the whole.

    share: of the sum of all partials' squares.
    """

    name: str
    index: tuple[int, ...]
    value: float
    partial: float
    share: float

    @property
    def label(self) -> str:
        """The parameter's name: "0.weight[2,1]"."""
        return f"{self.name}[{','.join(map(str, self.index))}]"


@dataclass(frozen=True)
class UnitSensitivity:
    """One unit: the norm of its parameters' partials (None without any), and whether a gradient passes its activation.

    slope: the largest |f'(z)| over the batch, relative to the activation's steepest (None without an activation).
    verdict: "dead" (slope 0 in every row), "saturated" (below SATURATED in every row) or "".
    """

    place: str
    unit: int
    norm: float | None
    slope: float | None
    verdict: str


@dataclass(frozen=True)
class LayerSensitivity:
    """One layer: the norm of its parameters' partials (None without any), and how large the gradient is that arrives.

    rms: root mean square of dL/dz over batch and units; ratio: relative to the output layer's. verdict: "vanishing",
    "exploding" or "". dead, saturated: units.
    """

    place: str
    kind: str
    norm: float | None
    rms: float
    ratio: float
    verdict: str
    dead: tuple[int, ...]
    saturated: tuple[int, ...]


@dataclass(frozen=True)
class Sensitivity:
    """Every parameter's partial derivative, by parameter, unit and layer."""

    loss: float
    gradients: HostArrays
    parameters: HostArrays
    units: tuple[UnitSensitivity, ...]
    layers: tuple[LayerSensitivity, ...]
    first_bad: str | None

    @cached_property
    def order(self) -> HostArray:
        """The places of all partials in one vector, largest first; one that is not finite comes before all."""
        size = np.abs(np.concatenate([g.ravel() for g in self.gradients.values()]).astype(float))
        return np.argsort(-np.where(np.isfinite(size), size, np.inf), kind="stable")

    @property
    def size(self) -> int:
        """The number of parameters."""
        return sum(g.size for g in self.gradients.values())

    def ranked(self, largest: int | None = None) -> Iterator[Partial]:
        """Yield the parameters, the one that moves the loss most first."""
        names = list(self.gradients)
        starts = np.cumsum([0, *(self.gradients[name].size for name in names)])
        with np.errstate(all="ignore"):
            whole = float(sum(np.sum(np.square(g.astype(float))) for g in self.gradients.values()))
        for place in self.order[:largest]:
            number = int(np.searchsorted(starts, place, side="right")) - 1
            name = names[number]
            index = tuple(int(i) for i in np.unravel_index(int(place - starts[number]), self.gradients[name].shape))
            partial = float(self.gradients[name][index])
            yield Partial(
                name, index, float(self.parameters[name][index]), partial, partial**2 / whole if whole else 0.0
            )

    def to_rows(self, largest: int | None = None) -> list[dict[str, Any]]:
        """Return one dict per parameter, ranked: pandas.DataFrame(sensitivity.to_rows())."""
        return [
            {"rank": i + 1, "parameter": p.label, "value": p.value, "partial": p.partial, "share": p.share}
            for i, p in enumerate(self.ranked(largest))
        ]

    def to_json(self, largest: int | None = None) -> dict[str, Any]:
        """Return everything as plain values."""
        told: dict[str, Any] = finite(
            {
                "loss": self.loss,
                "parameters": self.to_rows(largest),
                "units": [vars(unit) for unit in self.units],
                "layers": [vars(layer) for layer in self.layers],
                "first_bad": self.first_bad,
            }
        )
        return told

    def text(self, lang: str = "en", largest: int = 20) -> str:
        """Return the ranking and the verdicts in words, English or Portuguese."""
        return "\n".join(_lines(self, words(lang), largest))

    def __str__(self) -> str:
        return self.text()


def sensitivity(model: Any, x: Any, y: Any, *, weights: Any = None) -> Sensitivity:
    """Return how much each parameter of a model moves the loss on x, y, and what stands in the gradient's way.

    A unit is dead when f'(z) is 0 in every row: nothing reaches its weights. It is saturated when f'(z) stays below 5 % of
    the activation's steepest slope in every row. A layer's gradient vanishes (explodes) when the root mean square of its
    dL/dz is below 1e-3 (above 1e3) times the output layer's: initial weights are chosen to keep it equal.
    Source: Glorot, Bengio, "Understanding the difficulty of training deep feedforward neural networks", AISTATS 2010.
    """
    return sensitivity_of(model.trace(x, y, weights))


def sensitivity_of(traced: Trace) -> Sensitivity:
    """Return the sensitivity of a step that was traced already."""
    units = tuple(unit for layer in traced.layers.values() for unit in _units(traced, layer))
    last = _rms(list(traced.layers.values())[-1].dz)
    layers = tuple(
        _layer(layer, [u for u in units if u.place == layer.place], last) for layer in traced.layers.values()
    )
    return Sensitivity(traced.loss, traced.gradients, traced.parameters, units, layers, traced.first_bad)


def _units(traced: Trace, layer: LayerTrace) -> Iterator[UnitSensitivity]:
    slopes = _relative_slopes(traced, layer)
    with np.errstate(all="ignore"):
        squares = [
            np.sum(np.square(g.astype(float)).reshape(-1, g.shape[-1]), axis=0) for g in layer.gradients.values()
        ]
    squares = [s for s in squares if len(s) == layer.units]
    norms = np.sqrt(sum(squares)) if squares else None
    for unit in range(layer.units):
        slope = None if slopes is None else float(slopes[unit])
        verdict = "" if slope is None else "dead" if slope == 0 else "saturated" if slope < SATURATED else ""
        yield UnitSensitivity(layer.place, unit, None if norms is None else float(norms[unit]), slope, verdict)


def _relative_slopes(traced: Trace, layer: LayerTrace) -> HostArray | None:
    """Return each unit's largest |f'(z)| over the batch, relative to the steepest slope the activation has."""
    for position, slopes in traced.slopes.items():
        call = traced.calls[position]
        if call.kernel.kind == "activation" and call.result[0] is layer.a and call.kernel.name != "softmax":
            options = tuple(sorted(call.options.items()))
            steepest = np.max(np.abs(slopes), axis=0) / _steepest(call.kernel.name, options)
            return np.where(np.all(np.isfinite(layer.z), axis=0), steepest, np.nan)
    return None


@lru_cache
def _steepest(name: str, options: tuple[tuple[str, float], ...]) -> float:
    """Return the largest |f'(z)| of an activation, over z from -10 to 10."""
    kernel, z = KERNELS[name], np.linspace(-10.0, 10.0, 2001)[:, np.newaxis]
    assert kernel.backward is not None
    _, residual = kernel.forward(np, z, **dict(options))
    return float(np.max(np.abs(kernel.backward(np, residual, np.ones_like(z)))))


def _layer(layer: LayerTrace, units: Sequence[UnitSensitivity], last: float) -> LayerSensitivity:
    norms = [u.norm for u in units if u.norm is not None]
    rms = _rms(layer.dz)
    ratio = rms / last if last else float("nan")
    verdict = "vanishing" if ratio < VANISHING else "exploding" if ratio > EXPLODING else ""
    chosen = (tuple(u.unit for u in units if u.verdict == kind) for kind in ("dead", "saturated"))
    norm = float(np.linalg.norm(norms)) if norms else None
    return LayerSensitivity(layer.place, type(layer.layer).__name__, norm, rms, ratio, verdict, *chosen)


def _rms(dz: HostArray) -> float:
    """Return the root mean square, in float64: in float32 the squares of small gradients are 0."""
    with np.errstate(all="ignore"):
        return float(np.sqrt(np.mean(np.square(dz.astype(float)))))


def _lines(told: Sensitivity, say: Words, largest: int) -> Iterator[str]:
    yield say("sens_title", loss=shown(told.loss))
    if told.first_bad:
        yield say("bad", cause=told.first_bad)
    yield f"\n{say('by_layer')}"
    heads = tuple(say(f"head_{h}") for h in ("layer", "norm", "rms", "ratio", "verdict"))
    yield from aligned(heads, [_layer_cells(layer, say) for layer in told.layers])
    marked = [u for u in told.units if u.verdict]
    if marked:
        yield f"\n{say('by_unit')}"
        yield from (f"  {say('next_unit', unit=u.unit, place=u.place)}: {say(u.verdict)}" for u in marked[:largest])
        if len(marked) > largest:
            yield f"  ... {len(marked) - largest}"
    yield f"\n{say('by_parameter')}"
    heads = ("#", *(say(f"head_{h}") for h in ("parameter", "value", "partial", "share")))
    rows = [
        (str(i + 1), p.label, shown(p.value, 6), shown(p.partial, 6), f"{p.share:.2%}")
        for i, p in enumerate(told.ranked(largest))
    ]
    yield from aligned(heads, rows)
    yield ""
    yield from (say("dead_means"), say("saturated_means", limit=SATURATED))
    yield say("vanishing_means", low=VANISHING, high=EXPLODING)


def _layer_cells(layer: LayerSensitivity, say: Words) -> tuple[str, ...]:
    words_ = [say(layer.verdict)] if layer.verdict else []
    for kind, units in (("dead", layer.dead), ("saturated", layer.saturated)):
        words_ += [f"{say(kind)}: {len(units)}"] if units else []
    norm = "-" if layer.norm is None else shown(layer.norm, 6)
    return f"{layer.place} {layer.kind}", norm, shown(layer.rms, 6), shown(layer.ratio, 4), ", ".join(words_) or "-"
