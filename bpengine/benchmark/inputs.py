"""The inputs of every contender: rows, initial weights, the order of rows; and the loss that evaluates their results."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bpengine import data
from bpengine.backend import HostArray
from bpengine.benchmark.workloads import Workload
from bpengine.training.batching import batches, epoch_order

JUDGED_ROWS = 512
Weights = list[tuple[HostArray, HostArray]]  # weight (inputs, units) and bias (units,) of each layer


class EpochOrder(NamedTuple):
    """Some steps: the rows that each uses, (steps, batch), or None when each uses all rows."""

    order: HostArray | None
    steps: int


@dataclass(frozen=True)
class Sample:
    """Rows x (rows, features) with targets y, and the weights that training starts from.

    y is (rows,) class numbers, or (rows, 1) of x's dtype for a network with one output. The weights are read-only: a
    contender that trained them in place would start its next turn from the trained ones. The order of an epoch's rows is
    drawn once and kept: on a GPU a step may take less time than the host needs to shuffle the rows.
    """

    workload: Workload
    x: HostArray
    y: HostArray
    initial: Weights
    _orders: dict[int, HostArray] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for array in (array for layer in self.initial for array in layer):
            array.flags.writeable = False

    def epochs(self, steps: int) -> Iterator[EpochOrder]:
        """Yield the epochs that make up so many steps; the order of rows is the one the engine's own loop takes."""
        if self.workload.whole:
            yield EpochOrder(None, steps)
            return
        for epoch in range(steps // self.workload.epoch_steps):
            order = self._order(epoch)
            yield EpochOrder(order, len(order))

    def _order(self, epoch: int) -> HostArray:
        if epoch not in self._orders:
            drawn = epoch_order(0, epoch, self.workload.rows, shuffle=True)
            (self._orders[epoch],) = batches(drawn, self.workload.batch)
        return self._orders[epoch]

    def loss(self, weights: Weights) -> float:
        """Return the mean loss over the first rows; the same few lines of NumPy evaluate every contender's weights."""
        a, target = self.x[:JUDGED_ROWS], self.y[:JUDGED_ROWS]
        for i, (w, b) in enumerate(weights):
            a = a @ w + b
            if i < len(weights) - 1:
                a = np.maximum(a, 0) if self.workload.activation == "relu" else 1 / (1 + np.exp(-a))
        a = a.astype(np.float64)
        if self.workload.binary:
            return float(np.mean(np.logaddexp(0, a) - target * a))
        return float(np.mean(np.logaddexp.reduce(a, axis=1) - a[np.arange(len(a)), target]))

    def save(self, folder: Path) -> None:
        """Write the arrays, one file each."""
        np.save(folder / "x.npy", self.x)
        np.save(folder / "y.npy", self.y)
        for i, (w, b) in enumerate(self.initial):
            np.save(folder / f"w{i}.npy", w)
            np.save(folder / f"b{i}.npy", b)


class OwnRows(NamedTuple):
    """Rows of one's own: x (rows, features), y (rows,) class numbers; at least as many as the workload's epoch has.

    table_rows: of the table that they were drawn from.
    """

    x: HostArray
    y: HostArray
    table_rows: int


def make_sample(workload: Workload, own: OwnRows | None = None) -> Sample:
    """Draw the rows and the initial weights of a workload. own: rows that replace the drawn ones."""
    params, _ = workload.network().init(workload.seed)
    names = range(len(workload.sizes) - 1)
    initial = [
        (params[f"{i}.weight"].astype(workload.dtype), params[f"{i}.bias"].astype(workload.dtype)) for i in names
    ]
    x, y = _rows(workload) if own is None else (own.x[: workload.rows], own.y[: workload.rows])
    return Sample(workload, x.astype(workload.dtype, copy=False), y, initial)


def load_sample(workload: Workload, folder: Path) -> Sample:
    """Read the files of `Sample.save` into memory."""

    def read(name: str) -> HostArray:
        array: HostArray = np.load(folder / f"{name}.npy")
        return array

    initial = [(read(f"w{i}"), read(f"b{i}")) for i in range(len(workload.sizes) - 1)]
    return Sample(workload, read("x"), read("y"), initial)


def _rows(workload: Workload) -> Sequence[HostArray]:
    if workload.binary:
        table = data.load("xor")
        return table.x, table.y.astype(workload.dtype)
    drawn = data.generate(
        "teacher_classification",
        workload.rows,
        features=workload.sizes[0],
        classes=workload.sizes[-1],
        dtype=workload.dtype,
    )
    return drawn.x, drawn.y
