"""Leaky rectified linear unit: y = x above 0, alpha x below."""

from __future__ import annotations

from bpengine.kernels._functions import mask
from bpengine.kernels._kernel import Array, Namespace, elementwise


def leaky_relu_fwd(xp: Namespace, x: Array, *, alpha: float = 0.01) -> tuple[Array, Array]:
    """Compute y = x * slope with slope = [x > 0] + alpha [x <= 0]; the residual is the slope.

    Shapes: x (B, O) -> y (B, O).
    """
    slope = mask(xp, x > 0, x) + alpha * mask(xp, x <= 0, x)
    return x * slope, slope


def leaky_relu_bwd(xp: Namespace, slope: Array, dy: Array) -> Array:
    """Compute dx = dy * slope; at x = 0 the slope is alpha.

    Shapes: slope, dy (B, O) -> dx (B, O).
    Source: Maas, Hannun, Ng, "Rectifier nonlinearities improve neural network acoustic models", ICML 2013 workshop.
    """
    return dy * slope


KERNEL = elementwise(
    "leaky_relu",
    leaky_relu_fwd,
    leaky_relu_bwd,
    flops=(6, 1),
    variants=({}, {"alpha": 0.3}),
    formula={"y": "xp.maximum(x, 0) + alpha * xp.minimum(x, 0)", "dx": "dy * ((x > 0) + alpha * (x <= 0))"},
    kink="x = 0: the derivative is taken from the left, alpha",
    source="Maas, Hannun, Ng, ICML 2013 workshop on deep learning for audio, speech and language processing",
    initializer="he",
    kink_at=lambda xp, x, **_: ("left", x),
)
