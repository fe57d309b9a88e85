"""Mean absolute error: the mean over batch and outputs."""

from __future__ import annotations

from typing import NamedTuple

from bpengine.kernels._formulas import loss_factor
from bpengine.kernels._functions import reduction_factor
from bpengine.kernels._kernel import Array, Kernel, Namespace


class MeanAbsoluteResidual(NamedTuple):
    """What the backward needs: predicted minus observed, and each value's factor in the loss."""

    diff: Array
    factor: Array


def mean_absolute_error_fwd(
    xp: Namespace, y: Array, target: Array, weights: Array | None = None, *, reduction: str = "mean"
) -> tuple[Array, MeanAbsoluteResidual]:
    """Compute loss = sum |y - target| / (B O): the mean over the batch *and* the outputs.

    Shapes: y, target (B, O), weights (B,) or None -> loss ().
    """
    diff = y - target
    factor = reduction_factor(xp, diff, weights, reduction)
    return xp.sum(xp.abs(diff) * factor), MeanAbsoluteResidual(diff, factor)


def mean_absolute_error_bwd(xp: Namespace, res: MeanAbsoluteResidual, dloss: Array) -> Array:
    """Compute dy = sign(y - target) * factor * dloss; where y = target the value is 0.

    Shapes: dloss () -> dy (B, O).
    Source: Laplace, "Memoire sur la probabilite des causes par les evenements", 1774 (least absolute deviations).
    """
    return xp.sign(res.diff) * (res.factor * dloss)


KERNEL = Kernel(
    name="mean_absolute_error",
    kind="loss",
    forward=mean_absolute_error_fwd,
    backward=mean_absolute_error_bwd,
    shapes={"y": ("B", "O"), "target": ("B", "O"), "weights": ("B",), "loss": ()},
    differentiable=("y",),
    outputs=("loss",),
    domain={"weights": "positive"},
    formula={"loss": "xp.sum(xp.abs(y - target) * factor)", "dy": "xp.sign(y - target) * factor * dloss"},
    flops=lambda B, O, **_: (4 * B * O, 2 * B * O),
    kink="y = target: the derivative is taken as 0",
    source="Laplace, 1774",
    reductions=("mean",),
    formula_names=loss_factor,
    kink_at=lambda xp, y, target, *_, **__: ("middle", y - target),
)
