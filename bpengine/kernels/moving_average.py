"""Exponential moving average, for running statistics and averaged weights."""

from __future__ import annotations

from bpengine.kernels._functions import mask
from bpengine.kernels._kernel import Array, Kernel, Namespace


def moving_average(xp: Namespace, old: Array, new: Array, weights: Array | None = None, *, momentum: float) -> Array:
    """Return momentum * old + (1 - momentum) * new: `momentum` is the part of the old value that stays.

    With the weights of the rows that `new` was seen in: where all of them are 0 no row is left, and the old value stays.
    Shapes: old, new any one shape, weights (B,) or None -> the shape of old.
    Source: Roberts, "Control chart tests based on geometric moving averages", Technometrics 1, 1959.
    """
    average = momentum * old + (1.0 - momentum) * new
    if weights is None:
        return average
    total = xp.sum(weights)
    empty = mask(xp, total == 0, total)
    return empty * old + (1.0 - empty) * average


KERNEL = Kernel(
    name="moving_average",
    kind="helper",
    forward=moving_average,
    backward=None,
    shapes={"old": ("O",), "new": ("O",), "weights": ("B",), "average": ("O",)},
    outputs=("average",),
    domain={"weights": "positive"},
    variants=({"momentum": 0.9}, {"momentum": 0.0}),
    formula={
        "average": "old if weights is not None and xp.sum(weights) == 0 else momentum * old + (1 - momentum) * new"
    },
    flops=lambda O, **_: (3 * O, 0),
    source="Roberts, Technometrics 1 (1959)",
)
