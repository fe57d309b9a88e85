"""The rounds of one workload: each contender loads it, warms up, and trains once in each round."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from bpengine.benchmark.contender_results import ContenderResult
from bpengine.benchmark.contenders import in_place
from bpengine.benchmark.processes.process import Process, WorkerFailed
from bpengine.benchmark.turns import Rotation
from bpengine.benchmark.workloads import Workload
from bpengine.errors import in_english

LONGEST = 6  # the slowest contender's turn takes at most about this many times the requested length
LAZY_SECONDS, LAZY_TURNS = 2.0, 3  # the least warm-up of a contender that compiles while it trains


@dataclass
class Rounds:
    """The contenders of a workload, their results, and the reasons of those that failed."""

    workload: Workload
    processes: dict[str, Process]
    results: dict[str, ContenderResult] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)

    def load(self, folder: str, say: Callable[[str], None]) -> None:
        """Have every contender read the sample and train an epoch."""
        for number, (name, process) in enumerate(self.processes.items(), 1):
            say(in_place("first steps", process.contender.title, number, len(self.processes)))
            try:
                first = process.ask(do="load", workload=self.workload.to_dict(), folder=folder)
                self.results[name] = ContenderResult(
                    name=name, first_seconds=first["first_seconds"], precision=process.contender.precision
                )
            except WorkerFailed as error:
                self._fail(name, error)

    def warm_up(self, turn_seconds: float, say: Callable[[str], None]) -> int:
        """Make each contender train untimed; return the number of steps that take about `turn_seconds`."""
        trial, seconds = self.workload.steps or self.workload.epoch_steps, []
        for number, name in enumerate(list(self.results), 1):
            contender = self.processes[name].contender
            say(in_place("warming up", contender.title, number, len(self.results)))
            spent = [self.take(name, trial)]
            while contender.lazy and (sum(spent) < LAZY_SECONDS or len(spent) < LAZY_TURNS):
                spent.append(self.take(name, trial))
            seconds += [s for s in spent[-1:] if not math.isnan(s)]
        for result in self.results.values():
            result.forget()
        if self.workload.steps or not seconds:
            return trial
        epochs = min(math.ceil(turn_seconds / min(seconds)), math.floor(LONGEST * turn_seconds / max(seconds)))
        return trial * max(1, epochs)

    def play(self, steps: int, rotation: Rotation, say: Callable[[str, float], None]) -> None:
        """Run the rounds; `say` hears whose turn it is, and which share of the rounds is done."""
        names = list(self.results)
        for turn in rotation.turns(names, self._own_spreads):
            title = self.processes[turn.contender].contender.title
            say(in_place(f"{turn.round_name}, {steps} steps", title, turn.place, len(names)), turn.share)
            self.take(turn.contender, steps)

    def _own_spreads(self) -> list[float]:
        return [result.spread for name, result in self.results.items() if self.processes[name].contender.own]

    def take(self, name: str, steps: int) -> float:
        """Make one contender train; return its seconds, or nan when it fails or has failed before."""
        if name in self.failures:
            return math.nan
        try:
            answer = self.processes[name].ask(do="turn", steps=steps)
        except WorkerFailed as error:
            self._fail(name, error)
            return math.nan
        self.results[name].add(steps, answer)
        return float(answer["seconds"])

    def _fail(self, name: str, error: WorkerFailed) -> None:
        self.failures[name] = in_english(error)
        self.results.pop(name, None)
