"""Rectified linear unit that ends at 6: y = x, cut to [0, 6]."""

from __future__ import annotations

from bpengine.kernels._functions import mask
from bpengine.kernels._kernel import Array, Namespace, elementwise


def relu6_fwd(xp: Namespace, x: Array) -> tuple[Array, Array]:
    """Compute y = min(max(x, 0), 6); the residual is y.

    Shapes: x (B, O) -> y (B, O).
    """
    y = xp.clip(x, 0.0, 6.0)
    return y, y


def relu6_bwd(xp: Namespace, y: Array, dy: Array) -> Array:
    """Compute dx = dy [0 < x < 6]; at x = 0 and x = 6 the value is 0.

    Shapes: y, dy (B, O) -> dx (B, O).
    Source: Krizhevsky, "Convolutional deep belief networks on CIFAR-10", unpublished manuscript, 2010.
    """
    return dy * mask(xp, (y > 0.0) & (y < 6.0), dy)


KERNEL = elementwise(
    "relu6",
    relu6_fwd,
    relu6_bwd,
    flops=(2, 4),
    formula={"y": "xp.minimum(xp.maximum(x, 0), 6)", "dx": "dy * ((x > 0) & (x < 6))"},
    kink="x = 0 and x = 6: the derivative is taken as 0",
    source="Krizhevsky, Convolutional deep belief networks on CIFAR-10 (2010)",
    initializer="he",
    kink_at=lambda xp, x: [("left", x), ("right", x - 6.0)],
)
