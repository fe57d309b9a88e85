"""Hard tanh: y = x, cut to [-1, 1]."""

from __future__ import annotations

from bpengine.kernels._functions import mask
from bpengine.kernels._kernel import Array, Namespace, elementwise


def hard_tanh_fwd(xp: Namespace, x: Array) -> tuple[Array, Array]:
    """Compute y = clip(x, -1, 1); the residual is y.

    Shapes: x (B, O) -> y (B, O).
    """
    y = xp.clip(x, -1.0, 1.0)
    return y, y


def hard_tanh_bwd(xp: Namespace, y: Array, dy: Array) -> Array:
    """Compute dx = dy [-1 < x < 1]; at x = -1 and x = 1 the value is 0.

    Shapes: y, dy (B, O) -> dx (B, O).
    Source: Collobert, Weston, Bottou, Karlen, Kavukcuoglu, Kuksa, "Natural language processing (almost) from scratch",
    Journal of Machine Learning Research 12, 2011.
    """
    return dy * mask(xp, (y > -1.0) & (y < 1.0), dy)


KERNEL = elementwise(
    "hard_tanh",
    hard_tanh_fwd,
    hard_tanh_bwd,
    flops=(2, 4),
    formula={"y": "xp.clip(x, -1, 1)", "dx": "dy * ((x > -1) & (x < 1))"},
    kink="x = -1 and x = 1: the derivative is taken as 0",
    source="Collobert, Weston, Bottou, Karlen, Kavukcuoglu, Kuksa, Journal of Machine Learning Research 12 (2011)",
    kink_at=lambda xp, x: [("left", x + 1.0), ("right", x - 1.0)],
)
