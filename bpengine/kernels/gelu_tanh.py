"""Gaussian error linear unit, tanh approximation: y = x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))."""

from __future__ import annotations

import math
from typing import NamedTuple

from bpengine.kernels._functions import sigmoid
from bpengine.kernels._kernel import Array, Names, Namespace, elementwise

_SLOPE = 2.0 * math.sqrt(2.0 / math.pi)
_CUBIC = 0.044715


class GeluTanhResidual(NamedTuple):
    """What the backward needs: the input cut to [-40, 40], the factor that replaces Phi, and the output."""

    near: Array
    gate: Array
    y: Array


def gelu_tanh_fwd(xp: Namespace, x: Array) -> tuple[Array, GeluTanhResidual]:
    """Compute y = x gate with gate = (1 + tanh(u)) / 2 = sigmoid(2 u), u = sqrt(2 / pi) (x + 0.044715 x^3).

    The sigmoid keeps its relative precision where 1 + tanh(u) cancels. u is taken of x cut to [-40, 40]: beyond, gate is
    exactly 0 or 1 in float64 already, and the cube of any x might overflow.
    Shapes: x (B, O) -> y (B, O).
    """
    near = xp.clip(x, -40.0, 40.0)
    gate = sigmoid(xp, near * (_SLOPE + (_SLOPE * _CUBIC) * (near * near)))
    y = xp.clip(x, -40.0, None) * gate  # -inf * 0 would be NaN
    return y, GeluTanhResidual(near, gate, y)


def gelu_tanh_bwd(xp: Namespace, res: GeluTanhResidual, dy: Array) -> Array:
    """Compute dx = dy (gate + y (1 - gate) 2 u'), u' = sqrt(2 / pi) (1 + 3 * 0.044715 x^2).

    Where x was cut, the second term is 0 times a finite slope.
    Shapes: dy (B, O) -> dx (B, O).
    Source: Hendrycks, Gimpel, "Gaussian error linear units (GELUs)", arXiv:1606.08415, 2016, section 2.
    """
    slope = _SLOPE + (3.0 * _SLOPE * _CUBIC) * (res.near * res.near)
    return dy * (res.gate + xp.clip(res.y, None, 40.0) * (1.0 - res.gate) * slope)


def _formula_names(xp: Namespace, names: Names) -> Names:
    """Return the factor that replaces Phi."""
    x = names["x"]
    return {"gate": (1 + xp.tanh(xp.sqrt(2 / names["real"](math.pi)) * (x + 0.044715 * x**3))) / 2}


KERNEL = elementwise(
    "gelu_tanh",
    gelu_tanh_fwd,
    gelu_tanh_bwd,
    flops=(11, 8),
    formula={
        "y": "x / 2 * (1 + xp.tanh((2 / xp.pi)**0.5 * (x + 0.044715 * x**3)))",
        "dx": "dy * (gate + 2 * x * gate * (1 - gate) * (2 / xp.pi)**0.5 * (1 + 3 * 0.044715 * x**2))",
    },
    source="Hendrycks, Gimpel, arXiv:1606.08415 (2016), section 2",
    formula_names=_formula_names,
    initializer="he",
)
