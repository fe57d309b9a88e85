"""Binary cross-entropy of probabilities."""

from __future__ import annotations

from typing import NamedTuple

from bpengine.kernels._formulas import loss_factor
from bpengine.kernels._functions import reduction_factor, tiny
from bpengine.kernels._kernel import Array, Kernel, Names, Namespace


class BinaryCrossEntropyResidual(NamedTuple):
    """What the backward needs: the target, y + tiny, 1 - y + tiny, and each value's factor in the loss."""

    target: Array
    yes: Array
    no: Array
    factor: Array


def binary_cross_entropy_fwd(
    xp: Namespace, y: Array, target: Array, weights: Array | None = None, *, reduction: str = "mean"
) -> tuple[Array, BinaryCrossEntropyResidual]:
    """Compute the sum or mean of -(t log(y + tiny) + (1 - t) log(1 - y + tiny)).

    tiny, a million times the smallest normal number, keeps loss and gradient finite at y = 0 and y = 1. From
    y = 4 tiny / eps on (4e-286 in float64, 4e-25 in float32) rounding removes it completely; a smaller y it changes, by
    a factor of 2 at y = tiny. On logits, `sigmoid_cross_entropy` is the more exact choice.
    Shapes: y, target (B, O), weights (B,) or None -> loss ().
    """
    least = tiny(xp, y)
    yes, no = y + least, (1.0 - y) + least * y  # not (1 - y) + least, which compilers fold into 1 - y
    factor = reduction_factor(xp, y, weights, reduction)
    values = target * xp.log(yes) + (1.0 - target) * xp.log(no)
    return -xp.sum(values * factor), BinaryCrossEntropyResidual(target, yes, no, factor)


def binary_cross_entropy_bwd(xp: Namespace, res: BinaryCrossEntropyResidual, dloss: Array) -> Array:
    """Compute dy = ((1 - t) / (1 - y + tiny) - t / (y + tiny)) * factor * dloss.

    Shapes: dloss () -> dy (B, O).
    Source: Solla, Levin, Fleisher, "Accelerated learning in layered neural networks", Complex Systems 2, 1988.
    """
    return ((1.0 - res.target) / res.no - res.target / res.yes) * (res.factor * dloss)


def _loss(xp: Namespace, names: Names) -> Array:
    """Return the loss with `tiny` in its logarithms."""
    y, target, tiny = names["y"], names["target"], names["tiny"]
    yes, no = y + tiny, (1 - y) + tiny * y
    return -xp.sum((target * xp.log(yes) + (1 - target) * xp.log(no)) * names["factor"])


def _dy(xp: Namespace, names: Names) -> Array:
    y, target, tiny = names["y"], names["target"], names["tiny"]
    yes, no = y + tiny, (1 - y) + tiny * y
    return ((1 - target) / no - target / yes) * names["factor"] * names["dloss"]


KERNEL = Kernel(
    name="binary_cross_entropy",
    kind="loss",
    forward=binary_cross_entropy_fwd,
    backward=binary_cross_entropy_bwd,
    shapes={"y": ("B", "O"), "target": ("B", "O"), "weights": ("B",), "loss": ()},
    differentiable=("y",),
    outputs=("loss",),
    domain={"y": "probability", "target": "binary", "weights": "positive"},
    variants=({}, {"reduction": "batch_mean"}, {"reduction": "sum"}),
    formula={
        "loss": "-xp.sum((target * xp.log(y) + (1 - target) * xp.log(1 - y)) * factor)",
        "dy": "((1 - target) / (1 - y) - target / y) * factor * dloss",
    },
    flops=lambda B, O, **_: (11 * B * O, 5 * B * O),
    source="Solla, Levin, Fleisher, Complex Systems 2 (1988)",
    analytic=True,
    output="probabilities",
    target="binary",
    reductions=("mean", "batch_mean", "sum"),
    formula_names=loss_factor,
    formula_values={"loss": _loss, "dy": _dy},
)
