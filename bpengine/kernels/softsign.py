"""Softsign: y = x / (1 + |x|), which approaches -1 and 1 far more slowly than tanh."""

from __future__ import annotations

from bpengine.kernels._kernel import Array, Namespace, elementwise


def softsign_fwd(xp: Namespace, x: Array) -> tuple[Array, Array]:
    """Compute y = x / (1 + |x|); the residual is 1 + |x|.

    |x| is written max(x, -x), whose derivative at 0 is 0 under automatic differentiation. x is cut to the finite numbers:
    inf / inf would be NaN, and the largest number over itself is 1.
    Shapes: x (B, O) -> y (B, O).
    """
    largest = float(xp.finfo(x.dtype).max)
    near = xp.clip(x, -largest, largest)
    divisor = 1.0 + xp.maximum(near, -near)
    return near / divisor, divisor


def softsign_bwd(xp: Namespace, divisor: Array, dy: Array) -> Array:
    """Compute dx = dy / (1 + |x|)^2, in two divisions: the square of a large x would overflow.

    Shapes: divisor, dy (B, O) -> dx (B, O).
    Source: Bergstra, Desjardins, Lamblin, Bengio, "Quadratic polynomials learn better image features", technical report
    1337, Universite de Montreal, 2009.
    """
    return dy / divisor / divisor


KERNEL = elementwise(
    "softsign",
    softsign_fwd,
    softsign_bwd,
    flops=(4, 2),
    formula={"y": "x / (1 + xp.abs(x))", "dx": "dy / (1 + xp.abs(x))**2"},
    source="Bergstra, Desjardins, Lamblin, Bengio, technical report 1337, Universite de Montreal (2009)",
    kink_at=lambda xp, x: ("none", x),
)
