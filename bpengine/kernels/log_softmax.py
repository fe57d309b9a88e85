"""Log-softmax: the logarithm of a softmax, from scores, without its overflow and underflow."""

from __future__ import annotations

from bpengine.kernels._functions import finite, mask
from bpengine.kernels._kernel import Array, Kernel, LocalDerivative, Namespace


def log_softmax_fwd(xp: Namespace, x: Array) -> tuple[Array, Array]:
    """Compute y_j = x_j - log sum_k exp(x_k) for each sample, shifted by its largest x; the residual is y.

    Each of the m largest scores adds exp(0) = 1 to the sum, which is 1 + rest with
    rest = sum of the others + (m - 1). log1p(rest) keeps the digits of a y near 0. Infinite scores are cut, since
    inf - inf would be NaN; the factors `far` and `sure` make an infinite distance from the largest infinite again.
    Shapes: x (B, O) -> y (B, O).
    """
    near, far = finite(xp, x)
    top, sure = finite(xp, xp.max(x, axis=1, keepdims=True))
    below = near - top
    largest = mask(xp, below == 0, below)
    others = xp.sum(xp.exp(below) - largest, axis=1, keepdims=True)
    rest = others + (xp.sum(largest, axis=1, keepdims=True) - 1.0)
    y = below * far * sure - xp.log1p(rest)
    return y, y


def log_softmax_bwd(xp: Namespace, y: Array, dy: Array) -> Array:
    """Compute dx = dy - softmax(x) sum_k dy_k, with softmax(x) = exp(y).

    Shapes: y, dy (B, O) -> dx (B, O).
    Source: Bridle, "Probabilistic interpretation of feedforward classification network outputs", in Neurocomputing,
    NATO ASI F68, 1990.
    """
    return dy - xp.exp(y) * xp.sum(dy, axis=1, keepdims=True)


def _local_derivatives(xp: Namespace, res: Array, y: Array) -> list[LocalDerivative]:
    """Return dy_k/dx_j = [j = k] - exp(y_j): through the unit's own score, and through the sum whose logarithm is taken."""
    one = xp.ones_like(y)
    return [LocalDerivative("element", one), LocalDerivative("row", -xp.exp(y), one, "sum")]


KERNEL = Kernel(
    name="log_softmax",
    kind="activation",
    forward=log_softmax_fwd,
    backward=log_softmax_bwd,
    shapes={"x": ("B", "O"), "y": ("B", "O")},
    differentiable=("x",),
    formula={
        "y": "x - xp.log(xp.sum(xp.exp(x), axis=1, keepdims=True))",
        "dx": "dy - xp.exp(y) * xp.sum(dy, axis=1, keepdims=True)",
    },
    flops=lambda B, O, **_: (15 * B * O, 4 * B * O),
    source="Bridle, NATO ASI F68 (1990)",
    local_derivatives=_local_derivatives,
)
