"""Logistic sigmoid: y = 1 / (1 + exp(-x))."""

from __future__ import annotations

from bpengine.kernels import _functions
from bpengine.kernels._kernel import Array, Namespace, elementwise


def sigmoid_fwd(xp: Namespace, x: Array) -> tuple[Array, Array]:
    """Compute y = 1 / (1 + exp(-x)); the residual is y.

    Shapes: x (B, O) -> y (B, O).
    """
    y = _functions.sigmoid(xp, x)
    return y, y


def sigmoid_bwd(xp: Namespace, y: Array, dy: Array) -> Array:
    """Compute dx = dy y (1 - y).

    Shapes: y, dy (B, O) -> dx (B, O).
    Source: Rumelhart, Hinton, Williams, "Learning representations by back-propagating errors", Nature 323, 1986.
    """
    return dy * y * (1.0 - y)


KERNEL = elementwise(
    "sigmoid",
    sigmoid_fwd,
    sigmoid_bwd,
    flops=(4, 3),
    formula={"y": "1 / (1 + xp.exp(-x))", "dx": "dy * y * (1 - y)"},
    source="Rumelhart, Hinton, Williams, Nature 323 (1986)",
    output="probabilities",
)
