"""Accumulate: the share that one part of a batch has in the loss or in a gradient of the whole batch."""

from __future__ import annotations

from bpengine.kernels._functions import mask
from bpengine.kernels._kernel import Array, Kernel, Namespace


def accumulate(
    xp: Namespace,
    total: Array,
    value: Array,
    weights: Array | None = None,
    all_weights: Array | None = None,
    *,
    share: float = 1.0,
) -> Array:
    """Return total + share * value; if rows have weights, the share is their sum over the sum of all weights.

    A mean over B rows is the sum over parts of (rows of the part / B) times the mean over the part. Where all weights are
    0, nothing is added.
    Shapes: total, value any one shape; weights (rows of the part,), all_weights (B,), or None -> the shape of total.
    Source: the mean of a whole from the means of its parts; Gauss, Theoria combinationis (1823).
    """
    if weights is None or all_weights is None:
        return total + share * value
    whole = xp.sum(all_weights)
    empty = mask(xp, whole == 0, whole)
    return total + (xp.sum(weights) / (whole + empty)) * value


KERNEL = Kernel(
    name="accumulate",
    kind="helper",
    forward=accumulate,
    backward=None,
    shapes={"total": ("I", "O"), "value": ("I", "O"), "weights": ("B",), "all_weights": ("B",), "sum": ("I", "O")},
    outputs=("sum",),
    domain={"weights": "positive", "all_weights": "positive"},
    variants=({}, {"share": 0.25}),
    formula={"sum": "total + value * xp.sum(weights) / xp.sum(all_weights)"},
    flops=lambda B, I, O: (2 * B + 2 * I * O, 0),
    source="Gauss, Theoria combinationis (1823)",
)
