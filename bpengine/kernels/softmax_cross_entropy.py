"""Cross-entropy of logits: the softmax and the loss in one, without overflow."""

from __future__ import annotations

from typing import NamedTuple

from bpengine.kernels._functions import one_hot, reduction_factor
from bpengine.kernels._kernel import Array, Kernel, Namespace


class SoftmaxCrossEntropyResidual(NamedTuple):
    """What the backward needs: exp(y - max) and its sum per sample, the target as (B, O), each sample's factor."""

    e: Array
    total: Array
    t: Array
    factor: Array


def softmax_cross_entropy_fwd(
    xp: Namespace, y: Array, target: Array, weights: Array | None = None, *, reduction: str = "mean"
) -> tuple[Array, SoftmaxCrossEntropyResidual]:
    """Compute the mean or sum over the batch of sum_k t_k (log sum_j exp(y_j) - y_k).

    This is the cross-entropy of softmax(y) against t, whether or not t sums to one.
    Shapes: y (logits) (B, O), target (B, O) or class numbers (B,), weights (B,) or None -> loss ().
    """
    t = one_hot(xp, target, y)
    shifted = y - xp.max(y, axis=1, keepdims=True)
    e = xp.exp(shifted)
    total = xp.sum(e, axis=1, keepdims=True)
    values = xp.sum(t * (xp.log(total) - shifted), axis=1)
    factor = reduction_factor(xp, values, weights, reduction)
    return xp.sum(values * factor), SoftmaxCrossEntropyResidual(e, total, t, factor)


def softmax_cross_entropy_bwd(xp: Namespace, res: SoftmaxCrossEntropyResidual, dloss: Array) -> Array:
    """Compute dy = (softmax(y) sum_k t_k - t) * factor * dloss.

    Shapes: dloss () -> dy (B, O).
    Source: Bridle, "Training stochastic model recognition algorithms as networks can lead to maximum mutual
    information estimation of parameters", NIPS 1989.
    """
    scale = xp.sum(res.t, axis=1, keepdims=True) / res.total
    return (res.e * scale - res.t) * (res.factor * dloss)[:, None]


KERNEL = Kernel(
    name="softmax_cross_entropy",
    kind="loss",
    forward=softmax_cross_entropy_fwd,
    backward=softmax_cross_entropy_bwd,
    shapes={"y": ("B", "O"), "target": ("B", "O"), "weights": ("B",), "loss": ()},
    differentiable=("y",),
    outputs=("loss",),
    domain={"target": "distribution", "weights": "positive"},
    variants=({}, {"reduction": "sum"}),
    formula={
        "loss": "xp.sum(xp.sum(target * (xp.log(xp.sum(xp.exp(y), axis=1, keepdims=True)) - y), axis=1) * factor)",
        "dy": "(xp.exp(y) / xp.sum(xp.exp(y), axis=1, keepdims=True) * xp.sum(target, axis=1, keepdims=True) - target)"
        " * factor[:, None] * dloss",
    },
    flops=lambda B, O, **_: (7 * B * O, 4 * B * O),
    source="Bridle, NIPS 1989",
    output="scores",
    link="softmax",
    target="classes",
    reductions=("mean", "sum"),
)
