"""Measurements: all results of a run, by contender and workload."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

from bpengine.benchmark.contender_results import ContenderResult, disagreements
from bpengine.benchmark.fits.fit_results import FitTrial
from bpengine.benchmark.floors.cost import StepCost
from bpengine.benchmark.floors.roofline import Limits
from bpengine.benchmark.workloads import Workload
from bpengine.i18n.counted_nouns import count_of
from bpengine.i18n.language import localized
from bpengine.output.json_values import json_object
from bpengine.output.rich_form import cell_text, lines, rows_table, title, words
from bpengine.output.tabular import TabularResult
from bpengine.text_table import text_table


@dataclass(kw_only=True)
class Trial:
    """One workload: the cost of a step, each contender's result, failure and memory, on a GPU the launches of a step."""

    workload: Workload
    steps: int
    cost: StepCost
    results: dict[str, ContenderResult]
    failures: dict[str, str]
    memory: dict[str, dict[str, Any]]
    clocks: dict[str, str] = field(default_factory=dict)  # state of the GPU, right after the turns
    launches: dict[str, dict[str, Any] | None] = field(default_factory=dict)


@dataclass
class RunMeasurements(TabularResult):
    """The measurements of a run by contender (`about`, `missing`), workload (`trials`, `left_out`), precision (`limits`).

    fits: those of whole fits, by workload.

    >>> from bpengine.benchmark import RunMeasurements
    >>> RunMeasurements(missing={"torch": "PyTorch is not installed."}).to_rows()  # no workload was run
    []
    """

    about: dict[str, dict[str, Any]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    trials: dict[str, Trial] = field(default_factory=dict)
    limits: dict[str, Limits] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    _: KW_ONLY
    fits: dict[str, FitTrial] = field(default_factory=dict)

    def to_rows(self) -> list[dict[str, Any]]:
        """Return one dict per workload and contender: milliseconds per step, samples per second, loss, and any fault."""
        rows = []
        for trial in self.trials.values():
            work, wrong = trial.workload, disagreements(list(trial.results.values()), trial.workload.dtype)
            for name, result in trial.results.items():
                seconds = result.step_seconds
                speed = {"ms_per_step": 1e3 * seconds, "samples_per_second": work.batch / seconds}
                rows.append(
                    {"workload": work.name, "contender": name, **speed, "loss": result.loss, "problem": wrong.get(name)}
                )
            failed = {"ms_per_step": None, "samples_per_second": None, "loss": None}
            rows += [
                {"workload": work.name, "contender": n, **failed, "problem": why} for n, why in trial.failures.items()
            ]
        return rows

    def fit_rows(self) -> list[dict[str, Any]]:
        """Return one dict per workload of whole fits and contender: seconds, CPU seconds, loss, and any fault."""
        return [row for trial in self.fits.values() for row in trial.rows()]

    def to_dict(self) -> dict[str, Any]:
        """Return rows, missing contenders and omitted workloads, as plain values for JSON; `record.make` has all."""
        return json_object(
            {"fits": self.fit_rows(), "results": self.to_rows(), "missing": self.missing, "left_out": self.left_out}
        )

    def __str__(self) -> str:
        tables = [line for rows in (self.fit_rows(), self.to_rows()) for line in _text(rows)]
        return "\n".join([localized(self._headline()), *tables, *self._absent()])

    def _headline(self) -> str:
        names = {*self.about, *(name for trial in self.fits.values() for name in trial.about)}
        return f"benchmark: {count_of(len(names), 'contender')} on {count_of(len(self.fits) + len(self.trials), 'workload')}"

    def _absent(self) -> list[str]:
        return [localized(f"not run: {name}: {why}") for name, why in {**self.missing, **self.left_out}.items()]

    def _html_parts(self) -> Iterator[str]:
        yield from (title(localized(self._headline())), *self._tables(), lines(self._absent()))

    def _tables(self) -> list[str]:
        return [rows_table(rows, most=200) for rows in (self.fit_rows(), self.to_rows()) if rows]

    def limits_of(self, precision: str) -> Limits:
        """Return the limits of a precision, to which measurements are added."""
        return self.limits.setdefault(precision, Limits())


def _text(rows: list[dict[str, Any]]) -> list[str]:
    return text_table(words(rows[0]), [[cell_text(value) for value in row.values()] for row in rows]) if rows else []
