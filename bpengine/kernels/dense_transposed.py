"""Dense layer with a bias whose weight is another layer's, transposed: y = x w^T + b."""

from __future__ import annotations

from typing import NamedTuple

from bpengine.kernels._functions import linear_terms, row_product, row_sum
from bpengine.kernels._kernel import Array, Kernel, LocalDerivative, Namespace


class DenseTransposedResidual(NamedTuple):
    """What the backward needs: the input and the weight."""

    x: Array
    w: Array


def dense_transposed_fwd(xp: Namespace, x: Array, w: Array, b: Array) -> tuple[Array, DenseTransposedResidual]:
    """Compute y = x w^T + b.

    Shapes: x (B, I), w (O, I), b (O,) -> y (B, O).
    """
    return xp.matmul(x, w.T) + b, DenseTransposedResidual(x, w)


def dense_transposed_bwd(
    xp: Namespace, res: DenseTransposedResidual, dy: Array, *, need_dx: bool = True
) -> tuple[Array | None, Array, Array]:
    """Compute the cotangents of x, w and b.

    dx = dy w, dw = dy^T x, db = sum of dy over the batch. `need_dx=False` leaves dx out (None), as the first layer may.
    Shapes: dy (B, O) -> dx (B, I), dw (O, I), db (O,).
    Source: Vincent, Larochelle, Lajoie, Bengio, Manzagol, "Stacked denoising autoencoders", JMLR 11, 2010, section 2.2 (tied
    weights).
    """
    dx = xp.matmul(dy, res.w) if need_dx else None
    return dx, row_product(xp, dy, res.x), row_sum(xp, dy)


def dense_transposed_bwd_per_row(
    xp: Namespace, res: DenseTransposedResidual, dy: Array, *, need_dx: bool = True
) -> tuple[Array | None, Array, Array]:
    """Compute the cotangents of x, w and b, row by row: dw_i = dy_i^T x_i, db_i = dy_i, whose sums over i are dw and db.

    Shapes: dy (B, O) -> dx (B, I), dw (B, O, I), db (B, O).
    Source: Goodfellow, "Efficient per-example gradient computations", arXiv:1510.01799, 2015 (the outer products that are
    his starting point).
    """
    dx = xp.matmul(dy, res.w) if need_dx else None
    return dx, dy[:, :, None] * res.x[:, None, :], dy


KERNEL = Kernel(
    name="dense_transposed",
    kind="layer",
    forward=dense_transposed_fwd,
    backward=dense_transposed_bwd,
    per_row=dense_transposed_bwd_per_row,
    shapes={"x": ("B", "I"), "w": ("O", "I"), "b": ("O",), "y": ("B", "O")},
    differentiable=("x", "w", "b"),
    formula={"y": "x @ w.T + b", "dx": "dy @ w", "dw": "dy.T @ x", "db": "xp.sum(dy, axis=0)"},
    flops=lambda B, I, O: (2 * B * I * O + B * O, 4 * B * I * O + B * O),
    source="Vincent, Larochelle, Lajoie, Bengio, Manzagol, JMLR 11 (2010), section 2.2",
    analytic=True,
    family="linear",
    local_derivatives=lambda xp, res, y: [LocalDerivative("units", res.w.T)],
    parameter_factors=lambda xp, res: {"w": res.x, "b": None},
    transposed=("w",),
    forward_terms=lambda xp, res, unit, x, w, b: linear_terms(xp, x, w[unit, :], b[unit : unit + 1]),
)
