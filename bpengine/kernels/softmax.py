"""Softmax: scores turned into a distribution over the classes."""

from __future__ import annotations

from bpengine.kernels._kernel import Array, Kernel, LocalDerivative, Namespace


def softmax_fwd(xp: Namespace, x: Array) -> tuple[Array, Array]:
    """Compute y_j = exp(x_j) / sum_k exp(x_k) for each sample, shifted by its largest x; the residual is y.

    Shapes: x (B, O) -> y (B, O).
    """
    half = 0.5 * float(xp.finfo(x.dtype).max)
    near = xp.clip(x, -half, half)  # inf - inf would be NaN
    e = xp.exp(near - xp.max(near, axis=1, keepdims=True))
    y = e / xp.sum(e, axis=1, keepdims=True)
    return y, y


def softmax_bwd(xp: Namespace, y: Array, dy: Array) -> Array:
    """Compute dx = y (dy - sum_k dy_k y_k): the product with the whole Jacobian diag(y) - y y^T.

    Shapes: y, dy (B, O) -> dx (B, O).
    Source: Bridle, "Probabilistic interpretation of feedforward classification network outputs", in Neurocomputing,
    NATO ASI F68, 1990.
    """
    return y * (dy - xp.sum(dy * y, axis=1, keepdims=True))


def _local_derivatives(xp: Namespace, res: Array, y: Array) -> list[LocalDerivative]:
    """Return dy_k/dx_j = y_j [j = k] - y_j y_k: through the unit's own score, and through the sum that divides all."""
    return [LocalDerivative("element", y), LocalDerivative("row", -y, y, "sum")]


KERNEL = Kernel(
    name="softmax",
    kind="activation",
    forward=softmax_fwd,
    backward=softmax_bwd,
    shapes={"x": ("B", "O"), "y": ("B", "O")},
    differentiable=("x",),
    formula={
        "y": "xp.exp(x) / xp.sum(xp.exp(x), axis=1, keepdims=True)",
        "dx": "y * (dy - xp.sum(dy * y, axis=1, keepdims=True))",
    },
    flops=lambda B, O, **_: (5 * B * O, 4 * B * O),
    source="Bridle, NATO ASI F68 (1990)",
    output="probabilities",
    local_derivatives=_local_derivatives,
)
