"""History: what a fit recorded, step by step and epoch by epoch, and why it ended."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bpengine.backend import HostArray


@dataclass(frozen=True)
class Epoch:
    """One epoch: its number from 1, steps taken so far, mean training loss, and the validation scores if there are any.

    The mean is that over the epoch's rows, by their weights where they have any.
    """

    number: int
    steps: int
    loss: float
    learning_rate: float
    seconds: float
    validation: dict[str, float] | None = None


@dataclass
class History:
    """What a fit recorded.

    loss, learning_rate: one value per step; the loss is the one *before* the step's update.
    step_size: largest change of any parameter per step, for plain descent |slope x learning rate|; None when it was not
        tracked (it is when a step is a whole epoch, when a rule needs it, or on request).
    epochs: one `Epoch` each. stopped_by: the rule that ended the fit, in words. rows_per_second: training throughput.
    """

    loss: HostArray = field(default_factory=lambda: np.empty(0))
    learning_rate: HostArray = field(default_factory=lambda: np.empty(0))
    step_size: HostArray | None = None
    epochs: list[Epoch] = field(default_factory=list)
    stopped_by: str = ""
    rows_per_second: float = 0.0

    @property
    def steps(self) -> int:
        """The number of steps taken."""
        return len(self.loss)

    @property
    def validation_loss(self) -> HostArray:
        """The validation loss after each epoch; empty without validation data."""
        return np.array([e.validation["loss"] for e in self.epochs if e.validation])

    def __repr__(self) -> str:
        last = f", last loss {self.loss[-1]:.6g}" if self.steps else ""
        return f"History({self.steps} steps, {len(self.epochs)} epochs{last}, stopped by: {self.stopped_by or 'nothing yet'})"

    def rows(self) -> list[dict[str, Any]]:
        """Return one dict per step, ready for a table."""
        sizes = self.step_size if self.step_size is not None else [None] * self.steps
        zipped = zip(self.loss, self.learning_rate, sizes, strict=True)
        return [
            {"step": i + 1, "loss": float(a), "learning_rate": float(b), "step_size": c}
            for i, (a, b, c) in enumerate(zipped)
        ]


class Recorder:
    """Collects the reports of segments and turns them into a History."""

    def __init__(self) -> None:
        self.reports: list[dict[str, HostArray]] = []
        self.rates: list[HostArray] = []
        self.batches: list[HostArray] = []
        self.shares: list[HostArray] = []
        self.epochs: list[Epoch] = []
        self.steps = 0

    def add(self, reports: dict[str, HostArray], rates: HostArray, batch: int, shares: HostArray) -> None:
        """Add the reports of a run of steps, the rates they were given, their number of rows and `Segment.shares`."""
        taken = len(reports["loss"])
        self.reports.append(reports)
        self.rates.append(rates[:taken])
        self.batches.append(np.full(taken, batch))
        self.shares.append(shares[:taken])
        self.steps += taken

    def cut(self, steps: int) -> None:
        """Forget the steps from `steps` on, where a run of steps began, and the epochs that end after it."""
        while self.steps > steps:
            self.steps -= len(self.reports.pop()["loss"])
            self.rates.pop()
            self.batches.pop()
            self.shares.pop()
        self.epochs = [epoch for epoch in self.epochs if epoch.steps <= steps]

    def losses(self, first: int, count: int) -> HostArray:
        """Return the losses (count,) of the steps from `first` on, or as many as there are."""
        found = np.concatenate([np.empty(0), *self._tail([r["loss"] for r in self.reports], first)])
        return found[len(found) - (self.steps - first) :][:count]

    def rows_since(self, first: int) -> int:
        """Return how many rows were seen from step `first` on."""
        return int(sum(part.sum() for part in self._tail(self.batches, first)))

    def close(self, count: int, first: int, seconds: float, validation: dict[str, float] | None) -> None:
        """Add `count` epochs of equal length that began at step `first` and took `seconds` together.

        The loss of an epoch is the mean over its rows: each step's loss counts as often as its rows do, by their weights.
        """
        losses = np.concatenate(self._tail([r["loss"] for r in self.reports], first)).astype(float)
        shares = np.concatenate(self._tail(self.shares, first))
        rate, number = float(self.rates[-1][-1]), len(self.epochs)
        shares, length = shares.reshape(count, -1), len(losses) // count
        shares = np.where(np.sum(shares, axis=1, keepdims=True) > 0, shares, 1.0)  # steps of left-out rows alone
        means = np.sum(losses.reshape(count, -1) * shares, axis=1) / np.sum(shares, axis=1)
        for i, mean in enumerate(means.tolist(), start=1):
            self.epochs.append(Epoch(number + i, first + i * length, mean, rate, seconds / count, validation))

    def history(self, stopped_by: str, rows_per_second: float = 0.0) -> History:
        """Return everything recorded so far."""
        sizes = self._column("step_size").reshape(-1) if self.reports and "step_size" in self.reports[0] else None
        rates = np.concatenate(self.rates) if self.rates else np.empty(0)
        return History(self._column("loss"), rates, sizes, list(self.epochs), stopped_by, rows_per_second)

    def _column(self, name: str) -> HostArray:
        return np.concatenate([r[name] for r in self.reports]) if self.reports else np.empty(0)

    def _tail(self, parts: list[HostArray], first: int) -> list[HostArray]:
        """Return the parts that hold the steps from `first` on; segments never straddle an epoch's first step."""
        left, found = self.steps - first, 0
        for i in reversed(range(len(parts))):
            if found >= left:
                return parts[i + 1 :]
            found += len(parts[i])
        return parts
