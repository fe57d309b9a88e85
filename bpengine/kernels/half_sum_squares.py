"""Half the sum of squares: the loss whose gradient is the error itself."""

from __future__ import annotations

from typing import NamedTuple

from bpengine.kernels._formulas import loss_factor
from bpengine.kernels._functions import reduction_factor
from bpengine.kernels._kernel import Array, Kernel, Namespace


class HalfSquareResidual(NamedTuple):
    """What the backward needs: predicted minus observed, and each value's factor in the loss."""

    diff: Array
    factor: Array


def half_sum_squares_fwd(
    xp: Namespace, y: Array, target: Array, weights: Array | None = None, *, reduction: str = "sum"
) -> tuple[Array, HalfSquareResidual]:
    """Compute loss = 1/2 sum (y - target)^2 over the outputs and, by default, over the batch.

    Shapes: y, target (B, O), weights (B,) or None -> loss ().
    """
    diff = y - target
    factor = reduction_factor(xp, diff, weights, reduction)
    return 0.5 * xp.sum(diff * (diff * factor)), HalfSquareResidual(diff, factor)


def half_sum_squares_bwd(xp: Namespace, res: HalfSquareResidual, dloss: Array) -> Array:
    """Compute dy = (y - target) * factor * dloss.

    Shapes: dloss () -> dy (B, O).
    Source: Rumelhart, Hinton, Williams, "Learning representations by back-propagating errors", Nature 323, 1986,
    equation 3.
    """
    return res.diff * (res.factor * dloss)


KERNEL = Kernel(
    name="half_sum_squares",
    kind="loss",
    forward=half_sum_squares_fwd,
    backward=half_sum_squares_bwd,
    shapes={"y": ("B", "O"), "target": ("B", "O"), "weights": ("B",), "loss": ()},
    differentiable=("y",),
    outputs=("loss",),
    domain={"weights": "positive"},
    variants=({}, {"reduction": "batch_mean"}),
    formula={"loss": "xp.sum((y - target)**2 * factor) / 2", "dy": "(y - target) * factor * dloss"},
    flops=lambda B, O, **_: (4 * B * O, B * O),
    source="Rumelhart, Hinton, Williams, Nature 323 (1986), equation 3",
    analytic=True,
    reductions=("sum", "batch_mean"),
    formula_names=loss_factor,
)
