"""Mean squared error: the mean over batch and outputs."""

from __future__ import annotations

from typing import NamedTuple

from bpengine.kernels._formulas import loss_factor
from bpengine.kernels._functions import reduction_factor
from bpengine.kernels._kernel import Array, Kernel, Namespace


class MeanSquareResidual(NamedTuple):
    """What the backward needs: predicted minus observed, and each value's factor in the loss."""

    diff: Array
    factor: Array


def mean_squared_error_fwd(
    xp: Namespace, y: Array, target: Array, weights: Array | None = None, *, reduction: str = "mean"
) -> tuple[Array, MeanSquareResidual]:
    """Compute loss = sum (y - target)^2 / (B O): the mean over the batch *and* the outputs.

    Shapes: y, target (B, O), weights (B,) or None -> loss ().
    """
    diff = y - target
    factor = reduction_factor(xp, diff, weights, reduction)
    return xp.sum(diff * (diff * factor)), MeanSquareResidual(diff, factor)


def mean_squared_error_bwd(xp: Namespace, res: MeanSquareResidual, dloss: Array) -> Array:
    """Compute dy = 2 (y - target) * factor * dloss, where factor holds 1 / (B O).

    Shapes: dloss () -> dy (B, O).
    Source: Gauss, "Theoria combinationis observationum erroribus minimis obnoxiae", 1823 (the mean square error).
    """
    return res.diff * (res.factor * (2.0 * dloss))


KERNEL = Kernel(
    name="mean_squared_error",
    kind="loss",
    forward=mean_squared_error_fwd,
    backward=mean_squared_error_bwd,
    shapes={"y": ("B", "O"), "target": ("B", "O"), "weights": ("B",), "loss": ()},
    differentiable=("y",),
    outputs=("loss",),
    domain={"weights": "positive"},
    formula={"loss": "xp.sum((y - target)**2 * factor)", "dy": "2 * (y - target) * factor * dloss"},
    flops=lambda B, O, **_: (4 * B * O, B * O),
    source="Gauss, Theoria combinationis (1823)",
    analytic=True,
    reductions=("mean",),
    formula_names=loss_factor,
)
