"""History: losses, learning rates and scores that a fit recorded by step and by epoch, and why it ended."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from bpengine.backend import HostArray
from bpengine.i18n.counted_nouns import count_of
from bpengine.i18n.language import localized
from bpengine.output.json_values import json_object
from bpengine.output.line_chart import Line, line_chart
from bpengine.output.rich_form import cell_text, rows_table, title, words
from bpengine.output.tabular import TabularResult
from bpengine.text_table import text_table
from bpengine.training.memory.run_state import OpenEpoch, RunState

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SCORE = "validation/"  # before the name of a validation score
FEW = 10  # epochs in a text
SCORED = "scored/"  # prefix of the column that says which epochs have a score that others lack


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """One epoch: its number from 1, steps taken so far, mean training loss, and the validation scores if there are any.

    The mean is that over the epoch's rows, by their weights where they have any. validation: numbers by name, "loss" and those
    of the fit's metrics among them; a confusion matrix is a list of lists.
    """

    number: int
    steps: int
    loss: float
    learning_rate: float
    seconds: float
    validation: dict[str, Any] | None = None

    def to_row(self) -> dict[str, Any]:
        """Return the epoch as one line of a table: epoch, step, loss, learning_rate, seconds, validation_loss and so on."""
        scores = {f"validation_{name}": score for name, score in (self.validation or {}).items()}
        own = {"epoch": self.number, "step": self.steps, "loss": self.loss, "learning_rate": self.learning_rate}
        return {**own, "seconds": self.seconds, **scores}


@dataclass
class History(TabularResult):
    """What a fit recorded.

    loss, learning_rate: one value per step; the loss is the one *before* the step's update.
    step_size: largest change of any parameter per step, for plain descent |slope x learning rate|; None when it was not
        tracked (it is when a step is a whole epoch, when a rule needs it, or on request).
    epochs: one `Epoch` each. stopped_by: the rule that ended the fit, in words. rows_per_second: over the time spent in
    training, records and compilation included, validation and callbacks not.
    end: what `Model.fit(continue_from=history)` continues with: the optimizer's moments and the number of the step; None for a
        fit that failed.
    """

    loss: HostArray = field(default_factory=lambda: np.empty(0))
    learning_rate: HostArray = field(default_factory=lambda: np.empty(0))
    _: KW_ONLY
    step_size: HostArray | None = None
    epochs: Sequence[Epoch] = ()
    stopped_by: str = ""
    rows_per_second: float = 0.0
    end: RunState | None = field(default=None, repr=False, compare=False)

    @property
    def steps(self) -> int:
        """The number of steps taken."""
        return len(self.loss)

    @property
    def validation_loss(self) -> HostArray:
        """The validation loss after each epoch; empty without validation data."""
        return np.array([e.validation["loss"] for e in self.epochs if e.validation])

    @property
    def validation_scores(self) -> dict[str, HostArray]:
        """The validation scores by name, the metrics of the fit among them: one for each epoch (epochs,).

        NaN for an epoch without the score, where a continued fit had other metrics. A confusion matrix is (epochs, classes,
        classes).

        >>> x, y = [[0.0], [1.0]], [[0.0], [1.0]]
        >>> model = bp.Model(bp.Network(1, bp.Dense(1), "mean_squared_error"))
        >>> sorted(model.fit(x, y, epochs=3, validation=(x, y)).validation_scores)
        ['loss', 'rmse']
        """
        scores = [epoch.validation or {} for epoch in self.epochs]
        first = {name: value for epoch in reversed(scores) for name, value in epoch.items()}
        gaps = {name: np.full(np.shape(value), np.nan) for name, value in first.items()}
        return {name: np.array([epoch.get(name, gap) for epoch in scores]) for name, gap in gaps.items()}

    def __repr__(self) -> str:
        last = f", last loss {self.loss[-1]:.6g}" if self.steps else ""
        return (
            f"History({count_of(self.steps, 'step')}, {count_of(len(self.epochs), 'epoch')}{last}, stopped "
            f"by: {self.stopped_by or 'nothing yet'})"
        )

    def __str__(self) -> str:
        rows = self.epoch_rows()
        shown = rows if len(rows) <= FEW else [*rows[: FEW // 2], *rows[-(FEW - FEW // 2) :]]
        heads = list(dict.fromkeys(name for row in shown for name in row))
        cells = [[cell_text(row.get(name)) for name in heads] for row in shown]
        if len(shown) < len(rows):
            cells.insert(FEW // 2, ["..."] * len(heads))
        return "\n".join([localized(repr(self)), *(text_table(words(heads), cells, str.rjust) if cells else [])])

    def _html_parts(self) -> Iterator[str]:
        yield title(localized(self._headline()))
        yield line_chart(self._lines(), *words(["step", "loss"]))
        yield rows_table(self.epoch_rows(), most=12)

    def _headline(self) -> str:
        speed = f", {self.rows_per_second:,.0f} rows per second" if self.rows_per_second else ""
        counts = f"{count_of(self.steps, 'step', ',')}, {count_of(len(self.epochs), 'epoch', ',')}"
        return f"{counts}{speed}; stopped by: {self.stopped_by or 'nothing yet'}"

    def _lines(self) -> dict[str, Line]:
        """Return the lines of a learning curve: each step's loss, or the means of epochs of several steps; validation."""
        numbers = self.epochs.columns() if isinstance(self.epochs, Epochs) else {}
        lines: dict[str, Line] = {"training": (np.arange(self.steps), self.loss)}
        if numbers and 1 < len(self.epochs) < self.steps:
            lines = {"training": (numbers["steps"], numbers["loss"])}
        at = [epoch.steps for epoch in self.epochs if epoch.validation]
        lines = {**lines, "validation": (at, self.validation_loss)} if at else lines
        return {localized(name): line for name, line in lines.items()}

    def figure(self, *, log: bool | None = None, lang: str | None = None) -> Figure:
        """Return the learning curve as a matplotlib Figure: `bp.explain.figures.loss_curve(history)`.

        Every step's loss, the means of epochs, the validation losses, where and why the fit ended. log: a logarithmic scale;
        by default where all losses are positive and the largest is at least 100 times the smallest.
        Raises ConfigError for a history without steps, an unknown language, or without matplotlib.

        >>> model = bp.Model(bp.Network(1, bp.Dense(1), "mean_squared_error"))
        >>> history = model.fit([[0.0], [1.0]], [[1.0], [0.0]], epochs=3, validation=([[0.5]], [[0.5]]))
        >>> history.figure().get_label()
        'Loss while training'
        """
        # Imported when it is called: figures import histories, so the reverse import at load time would be a circle.
        drawn: Figure = import_module("bpengine.explain.figures").loss_curve(self, log=log, lang=lang)
        return drawn

    def to_dict(self) -> dict[str, Any]:
        """Return everything but `end` as plain values for JSON; what is not finite is None.

        loss, learning_rate, step_size: lists, one number per step (step_size None where it was not tracked); epochs: those of
        `epoch_rows()`; stopped_by; rows_per_second.

        >>> model = bp.Model(bp.Network(1, bp.Dense(1), "mean_squared_error"))
        >>> sorted(model.fit([[0.0]], [[1.0]], steps=2).to_dict())
        ['epochs', 'learning_rate', 'loss', 'rows_per_second', 'step_size', 'stopped_by']
        """
        values = {"loss": self.loss, "learning_rate": self.learning_rate, "step_size": self.step_size}
        about = {"stopped_by": self.stopped_by, "rows_per_second": self.rows_per_second}
        return json_object({**values, "epochs": self.epoch_rows(), **about})

    def epoch_rows(self) -> list[dict[str, Any]]:
        """Return one dict per epoch, ready for a table: epoch, step, loss, learning_rate, seconds, validation_loss and so on.

        >>> model = bp.Model(bp.Network(1, bp.Dense(1), "mean_squared_error"))
        >>> history = model.fit([[0.0]], [[1.0]], epochs=2, validation=([[0.0]], [[1.0]]))
        >>> [row["epoch"] for row in history.epoch_rows()], "validation_loss" in history.epoch_rows()[0]
        ([1, 2], True)
        """
        return [epoch.to_row() for epoch in self.epochs]

    def rows(self) -> list[dict[str, Any]]:
        """Return `to_rows()`, which had this name before."""
        return self.to_rows()

    def to_rows(self) -> list[dict[str, Any]]:
        """Return one dict per step, ready for a table."""
        sizes = self.step_size if self.step_size is not None else [None] * self.steps
        zipped = zip(self.loss, self.learning_rate, sizes, strict=True)
        return [
            {"step": i + 1, "loss": float(a), "learning_rate": float(b), "step_size": c}
            for i, (a, b, c) in enumerate(zipped)
        ]


