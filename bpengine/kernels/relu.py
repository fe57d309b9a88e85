"""Rectified linear unit: y = max(x, 0)."""

from __future__ import annotations

from bpengine.kernels._functions import mask
from bpengine.kernels._kernel import Array, Namespace, elementwise


def relu_fwd(xp: Namespace, x: Array) -> tuple[Array, Array]:
    """Compute y = max(x, 0); the residual is y.

    Shapes: x (B, O) -> y (B, O).
    """
    y = xp.maximum(x, xp.zeros_like(x))
    return y, y


def relu_bwd(xp: Namespace, y: Array, dy: Array) -> Array:
    """Compute the cotangent of max(x, 0).

    dx = dy * [x > 0]; at x = 0 the value is 0 (not 1/2).
    Shapes: y, dy (B, O) -> dx (B, O).
    Source: Bertoin, Bolte, Gerchinovitz, Pauwels, "Numerical influence of ReLU'(0) on backpropagation", NeurIPS 2021.
    """
    return dy * mask(xp, y > 0, dy)


KERNEL = elementwise(
    "relu",
    relu_fwd,
    relu_bwd,
    flops=(1, 2),
    formula={"y": "xp.maximum(x, 0)", "dx": "dy * (x > 0)"},
    kink="x = 0: the derivative is taken as 0",
    source="Nair, Hinton, ICML 2010; the value at 0: Bertoin et al., NeurIPS 2021",
    initializer="he",
    kink_at=lambda xp, x: ("left", x),
)
