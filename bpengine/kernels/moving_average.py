"""Exponential moving average, for running statistics and averaged weights."""

from __future__ import annotations

from bpengine.kernels._functions import mask
from bpengine.kernels._kernel import Array, Kernel, Namespace


def moving_average(
    xp: Namespace, old: Array, new: Array, weights: Array | None = None, *, momentum: float, least: int = 1
) -> Array:
    """Return momentum * old + (1 - momentum) * new: `momentum` is the part of the old value that stays.

    `weights` are those of the rows that `new` was computed from. If fewer than `least` of them are above 0, the old value
    stays: a mean needs one row, a variance two.
    Shapes: old, new any one shape, weights (B,) or None -> the shape of old.
    Source: Roberts, "Control chart tests based on geometric moving averages", Technometrics 1, 1959.
    """
    average = momentum * old + (1.0 - momentum) * new
    if weights is None:
        return average
    few = mask(xp, xp.sum(mask(xp, weights > 0, weights)) < least, weights)
    return few * old + (1.0 - few) * average


KERNEL = Kernel(
    name="moving_average",
    kind="helper",
    forward=moving_average,
    backward=None,
    shapes={"old": ("O",), "new": ("O",), "weights": ("B",), "average": ("O",)},
    outputs=("average",),
    domain={"weights": "positive"},
    variants=({"momentum": 0.9}, {"momentum": 0.0}, {"momentum": 0.5, "least": 2}),
    formula={
        "average": "old if weights is not None and xp.sum(weights > 0) < least else momentum * old + (1 - momentum) * new"
    },
    flops=lambda O, **_: (3 * O, 0),
    source="Roberts, Technometrics 1 (1959)",
)