class GrowingArray:
    """A growing array of numbers, or of arrays of one shape; its memory doubles when it is full."""

    def __init__(self) -> None:
        self._memory: HostArray = np.empty(0)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    @property
    def values(self) -> HostArray:
        """The numbers so far, as a view."""
        return self._memory[: self._count]

    def adopt(self, values: HostArray) -> None:
        """Add numbers in an array that nobody else has: the first ones are kept where they lie."""
        if self._count or not values.flags.owndata or not values.flags.writeable:
            self.extend(values)
        else:
            self._memory, self._count = values, len(values)

    def trim(self) -> HostArray:
        """Give back the room for more, and return the numbers, which lie where no later ones will."""
        if len(self._memory) > self._count:
            self._memory = self.values.copy()
        return self._memory

    def extend(self, values: HostArray) -> None:
        """Add numbers; the first ones give the column its dtype."""
        count = self._count + len(values)
        if count > len(self._memory):
            shape = max(count, 2 * len(self._memory)), *values.shape[1:]
            memory = np.empty(shape, self._memory.dtype if self._count else values.dtype)
            if self._count:  # the memory gets its shape with the first numbers
                memory[: self._count] = self.values
            self._memory = memory
        self._memory[self._count : count] = values
        self._count = count

    def cut(self, count: int) -> None:
        """Drop all but the first `count` numbers; later ones are not written over those, which a history may have."""
        self._count = min(self._count, count)
        self._memory = self.values


