"""Gradient flow: dead and saturated units, vanishing and exploding layers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from bpengine.backend import HostArray
from bpengine.explain.trace.layers import LayerTrace
from bpengine.explain.trace.trace import Trace
from bpengine.kernels import KERNELS, Kernel
from bpengine.ops import known
from bpengine.system.quiet import Quiet

SATURATED = 0.05  # relative to the activation's steepest slope: a twentieth, as where sigmoid is 0.013 or 0.987
VANISHING = 1e-3  # about 4^-5: the largest factor of five sigmoids, whose slope is at most 1/4
EXPLODING = 1e3


@dataclass(frozen=True)
class UnitSensitivity:
    """One unit: the norm of its parameters' partial derivatives (None without any), and whether gradients pass its activation.

    slope: the largest |f'(z)| over the batch, relative to the activation's largest (None without an activation).
    verdict: "dead" (slope 0 in every row), "saturated" (below SATURATED in every row) or "".
    """

    place: str
    unit: int
    norm: float | None
    slope: float | None
    verdict: str


@dataclass(frozen=True, kw_only=True)
class LayerSensitivity:
    """One layer: the norm of its parameters' partial derivatives (None without any), and the size of the incoming gradient.

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


def health_of(traced: Trace) -> tuple[tuple[UnitSensitivity, ...], tuple[LayerSensitivity, ...]]:
    """Return every unit and every layer of a step."""
    units = tuple(unit for layer in traced.layers.values() for unit in _units(traced, layer))
    last = _rms(list(traced.layers.values())[-1].dz)
    layers = tuple(
        _layer(layer, [u for u in units if u.place == layer.place], last) for layer in traced.layers.values()
    )
    return units, layers


def _units(traced: Trace, layer: LayerTrace) -> Iterator[UnitSensitivity]:
    slopes = _relative_slopes(traced, layer)
    with Quiet():
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
    """Return each unit's largest |f'(z)| over the batch, relative to the activation's steepest slope."""
    for position, slopes in traced.slopes.items():
        call = traced.calls[position]
        if call.kernel.kind == "activation" and call.result[0] is layer.a and call.kernel.local_derivatives is None:
            options = tuple(sorted(call.options.items()))
            largest = _steepest(call.kernel.name, options) if known(call.kernel) else _steepest_of(call.kernel, {})
            if not largest > 0:
                return None
            steepest = np.max(np.abs(slopes), axis=0) / largest
            return np.where(np.all(np.isfinite(layer.z), axis=0), steepest, np.nan)
    return None


@lru_cache
def _steepest(name: str, options: tuple[tuple[str, float], ...]) -> float:
    """Return the largest |f'(z)| of an activation of the engine; computed once."""
    return _steepest_of(KERNELS[name], dict(options))


def _steepest_of(kernel: Kernel, options: Mapping[str, float]) -> float:
    """Return the largest |f'(z)| of an activation, over z from -10 to 10."""
    z = np.linspace(-10.0, 10.0, 2001)[:, np.newaxis]
    assert kernel.backward is not None
    with Quiet():
        _, residual = kernel.forward(np, z, **options)
        return float(np.max(np.abs(kernel.backward(np, residual, np.ones_like(z)))))


def _layer(layer: LayerTrace, units: Sequence[UnitSensitivity], last: float) -> LayerSensitivity:
    norms = [u.norm for u in units if u.norm is not None]
    rms = _rms(layer.dz)
    ratio = rms / last if last else float("nan")
    verdict = "vanishing" if ratio < VANISHING else "exploding" if ratio > EXPLODING else ""
    dead, saturated = (tuple(u.unit for u in units if u.verdict == kind) for kind in ("dead", "saturated"))
    return LayerSensitivity(
        place=layer.place,
        kind=type(layer.layer).__name__,
        norm=float(np.linalg.norm(norms)) if norms else None,
        rms=rms,
        ratio=ratio,
        verdict=verdict,
        dead=dead,
        saturated=saturated,
    )


def _rms(dz: HostArray) -> float:
    """Return the root mean square, in float64: in float32 the squares of small gradients are 0."""
    with Quiet():
        return float(np.sqrt(np.mean(np.square(dz.astype(float)))))
