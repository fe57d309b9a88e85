"""The engine's goals, beside the values of a record."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any

from bpengine.backend import REDUCED
from bpengine.benchmark.fits.fit_workloads import FITS
from bpengine.benchmark.results.numbers import figures
from bpengine.benchmark.workloads import HUGE, MAIN, SUITES, WIDTHS, XOR, Workload

Record = dict[str, Any]
FASTEST = "the fastest peer"
FAST, COLD, JAX, SCAN = "numpy+fast", "numpy+fast, empty cache", "jax", "jax-scan"
NARROW = tuple(work for work in WIDTHS if work.sizes[0] <= 16)
MOST_ROWS = 8192  # of a batch, up to which the compiled step on a GPU is held to be ahead
GOAL_STEPS: tuple[Workload, ...] = (*MAIN, *NARROW, XOR)


@dataclass(frozen=True)
class Goal:
    """One goal: the ratio of a contender's time on a workload to another's, or the inverse, its speed.

    works: the workloads; for several, the mean of the speeds. rival: a contender, `FASTEST`, or "" for seconds. part: "turn",
    the workload's own measure; "fits", the fits without the start of their process; "later", those after the first of each
    network. at_most, at_least: the limit, of time or of speed. device: the kind of device for which the goal is set.

    >>> goal = Goal("a whole fit", ("fit-large",), "numpy+fast", FASTEST, at_most=1.0)
    >>> goal.wanted, goal.reached({"fits": [], "workloads": []})
    ('time <= 1', None)
    """

    what: str
    works: tuple[str, ...]
    own: str
    rival: str
    _: KW_ONLY
    part: str = "turn"
    at_most: float | None = None
    at_least: float | None = None
    device: str = "cpu"

    @property
    def wanted(self) -> str:
        """The limit as text."""
        if self.at_least is not None:
            return f"speed >= {figures(self.at_least)}"
        assert self.at_most is not None
        return f"time <= {figures(self.at_most)}" if self.rival else f"<= {figures(self.at_most)} s"

    def reached(self, record: Record) -> float | None:
        """Return the value in a record: a ratio or seconds, the median over the rounds; None where it was not measured."""
        values = [self._reached(record, name) for name in self.works]
        known = [value for value in values if value is not None]
        return statistics.fmean(known) if known and len(known) == len(values) else None

    def is_met(self, value: float) -> bool:
        """Return whether a value is within the limit."""
        return value >= self.at_least if self.at_least is not None else value <= (self.at_most or 0.0)

    def asked(self, record: Record) -> bool:
        """Return whether a record is of this goal's device and has all its workloads.

        Runs on a GPU are cut into parts by precision: there both contenders must have taken part.
        """
        device = record.get("device", "cpu")
        if device != self.device or (device == "gpu" and not {self.own, self.rival} <= record["contenders"].keys()):
            return False
        return set(self.works) <= {work["name"] for work in _works(record)}

    def _reached(self, record: Record, name: str) -> float | None:
        work = next((work for work in _works(record) if work["name"] == name), None)
        results = {n: r for n, r in work["results"].items() if r["valid"]} if work else {}
        rival = self.rival
        if rival == FASTEST:
            peers = {n: statistics.median(self._times(r)) for n, r in results.items() if not r["own"]}
            rival = min(peers, key=peers.__getitem__, default=FASTEST)
        if self.own not in results or (rival and rival not in results):
            return None
        networks = len(work.get("sizes", [()])) if work else 1
        own = self._times(results[self.own], networks)
        if not rival:
            return statistics.median(own)
        pairs = zip(own, self._times(results[rival], networks), strict=True)
        return statistics.median(b / a if self.at_least is not None else a / b for a, b in pairs)

    def _times(self, result: Record, networks: int = 1) -> Sequence[float]:
        if self.part == "turn":
            seconds: list[float] = result["seconds"]
            return seconds
        first = networks if self.part == "later" else 0
        return [sum(pieces[first:]) for pieces in result["fit_seconds"]]


def goal_table(record: Record) -> tuple[list[str], list[list[str]]]:
    """Return heads and rows of the table of goals: those whose workloads the record has; a dash where one was not measured."""
    lines = []
    for goal in (goal for goal in (*GOALS, *GPU_GOALS) if goal.asked(record)):
        value = goal.reached(record)
        cells = ["-", "not measured"] if value is None else [figures(value), "yes" if goal.is_met(value) else "no"]
        lines.append([goal.what, goal.own, goal.rival, goal.wanted, *cells])
    return ["goal", "contender", "compared with", "wanted", "reached", "met"], lines


def _works(record: Record) -> list[Record]:
    return [*record.get("fits", []), *record["workloads"]]


def _goals() -> Iterator[Goal]:
    yield Goal("a process, digits, 1,800 steps", ("fit-digits",), FAST, "", at_most=0.35)
    yield Goal("a process, digits, 1,800 steps", ("fit-digits",), FAST, FASTEST, at_most=1 / 3)
    for name, what in (("fits-same", "20 small fits of one size"), ("fits-sizes", "20 small fits of four sizes")):
        for rival, limit in (("sklearn", 0.7), ("torch", 0.3)):
            yield Goal(what, (name,), FAST, rival, part="fits", at_most=limit)
            yield Goal(f"{what}, after the first", (name,), JAX, rival, part="later", at_most=limit)
    yield Goal("60,000 rows of 784, five epochs", ("fit-large",), FAST, FASTEST, at_most=1.0)
    yield Goal("fit again and again, from the third call on", ("fit-again",), FAST, SCAN, at_least=1.3)
    yield Goal("import and 100 steps", ("fit-first",), COLD, "numpy", at_most=1.1)
    for own, limit in ((FAST, 1.0), (JAX, 0.98)):
        for work in MAIN:
            yield Goal(f"steps, {work.name}", (work.name,), own, SCAN, at_least=limit)
    yield Goal("steps, the mean of the five", tuple(work.name for work in MAIN), FAST, SCAN, at_least=1.1)
    for work in (*NARROW, XOR):
        yield Goal(f"steps, {work.name}", (work.name,), FAST, SCAN, at_least=0.95)


def _gpu_goals() -> Iterator[Goal]:
    """Yield those of the compiled step on an NVIDIA GPU: ahead of others in the same precision, level where products rule."""
    for suffix in ("", *(f"-{precision}" for precision in REDUCED)):
        for work in (work for work in SUITES["gpu"] if work.batch <= MOST_ROWS):
            for rival in (f"torch-graph{suffix}", f"{SCAN}{suffix}"):
                limit = 0.97 if work is HUGE else 1.0
                yield Goal(f"steps, {work.name}", (work.name,), f"cupy{suffix}", rival, at_least=limit, device="gpu")


GOALS = tuple(_goals())
GPU_GOALS = tuple(_gpu_goals())
assert {name for goal in GOALS for name in goal.works} <= {*FITS, *(work.name for work in GOAL_STEPS)}
