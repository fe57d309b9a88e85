"""L2 penalty on a weight matrix (weight decay)."""

from __future__ import annotations

from typing import NamedTuple

from bpengine.kernels._formulas import penalty_row_factor
from bpengine.kernels._functions import penalty_factor
from bpengine.kernels._kernel import Array, Kernel, Namespace


class L2Residual(NamedTuple):
    """What the backward needs: the weights, and each row's factor in the penalty."""

    w: Array
    factor: Array


def l2_fwd(
    xp: Namespace, w: Array, weights: Array | None = None, *, strength: float = 1.0, bias_row: str | None = None
) -> tuple[Array, L2Residual]:
    """Compute loss = strength / 2 * sum w^2, without the row that holds the bias ("first", "last").

    Lecture notes that write lambda / (2 m) * sum w^2 mean strength = lambda / m. If the samples have
    `weights`, m is their sum, and the strength is divided by it.
    Shapes: w (I, O), weights (B,) or None -> loss ().
    """
    factor = penalty_factor(xp, w, weights, strength, bias_row)
    return 0.5 * xp.sum(w * w * factor), L2Residual(w, factor)


def l2_bwd(xp: Namespace, res: L2Residual, dloss: Array) -> Array:
    """Compute dw = strength * w * dloss, 0 in the row of the bias.

    Shapes: dloss () -> dw (I, O).
    Source: Krogh, Hertz, "A simple weight decay can improve generalization", NIPS 1991.
    """
    return res.w * (res.factor * dloss)


KERNEL = Kernel(
    name="l2",
    kind="penalty",
    forward=l2_fwd,
    backward=l2_bwd,
    shapes={"w": ("I", "O"), "weights": ("B",), "loss": ()},
    differentiable=("w",),
    outputs=("loss",),
    domain={"weights": "positive"},
    variants=({}, {"strength": 0.1, "bias_row": "first"}, {"strength": 0.1, "bias_row": "last"}),
    formula={"loss": "xp.sum(w**2 * factor) / 2", "dw": "w * factor * dloss"},
    flops=lambda I, O, **_: (3 * I * O, I * O),
    source="Krogh, Hertz, NIPS 1991",
    analytic=True,
    formula_names=penalty_row_factor,
)
