"""The result of many fits: their models and histories, and a table of their scores."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any, overload

from bpengine.errors import ConfigError
from bpengine.i18n.counted_nouns import count_of
from bpengine.i18n.language import localized
from bpengine.model import Model
from bpengine.output.json_values import json_object
from bpengine.output.rich_form import rows_table, title, words
from bpengine.output.tabular import TabularResult
from bpengine.text_table import text_table
from bpengine.training.history import History
from bpengine.training.metrics.choice import AnyMetric, lowered
from bpengine.training.optimizers import Optimizer
from bpengine.training.schedules import Constant


@dataclass(frozen=True, kw_only=True)
class OneFit:
    """One fit: its settings, the trained model, its history, and its scores.

    scores: those of the validation rows, by name, for the model's final state (the best epoch's where a rule restored it);
    empty without validation rows. score: the one that is compared, NaN for a failed fit. fold: the number of the fold from 0,
    None without folds. error: why the fit failed, "" where it did not; a failed model has its last good parameters.

    >>> xor = bp.data.load("xor")
    >>> network = bp.Network(2, [bp.Dense(3, "tanh"), bp.Dense(1)], "mean_squared_error")
    >>> one = bp.fit_many(network, xor.x, xor.y, seeds=[7], epochs=2)[0]
    >>> isinstance(one, bp.OneFit), one.seed, one.history.steps
    (True, 7, 2)
    """

    number: int
    network: str
    optimizer: Optimizer
    l2: float | None
    seed: int
    fold: int | None
    model: Model
    history: History
    scores: dict[str, Any]
    score: float
    seconds: float
    error: str = ""

    @property
    def setting(self) -> dict[str, Any]:
        """The settings that this fit shares with those of other seeds and folds.

        >>> xor = bp.data.load("xor")
        >>> network = bp.Network(2, [bp.Dense(3, "tanh"), bp.Dense(1)], "mean_squared_error")
        >>> bp.fit_many(network, xor.x, xor.y, optimizers=bp.SGD(0.1), epochs=2)[0].setting
        {'network': '2-3-1', 'optimizer': 'SGD(0.1)'}
        """
        l2 = {} if self.l2 is None else {"l2": self.l2}
        return {"network": self.network, "optimizer": _rule_in_words(self.optimizer), **l2}

    def to_row(self) -> dict[str, Any]:
        """Return the fit as one row of a table."""
        rate, epochs = self.optimizer.schedule, self.history.epochs
        return {
            "fit": self.number,
            **self.setting,
            "learning_rate": rate.value if isinstance(rate, Constant) else str(rate),
            "seed": self.seed,
            **({} if self.fold is None else {"fold": self.fold}),
            "epochs": len(epochs),
            "steps": self.history.steps,
            "loss": epochs[-1].loss if epochs else math.nan,
            **{f"validation_{name}": value for name, value in self.scores.items() if isinstance(value, float)},
            "score": self.score,
            "seconds": self.seconds,
            "stopped_by": self.history.stopped_by,
            "error": self.error,
        }


@dataclass(frozen=True, repr=False)
class ManyFits(TabularResult, Sequence[OneFit]):
    """The fits of one call of `fit_many`, in the order of the grid, and the best of them.

    fits: one `OneFit` each. watched: the score by which they are compared. seconds: the time of the whole call.

    >>> xor = bp.data.load("xor")
    >>> network = bp.Network(2, [bp.Dense(3, "tanh"), bp.Dense(1)], "mean_squared_error")
    >>> many = bp.fit_many(network, xor.x, xor.y, seeds=3, l2=[0, 0.1], epochs=2)
    >>> isinstance(many, bp.ManyFits), len(many.models), many.best.score == min(fit.score for fit in many)
    (True, 6, True)
    >>> [row["l2"] for row in many.to_rows()]
    [0.0, 0.0, 0.0, 0.1, 0.1, 0.1]
    """

    fits: tuple[OneFit, ...]
    watched: AnyMetric
    seconds: float

    def __len__(self) -> int:
        return len(self.fits)

    @overload
    def __getitem__(self, index: int) -> OneFit: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[OneFit, ...]: ...
    def __getitem__(self, index: int | slice) -> OneFit | tuple[OneFit, ...]:
        return self.fits[index]

    def __iter__(self) -> Iterator[OneFit]:
        return iter(self.fits)

    def _html_parts(self) -> list[str]:
        return [title(localized(repr(self))), rows_table(self.to_rows())]

    def __repr__(self) -> str:
        return (
            f"ManyFits({count_of(len(self), 'fit')}, {count_of(len(self.summary()), 'setting')}, compared by "
            f"{self.watched.name!r})"
        )

    @property
    def models(self) -> tuple[Model, ...]:
        """The trained models, in the order of the fits."""
        return tuple(fit.model for fit in self.fits)

    @property
    def best(self) -> OneFit:
        """The fit with the best score; raise ConfigError where all have failed.

        Among many seeds the best score is partly chance: `summary` compares settings by their means.
        """
        ended = [fit for fit in self.fits if math.isfinite(fit.score)]
        if not ended:
            raise ConfigError(
                f"the best of {len(self)} fits requires one that did not fail, got none. {self.fits[0].error}"
            )
        return min(ended, key=lambda fit: lowered(self.watched, fit.score))

    def to_rows(self) -> list[dict[str, Any]]:
        """Return one dict per fit, ready for a table."""
        rows = [fit.to_row() for fit in self.fits]
        names = dict.fromkeys(name for row in rows for name in row)
        return [{name: row.get(name, math.nan) for name in names} for row in rows]

    def to_dict(self) -> dict[str, Any]:
        """Return the rows, the name of the compared score and the seconds, as plain values for JSON."""
        return json_object({"fits": self.to_rows(), "watched": self.watched.name, "seconds": self.seconds})

    def summary(self) -> list[dict[str, Any]]:
        """Return one dict per setting, the best mean first: the mean and the spread of the score over seeds and folds.

        "mean" and "spread" (the sample standard deviation, NaN for one fit) are those of the fits that did not fail; "fits"
        and "failed" are numbers of fits. Settings with failed fits come after those without.
        """
        groups: dict[tuple[Any, ...], list[OneFit]] = {}
        for fit in self.fits:
            groups.setdefault(tuple(fit.setting.items()), []).append(fit)
        rows = [{**dict(setting), **spread_of([fit.score for fit in group])} for setting, group in groups.items()]
        return sorted(rows, key=self._rank)

    def _rank(self, row: dict[str, Any]) -> tuple[bool, bool, float]:
        none = math.isnan(row["mean"])
        return none, row["failed"] > 0, 0.0 if none else lowered(self.watched, row["mean"])

    def __str__(self) -> str:
        """Return the summary as text, and which fit is best."""
        rows, score = self.summary(), self.watched.name
        heads = [
            *self.fits[0].setting,
            score,
            "spread",
            "fits",
            *(["failed"] if any(r["failed"] for r in rows) else []),
        ]
        cells = [[_cell(row[{score: "mean"}.get(head, head)]) for head in heads] for row in rows]
        lines = text_table(words(heads), cells)
        if any(math.isfinite(fit.score) for fit in self.fits):
            best = self.best
            fold = "" if best.fold is None else f", fold {best.fold}"
            what = ", ".join(_cell(value) for value in best.setting.values())
            lines.append(
                localized(f"best: fit {best.number} ({what}, seed {best.seed}{fold}), {score} {best.score:.6g}")
            )
        return "\n".join(lines)


def spread_of(scores: Sequence[float]) -> dict[str, Any]:
    """Return the mean of scores, their spread (the sample standard deviation), and how many are finite and how many not."""
    ended = [score for score in scores if math.isfinite(score)]
    return {
        "mean": statistics.fmean(ended) if ended else math.nan,
        "spread": statistics.stdev(ended) if len(ended) > 1 else math.nan,
        "fits": len(ended),
        "failed": len(scores) - len(ended),
    }


def _cell(value: object) -> str:
    if isinstance(value, float):
        return "-" if math.isnan(value) else f"{value:.6g}"
    return str(value)


def _rule_in_words(optimizer: Optimizer) -> str:
    """Return a rule with its rate, and those options that differ from the defaults."""
    rate = optimizer.schedule
    usual = {f.name: f.default for f in fields(optimizer)}
    options = [f"{name}={value:g}" for name, value in optimizer.options().items() if value != usual.get(name)]
    first = f"{rate.value:g}" if isinstance(rate, Constant) else str(rate)
    return f"{type(optimizer).__name__}({', '.join([first, *options])})"
