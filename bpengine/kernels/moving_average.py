"""Exponential moving average, for running statistics and averaged weights."""

from __future__ import annotations

from bpengine.kernels._kernel import Array, Kernel, Namespace


def moving_average(xp: Namespace, old: Array, new: Array, *, momentum: float) -> Array:
    """Return momentum * old + (1 - momentum) * new: `momentum` is the part of the old value that stays.

    Shapes: old, new any one shape -> the same.
    Source: Roberts, "Control chart tests based on geometric moving averages", Technometrics 1, 1959.
    """
    return momentum * old + (1.0 - momentum) * new


KERNEL = Kernel(
    name="moving_average",
    kind="helper",
    forward=moving_average,
    backward=None,
    shapes={"old": ("O",), "new": ("O",), "average": ("O",)},
    outputs=("average",),
    variants=({"momentum": 0.9}, {"momentum": 0.0}),
    formula={"average": "momentum * old + (1 - momentum) * new"},
    flops=lambda O, **_: (3 * O, 0),
    source="Roberts, Technometrics 1 (1959)",
)
