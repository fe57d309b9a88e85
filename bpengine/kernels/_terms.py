"""A unit's output as a sum of terms, for the families of kernels whose rows give it in the same way."""

from __future__ import annotations

from bpengine.kernels._kernel import Array, ForwardTerms, Namespace


def linear_terms(xp: Namespace, x: Array, w: Array, b: Array | None = None) -> ForwardTerms:
    """Return the inputs x (B, I) times a unit's weights w (I,), and its bias b (1,) if it has one."""
    n = x.shape[1]
    if b is None:
        return ForwardTerms(x, w, ("input",) * n, tuple(range(n)))
    left = xp.concat((x, xp.ones_like(x[:, :1])), axis=1)
    return ForwardTerms(left, xp.concat((w, b)), ("input",) * n + ("bias",), tuple(range(n + 1)))


def normalized_terms(xp: Namespace, x_hat: Array, unit: int, gamma: Array, beta: Array) -> ForwardTerms:
    """Return a unit's normalized input, of x_hat (B, O), times gamma (O,), and beta (O,)."""
    normalized = x_hat[:, unit : unit + 1]
    left = xp.concat((normalized, xp.ones_like(normalized)), axis=1)
    return ForwardTerms(left, xp.stack((gamma[unit], beta[unit])), ("input", "bias"), (unit, unit))
