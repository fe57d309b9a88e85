"""Measurements: the times, losses and memory of the contenders' turns, and whether their losses agree."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bpengine.benchmark.floors.cost import StepCost
from bpengine.benchmark.floors.roofline import Limits
from bpengine.benchmark.workloads import Workload
from bpengine.output.frames import data_frame
from bpengine.output.json_values import json_object
from bpengine.output.rich_form import RichForm, cell_text, lines, rows_table, title
from bpengine.text_table import text_table

# How far rounding the operands of products to tf32 or bfloat16 changes a loss; it averages out over rows and units. Measured
# on 64-64-64-10 and 784-512-256-10, Adam, 16 to 16,384 steps: at most 1.8e-5 sqrt(steps), relative. A learning rate twice as
# large: at least 6e-4 sqrt(steps).
REDUCED_EPS = 2.0**-18


@dataclass(kw_only=True)
class ContenderResult:
    """One contender on one workload: the seconds of each turn, the loss it reached and the memory it held then.

    device_seconds: the same by the device's own events, None where the library has none.
    """

    name: str
    first_seconds: float
    steps: int = 0
    seconds: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    resident: list[int | None] = field(default_factory=list)
    idle_cpu_seconds: float = 0.0
    precision: str = "full"
    device_seconds: list[float | None] = field(default_factory=list)

    def add(self, steps: int, answer: Mapping[str, Any]) -> None:
        """Add a turn."""
        self.steps = steps
        self.seconds.append(float(answer["seconds"]))
        self.losses.append(float(answer["loss"]))
        self.resident.append(answer["resident"])
        self.device_seconds.append(answer.get("device_seconds"))
        self.idle_cpu_seconds += float(answer["idle_cpu_seconds"])

    def forget(self) -> None:
        """Drop the turns so far: they were the warm-up."""
        self.seconds, self.losses, self.resident, self.device_seconds = [], [], [], []
        self.idle_cpu_seconds = 0.0

    @property
    def step_seconds(self) -> float:
        """The median of the seconds that a step took."""
        return statistics.median(self.seconds) / self.steps

    @property
    def device_step_seconds(self) -> float | None:
        """The median of the seconds that a step took by the device's events; None where a turn has none."""
        known = [seconds for seconds in self.device_seconds if seconds is not None]
        return statistics.median(known) / self.steps if known and len(known) == len(self.seconds) else None

    @property
    def shortest_step(self) -> float:
        """The seconds of a step in the fastest turn, to compare with floors, which are shortest times as well."""
        return min(self.seconds) / self.steps

    @property
    def loss(self) -> float:
        """The loss after a turn that is farthest from that of the first turn: all should be the same."""
        return max(self.losses, key=lambda loss: abs(loss - self.losses[0]))


@dataclass(kw_only=True)
class Trial:
    """One workload: the cost of a step, each contender's result, failure and memory."""

    workload: Workload
    steps: int
    cost: StepCost
    results: dict[str, ContenderResult]
    failures: dict[str, str]
    memory: dict[str, dict[str, Any]]
    clocks: dict[str, str] = field(default_factory=dict)  # of the GPU, right after the turns


@dataclass
class RunMeasurements(RichForm):
    """The measurements of a run by contender (`about`, `missing`), workload (`trials`, `left_out`), precision (`limits`).

    >>> from bpengine.benchmark import RunMeasurements
    >>> RunMeasurements(missing={"torch": "PyTorch is not installed."}).to_rows()  # no workload was run
    []
    """

    about: dict[str, dict[str, Any]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    trials: dict[str, Trial] = field(default_factory=dict)
    limits: dict[str, Limits] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    def to_rows(self) -> list[dict[str, Any]]:
        """Return one dict per workload and contender: milliseconds per step, samples per second, loss, and what is wrong."""
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

    def to_dict(self) -> dict[str, Any]:
        """Return the rows, what is missing and what was left out, as plain values for JSON; `record.make` keeps all of it."""
        return json_object({"results": self.to_rows(), "missing": self.missing, "left_out": self.left_out})

    def to_frame(self) -> Any:
        """Return `to_rows()` as a pandas data frame; raise ConfigError where pandas is not installed."""
        return data_frame(self.to_rows(), "RunMeasurements")

    def __str__(self) -> str:
        rows = self.to_rows()
        heads = list(rows[0]) if rows else []
        table = text_table(heads, [[cell_text(value) for value in row.values()] for row in rows]) if rows else []
        return "\n".join([self._headline(), *table, *self._absent()])

    def _headline(self) -> str:
        return f"{len(self.about)} contenders on {len(self.trials)} workloads"

    def _absent(self) -> list[str]:
        return [f"not run: {name}: {why}" for name, why in {**self.missing, **self.left_out}.items()]

    def _html_parts(self) -> Iterator[str]:
        yield from (title(self._headline()), rows_table(self.to_rows(), most=200), lines(self._absent()))

    def limits_of(self, precision: str) -> Limits:
        """Return the limits of a precision, to be added to."""
        return self.limits.setdefault(precision, Limits())


def speed_ratio(result: ContenderResult, reference: ContenderResult) -> float:
    """Return how many times as many samples per second as the reference: the median over the rounds."""
    return statistics.median(theirs / ours for ours, theirs in zip(result.seconds, reference.seconds, strict=True))


def loss_tolerance(dtype: str, steps: int, precision: str = "full") -> float:
    """Bound the relative difference of two losses after so many steps: roundings add up like a random walk; with a margin."""
    eps = float(np.finfo(dtype).eps) if precision == "full" else REDUCED_EPS
    return 64.0 * eps * math.sqrt(steps)


def disagreements(results: Sequence[ContenderResult], dtype: str) -> dict[str, str]:
    """Return the contenders whose loss differs from the median loss, with both numbers: their times mean nothing.

    The median is that of the contenders that multiply in the full precision of the dtype, where there are any; the others
    have a larger tolerance, as they compute with fewer bits.
    """
    if not results:
        return {}
    middle = statistics.median(r.loss for r in [r for r in results if r.precision == "full"] or results)
    return {
        result.name: f"loss {result.loss:.6g} after {result.steps} steps, the others {middle:.6g}"
        for result in results
        if not abs(result.loss - middle) <= loss_tolerance(dtype, result.steps, result.precision) * abs(middle)
    }
