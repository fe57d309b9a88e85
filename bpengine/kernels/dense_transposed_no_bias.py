"""Dense layer without a bias whose weight is another layer's, transposed: y = x w^T."""

from __future__ import annotations

from typing import NamedTuple

from bpengine.kernels._functions import linear_terms, row_product
from bpengine.kernels._kernel import Array, Kernel, LocalDerivative, Namespace


class DenseTransposedNoBiasResidual(NamedTuple):
    """What the backward needs: the input and the weight."""

    x: Array
    w: Array


def dense_transposed_no_bias_fwd(xp: Namespace, x: Array, w: Array) -> tuple[Array, DenseTransposedNoBiasResidual]:
    """Compute y = x w^T.

    Shapes: x (B, I), w (O, I) -> y (B, O).
    """
    return xp.matmul(x, w.T), DenseTransposedNoBiasResidual(x, w)


def dense_transposed_no_bias_bwd(
    xp: Namespace, res: DenseTransposedNoBiasResidual, dy: Array, *, need_dx: bool = True
) -> tuple[Array | None, Array]:
    """Compute the cotangents of x and w.

    dx = dy w, dw = dy^T x. `need_dx=False` leaves dx out (None), as the first layer may.
    Shapes: dy (B, O) -> dx (B, I), dw (O, I).
    Source: Vincent, Larochelle, Lajoie, Bengio, Manzagol, "Stacked denoising autoencoders", JMLR 11, 2010, section 2.2 (tied
    weights).
    """
    dx = xp.matmul(dy, res.w) if need_dx else None
    return dx, row_product(xp, dy, res.x)


def dense_transposed_no_bias_bwd_per_row(
    xp: Namespace, res: DenseTransposedNoBiasResidual, dy: Array, *, need_dx: bool = True
) -> tuple[Array | None, Array]:
    """Compute the cotangents of x and w, row by row: dw_i = dy_i^T x_i, whose sum over i is dw.

    Shapes: dy (B, O) -> dx (B, I), dw (B, O, I).
    Source: Goodfellow, "Efficient per-example gradient computations", arXiv:1510.01799, 2015 (the outer products that are
    his starting point).
    """
    dx = xp.matmul(dy, res.w) if need_dx else None
    return dx, dy[:, :, None] * res.x[:, None, :]


KERNEL = Kernel(
    name="dense_transposed_no_bias",
    kind="layer",
    forward=dense_transposed_no_bias_fwd,
    backward=dense_transposed_no_bias_bwd,
    per_row=dense_transposed_no_bias_bwd_per_row,
    shapes={"x": ("B", "I"), "w": ("O", "I"), "y": ("B", "O")},
    differentiable=("x", "w"),
    formula={"y": "x @ w.T", "dx": "dy @ w", "dw": "dy.T @ x"},
    flops=lambda B, I, O: (2 * B * I * O, 4 * B * I * O),
    source="Vincent, Larochelle, Lajoie, Bengio, Manzagol, JMLR 11 (2010), section 2.2",
    analytic=True,
    family="linear",
    local_derivatives=lambda xp, res, y: [LocalDerivative("units", res.w.T)],
    parameter_factors=lambda xp, res: {"w": res.x},
    transposed=("w",),
    forward_terms=lambda xp, res, unit, x, w: linear_terms(xp, x, w[unit, :]),
)
