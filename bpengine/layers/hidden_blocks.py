"""Hidden layers of a usual network, from their sizes, for the command line and the estimators."""

from __future__ import annotations

from collections.abc import Iterable

from bpengine.kernels._own import Pair
from bpengine.layers.activation import make_activation
from bpengine.layers.dense import Dense
from bpengine.layers.dropout import Dropout
from bpengine.layers.layer import Layer
from bpengine.layers.normalization import BatchNorm


def hidden_blocks(
    units: Iterable[int],
    activation: str | Layer | Pair,
    dropout: float = 0.0,
    *,
    batch_norm: bool = False,
    bias: bool = True,
) -> list[Layer]:
    """Return a Dense layer for each number of units, with normalization before its activation and dropout after if wanted."""
    after: list[Layer] = [Dropout(dropout)] if dropout != 0 else []

    def block(count: int) -> list[Layer]:
        if batch_norm:
            return [Dense(count, bias=bias), BatchNorm(), make_activation(activation), *after]
        return [Dense(count, activation, bias), *after]

    return [layer for count in units for layer in block(count)]
