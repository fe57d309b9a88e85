"""Sum of squared residuals: the loss of least squares."""

from __future__ import annotations

from typing import NamedTuple

from bpengine.kernels._formulas import loss_factor
from bpengine.kernels._functions import reduction_factor
from bpengine.kernels._kernel import Array, Kernel, Namespace


class SquaredResidual(NamedTuple):
    """What the backward needs: predicted minus observed, and each value's factor in the loss."""

    diff: Array
    factor: Array


def sum_squared_residuals_fwd(
    xp: Namespace, y: Array, target: Array, weights: Array | None = None, *, reduction: str = "sum"
) -> tuple[Array, SquaredResidual]:
    """Compute loss = sum (target - y)^2 over the outputs and, by default, over the batch.

    Shapes: y, target (B, O), weights (B,) or None -> loss ().
    """
    diff = y - target
    factor = reduction_factor(xp, diff, weights, reduction)
    return xp.sum(diff * (diff * factor)), SquaredResidual(diff, factor)


def sum_squared_residuals_bwd(xp: Namespace, res: SquaredResidual, dloss: Array) -> Array:
    """Compute dy = 2 (y - target) * factor * dloss: the chain rule's -2 (observed - predicted).

    Shapes: dloss () -> dy (B, O).
    Source: Legendre, "Nouvelles methodes pour la determination des orbites des cometes", 1805 (least squares).
    """
    return 2.0 * res.diff * (res.factor * dloss)


KERNEL = Kernel(
    name="sum_squared_residuals",
    kind="loss",
    forward=sum_squared_residuals_fwd,
    backward=sum_squared_residuals_bwd,
    shapes={"y": ("B", "O"), "target": ("B", "O"), "weights": ("B",), "loss": ()},
    differentiable=("y",),
    outputs=("loss",),
    domain={"weights": "positive"},
    variants=({}, {"reduction": "batch_mean"}),
    formula={"loss": "xp.sum((target - y)**2 * factor)", "dy": "-2 * (target - y) * factor * dloss"},
    flops=lambda B, O: (4 * B * O, 3 * B * O),
    source="Legendre, 1805",
    analytic=True,
    reductions=("sum", "batch_mean"),
    formula_names=loss_factor,
)
