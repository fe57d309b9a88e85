"""Sum of two branches, as in a residual connection: y = a + b."""

from __future__ import annotations

from bpengine.kernels._kernel import Array, Kernel, Namespace


def add_fwd(xp: Namespace, a: Array, b: Array) -> tuple[Array, None]:
    """Compute y = a + b; the backward needs nothing.

    Shapes: a, b (B, O) -> y (B, O).
    """
    return a + b, None


def add_bwd(xp: Namespace, res: None, dy: Array) -> tuple[Array, Array]:
    """Compute da = dy, db = dy: a sum hands its cotangent to every branch.

    Shapes: dy (B, O) -> da, db (B, O), both the same array as dy.
    Source: He, Zhang, Ren, Sun, "Deep residual learning for image recognition", CVPR 2016, equation 1.
    """
    return dy, dy


KERNEL = Kernel(
    name="add",
    kind="layer",
    forward=add_fwd,
    backward=add_bwd,
    shapes={"a": ("B", "O"), "b": ("B", "O"), "y": ("B", "O")},
    differentiable=("a", "b"),
    formula={"y": "a + b", "da": "dy", "db": "dy"},
    flops=lambda B, O, **_: (B * O, 0),
    source="He, Zhang, Ren, Sun, CVPR 2016",
    analytic=True,
)
