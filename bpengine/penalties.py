"""Penalties on the size of the weights; biases are left out, also where the bias is a row of the weight matrix."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from bpengine.errors import number
from bpengine.kernels._kernel import Array
from bpengine.ops import Ops


@dataclass(frozen=True)
class Penalty:
    """Base: `strength` times a function of each weight; with `per_sample=True` divided by the number of samples."""

    kernel: ClassVar[str]
    strength: float
    per_sample: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "strength", number(self.strength, type(self).__name__, "a strength", low=0))

    def forward(self, ops: Ops, w: Array, bias_row: str | None, samples: int) -> tuple[Array, object]:
        """Return the penalty on one weight and its residual; `samples` is the number m of rows the loss is taken over."""
        strength = self.strength / samples if self.per_sample else self.strength
        value, residual = ops.forward(self.kernel)(w, strength=strength, bias_row=bias_row)
        return value, residual

    def backward(self, ops: Ops, residual: object, dloss: Array) -> Array:
        """Return the gradient with respect to the weight."""
        return ops.backward(self.kernel)(residual, dloss)


@dataclass(frozen=True)
class L2(Penalty):
    """strength / 2 * sum w^2; with per_sample=True it is lambda / (2 m) * sum w^2, m being the samples in the batch."""

    kernel = "l2"


@dataclass(frozen=True)
class L1(Penalty):
    """strength * sum |w|; with per_sample=True divided by the samples in the batch."""

    kernel = "l1"