class ScoreColumn:
    """A validation score of every epoch: a number or a table; some epochs may have none."""

    def __init__(self) -> None:
        self._values, self._scored = GrowingArray(), GrowingArray()

    def extend(self, values: HostArray, scored: HostArray) -> None:
        """Add the scores of epochs, and which of them have one."""
        self._values.extend(values)
        self._scored.extend(scored)

    def add(self, score: object, count: int, before: int) -> None:
        """Add a score of `count` epochs, None for none; `before` is the number of epochs before them."""
        value = np.zeros(self._values.values.shape[1:]) if score is None else np.asarray(score, dtype=float)
        missing = before - len(self._values)
        scored = np.repeat([False, score is not None], [missing, count])
        self.extend(np.broadcast_to(value, (missing + count, *value.shape)), scored)

    def at(self, epoch: int) -> object:
        """Return the score of an epoch, None where it has none."""
        return self._values.values[epoch].tolist() if self._scored.values[epoch] else None

    def cut(self, count: int) -> None:
        """Drop all but the scores of the first `count` epochs."""
        self._values.cut(count)
        self._scored.cut(count)

    def trimmed(self) -> ScoreColumn:
        """Return a column of these scores, to which nothing is added here."""
        column = ScoreColumn()
        column.extend(self._values.values, self._scored.values)
        return column

    def columns(self, name: str, count: int) -> dict[str, HostArray]:
        """Return the numbers of `count` epochs, as views: "validation/loss", and "scored/loss" where some have none."""
        values, scored = self._values.values[:count], self._scored.values[:count]
        return {f"{SCORE}{name}": values} | ({} if scored.all() else {f"{SCORED}{name}": scored})


