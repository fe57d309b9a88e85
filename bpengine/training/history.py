"""History: losses, learning rates and scores that a fit recorded by step and by epoch, and why it ended."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, overload

import numpy as np

from bpengine.backend import HostArray
from bpengine.output.frames import data_frame


@dataclass(frozen=True, kw_only=True)
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
    _: KW_ONLY
    step_size: HostArray | None = None
    epochs: Sequence[Epoch] = ()
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
        """Return `to_rows()`, which had this name before."""
        return self.to_rows()

    def to_frame(self) -> Any:
        """Return `to_rows()` as a pandas data frame; raise ConfigError where pandas is not installed."""
        return data_frame(self.to_rows(), "History")

    def to_rows(self) -> list[dict[str, Any]]:
        """Return one dict per step, ready for a table."""
        sizes = self.step_size if self.step_size is not None else [None] * self.steps
        zipped = zip(self.loss, self.learning_rate, sizes, strict=True)
        return [
            {"step": i + 1, "loss": float(a), "learning_rate": float(b), "step_size": c}
            for i, (a, b, c) in enumerate(zipped)
        ]


class GrowingArray:
    """A growing array of numbers; its memory doubles when it is full."""

    def __init__(self) -> None:
        self._memory: HostArray = np.empty(0)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    @property
    def values(self) -> HostArray:
        """The numbers so far, as a view."""
        return self._memory[: self._count]

    def extend(self, values: HostArray) -> None:
        """Add numbers; the first ones give the column its dtype."""
        count = self._count + len(values)
        if count > len(self._memory):
            memory = np.empty(max(count, 2 * len(self._memory)), self._memory.dtype if self._count else values.dtype)
            memory[: self._count] = self.values
            self._memory = memory
        self._memory[self._count : count] = values
        self._count = count

    def cut(self, count: int) -> None:
        """Drop all but the first `count` numbers."""
        self._count = min(self._count, count)


class Epochs(Sequence[Epoch]):
    """The epochs of a fit, kept as columns: a million of them take some fifty megabytes."""

    def __init__(self) -> None:
        self._columns = [GrowingArray() for _ in range(4)]
        self._scores: list[dict[str, float] | None] = []

    def __len__(self) -> int:
        return len(self._columns[-1])

    @overload
    def __getitem__(self, index: int) -> Epoch: ...
    @overload
    def __getitem__(self, index: slice) -> list[Epoch]: ...
    def __getitem__(self, index: int | slice) -> Epoch | list[Epoch]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        at = range(len(self))[index]
        steps, loss, rate, seconds = (column.values[at].item() for column in self._columns)
        return Epoch(
            number=at + 1,
            steps=steps,
            loss=loss,
            learning_rate=rate,
            seconds=seconds,
            validation=self._scores[at] if self._scores else None,
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    def __repr__(self) -> str:
        return repr(list(self))

    def add(
        self, steps: HostArray, losses: HostArray, rate: float, seconds: float, scores: dict[str, float] | None
    ) -> None:
        """Add epochs of equal rate, seconds and scores, by the steps taken so far and their losses."""
        count = len(steps)
        if scores is not None:
            self._scores += [scores] * count
        for column, values in zip(  # the last one says how many there are: an addition that is broken off is none
            self._columns, (steps, losses, np.full(count, rate), np.full(count, seconds)), strict=True
        ):
            column.extend(values)

    def cut(self, steps: int) -> None:
        """Drop the epochs that end after step `steps`."""
        count = int(np.searchsorted(self._columns[0].values, steps, side="right"))
        for column in self._columns:
            column.cut(count)
        del self._scores[count:]


class Recorder:
    """Collects the reports of segments and turns them into a History."""

    def __init__(self) -> None:
        self._reports: dict[str, GrowingArray] = defaultdict(GrowingArray)  # what a step reports, and "rate"
        self._open: list[
            tuple[int, HostArray]
        ] = []  # rows and shares of each run of steps of the epoch that is not closed
        self.epochs = Epochs()

    @property
    def steps(self) -> int:
        """The number of steps recorded."""
        return len(self._reports["loss"])

    def add(self, reports: dict[str, HostArray], rates: HostArray, batch: int, shares: HostArray) -> None:
        """Add the reports of a run of steps, the rates they were given, their number of rows and `Segment.shares`."""
        taken = len(reports["loss"])
        self._open.append((batch * taken, shares[:taken]))
        self._reports["rate"].extend(rates[:taken])
        for name in (
            "step_size",
            "loss",
        ):  # the losses say how many steps there are: `cut` forgets one that was broken off
            if name in reports:
                self._reports[name].extend(reports[name].reshape(taken))

    def cut(self, steps: int) -> None:
        """Drop the steps from `steps` on, and the epochs that end after it."""
        for column in self._reports.values():
            column.cut(steps)
        self.epochs.cut(steps)

    def losses(self, first: int, count: int) -> HostArray:
        """Return the losses (count,) of the steps from `first` on, or as many as there are."""
        return self._reports["loss"].values[first : first + count]

    @property
    def open_rows(self) -> int:
        """How many rows were seen since the last epoch was closed."""
        return sum(rows for rows, _ in self._open)

    def close(self, count: int, first: int, seconds: float, validation: dict[str, float] | None) -> None:
        """Add `count` epochs of equal length that began at step `first` and took `seconds` together.

        The loss of an epoch is the mean over its rows: each step's loss counts as often as its rows do, by their weights.
        """
        losses = self._reports["loss"].values[first:].astype(float).reshape(count, -1)
        shares = np.concatenate([part for _, part in self._open]).reshape(count, -1)
        self._open = []
        shares = np.where(np.sum(shares, axis=1, keepdims=True) > 0, shares, 1.0)  # steps of left-out rows alone
        means = np.sum(losses * shares, axis=1) / np.sum(shares, axis=1)
        ends = first + losses.shape[1] * np.arange(1, count + 1)
        self.epochs.add(ends, means, float(self._reports["rate"].values[-1]), seconds / count, validation)

    def history(self, stopped_by: str, rows_per_second: float = 0.0) -> History:
        """Return everything recorded so far."""
        loss, rates, sizes = (self._reports[name].values.copy() for name in ("loss", "rate", "step_size"))
        tracked = sizes if self._reports["step_size"] else None
        return History(
            loss=loss,
            learning_rate=rates,
            step_size=tracked,
            epochs=deepcopy(self.epochs),
            stopped_by=stopped_by,
            rows_per_second=rows_per_second,
        )
