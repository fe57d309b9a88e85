"""Identity: y = x, the activation of a linear output."""

from __future__ import annotations

from bpengine.kernels._kernel import Array, Namespace, elementwise


def identity_fwd(xp: Namespace, x: Array) -> tuple[Array, None]:
    """Return y = x; the backward needs nothing.

    Shapes: x (B, O) -> y (B, O), the same array.
    """
    return x, None


def identity_bwd(xp: Namespace, res: None, dy: Array) -> Array:
    """Return dx = dy.

    Shapes: dy (B, O) -> dx (B, O), the same array.
    Source: Widrow, Hoff, "Adaptive switching circuits", IRE WESCON 1960 (the linear unit).
    """
    return dy


KERNEL = elementwise(
    "identity",
    identity_fwd,
    identity_bwd,
    flops=(0, 0),
    formula={"y": "x", "dx": "dy"},
    source="Widrow, Hoff, IRE WESCON 1960",
    analytic=True,
)
