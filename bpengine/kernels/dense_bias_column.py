"""Dense layer whose bias is a row of the weight matrix, fed by a column of ones: y = [x 1] w."""

from __future__ import annotations

from typing import NamedTuple

from bpengine.errors import unknown
from bpengine.kernels._functions import row_product
from bpengine.kernels._kernel import Array, ForwardTerms, Kernel, LocalDerivative, Names, Namespace


class DenseBiasColumnResidual(NamedTuple):
    """What the backward needs: the input with its column of ones, and the rows of w that multiply the input."""

    x_ones: Array
    w_x: Array


def dense_bias_column_fwd(
    xp: Namespace, x: Array, w: Array, *, ones: str = "last"
) -> tuple[Array, DenseBiasColumnResidual]:
    """Compute y = [x 1] w with ones="last", y = [1 x] w with ones="first"; the bias is the row that multiplies the ones.

    Shapes: x (B, I), w (I+1, O) -> y (B, O).
    """
    if ones not in ("first", "last"):
        raise unknown("place of the ones", ones, ("first", "last"))
    column = xp.ones_like(x[:, :1])
    x_ones = xp.concat([x, column] if ones == "last" else [column, x], axis=1)
    w_x = w[:-1, :] if ones == "last" else w[1:, :]
    return xp.matmul(x_ones, w), DenseBiasColumnResidual(x_ones, w_x)


def dense_bias_column_bwd(
    xp: Namespace, res: DenseBiasColumnResidual, dy: Array, *, need_dx: bool = True
) -> tuple[Array | None, Array]:
    """Compute the cotangents of x and w.

    d[x 1] = dy w^T and dw = [x 1]^T dy, whose bias row is the sum of dy over the batch. The ones are constants and
    need no gradient: the product for dx leaves the bias row of w out.
    `need_dx=False` leaves dx out (None), as the first layer may.
    Shapes: dy (B, O) -> dx (B, I), dw (I+1, O).
    Source: Bishop, "Neural networks for pattern recognition", 1995, section 4.1 (the bias as the weight of an extra
    input fixed at 1); the gradient: Rumelhart, Hinton, Williams, Nature 323, 1986.
    """
    dx = xp.matmul(dy, res.w_x.T) if need_dx else None
    return dx, row_product(xp, res.x_ones, dy)


def dense_bias_column_bwd_per_row(
    xp: Namespace, res: DenseBiasColumnResidual, dy: Array, *, need_dx: bool = True
) -> tuple[Array | None, Array]:
    """Compute the cotangents of x and w, row by row: dw_i = [x_i 1]^T dy_i, whose sum over i is dw.

    Shapes: dy (B, O) -> dx (B, I), dw (B, I+1, O).
    Source: Goodfellow, "Efficient per-example gradient computations", arXiv:1510.01799, 2015 (the outer products that are
    his starting point).
    """
    dx = xp.matmul(dy, res.w_x.T) if need_dx else None
    return dx, res.x_ones[:, :, None] * dy[:, None, :]


def _forward_terms(
    xp: Namespace, res: DenseBiasColumnResidual, unit: int, x: Array, w: Array, *, ones: str = "last"
) -> ForwardTerms:
    """Return one unit's output as a sum: the inputs and the one times a column of w."""
    n = x.shape[1]
    if ones == "first":
        return ForwardTerms(res.x_ones, w[:, unit], ("bias",) + ("input",) * n, tuple(range(-1, n)))
    return ForwardTerms(res.x_ones, w[:, unit], ("input",) * n + ("bias",), tuple(range(n + 1)))


def _formula_names(xp: Namespace, names: Names) -> Names:
    """Return the input with its column of ones, and the rows of w that multiply the input."""
    x, w, first = names["x"], names["w"], names["ones"] == "first"
    ones = xp.ones((len(x), 1), dtype=names["real"])
    return {"x_ones": xp.concat((ones, x) if first else (x, ones), axis=1), "w_x": w[1:] if first else w[:-1]}


KERNEL = Kernel(
    name="dense_bias_column",
    kind="layer",
    forward=dense_bias_column_fwd,
    backward=dense_bias_column_bwd,
    per_row=dense_bias_column_bwd_per_row,
    shapes={"x": ("B", "I"), "w": ("I+1", "O"), "y": ("B", "O")},
    differentiable=("x", "w"),
    variants=({}, {"ones": "first"}),
    formula={"y": "x_ones @ w", "dx": "dy @ w_x.T", "dw": "x_ones.T @ dy"},
    flops=lambda B, I, O: (2 * B * (I + 1) * O, 4 * B * I * O + 2 * B * O),
    source="Bishop, Neural networks for pattern recognition (1995), section 4.1",
    analytic=True,
    family="linear",
    local_derivatives=lambda xp, res, y: [LocalDerivative("units", res.w_x)],
    parameter_factors=lambda xp, res: {"w": res.x_ones},
    forward_terms=_forward_terms,
    formula_names=_formula_names,
)
