"""Dense layer without a bias: y = x w."""

from __future__ import annotations

from typing import NamedTuple

from bpengine.kernels._functions import linear_terms, row_product
from bpengine.kernels._kernel import Array, Kernel, LocalDerivative, Namespace


class DenseNoBiasResidual(NamedTuple):
    """What the backward needs: the input and the weight."""

    x: Array
    w: Array


def dense_no_bias_fwd(xp: Namespace, x: Array, w: Array) -> tuple[Array, DenseNoBiasResidual]:
    """Compute y = x w.

    Shapes: x (B, I), w (I, O) -> y (B, O).
    """
    return xp.matmul(x, w), DenseNoBiasResidual(x, w)


def dense_no_bias_bwd(
    xp: Namespace, res: DenseNoBiasResidual, dy: Array, *, need_dx: bool = True
) -> tuple[Array | None, Array]:
    """Compute the cotangents of x and w.

    dx = dy w^T, dw = x^T dy. `need_dx=False` leaves dx out (None), as the first layer may.
    Shapes: dy (B, O) -> dx (B, I), dw (I, O).
    Source: Rumelhart, Hinton, Williams, "Learning representations by back-propagating errors", Nature 323, 1986.
    """
    dx = xp.matmul(dy, res.w.T) if need_dx else None
    return dx, row_product(xp, res.x, dy)


def dense_no_bias_bwd_per_row(
    xp: Namespace, res: DenseNoBiasResidual, dy: Array, *, need_dx: bool = True
) -> tuple[Array | None, Array]:
    """Compute the cotangents of x and w, row by row: dw_i = x_i^T dy_i, whose sum over i is dw.

    Shapes: dy (B, O) -> dx (B, I), dw (B, I, O).
    Source: Goodfellow, "Efficient per-example gradient computations", arXiv:1510.01799, 2015 (the outer products that are
    his starting point).
    """
    dx = xp.matmul(dy, res.w.T) if need_dx else None
    return dx, res.x[:, :, None] * dy[:, None, :]


KERNEL = Kernel(
    name="dense_no_bias",
    kind="layer",
    forward=dense_no_bias_fwd,
    backward=dense_no_bias_bwd,
    per_row=dense_no_bias_bwd_per_row,
    shapes={"x": ("B", "I"), "w": ("I", "O"), "y": ("B", "O")},
    differentiable=("x", "w"),
    formula={"y": "x @ w", "dx": "dy @ w.T", "dw": "x.T @ dy"},
    flops=lambda B, I, O: (2 * B * I * O, 4 * B * I * O),
    source="Rumelhart, Hinton, Williams, Nature 323 (1986)",
    analytic=True,
    family="linear",
    local_derivatives=lambda xp, res, y: [LocalDerivative("units", res.w)],
    parameter_factors=lambda xp, res: {"w": res.x},
    forward_terms=lambda xp, res, unit, x, w: linear_terms(xp, x, w[:, unit]),
)
