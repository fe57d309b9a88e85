"""Batch normalization in training: each feature brought to mean 0 and variance 1 over the batch, then scaled."""

from __future__ import annotations

from typing import NamedTuple

from bpengine.kernels._functions import row_mean, row_sum
from bpengine.kernels._kernel import Array, Kernel, Namespace


class BatchNormResidual(NamedTuple):
    """What the backward needs, and the batch's mean and (biased) variance for the running statistics."""

    x_hat: Array
    inverse_std: Array
    gamma: Array
    mean: Array
    variance: Array


def batch_norm_fwd(
    xp: Namespace, x: Array, gamma: Array, beta: Array, *, eps: float = 1e-5
) -> tuple[Array, BatchNormResidual]:
    """Compute y = gamma x_hat + beta with x_hat = (x - mean) / sqrt(variance + eps), statistics over the batch.

    The variance is the biased one, the mean of (x - mean)^2.
    Shapes: x (B, O), gamma, beta (O,) -> y (B, O); mean, variance, inverse_std (O,).
    """
    mean = row_mean(xp, x)
    centred = x - mean
    variance = row_mean(xp, centred * centred)
    inverse_std = 1.0 / xp.sqrt(variance + eps)
    x_hat = centred * inverse_std
    return gamma * x_hat + beta, BatchNormResidual(x_hat, inverse_std, gamma, mean, variance)


def batch_norm_bwd(xp: Namespace, res: BatchNormResidual, dy: Array) -> tuple[Array, Array, Array]:
    """Compute the cotangents of x, gamma and beta; the mean and the variance depend on x, too.

    dgamma = sum dy x_hat, dbeta = sum dy, dx = gamma / std * (dy - dbeta / B - x_hat dgamma / B).
    Shapes: dy (B, O) -> dx (B, O), dgamma, dbeta (O,).
    Source: Ioffe, Szegedy, "Batch normalization: accelerating deep network training by reducing internal covariate
    shift", ICML 2015, section 3 (their chain of derivatives, put together).
    """
    share = 1.0 / dy.shape[0]
    dgamma = row_sum(xp, dy * res.x_hat)
    dbeta = row_sum(xp, dy)
    dx = (dy - share * dbeta - res.x_hat * (share * dgamma)) * (res.gamma * res.inverse_std)
    return dx, dgamma, dbeta


KERNEL = Kernel(
    name="batch_norm",
    kind="layer",
    forward=batch_norm_fwd,
    backward=batch_norm_bwd,
    shapes={"x": ("B", "O"), "gamma": ("O",), "beta": ("O",), "y": ("B", "O")},
    differentiable=("x", "gamma", "beta"),
    variants=({}, {"eps": 1e-3}),
    formula={
        "y": "gamma * (x - xp.mean(x, axis=0)) / xp.sqrt(xp.mean((x - xp.mean(x, axis=0))**2, axis=0) + eps) + beta",
        "dx": "gamma * inverse_std * (dy - xp.mean(dy, axis=0) - x_hat * xp.mean(dy * x_hat, axis=0))",
        "dgamma": "xp.sum(dy * x_hat, axis=0)",
        "dbeta": "xp.sum(dy, axis=0)",
    },
    flops=lambda B, O, **_: (8 * B * O, 8 * B * O),
    source="Ioffe, Szegedy, ICML 2015",
    analytic=True,
)
