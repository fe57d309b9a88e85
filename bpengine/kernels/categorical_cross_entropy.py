"""Cross-entropy of a distribution over classes."""

from __future__ import annotations

from typing import NamedTuple

from bpengine.kernels._formulas import class_loss_names
from bpengine.kernels._functions import one_hot, reduction_factor, tiny
from bpengine.kernels._kernel import Array, Kernel, Names, Namespace


class CategoricalCrossEntropyResidual(NamedTuple):
    """What the backward needs: the target as a distribution, y + tiny, and each sample's factor in the loss."""

    t: Array
    yes: Array
    factor: Array


def categorical_cross_entropy_fwd(
    xp: Namespace, y: Array, target: Array, weights: Array | None = None, *, reduction: str = "mean"
) -> tuple[Array, CategoricalCrossEntropyResidual]:
    """Compute the mean or sum over the batch of -sum_k t_k log(y_k + tiny).

    tiny, a million times the smallest normal number, keeps loss and gradient finite at y = 0. From y = 4 tiny / eps on
    (4e-286 in float64, 4e-25 in float32) rounding removes it completely; a smaller y it changes, by a factor of 2 at
    y = tiny. On logits, `softmax_cross_entropy` is the more exact choice.
    Shapes: y (B, O), target (B, O) or class numbers (B,), weights (B,) or None -> loss ().
    """
    t, yes = one_hot(xp, target, y), y + tiny(xp, y)
    values = xp.sum(t * xp.log(yes), axis=1)
    factor = reduction_factor(xp, values, weights, reduction)
    return -xp.sum(values * factor), CategoricalCrossEntropyResidual(t, yes, factor)


def categorical_cross_entropy_bwd(xp: Namespace, res: CategoricalCrossEntropyResidual, dloss: Array) -> Array:
    """Compute dy = -t / (y + tiny) * factor * dloss: the gradient of the loss as written; y need not sum to 1.

    Shapes: dloss () -> dy (B, O).
    Source: Bishop, "Neural networks for pattern recognition", 1995, section 6.9.
    """
    return res.t / res.yes * (res.factor * -dloss)[:, None]


def _loss(xp: Namespace, names: Names) -> Array:
    """Return the loss with `tiny` in its logarithms."""
    return -xp.sum(xp.sum(names["target"] * xp.log(names["y"] + names["tiny"]), axis=1) * names["factor"])


def _dy(xp: Namespace, names: Names) -> Array:
    return -names["target"] / (names["y"] + names["tiny"]) * names["factor"][:, None] * names["dloss"]


KERNEL = Kernel(
    name="categorical_cross_entropy",
    kind="loss",
    forward=categorical_cross_entropy_fwd,
    backward=categorical_cross_entropy_bwd,
    shapes={"y": ("B", "O"), "target": ("B", "O"), "weights": ("B",), "loss": ()},
    differentiable=("y",),
    outputs=("loss",),
    domain={"y": "distribution", "target": "distribution", "weights": "positive"},
    variants=({}, {"reduction": "sum"}),
    formula={
        "loss": "-xp.sum(xp.sum(target * xp.log(y), axis=1) * factor)",
        "dy": "-target / y * factor[:, None] * dloss",
    },
    flops=lambda B, O, **_: (4 * B * O, 2 * B * O),
    source="Bishop, Neural networks for pattern recognition (1995), section 6.9",
    analytic=True,
    output="probabilities",
    target="classes",
    reductions=("mean", "sum"),
    formula_names=class_loss_names,
    formula_values={"loss": _loss, "dy": _dy},
)
