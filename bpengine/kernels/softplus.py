"""Softplus: y = log(1 + exp(x))."""

from __future__ import annotations

from bpengine.kernels import _functions
from bpengine.kernels._kernel import Array, Namespace, elementwise


def softplus_fwd(xp: Namespace, x: Array) -> tuple[Array, Array]:
    """Compute y = log(1 + exp(x)) without overflow; the residual is x.

    Shapes: x (B, O) -> y (B, O).
    """
    return _functions.softplus(xp, x), x


def softplus_bwd(xp: Namespace, x: Array, dy: Array) -> Array:
    """Compute dx = dy sigmoid(x) = dy / (1 + exp(-x)).

    Shapes: x, dy (B, O) -> dx (B, O).
    Source: Dugas, Bengio, Belisle, Nadeau, Garcia, "Incorporating second-order functional knowledge for better option
    pricing", NIPS 2000.
    """
    return dy * _functions.sigmoid(xp, x)


KERNEL = elementwise(
    "softplus",
    softplus_fwd,
    softplus_bwd,
    flops=(6, 4),
    formula={"y": "xp.log1p(xp.exp(x))", "dx": "dy / (1 + xp.exp(-x))"},
    source="Dugas, Bengio, Belisle, Nadeau, Garcia, NIPS 2000",
    initializer="he",
)
