"""Batch normalization in training: each feature brought to mean 0 and variance 1 over the batch, then scaled."""

from __future__ import annotations

from typing import NamedTuple

from bpengine.kernels._formulas import normalized
from bpengine.kernels._functions import normalized_terms, row_mean, row_shares, row_sum, shared_mean
from bpengine.kernels._kernel import Array, Kernel, LocalDerivative, Names, Namespace


class BatchNormResidual(NamedTuple):
    """What the backward needs, and the batch's mean and (biased) variance for the running statistics.

    share: the share of each row in these statistics: the number 1 / B, or (B, 1) for rows with weights.
    """

    x_hat: Array
    inverse_std: Array
    gamma: Array
    mean: Array
    variance: Array
    share: float | Array


def batch_norm_fwd(
    xp: Namespace, x: Array, gamma: Array, beta: Array, weights: Array | None = None, *, eps: float = 1e-5
) -> tuple[Array, BatchNormResidual]:
    """Compute y = gamma x_hat + beta with x_hat = (x - mean) / sqrt(variance + eps), statistics over the batch.

    The variance is the biased one, the mean of (x - mean)^2. A weight of 0 leaves a row out of both, a weight
    of 2 counts it twice. Every row is normalized, whatever its weight; where all weights are 0, all rows count alike.
    Shapes: x (B, O), gamma, beta (O,), weights (B,) or None -> y (B, O); mean, variance, inverse_std (O,).
    """
    share = row_shares(xp, x, weights)
    mean = row_mean(xp, x) if weights is None else shared_mean(xp, x, share)
    centred = x - mean
    variance = row_mean(xp, centred * centred) if weights is None else row_sum(xp, centred * (centred * share))
    inverse_std = 1.0 / xp.sqrt(variance + eps)
    x_hat = centred * inverse_std
    return gamma * x_hat + beta, BatchNormResidual(x_hat, inverse_std, gamma, mean, variance, share)


def batch_norm_bwd(xp: Namespace, res: BatchNormResidual, dy: Array) -> tuple[Array, Array, Array]:
    """Compute the cotangents of x, gamma and beta; the mean and the variance depend on x, too.

    dgamma = sum dy x_hat, dbeta = sum dy, dx = gamma / std * (dy - share dbeta - share x_hat dgamma), the share being 1 / B
    or a row's weight over the sum of all. The dy of a row carries its weight already, from the loss.
    Shapes: dy (B, O) -> dx (B, O), dgamma, dbeta (O,).
    Source: Ioffe, Szegedy, "Batch normalization: accelerating deep network training by reducing internal covariate
    shift", ICML 2015, section 3 (their chain of derivatives, put together).
    """
    dgamma = row_sum(xp, dy * res.x_hat)
    dbeta = row_sum(xp, dy)
    dx = (dy - res.share * dbeta - res.x_hat * (res.share * dgamma)) * (res.gamma * res.inverse_std)
    return dx, dgamma, dbeta


def _local_derivatives(xp: Namespace, res: BatchNormResidual, y: Array) -> list[LocalDerivative]:
    """Return dy/dx: x_hat depends on x directly, through the mean and through the variance of the batch."""
    scale, ones = res.gamma * res.inverse_std, xp.ones_like(res.x_hat)
    return [
        LocalDerivative("element", ones * scale),
        LocalDerivative("batch", res.share * ones, ones * -scale, "mean"),
        LocalDerivative("batch", res.share * res.x_hat, -res.x_hat * scale, "variance"),
    ]


def _formula_names(xp: Namespace, names: Names) -> Names:
    """Return each row's share in the statistics, and the statistics; where all weights are 0, all shares are equal."""
    x, weights = names["x"], names.get("weights")
    row_weights = xp.ones(len(x), dtype=names["real"]) if weights is None or not xp.any(weights != 0) else weights
    share = (row_weights / xp.sum(row_weights))[:, None]
    mean = xp.sum(share * x, axis=0)
    return {"share": share, **normalized(xp, names, mean, xp.sum(share * (x - mean) ** 2, axis=0))}


KERNEL = Kernel(
    name="batch_norm",
    kind="layer",
    forward=batch_norm_fwd,
    backward=batch_norm_bwd,
    shapes={"x": ("B", "O"), "gamma": ("O",), "beta": ("O",), "weights": ("B",), "y": ("B", "O")},
    differentiable=("x", "gamma", "beta"),
    domain={"weights": "positive"},
    variants=({}, {"eps": 1e-3}),
    formula={
        "y": "gamma * (x - xp.sum(share * x, axis=0)) / "
        "xp.sqrt(xp.sum(share * (x - xp.sum(share * x, axis=0))**2, axis=0) + eps) + beta",
        "dx": "gamma * inverse_std * (dy - share * xp.sum(dy, axis=0) - share * x_hat * xp.sum(dy * x_hat, axis=0))",
        "dgamma": "xp.sum(dy * x_hat, axis=0)",
        "dbeta": "xp.sum(dy, axis=0)",
    },
    flops=lambda B, O, **_: (8 * B * O, 8 * B * O),
    source="Ioffe, Szegedy, ICML 2015",
    analytic=True,
    family="batch normalization",
    local_derivatives=_local_derivatives,
    parameter_factors=lambda xp, res: {"gamma": res.x_hat, "beta": None},
    forward_terms=lambda xp, res, unit, x, gamma, beta, *_, **__: normalized_terms(xp, res.x_hat, unit, gamma, beta),
    saved_statistics=("mean", "variance", "inverse_std", "x_hat"),
    formula_names=_formula_names,
    no_onnx="it takes the statistics of a training batch; batch_norm_inference replaces it outside of training",
)
