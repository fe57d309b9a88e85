"""Sigmoid linear unit (swish): y = x sigmoid(x)."""

from __future__ import annotations

from typing import NamedTuple

from bpengine.kernels._functions import largest_exponent, sigmoid
from bpengine.kernels._kernel import Array, Namespace, elementwise


class SiluResidual(NamedTuple):
    """What the backward needs: sigmoid(x) and the output."""

    gate: Array
    y: Array


def silu_fwd(xp: Namespace, x: Array) -> tuple[Array, SiluResidual]:
    """Compute y = x sigmoid(x).

    Shapes: x (B, O) -> y (B, O).
    """
    gate = sigmoid(xp, x)
    y = xp.clip(x, -largest_exponent(xp, x), None) * gate  # the gate is 0 there; -inf * 0 would be NaN
    return y, SiluResidual(gate, y)


def silu_bwd(xp: Namespace, res: SiluResidual, dy: Array) -> Array:
    """Compute dx = dy (s + y (1 - s)) with s = sigmoid(x).

    Shapes: dy (B, O) -> dx (B, O).
    Source: Elfwing, Uchibe, Doya, "Sigmoid-weighted linear units for neural network function approximation in
    reinforcement learning", Neural Networks 107, 2018.
    """
    cut = xp.clip(res.y, None, largest_exponent(xp, res.y))  # the gate is 1 there; inf * 0 would be NaN
    return dy * (res.gate + cut * (1.0 - res.gate))


KERNEL = elementwise(
    "silu",
    silu_fwd,
    silu_bwd,
    flops=(5, 4),
    formula={"y": "x / (1 + xp.exp(-x))", "dx": "dy * (gate + y * (1 - gate))"},
    source="Elfwing, Uchibe, Doya, Neural Networks 107 (2018)",
    formula_names=lambda xp, names: {"gate": 1 / (1 + xp.exp(-names["x"]))},
    initializer="he",
)
