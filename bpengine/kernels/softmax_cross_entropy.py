"""Cross-entropy of logits: the softmax and the loss in one, without overflow."""

from __future__ import annotations

from typing import NamedTuple

from bpengine.kernels._formulas import class_loss_names
from bpengine.kernels._functions import one_hot, reduction_factor
from bpengine.kernels._kernel import Array, Kernel, Namespace


class SoftmaxCrossEntropyResidual(NamedTuple):
    """What the backward needs: exp(y - max) - q and its sum per sample, q and its sum, t / q; each sample's factor."""

    miss: Array
    others: Array
    q: Array
    mass: Array
    most: Array | float
    factor: Array


def softmax_cross_entropy_fwd(
    xp: Namespace, y: Array, target: Array, weights: Array | None = None, *, reduction: str = "mean"
) -> tuple[Array, SoftmaxCrossEntropyResidual]:
    """Compute the mean or sum over the batch of sum_k t_k (log sum_j exp(y_j) - y_k).

    This is the cross-entropy of softmax(y) against t, whether or not t sums to one. With e = exp(y - max) and
    q = t / max(1, sum t), sum e = 1 + rest, rest = sum (e - q) + (sum q - 1). For a right answer e - q is exactly 0 and
    only the other classes are left: log1p keeps the digits of the loss, however small it is. A score of -inf gives a class
    the probability 0, a score of inf the probability 1 (two scores of inf count as equal).
    Shapes: y (logits) (B, O), target (B, O) or class numbers (B,), weights (B,) or None -> loss ().
    """
    q, mass, most = _at_most_one(xp, target, y)
    half = 0.5 * float(xp.finfo(y.dtype).max)
    near = xp.clip(y, -half, half)  # inf - inf would be NaN
    shifted = near - xp.max(near, axis=1, keepdims=True)
    miss = xp.exp(shifted) - q
    others = xp.sum(miss, axis=1, keepdims=True)
    log_total = xp.log1p(others + (mass - 1.0))
    far = xp.sum(4.0 * (q * shifted), axis=1, keepdims=True)  # exact, and infinite again where y was
    values = (0.25 * most * (4.0 * mass * log_total - far))[:, 0]
    factor = reduction_factor(xp, values, weights, reduction)
    return xp.sum(values * factor), SoftmaxCrossEntropyResidual(miss, others, q, mass, most, factor)


def softmax_cross_entropy_bwd(xp: Namespace, res: SoftmaxCrossEntropyResidual, dloss: Array) -> Array:
    """Compute dy = (softmax(y) sum_k t_k - t) * factor * dloss.

    With softmax(y) = (miss + q) / (others + mass) the bracket is most (miss mass - q others) / (others + mass), in which
    nothing cancels for a right answer.
    Shapes: dloss () -> dy (B, O).
    Source: Bridle, "Training stochastic model recognition algorithms as networks can lead to maximum mutual
    information estimation of parameters", NIPS 1989.
    """
    scale = (res.factor * dloss)[:, None] * (res.most / (res.others + res.mass))
    return res.miss * (res.mass * scale) - res.q * (res.others * scale)


def _at_most_one(xp: Namespace, target: Array, like: Array) -> tuple[Array, Array, Array | float]:
    """Return q = t / most, its sum per sample and most = max(1, sum t); class numbers need not be divided."""
    t = one_hot(xp, target, like)
    mass = xp.sum(t, axis=1, keepdims=True)
    if xp.isdtype(target.dtype, "integral"):
        return t, mass, 1.0
    most = xp.maximum(mass, xp.ones_like(mass))
    return t * (1.0 / most), mass / most, most


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
    flops=lambda B, O, **_: (9 * B * O, 3 * B * O),
    source="Bridle, NIPS 1989",
    output="scores",
    link="softmax",
    target="classes",
    reductions=("mean", "sum"),
    formula_names=class_loss_names,
)
