"""Exponential linear unit: y = x above 0, alpha (exp(x) - 1) below."""

from __future__ import annotations

from typing import NamedTuple

from bpengine.kernels._functions import mask
from bpengine.kernels._kernel import Array, Namespace, elementwise


class EluResidual(NamedTuple):
    """What the backward needs: the output, and alpha."""

    y: Array
    alpha: float


def elu_fwd(xp: Namespace, x: Array, *, alpha: float = 1.0) -> tuple[Array, EluResidual]:
    """Compute y = max(x, 0) + alpha expm1(min(x, 0)), for alpha >= 0.

    Shapes: x (B, O) -> y (B, O).
    """
    zero = xp.zeros_like(x)
    y = xp.maximum(x, zero) + alpha * xp.expm1(xp.minimum(x, zero))
    return y, EluResidual(y, alpha)


def elu_bwd(xp: Namespace, res: EluResidual, dy: Array) -> Array:
    """Compute dx = dy * (1 where x > 0, else alpha exp(x) = y + alpha); at x = 0 the slope is alpha.

    Shapes: dy (B, O) -> dx (B, O).
    Source: Clevert, Unterthiner, Hochreiter, "Fast and accurate deep network learning by exponential linear units
    (ELUs)", ICLR 2016.
    """
    above = mask(xp, res.y > 0, dy)
    below = xp.minimum(res.y, xp.zeros_like(res.y))
    return dy * (above + (below + res.alpha) * (1.0 - above))


KERNEL = elementwise(
    "elu",
    elu_fwd,
    elu_bwd,
    flops=(5, 6),
    variants=({}, {"alpha": 0.3}),
    formula={
        "y": "xp.maximum(x, 0) + alpha * (xp.exp(xp.minimum(x, 0)) - 1)",
        "dx": "dy * ((x > 0) + alpha * xp.exp(xp.minimum(x, 0)) * (x <= 0))",
    },
    kink="x = 0 unless alpha = 1: the derivative is taken from the left, alpha",
    source="Clevert, Unterthiner, Hochreiter, ICLR 2016",
    initializer="he",
    option_limits={"alpha": {"low": 0.0}},
    kink_at=lambda xp, x, *, alpha=1.0: ("none" if alpha == 1.0 else "left", x),
)
