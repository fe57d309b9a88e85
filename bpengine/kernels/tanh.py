"""Hyperbolic tangent: y = tanh(x)."""

from __future__ import annotations

from bpengine.kernels._kernel import Array, Namespace, elementwise


def tanh_fwd(xp: Namespace, x: Array) -> tuple[Array, Array]:
    """Compute y = tanh(x); the residual is y.

    Shapes: x (B, O) -> y (B, O).
    """
    y = xp.tanh(x)
    return y, y


def tanh_bwd(xp: Namespace, y: Array, dy: Array) -> Array:
    """Compute dx = dy (1 - y^2).

    Shapes: y, dy (B, O) -> dx (B, O).
    Source: LeCun, Bottou, Orr, Mueller, "Efficient backprop", in Neural networks: tricks of the trade, 1998.
    """
    return dy * (1.0 - y * y)


KERNEL = elementwise(
    "tanh",
    tanh_fwd,
    tanh_bwd,
    flops=(1, 3),
    formula={"y": "xp.tanh(x)", "dx": "dy * (1 - y**2)"},
    source="LeCun, Bottou, Orr, Mueller, Efficient backprop (1998)",
    analytic=True,
)
