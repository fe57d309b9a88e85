"""Binary cross-entropy of logits: the sigmoid and the loss in one, without overflow."""

from __future__ import annotations

from typing import NamedTuple

from bpengine.kernels._formulas import loss_factor
from bpengine.kernels._functions import finite, reduction_factor, sigmoid
from bpengine.kernels._kernel import Array, Kernel, Namespace


class SigmoidCrossEntropyResidual(NamedTuple):
    """What the backward needs: logits, target, and each value's factor in the loss."""

    y: Array
    target: Array
    factor: Array


def sigmoid_cross_entropy_fwd(
    xp: Namespace, y: Array, target: Array, weights: Array | None = None, *, reduction: str = "mean"
) -> tuple[Array, SigmoidCrossEntropyResidual]:
    """Compute the sum or mean of log(1 + exp(y)) - t y, the cross-entropy of sigmoid(y) against t.

    Written (max(y, 0) - t y) + log1p(exp(-|y|)): nothing overflows, and the loss of a confident right answer keeps
    its digits. As in softplus, -|y| is y - 2 max(y, 0), which is smooth at 0 under automatic differentiation. For an
    infinite y, the first term is 0 if the answer is right, else infinite.
    Shapes: y (logits), target (B, O), weights (B,) or None -> loss ().
    """
    factor = reduction_factor(xp, y, weights, reduction)
    near, far = finite(xp, y)
    positive = xp.maximum(near, xp.zeros_like(y))
    values = (positive - target * near) * far + xp.log1p(xp.exp(near - positive - positive))
    return xp.sum(values * factor), SigmoidCrossEntropyResidual(y, target, factor)


def sigmoid_cross_entropy_bwd(xp: Namespace, res: SigmoidCrossEntropyResidual, dloss: Array) -> Array:
    """Compute dy = (sigmoid(y) - t) * factor * dloss.

    Shapes: dloss () -> dy (B, O).
    Source: Cox, "The regression analysis of binary sequences", Journal of the Royal Statistical Society B 20, 1958.
    """
    return (sigmoid(xp, res.y) - res.target) * (res.factor * dloss)


KERNEL = Kernel(
    name="sigmoid_cross_entropy",
    kind="loss",
    forward=sigmoid_cross_entropy_fwd,
    backward=sigmoid_cross_entropy_bwd,
    shapes={"y": ("B", "O"), "target": ("B", "O"), "weights": ("B",), "loss": ()},
    differentiable=("y",),
    outputs=("loss",),
    domain={"target": "binary", "weights": "positive"},
    variants=({}, {"reduction": "batch_mean"}, {"reduction": "sum"}),
    formula={
        "loss": "xp.sum((xp.log(1 + xp.exp(y)) - target * y) * factor)",
        "dy": "(1 / (1 + xp.exp(-y)) - target) * factor * dloss",
    },
    flops=lambda B, O, **_: (10 * B * O, 6 * B * O),
    source="Cox, Journal of the Royal Statistical Society B 20 (1958)",
    output="scores",
    link="sigmoid",
    target="binary",
    reductions=("mean", "batch_mean", "sum"),
    formula_names=loss_factor,
)
