"""Continuously differentiable exponential linear unit: y = x above 0, alpha (exp(x / alpha) - 1) below."""

from __future__ import annotations

from bpengine.kernels._kernel import Array, Namespace, elementwise


def celu_fwd(xp: Namespace, x: Array, *, alpha: float = 1.0) -> tuple[Array, Array]:
    """Compute y = max(x, 0) + alpha expm1(min(x, 0) / alpha), for alpha > 0; the residual is the exponent.

    Shapes: x (B, O) -> y (B, O).
    """
    zero = xp.zeros_like(x)
    exponent = xp.minimum(x, zero) / alpha
    return xp.maximum(x, zero) + alpha * xp.expm1(exponent), exponent


def celu_bwd(xp: Namespace, exponent: Array, dy: Array) -> Array:
    """Compute dx = dy exp(min(x, 0) / alpha): 1 above 0 and at 0, whatever alpha is.

    Shapes: exponent, dy (B, O) -> dx (B, O).
    Source: Barron, "Continuously differentiable exponential linear units", arXiv:1704.07483, 2017.
    """
    return dy * xp.exp(exponent)


KERNEL = elementwise(
    "celu",
    celu_fwd,
    celu_bwd,
    flops=(6, 2),
    variants=({}, {"alpha": 0.3}),
    formula={
        "y": "xp.maximum(x, 0) + alpha * (xp.exp(xp.minimum(x, 0) / alpha) - 1)",
        "dx": "dy * xp.exp(xp.minimum(x, 0) / alpha)",
    },
    source="Barron, arXiv:1704.07483 (2017)",
    initializer="he",
    option_limits={"alpha": {"low": 0.0, "above": True}},
    kink_at=lambda xp, x, **_: ("none", x),
)
