"""Huber loss: squared for small errors, absolute for large ones."""

from __future__ import annotations

from typing import NamedTuple

from bpengine.kernels._formulas import loss_factor
from bpengine.kernels._functions import reduction_factor
from bpengine.kernels._kernel import Array, Kernel, Namespace


class HuberResidual(NamedTuple):
    """What the backward needs: the error cut to [-delta, delta], and each value's factor in the loss."""

    cut: Array
    factor: Array


def huber_fwd(
    xp: Namespace,
    y: Array,
    target: Array,
    weights: Array | None = None,
    *,
    delta: float = 1.0,
    reduction: str = "mean",
) -> tuple[Array, HuberResidual]:
    """Compute the sum or mean of 1/2 d^2 where |d| <= delta, else delta (|d| - delta / 2), with d = y - target.

    Both cases in one: cut (d - cut / 2), cut = d limited to [-delta, delta].
    Shapes: y, target (B, O), weights (B,) or None -> loss ().
    """
    diff = y - target
    cut = xp.clip(diff, -delta, delta)
    factor = reduction_factor(xp, diff, weights, reduction)
    return xp.sum(cut * (diff - 0.5 * cut) * factor), HuberResidual(cut, factor)


def huber_bwd(xp: Namespace, res: HuberResidual, dloss: Array) -> Array:
    """Compute dy = cut * factor * dloss.

    Shapes: dloss () -> dy (B, O).
    Source: Huber, "Robust estimation of a location parameter", Annals of Mathematical Statistics 35, 1964.
    """
    return res.cut * (res.factor * dloss)


KERNEL = Kernel(
    name="huber",
    kind="loss",
    forward=huber_fwd,
    backward=huber_bwd,
    shapes={"y": ("B", "O"), "target": ("B", "O"), "weights": ("B",), "loss": ()},
    differentiable=("y",),
    outputs=("loss",),
    domain={"weights": "positive"},
    variants=({}, {"delta": 0.3}, {"reduction": "batch_mean"}, {"reduction": "sum"}),
    formula={
        "loss": "xp.sum(xp.where(xp.abs(y - target) <= delta, (y - target)**2 / 2,"
        " delta * (xp.abs(y - target) - delta / 2)) * factor)",
        "dy": "xp.minimum(xp.abs(y - target), delta) * xp.sign(y - target) * factor * dloss",
    },
    flops=lambda B, O, **_: (7 * B * O, B * O),
    source="Huber, Annals of Mathematical Statistics 35 (1964)",
    reductions=("mean", "batch_mean", "sum"),
    formula_names=loss_factor,
    kink_at=lambda xp, y, target, *_, delta=1.0, **__: ("none", xp.abs(y - target) - delta),
)
