"""L1 penalty on a weight matrix: it drives weights to exactly zero."""

from __future__ import annotations

from typing import NamedTuple

from bpengine.kernels._formulas import penalty_row_factor
from bpengine.kernels._functions import penalty_factor
from bpengine.kernels._kernel import Array, Kernel, Namespace, Side


class L1Residual(NamedTuple):
    """What the backward needs: the weights, and each row's factor in the penalty."""

    w: Array
    factor: Array


def l1_fwd(
    xp: Namespace, w: Array, weights: Array | None = None, *, strength: float = 1.0, bias_row: str | None = None
) -> tuple[Array, L1Residual]:
    """Compute loss = strength * sum |w|, without the row that holds the bias ("first", "last").

    If the samples have `weights`, the strength is divided by their sum.
    Shapes: w (I, O), weights (B,) or None -> loss ().
    """
    factor = penalty_factor(xp, w, weights, strength, bias_row)
    return xp.sum(xp.abs(w) * factor), L1Residual(w, factor)


def l1_bwd(xp: Namespace, res: L1Residual, dloss: Array) -> Array:
    """Compute dw = strength * sign(w) * dloss, 0 where w = 0 and in the row of the bias.

    Shapes: dloss () -> dw (I, O).
    Source: Tibshirani, "Regression shrinkage and selection via the lasso", Journal of the Royal Statistical Society B
    58, 1996.
    """
    return xp.sign(res.w) * (res.factor * dloss)


def _kink_at(
    xp: Namespace, w: Array, weights: Array | None = None, *, strength: float = 1.0, bias_row: str | None = None
) -> tuple[Side, Array] | None:
    """Return the distances of the weights from 0; a row of biases is not penalized and gets the distance 1."""
    kept = penalty_factor(xp, w, None, 1.0, bias_row)
    return ("middle", w * kept + (1.0 - kept)) if strength != 0 else None


KERNEL = Kernel(
    name="l1",
    kind="penalty",
    forward=l1_fwd,
    backward=l1_bwd,
    shapes={"w": ("I", "O"), "weights": ("B",), "loss": ()},
    differentiable=("w",),
    outputs=("loss",),
    domain={"weights": "positive"},
    variants=({}, {"strength": 0.1, "bias_row": "first"}, {"strength": 0.1, "bias_row": "last"}),
    formula={"loss": "xp.sum(xp.abs(w) * factor)", "dw": "xp.sign(w) * factor * dloss"},
    flops=lambda I, O, **_: (3 * I * O, 2 * I * O),
    kink="w = 0: the derivative is taken as 0",
    source="Tibshirani, Journal of the Royal Statistical Society B 58 (1996)",
    formula_names=penalty_row_factor,
    kink_at=_kink_at,
)
