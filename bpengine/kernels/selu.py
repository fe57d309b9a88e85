"""Scaled exponential linear unit: an elu scaled so that outputs keep mean 0 and variance 1 from layer to layer."""

from __future__ import annotations

from bpengine.kernels._functions import mask
from bpengine.kernels._kernel import Array, Namespace, elementwise

_ALPHA = 1.6732632423543772848170429916717
_SCALE = 1.0507009873554804934193349852946


def selu_fwd(xp: Namespace, x: Array) -> tuple[Array, Array]:
    """Compute y = scale (max(x, 0) + alpha expm1(min(x, 0))); the residual is y.

    alpha = 1.67326..., scale = 1.05070... make mean 0 and variance 1 a fixed point for normal inputs.
    Shapes: x (B, O) -> y (B, O).
    """
    zero = xp.zeros_like(x)
    y = _SCALE * xp.maximum(x, zero) + (_SCALE * _ALPHA) * xp.expm1(xp.minimum(x, zero))
    return y, y


def selu_bwd(xp: Namespace, y: Array, dy: Array) -> Array:
    """Compute dx = dy * (scale where x > 0, else scale alpha exp(x) = y + scale alpha); at x = 0 the latter.

    Shapes: y, dy (B, O) -> dx (B, O).
    Source: Klambauer, Unterthiner, Mayr, Hochreiter, "Self-normalizing neural networks", NIPS 2017, equation 2; the
    constants are its alpha_01 and lambda_01.
    """
    above = mask(xp, y > 0, dy)
    below = xp.minimum(y, xp.zeros_like(y))
    return dy * (_SCALE * above + (below + _SCALE * _ALPHA) * (1.0 - above))


KERNEL = elementwise(
    "selu",
    selu_fwd,
    selu_bwd,
    flops=(6, 7),
    formula={
        "y": "1.0507009873554805 * (xp.maximum(x, 0) + 1.6732632423543772 * (xp.exp(xp.minimum(x, 0)) - 1))",
        "dx": "1.0507009873554805 * dy * ((x > 0) + 1.6732632423543772 * xp.exp(xp.minimum(x, 0)) * (x <= 0))",
    },
    kink="x = 0: the derivative is taken from the left, scale * alpha = 1.7580993408473766",
    source="Klambauer, Unterthiner, Mayr, Hochreiter, NIPS 2017",
    initializer="lecun",
    kink_at=lambda xp, x: ("left", x),
)
