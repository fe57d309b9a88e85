"""A contender's result on one workload: the seconds and losses of its turns; ratios of speed, and whether losses agree."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

# How far rounding the operands of products to tf32 or bfloat16 changes a loss; it averages out over rows and units. Measured
# on 64-64-64-10 and 784-512-256-10, Adam, 16 to 16,384 steps: at most 1.8e-5 sqrt(steps), relative. A learning rate twice as
# large: at least 6e-4 sqrt(steps).
REDUCED_EPS = 2.0**-18


@dataclass(kw_only=True)
class ContenderResult:
    """One contender on one workload: the seconds of each turn, the loss it reached and the memory it used then.

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
        """Drop the turns so far, which were the warm-up."""
        self.seconds, self.losses, self.resident, self.device_seconds = [], [], [], []
        self.idle_cpu_seconds = 0.0

    @property
    def step_seconds(self) -> float:
        """The median of the seconds per step."""
        return statistics.median(self.seconds) / self.steps

    @property
    def device_step_seconds(self) -> float | None:
        """The median of the seconds per step by the device's events; None where a turn has none."""
        known = [seconds for seconds in self.device_seconds if seconds is not None]
        return statistics.median(known) / self.steps if known and len(known) == len(self.seconds) else None

    @property
    def shortest_step(self) -> float:
        """The seconds of a step in the fastest turn, to compare with floors, which are shortest times as well."""
        return min(self.seconds) / self.steps

    @property
    def spread(self) -> float:
        """The slowest less the fastest turn, over the median."""
        return (max(self.seconds) - min(self.seconds)) / statistics.median(self.seconds)

    @property
    def loss(self) -> float:
        """The loss, over all turns, that differs most from that of the first turn: all should be equal."""
        return max(self.losses, key=lambda loss: abs(loss - self.losses[0]))


def speed_ratio(result: ContenderResult, reference: ContenderResult) -> float:
    """Return the ratio of samples per second to that of the reference: the median over the rounds."""
    return statistics.median(theirs / ours for ours, theirs in zip(result.seconds, reference.seconds, strict=True))


def loss_tolerance(dtype: str, steps: int, precision: str = "full") -> float:
    """Bound the relative difference of two losses after so many steps, with a margin: roundings add up like a random walk."""
    eps = float(np.finfo(dtype).eps) if precision == "full" else REDUCED_EPS
    return 64.0 * eps * math.sqrt(steps)


def disagreements(results: Sequence[ContenderResult], dtype: str, rounding: float = 0.0) -> dict[str, str]:
    """Return the contenders whose loss differs from the median loss, with both numbers: their times are not comparable.

    The median is that of the contenders that multiply in the full precision of the dtype, where there are any; the others
    have a larger tolerance, as they compute with fewer bits. rounding: a measured relative difference that is allowed too.
    """
    if not results:
        return {}
    middle = statistics.median(r.loss for r in [r for r in results if r.precision == "full"] or results)
    return {
        result.name: f"loss {result.loss:.6g} after {result.steps} steps, the others {middle:.6g}"
        for result in results
        if not abs(result.loss - middle)
        <= max(rounding, loss_tolerance(dtype, result.steps, result.precision)) * abs(middle)
    }
