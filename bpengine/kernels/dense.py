"""Dense layer with a bias: y = x w + b."""

from __future__ import annotations

from typing import NamedTuple

from bpengine.kernels._functions import linear_terms, row_product, row_sum
from bpengine.kernels._kernel import Array, Kernel, LocalDerivative, Namespace


class DenseResidual(NamedTuple):
    """What the backward needs: the input and the weight."""

    x: Array
    w: Array


def dense_fwd(xp: Namespace, x: Array, w: Array, b: Array) -> tuple[Array, DenseResidual]:
    """Compute y = x w + b.

    Shapes: x (B, I), w (I, O), b (O,) -> y (B, O).
    """
    return xp.matmul(x, w) + b, DenseResidual(x, w)


def dense_bwd(
    xp: Namespace, res: DenseResidual, dy: Array, *, need_dx: bool = True
) -> tuple[Array | None, Array, Array]:
    """Compute the cotangents of x, w and b.

    dx = dy w^T, dw = x^T dy, db = sum of dy over the batch. `need_dx=False` leaves dx out (None): the first layer's
    input needs no gradient, and this product is a third of the layer's work.
    Shapes: dy (B, O) -> dx (B, I), dw (I, O), db (O,).
    Source: Rumelhart, Hinton, Williams, "Learning representations by back-propagating errors", Nature 323, 1986.
    """
    dx = xp.matmul(dy, res.w.T) if need_dx else None
    return dx, row_product(xp, res.x, dy), row_sum(xp, dy)


def dense_bwd_per_row(
    xp: Namespace, res: DenseResidual, dy: Array, *, need_dx: bool = True
) -> tuple[Array | None, Array, Array]:
    """Compute the cotangents of x, w and b, row by row: dw_i = x_i^T dy_i, db_i = dy_i, whose sums over i are dw and db.

    Shapes: dy (B, O) -> dx (B, I), dw (B, I, O), db (B, O).
    Source: Goodfellow, "Efficient per-example gradient computations", arXiv:1510.01799, 2015 (the outer products that are
    his starting point).
    """
    dx = xp.matmul(dy, res.w.T) if need_dx else None
    return dx, res.x[:, :, None] * dy[:, None, :], dy


KERNEL = Kernel(
    name="dense",
    kind="layer",
    forward=dense_fwd,
    backward=dense_bwd,
    per_row=dense_bwd_per_row,
    shapes={"x": ("B", "I"), "w": ("I", "O"), "b": ("O",), "y": ("B", "O")},
    differentiable=("x", "w", "b"),
    formula={"y": "x @ w + b", "dx": "dy @ w.T", "dw": "x.T @ dy", "db": "xp.sum(dy, axis=0)"},
    flops=lambda B, I, O: (2 * B * I * O + B * O, 4 * B * I * O + B * O),
    source="Rumelhart, Hinton, Williams, Nature 323 (1986)",
    analytic=True,
    family="linear",
    local_derivatives=lambda xp, res, y: [LocalDerivative("units", res.w)],
    parameter_factors=lambda xp, res: {"w": res.x, "b": None},
    forward_terms=lambda xp, res, unit, x, w, b: linear_terms(xp, x, w[:, unit], b[unit : unit + 1]),
)