class Epochs(Sequence[Epoch]):
    """The epochs of a fit, kept as columns: a million of them take some fifty megabytes."""

    NAMES = ("steps", "loss", "learning_rate", "seconds")

    def __init__(self) -> None:
        self._columns = {name: GrowingArray() for name in self.NAMES}
        self._scores: dict[str, ScoreColumn] = {}

    def __len__(self) -> int:
        return len(self._columns["seconds"])

    @overload
    def __getitem__(self, index: int) -> Epoch: ...
    @overload
    def __getitem__(self, index: slice) -> list[Epoch]: ...
    def __getitem__(self, index: int | slice) -> Epoch | list[Epoch]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        at = range(len(self))[index]
        every = {name: column.at(at) for name, column in self._scores.items()}
        scores = {name: score for name, score in every.items() if score is not None}
        values = {name: column.values[at].item() for name, column in self._columns.items()}
        return Epoch(number=at + 1, **values, validation=scores or None)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    def __repr__(self) -> str:
        return repr(list(self))

    def add(
        self, steps: HostArray, losses: HostArray, rates: HostArray, seconds: float, scores: dict[str, Any] | None
    ) -> None:
        """Add epochs of equal seconds and scores, by the steps taken so far, their losses and their last learning rates.

        The arrays are nobody else's.
        """
        count, before, new_scores = len(steps), len(self), scores or {}
        for name in dict.fromkeys([*self._scores, *new_scores]):
            self._scores.setdefault(name, ScoreColumn()).add(new_scores.get(name), count, before)
        values = (steps, losses, rates, np.full(count, seconds))
        for name, new in zip(self.NAMES, values, strict=True):  # an epoch that was interrupted does not count
            self._columns[name].adopt(new)

    def cut(self, steps: int) -> None:
        """Drop the epochs that end after step `steps`."""
        self.keep(int(np.searchsorted(self._columns["steps"].values, steps, side="right")))

    def keep(self, count: int) -> None:
        """Drop all but the first `count` epochs."""
        columns: list[GrowingArray | ScoreColumn] = [*self._columns.values(), *self._scores.values()]
        for column in columns:
            column.cut(count)

    def trimmed(self) -> Epochs:
        """Return these epochs, to which nothing is added here, without the room for more."""
        epochs = Epochs()
        for name, column in self._columns.items():
            epochs._columns[name].adopt(column.trim())
        epochs._scores = {name: scores.trimmed() for name, scores in self._scores.items()}
        return epochs

    def columns(self) -> dict[str, HostArray]:
        """Return the numbers by name, (epochs,) each: views, and validation scores as "validation/loss"."""
        named = {name: column.values[: len(self)] for name, column in self._columns.items()}
        for name, scores in self._scores.items():
            named |= scores.columns(name, len(self))
        return named

    @classmethod
    def from_columns(cls, columns: Mapping[str, HostArray]) -> Epochs:
        """Return the epochs that `columns()` came from."""
        epochs = cls()
        for name, values in columns.items():
            if name.startswith(SCORE):
                score = name.removeprefix(SCORE)
                scored = columns.get(f"{SCORED}{score}", np.ones(len(values), np.bool_))
                epochs._scores.setdefault(score, ScoreColumn()).extend(values, scored)
            elif not name.startswith(SCORED):
                epochs._columns[name].extend(values)
        return epochs


