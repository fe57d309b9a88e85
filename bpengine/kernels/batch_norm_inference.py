"""Batch normalization with fixed statistics, as used after training: an affine map of each feature."""

from __future__ import annotations

from typing import NamedTuple

from bpengine.kernels._functions import normalized_terms, row_sum
from bpengine.kernels._kernel import Array, Kernel, LocalDerivative, Namespace


class BatchNormInferenceResidual(NamedTuple):
    """What the backward needs: x - mean, 1 / sqrt(variance + eps) and gamma."""

    centred: Array
    inverse_std: Array
    gamma: Array


def batch_norm_inference_fwd(
    xp: Namespace, x: Array, gamma: Array, beta: Array, mean: Array, variance: Array, *, eps: float = 1e-5
) -> tuple[Array, BatchNormInferenceResidual]:
    """Compute y = gamma (x - mean) / sqrt(variance + eps) + beta.

    Shapes: x (B, O), gamma, beta, mean, variance (O,) -> y (B, O).
    """
    centred = x - mean
    inverse_std = 1.0 / xp.sqrt(variance + eps)
    return centred * (gamma * inverse_std) + beta, BatchNormInferenceResidual(centred, inverse_std, gamma)


def batch_norm_inference_bwd(xp: Namespace, res: BatchNormInferenceResidual, dy: Array) -> tuple[Array, Array, Array]:
    """Compute the cotangents of x, gamma and beta; mean and variance are constants here and get none.

    dx = dy gamma / std, dgamma = sum dy (x - mean) / std, dbeta = sum dy.
    Shapes: dy (B, O) -> dx (B, O), dgamma, dbeta (O,).
    Source: Ioffe, Szegedy, ICML 2015, algorithm 2.
    """
    dgamma = row_sum(xp, dy * res.centred) * res.inverse_std
    return dy * (res.gamma * res.inverse_std), dgamma, row_sum(xp, dy)


def batch_norm_inference_bwd_per_row(
    xp: Namespace, res: BatchNormInferenceResidual, dy: Array
) -> tuple[Array, Array, Array]:
    """Compute the cotangents of x, gamma and beta, row by row: dgamma_i = dy_i (x_i - mean) / std, dbeta_i = dy_i.

    Shapes: dy (B, O) -> dx, dgamma, dbeta (B, O).
    Source: Ioffe, Szegedy, ICML 2015, algorithm 2.
    """
    return dy * (res.gamma * res.inverse_std), dy * (res.centred * res.inverse_std), dy


def _local_derivatives(xp: Namespace, res: BatchNormInferenceResidual, y: Array) -> list[LocalDerivative]:
    """Return dy/dx = gamma / std; the statistics are constants."""
    return [LocalDerivative("element", xp.ones_like(y) * (res.gamma * res.inverse_std))]


KERNEL = Kernel(
    name="batch_norm_inference",
    kind="layer",
    forward=batch_norm_inference_fwd,
    backward=batch_norm_inference_bwd,
    per_row=batch_norm_inference_bwd_per_row,
    shapes={
        "x": ("B", "O"),
        "gamma": ("O",),
        "beta": ("O",),
        "mean": ("O",),
        "variance": ("O",),
        "y": ("B", "O"),
    },
    differentiable=("x", "gamma", "beta"),
    domain={"variance": "positive"},
    variants=({}, {"eps": 1e-3}),
    formula={
        "y": "gamma * (x - mean) / xp.sqrt(variance + eps) + beta",
        "dx": "dy * gamma / xp.sqrt(variance + eps)",
        "dgamma": "xp.sum(dy * (x - mean) / xp.sqrt(variance + eps), axis=0)",
        "dbeta": "xp.sum(dy, axis=0)",
    },
    flops=lambda B, O, **_: (3 * B * O, 4 * B * O),
    source="Ioffe, Szegedy, ICML 2015, algorithm 2",
    analytic=True,
    family="batch normalization",
    local_derivatives=_local_derivatives,
    parameter_factors=lambda xp, res: {"gamma": res.centred * res.inverse_std, "beta": None},
    forward_terms=lambda xp, res, unit, x, gamma, beta, *_, **__: normalized_terms(
        xp, res.centred * res.inverse_std, unit, gamma, beta
    ),
)
