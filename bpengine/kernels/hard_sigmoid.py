"""Hard sigmoid: a straight line from 0 to 1 between x = -3 and x = 3."""

from __future__ import annotations

from bpengine.kernels._functions import mask
from bpengine.kernels._kernel import Array, Namespace, elementwise


def hard_sigmoid_fwd(xp: Namespace, x: Array) -> tuple[Array, Array]:
    """Compute y = clip(x / 6 + 1 / 2, 0, 1), written clip(x + 3, 0, 6) / 6; the residual is x.

    x + 3 is exact near -3, so y keeps its relative precision near 0.
    Shapes: x (B, O) -> y (B, O).
    """
    return xp.clip(x + 3.0, 0.0, 6.0) / 6.0, x


def hard_sigmoid_bwd(xp: Namespace, x: Array, dy: Array) -> Array:
    """Compute dx = dy [-3 < x < 3] / 6; at x = -3 and x = 3 the value is 0.

    Shapes: x, dy (B, O) -> dx (B, O).
    Source: Courbariaux, Bengio, David, "BinaryConnect: Training deep neural networks with binary weights during
    propagations", NIPS 2015, with the slope 1/2; with 1/6: Howard and others, "Searching for MobileNetV3", ICCV 2019.
    """
    return dy * (mask(xp, (x > -3.0) & (x < 3.0), dy) / 6.0)


KERNEL = elementwise(
    "hard_sigmoid",
    hard_sigmoid_fwd,
    hard_sigmoid_bwd,
    flops=(4, 5),
    formula={"y": "xp.clip(x / 6 + 1 / 2, 0, 1)", "dx": "dy * ((x > -3) & (x < 3)) / 6"},
    kink="x = -3 and x = 3: the derivative is taken as 0",
    source="Courbariaux, Bengio, David, NIPS 2015; the slope 1/6: Howard and others, ICCV 2019",
    output="probabilities",
    kink_at=lambda xp, x: [("left", x + 3.0), ("right", x - 3.0)],
)
