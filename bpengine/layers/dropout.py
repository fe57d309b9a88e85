"""Dropout: in training, each value is zeroed with probability `rate`, and the others are scaled to keep the mean."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any

from bpengine.errors import ConfigError, number
from bpengine.kernels._kernel import Array
from bpengine.kernels._trees import Tree
from bpengine.layers.layer import Arrays, Layer, Run
from bpengine.ops import Ops


@dataclass(frozen=True)
class Dropout(Layer):
    """Drop values with probability `rate` in [0, 1); does nothing outside training.

    The mask is a hash of (a number drawn from the seed, step, layer, element's position in the batch). It is the same on every
    backend and for every number of processes, and needs no state.
    Source: Srivastava, Hinton, Krizhevsky, Sutskever, Salakhutdinov, JMLR 15, 2014.
    Raises ConfigError for a rate outside of [0, 1).

    >>> network = bp.Network(2, [bp.Dense(8, "relu"), bp.Dropout(0.5), bp.Dense(1)], "mean_squared_error")
    >>> network.sizes
    [2, 8, 8, 1]
    """

    rate: float = 0.5

    def __post_init__(self) -> None:
        object.__setattr__(self, "rate", number(self.rate, "Dropout", "a rate", low=0, below=1))

    def forward(self, ops: Ops, params: Arrays, running: Arrays, x: Array, run: Run) -> tuple[Array, Any, Arrays]:
        """Apply the mask of this step in training; return x itself otherwise."""
        if not run.training or self.rate == 0:
            return x, None, running
        if run.counter is None:
            raise ConfigError(
                "Dropout requires a counter (seed, step) in training. Pass Run(training=True, counter=...)."
            )
        options = {"rate": self.rate, "salt": zlib.crc32(run.place.encode())}
        options |= {} if isinstance(run.first, int) and run.first == 0 else {"first": run.first}
        y, residual = ops.dropout_fwd(x, run.counter, **options)
        return y, residual, running

    def backward(self, ops: Ops, residual: Tree, dy: Array, *, need_dx: bool = True) -> tuple[Array, Arrays]:
        """Return the gradient of the values that were kept, and 0 for the others."""
        return (dy if residual is None else ops.dropout_bwd(residual, dy)), {}
