"""Mish: y = x tanh(softplus(x)), a smooth relu that dips below 0."""

from __future__ import annotations

from typing import NamedTuple

from bpengine.kernels._functions import largest_exponent, mask
from bpengine.kernels._kernel import Array, Names, Namespace, elementwise

_OPEN = 40.0  # from here on the gate is 1, in float64 as well


class MishResidual(NamedTuple):
    """What the backward needs: the input cut where exp would overflow or the gate is 1, exp of it, and the gate."""

    near: Array
    e: Array
    gate: Array


def mish_fwd(xp: Namespace, x: Array) -> tuple[Array, MishResidual]:
    """Compute y = x gate with gate = tanh(log(1 + e)) = 1 / (1 + 2 / (e (e + 2))), e = exp(x).

    Nothing cancels, so the gate keeps its relative precision in both tails, and nothing overflows. As in sigmoid, it is 0
    where exp(-x) would be too large.
    Shapes: x (B, O) -> y (B, O).
    """
    largest = largest_exponent(xp, x)
    near = xp.clip(x, -largest, _OPEN)
    inverse = xp.exp(-near)
    e = 1.0 / inverse
    gate = mask(xp, x >= -largest, x) / (1.0 + 2.0 * inverse / (e + 2.0))
    return xp.clip(x, -largest, None) * gate, MishResidual(near, e, gate)  # -inf * 0 would be NaN


def mish_bwd(xp: Namespace, res: MishResidual, dy: Array) -> Array:
    """Compute dx = dy gate (1 + x (1 - gate) (2 - 2 / (e + 2))), with 1 - gate = 2 / (e (e + 2) + 2).

    Shapes: dy (B, O) -> dx (B, O).
    Source: Misra, "Mish: A self regularized non-monotonic activation function", BMVC 2020.
    """
    rest = 2.0 / (res.e * (res.e + 2.0) + 2.0)
    return dy * (res.gate * (1.0 + res.near * rest * (2.0 - 2.0 / (res.e + 2.0))))


def _formula_names(xp: Namespace, names: Names) -> Names:
    """Return the gate."""
    return {"gate": xp.tanh(xp.log1p(xp.exp(names["x"])))}


KERNEL = elementwise(
    "mish",
    mish_fwd,
    mish_bwd,
    flops=(12, 11),
    formula={
        "y": "x * xp.tanh(xp.log1p(xp.exp(x)))",
        "dx": "dy * (gate + x * (1 - gate**2) / (1 + xp.exp(-x)))",
    },
    source="Misra, BMVC 2020",
    formula_names=_formula_names,
    initializer="he",
)
