"""Gradients row by row: ops whose backwards do not sum over the rows, and which networks they are valid for."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from bpengine.backend import HostArray
from bpengine.kernels import KERNELS
from bpengine.layers import LAYERS, Activation, Dense, Layer, Residual
from bpengine.losses import Loss
from bpengine.network import Network
from bpengine.ops import Ops
from bpengine.training.evaluation import CHUNK
from bpengine.training.rows import Rows

BUDGET = 2**24  # numbers of a result on the device at once


class PerRowOps(Ops):
    """Ops whose backwards return the gradient of a parameter as (rows, *shape), one summand for each row of the batch."""

    def __init__(self, ops: Ops) -> None:
        vars(self).update(vars(ops))
        for kernel in KERNELS.values():
            if kernel.backward and kernel.per_row:
                setattr(self, kernel.backward.__name__, partial(kernel.per_row, ops.xp))


def own(layers: Sequence[Layer]) -> bool:
    """Tell whether all layers are the engine's, which treat each row of a batch on its own outside training.

    A custom layer need not do so, nor need its gradients be sums over rows that `PerRowOps` can omit.
    """
    return all(_own(layer) for layer in layers)


def _own(layer: Layer) -> bool:
    if type(layer) is Residual:
        return own(layer.layers)
    if type(layer) is Dense:
        return _own(layer.activation)
    return type(layer) in (*LAYERS.values(), Layer) and (not isinstance(layer, Activation) or layer.name in KERNELS)


def batched(network: Network) -> bool:
    """Tell whether rows of a batch are known to be independent of each other in this network and its loss."""
    return own(network.layers) and type(network.loss) is Loss and network.loss.name in KERNELS


def row_numbers(rows: int, size: int, together: bool) -> list[HostArray]:
    """Return the row numbers of each chunk; a row yields `size` numbers, and without `together` a chunk is one row."""
    step = max(1, min(CHUNK, BUDGET // max(size, 1))) if together else 1
    return [np.arange(start, min(start + step, rows)) for start in range(0, rows, step)]


def some(rows: Rows, numbers: HostArray, *, weighted: bool = True) -> Rows:
    """Return the rows of the given numbers, with or without their weights."""
    weights = rows.weights[numbers] if weighted and rows.weights is not None else None
    return Rows(rows.x[numbers], None if rows.target is None else rows.target[numbers], weights)