class Recorder:
    """Collects the reports of segments and turns them into a History."""

    def __init__(self) -> None:
        self._reports: dict[str, GrowingArray] = defaultdict(GrowingArray)  # what a step reports, and "rate"
        self._open: list[tuple[int, HostArray]] = []  # rows and shares of each run of steps of the open epoch
        self.epochs = Epochs()

    @classmethod
    def of(cls, history: History, opened: OpenEpoch) -> Recorder:
        """Return a recorder that continues where a history ended, which may be within an epoch."""
        recorder = cls()
        columns = {"rate": history.learning_rate, "step_size": history.step_size, "loss": history.loss}
        for name, values in columns.items():
            if values is not None and len(values):
                recorder._reports[name].extend(np.array(values))
        epochs = history.epochs if isinstance(history.epochs, Epochs) else Epochs()
        recorder.epochs = Epochs.from_columns({name: np.array(values) for name, values in epochs.columns().items()})
        recorder.epochs.keep(opened.epochs)
        if len(opened.shares):
            recorder._open = [(opened.rows, opened.shares)]
        return recorder

    @property
    def steps(self) -> int:
        """The number of steps recorded."""
        return len(self._reports["loss"])

    def add(self, reports: dict[str, HostArray], rates: HostArray, batch: int, shares: HostArray) -> None:
        """Add the reports of a run of steps, the rates they were given, their number of rows and `Segment.shares`.

        Reports and rates are nobody else's.
        """
        taken = len(reports["loss"])
        self._open.append((batch * taken, shares[:taken]))
        self._reports["rate"].adopt(rates if taken == len(rates) else rates[:taken])
        # the losses come last, since they determine the number of steps: `cut` drops an interrupted one
        for name in ("step_size", "loss"):
            if name in reports:
                values = reports[name]
                self._reports[name].adopt(values if values.ndim == 1 else values.reshape(taken))

    def cut(self, steps: int) -> None:
        """Drop the steps from `steps` on, and the epochs that end after it."""
        opened, began = self.opened(0.0), self.open_start
        for column in self._reports.values():
            column.cut(steps)
        self.epochs.cut(steps)
        ends = self.epochs.columns()["steps"]
        start = int(ends[-1]) if len(ends) else 0
        shares = opened.shares[: self.steps - start] if start == began else np.ones(self.steps - start)  # else dropped
        rows = round(opened.rows * len(shares) / len(opened.shares)) if len(opened.shares) else 0
        self._open = [(rows, shares)] if len(shares) else []

    def losses(self, first: int, count: int) -> HostArray:
        """Return the losses (count,) of the steps from `first` on, or as many as there are."""
        return self._reports["loss"].values[first : first + count]

    @property
    def open_rows(self) -> int:
        """The number of rows seen since the last epoch was closed."""
        return sum(rows for rows, _ in self._open)

    @property
    def open_start(self) -> int:
        """The first step of the epoch that is not closed."""
        return self.steps - sum(len(shares) for _, shares in self._open)

    def opened(self, seconds: float) -> OpenEpoch:
        """Return the open epoch, which has taken `seconds` so far."""
        shares = np.concatenate([np.empty(0), *(part for _, part in self._open)])
        return OpenEpoch(epochs=len(self.epochs), rows=self.open_rows, shares=shares, seconds=seconds)

    def close(self, count: int, seconds: float, validation: dict[str, Any] | None) -> None:
        """Add `count` epochs of equal length, which took `seconds` together, made of the steps since the last one.

        The loss of an epoch is the mean over its rows: each step's loss counts as often as its rows do, by their weights.
        """
        first = self.open_start
        losses = self._reports["loss"].values[first:].astype(float)
        parts = [part for _, part in self._open]
        shares = parts[0] if len(parts) == 1 else np.concatenate(parts)
        self._open = []
        means = losses if len(losses) == count else _means(losses.reshape(count, -1), shares.reshape(count, -1))
        length = len(losses) // count
        ends = np.arange(first + length, first + length * count + 1, length)
        last_rates = self._reports["rate"].values[first + length - 1 :: length].copy()
        self.epochs.add(ends, means, last_rates, seconds / count, validation)

    def columns(self) -> dict[str, HostArray]:
        """Return the numbers of the steps by name, (steps,) each: views, valid as long as nothing is cut."""
        return {name: column.values[: self.steps] for name, column in self._reports.items() if len(column)}

    def history(self, stopped_by: str) -> History:
        """Return everything that was recorded, at the end: the history has these arrays from now on."""
        loss, rates, sizes = (self._reports[name].trim() for name in ("loss", "rate", "step_size"))
        tracked = sizes if self._reports["step_size"] else None
        epochs = self.epochs.trimmed()
        return History(loss=loss, learning_rate=rates, step_size=tracked, epochs=epochs, stopped_by=stopped_by)


def _means(losses: HostArray, shares: HostArray) -> HostArray:
    """Return the mean loss (epochs,) of epochs whose steps (epochs, steps) count by their shares."""
    shares = np.where(np.sum(shares, axis=1, keepdims=True) > 0, shares, 1.0)  # steps of left-out rows alone
    means: HostArray = np.sum(losses * shares, axis=1) / np.sum(shares, axis=1)
    return means
