"""Sum of two branches, as in a residual connection: y = a + b."""

from __future__ import annotations

from bpengine.kernels._kernel import Array, ForwardTerms, Kernel, LocalDerivative, Namespace


def add_fwd(xp: Namespace, a: Array, b: Array) -> tuple[Array, None]:
    """Compute y = a + b; the backward needs nothing.

    Shapes: a, b (B, O) -> y (B, O).
    """
    return a + b, None


def add_bwd(xp: Namespace, res: None, dy: Array) -> tuple[Array, Array]:
    """Compute da = dy, db = dy: every branch of a sum receives its cotangent.

    Shapes: dy (B, O) -> da, db (B, O), both the same array as dy.
    Source: He, Zhang, Ren, Sun, "Deep residual learning for image recognition", CVPR 2016, equation 1.
    """
    return dy, dy


def _forward_terms(xp: Namespace, res: None, unit: int, a: Array, b: Array) -> ForwardTerms:
    """Return one unit's output as a sum of two: the input itself, and the output of the inner layers."""
    left = xp.concat((a[:, unit : unit + 1], b[:, unit : unit + 1]), axis=1)
    return ForwardTerms(left, xp.ones_like(left[0, :]), ("direct", "inner"), (unit, unit))


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
    family="sum",
    local_derivatives=lambda xp, res, y: [LocalDerivative("element", xp.ones_like(y))],
    forward_terms=_forward_terms,
)
