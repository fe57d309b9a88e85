"""Quotient of two arrays, element by element: y = a / b."""

from __future__ import annotations

from typing import NamedTuple

from bpengine.kernels._kernel import Array, Kernel, Namespace


class DivideResidual(NamedTuple):
    """What the backward needs: the divisor and the quotient."""

    b: Array
    y: Array


def divide_fwd(xp: Namespace, a: Array, b: Array) -> tuple[Array, DivideResidual]:
    """Compute y = a / b. Where b is 0 the result is that of the array library: infinite, or not a number.

    Shapes: a, b (B, O) -> y (B, O).
    """
    y = a / b
    return y, DivideResidual(b, y)


def divide_bwd(xp: Namespace, res: DivideResidual, dy: Array) -> tuple[Array, Array]:
    """Compute da = dy / b, db = -dy a / b^2, which is -da y: no square that could overflow.

    Shapes: dy (B, O) -> da, db (B, O).
    Source: Leibniz, "Nova methodus pro maximis et minimis", Acta Eruditorum, 1684: the rule for a quotient.
    """
    da = dy / res.b
    return da, -da * res.y


KERNEL = Kernel(
    name="divide",
    kind="layer",
    forward=divide_fwd,
    backward=divide_bwd,
    shapes={"a": ("B", "O"), "b": ("B", "O"), "y": ("B", "O")},
    differentiable=("a", "b"),
    domain={"b": "nonzero"},
    formula={"y": "a / b", "da": "dy / b", "db": "-dy * a / b**2"},
    flops=lambda B, O, **_: (B * O, 3 * B * O),
    source="Leibniz, Nova methodus, Acta Eruditorum, 1684",
    analytic=True,
    opaque="a quotient of two arrays, for a loss or a layer of one's own: neither is the other's parameter",
)
