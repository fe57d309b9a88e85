"""Gaussian error linear unit: y = x Phi(x), Phi the standard normal distribution function."""

from __future__ import annotations

from typing import NamedTuple

from bpengine.kernels._functions import normal_cdf, normal_pdf
from bpengine.kernels._kernel import Array, Namespace, elementwise


class GeluResidual(NamedTuple):
    """What the backward needs: the input and Phi of it."""

    x: Array
    cdf: Array


def gelu_fwd(xp: Namespace, x: Array) -> tuple[Array, GeluResidual]:
    """Compute y = x Phi(x) = x / 2 (1 + erf(x / sqrt(2))): the exact form, not the tanh approximation.

    Shapes: x (B, O) -> y (B, O).
    """
    cdf = normal_cdf(xp, x)
    return xp.clip(x, -40.0, None) * cdf, GeluResidual(x, cdf)  # Phi(-40) is 0 in float64; -inf * 0 would be NaN


def gelu_bwd(xp: Namespace, res: GeluResidual, dy: Array) -> Array:
    """Compute dx = dy (Phi(x) + x phi(x)), phi the standard normal density.

    Shapes: dy (B, O) -> dx (B, O).
    Source: Hendrycks, Gimpel, "Gaussian error linear units (GELUs)", arXiv:1606.08415, 2016.
    """
    near = xp.clip(res.x, -40.0, 40.0)  # beyond, phi is 0 in float64, and the square of any x might overflow
    return dy * (res.cdf + near * normal_pdf(xp, near))


KERNEL = elementwise(
    "gelu",
    gelu_fwd,
    gelu_bwd,
    flops=(78, 7),
    formula={"y": "x * Phi(x)", "dx": "dy * (Phi(x) + x * xp.exp(-x**2 / 2) / (2 * xp.pi)**0.5)"},
    source="Hendrycks, Gimpel, arXiv:1606.08415 (2016)",
    initializer="he",
)
