"""Layer normalization: each sample brought to mean 0 and variance 1 over its features, then scaled and shifted."""

from __future__ import annotations

from typing import NamedTuple

from bpengine.kernels._formulas import normalized
from bpengine.kernels._functions import normalized_terms, row_sum
from bpengine.kernels._kernel import Array, Kernel, LocalDerivative, Names, Namespace


class LayerNormResidual(NamedTuple):
    """What the backward needs: the normalized input, 1 / sqrt(variance + eps) per sample, and gamma."""

    x_hat: Array
    inverse_std: Array
    gamma: Array


def layer_norm_fwd(
    xp: Namespace, x: Array, gamma: Array, beta: Array, *, eps: float = 1e-5
) -> tuple[Array, LayerNormResidual]:
    """Compute y = gamma x_hat + beta with x_hat = (x - mean) / sqrt(variance + eps), statistics over the features.

    The variance is the biased one, the mean of (x - mean)^2.
    Shapes: x (B, O), gamma, beta (O,) -> y (B, O); inverse_std (B, 1).
    """
    centred = x - xp.mean(x, axis=1, keepdims=True)
    inverse_std = 1.0 / xp.sqrt(xp.mean(centred * centred, axis=1, keepdims=True) + eps)
    x_hat = centred * inverse_std
    return gamma * x_hat + beta, LayerNormResidual(x_hat, inverse_std, gamma)


def layer_norm_bwd(xp: Namespace, res: LayerNormResidual, dy: Array) -> tuple[Array, Array, Array]:
    """Compute the cotangents of x, gamma and beta.

    With dx_hat = dy gamma: dx = (dx_hat - mean(dx_hat) - x_hat mean(dx_hat x_hat)) / std, means over the features;
    dgamma = sum dy x_hat, dbeta = sum dy, sums over the batch.
    Shapes: dy (B, O) -> dx (B, O), dgamma, dbeta (O,).
    Source: Ba, Kiros, Hinton, "Layer normalization", arXiv:1607.06450, 2016.
    """
    dx_hat = dy * res.gamma
    slope = xp.mean(dx_hat * res.x_hat, axis=1, keepdims=True)
    dx = (dx_hat - xp.mean(dx_hat, axis=1, keepdims=True) - res.x_hat * slope) * res.inverse_std
    return dx, row_sum(xp, dy * res.x_hat), row_sum(xp, dy)


def layer_norm_bwd_per_row(xp: Namespace, res: LayerNormResidual, dy: Array) -> tuple[Array, Array, Array]:
    """Compute the cotangents of x, gamma and beta, row by row: dgamma_i = dy_i x_hat_i, dbeta_i = dy_i.

    Shapes: dy (B, O) -> dx, dgamma, dbeta (B, O).
    Source: Ba, Kiros, Hinton, "Layer normalization", arXiv:1607.06450, 2016.
    """
    return layer_norm_bwd(xp, res, dy)[0], dy * res.x_hat, dy


def _local_derivatives(xp: Namespace, res: LayerNormResidual, y: Array) -> list[LocalDerivative]:
    """Return dy/dx: x_hat depends on x directly, through the mean and through the variance of the sample's features."""
    share, ones = res.inverse_std / res.x_hat.shape[1], xp.ones_like(res.x_hat)
    return [
        LocalDerivative("element", res.inverse_std * res.gamma),
        LocalDerivative("row", ones, -share * res.gamma * ones, "mean"),
        LocalDerivative("row", res.x_hat, -share * res.gamma * res.x_hat, "variance"),
    ]


def _formula_names(xp: Namespace, names: Names) -> Names:
    """Return the statistics of each row."""
    x = names["x"]
    mean = xp.mean(x, axis=1, keepdims=True)
    return normalized(xp, names, mean, xp.mean((x - mean) ** 2, axis=1, keepdims=True))


KERNEL = Kernel(
    name="layer_norm",
    kind="layer",
    forward=layer_norm_fwd,
    backward=layer_norm_bwd,
    per_row=layer_norm_bwd_per_row,
    shapes={"x": ("B", "O"), "gamma": ("O",), "beta": ("O",), "y": ("B", "O")},
    differentiable=("x", "gamma", "beta"),
    variants=({}, {"eps": 1e-3}),
    formula={
        "y": "gamma * (x - xp.mean(x, axis=1, keepdims=True))"
        " / xp.sqrt(xp.mean((x - xp.mean(x, axis=1, keepdims=True))**2, axis=1, keepdims=True) + eps) + beta",
        "dx": "inverse_std * (dy * gamma - xp.mean(dy * gamma, axis=1, keepdims=True)"
        " - x_hat * xp.mean(dy * gamma * x_hat, axis=1, keepdims=True))",
        "dgamma": "xp.sum(dy * x_hat, axis=0)",
        "dbeta": "xp.sum(dy, axis=0)",
    },
    flops=lambda B, O, **_: (8 * B * O, 11 * B * O),
    source="Ba, Kiros, Hinton, arXiv:1607.06450 (2016)",
    analytic=True,
    family="layer normalization",
    local_derivatives=_local_derivatives,
    parameter_factors=lambda xp, res: {"gamma": res.x_hat, "beta": None},
    forward_terms=lambda xp, res, unit, x, gamma, beta, *_, **__: normalized_terms(xp, res.x_hat, unit, gamma, beta),
    saved_statistics=("inverse_std", "x_hat"),
    formula_names=_formula_names,
)
