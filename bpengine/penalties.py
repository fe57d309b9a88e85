"""Penalties on the size of the weights; biases are left out, also where the bias is a row of the weight matrix."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from bpengine.errors import flag, number
from bpengine.kernels._kernel import Array
from bpengine.ops import Ops


@dataclass(frozen=True)
class Penalty:
    """Base: `strength` times a function of each weight; with `per_sample=True` divided by the number m of samples.

    m is the number of rows of the loss: those of the batch in a step, all rows in `evaluate`. Where rows have weights, m is
    their sum, so a weight of 0 leaves a row out and a weight of 2 counts it twice.
    Raises ConfigError for a strength that is negative or not finite, or a `per_sample` that is not True or False.

    >>> isinstance(bp.L2(0.1), Penalty), bp.L2(0.1, per_sample=True).per_sample
    (True, True)
    """

    kernel: ClassVar[str]
    strength: float
    per_sample: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "strength", number(self.strength, type(self).__name__, "a strength", low=0))
        object.__setattr__(self, "per_sample", flag(self.per_sample, type(self).__name__, "per_sample"))

    def forward(
        self, ops: Ops, w: Array, bias_row: str | None, samples: float, weights: Array | None = None
    ) -> tuple[Array, object]:
        """Return the penalty on one weight and its residual; m is the sum of `weights`, or `samples` if there are none."""
        run, counted = ops.forward(self.kernel), self.per_sample and weights is None
        strength = self.strength / samples if counted else self.strength
        arrays = (w, weights) if self.per_sample and weights is not None else (w,)
        value, residual = run(*arrays, strength=strength, bias_row=bias_row)
        return value, residual

    def backward(self, ops: Ops, residual: object, dloss: Array) -> Array:
        """Return the gradient with respect to the weight."""
        return ops.backward(self.kernel)(residual, dloss)


@dataclass(frozen=True)
class L2(Penalty):
    """strength / 2 * sum w^2; with per_sample=True it is lambda / (2 m) * sum w^2, m as in `Penalty`.

    >>> network = bp.Network(2, bp.Dense(1), "mean_squared_error", [bp.L1(0.01), bp.L2(0.1)])
    >>> [type(penalty).__name__ for penalty in network.penalties]
    ['L1', 'L2']
    """

    kernel = "l2"


@dataclass(frozen=True)
class L1(Penalty):
    """strength * sum |w|; with per_sample=True divided by m, as in `Penalty`.

    >>> network = bp.Network(2, bp.Dense(1), "mean_squared_error", bp.L1(0.01))
    >>> network.penalties
    (L1(strength=0.01, per_sample=False),)
    """

    kernel = "l1"
