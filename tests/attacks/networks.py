"""Random networks, trained as they are written and compiled, with random settings: the same bits, whatever they are.

    python -m tests.attacks.networks --seconds 1800 --seed 0

Prints the seed, how many fits were compared and what differed. A case is drawn by (seed, number) alone; `--number` runs it
again. Exit code 1 where a number differs, or anything but a clear error is raised; the case is then made as small as it goes
and kept in `kept_networks.json`.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
from bpengine_numpy import NumpyBackend
from hypothesis import strategies as st

import bpengine as bp
from bpengine import io
from bpengine.errors import BpError
from bpengine.kernels._functions import LONGEST
from tests.attacks.running import run
from tests.check.random_networks import Sample, samples
from tests.sweep import ONCE

KEPT = Path(__file__).with_name("kept_networks.json")
SLOWEST = 60.0, 600.0  # seconds of this process that a case may take, which may compile; and of the clock
RULES: list[Callable[[], Any]] = [
    *(lambda: bp.SGD(0.1), lambda: bp.Momentum(0.05), lambda: bp.Nesterov(0.05), lambda: bp.RMSProp(0.01)),
    *(lambda: bp.Adam(0.01), lambda: bp.AdamW(0.01)),
]


@dataclass(frozen=True)
class Case:
    """A network with its rows, and how it is trained."""

    sample: Sample
    dtype: str
    rule: int
    settings: dict[str, Any]
    columns: bool  # parameters are given in column order
    many: int  # rows that the sample's are repeated to, 0 for as many as it has

    def fit(self, patience: float) -> tuple[dict[str, Any], str]:
        """Train; return everything that training leaves, and what it raised."""
        backend = NumpyBackend(self.dtype)
        if backend._compiled:
            backend._compiled._patience = patience
        model = self.sample.model(backend, self.dtype)
        if self.columns:
            model.parameters = {name: np.asfortranarray(array) for name, array in model.parameters.items()}
        x, y, weights = (self._rows(array) for array in self.sample.data())
        raised, losses = "", np.empty(0)
        try:
            losses = model.fit(x, y, optimizer=RULES[self.rule](), weights=weights, **self.settings).loss
        except BpError as error:
            raised = f"{type(error).__name__}: {error}"
        return {"losses": losses, **model.parameters, **model.running}, raised

    def to_json(self) -> dict[str, Any]:
        """Return the case as plain values."""
        sample = {**vars(self.sample), "network": io.describe(self.sample.network)}
        return {**vars(self), "sample": sample}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Case:
        """Return the case that some plain values are of."""
        sample = Sample(**{**value["sample"], "network": io.build(value["sample"]["network"])})
        return cls(**{**value, "sample": sample})

    def simpler(self) -> Iterator[Case]:
        """Yield cases that are simpler in one thing."""
        network = self.sample.network
        for k in range(len(network.layers) - 1):
            with contextlib.suppress(BpError):
                layers = [*network.layers[:k], *network.layers[k + 1 :]]
                simpler = bp.Network(network.inputs, layers, network.loss, network.penalties)
                yield replace(self, sample=replace(self.sample, network=simpler))
        if network.penalties:
            simpler = bp.Network(network.inputs, network.layers, network.loss)
            yield replace(self, sample=replace(self.sample, network=simpler))
        for name in self.settings.keys() - {"epochs"}:
            yield replace(self, settings={key: value for key, value in self.settings.items() if key != name})
        if self.settings["epochs"] > 1:
            yield replace(self, settings={**self.settings, "epochs": 1})
        if self.sample.rows > 1:
            yield replace(self, sample=replace(self.sample, rows=self.sample.rows // 2))
        plain = {"columns": False, "many": 0, "rule": 0}
        yield from (replace(self, **{name: value}) for name, value in plain.items() if getattr(self, name) != value)
        for name in ("weighted", "soft"):
            if getattr(self.sample, name):
                yield replace(self, sample=replace(self.sample, **{name: False}))

    def _rows(self, array: Any) -> Any:
        return np.resize(array, (self.many, *array.shape[1:])) if self.many and array is not None else array


@dataclass
class Report:
    """What came of an attack."""

    seed: int
    fits: int = 0
    refused: int = 0
    failures: list[str] = field(default_factory=list)
    smallest: list[Case] = field(default_factory=list)

    def __str__(self) -> str:
        summary = f"{self.fits} fits, compiled and as written, seed {self.seed}: {len(self.failures)} failures"
        return "\n".join([f"{summary} ({self.refused} ended in the same error both ways)", *self.failures])


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Draw a case; sequential updates where no parameters are shared."""
    sample = draw(samples())
    names = list(sample.model().parameters)
    shared = len(sample.network.spread(dict.fromkeys(names))) > len(names)
    settings: dict[str, Any] = {
        "epochs": draw(st.integers(1, 3)),
        "batch_size": draw(st.sampled_from([None, 1, 2, 5])),
        "clip_norm": draw(st.sampled_from([None, None, 0.5])),
        "shuffle": draw(st.booleans()),
        "accumulate": draw(st.sampled_from([1, 1, 2])),
        "track_step_size": draw(st.sampled_from([None, True])),
    }
    if settings["clip_norm"] is None and settings["accumulate"] == 1 and not shared and draw(st.booleans()):
        settings["update"] = "sequential"
    if names and draw(st.booleans()):
        settings["only"] = draw(st.sampled_from(names))
    many = draw(st.sampled_from([0, 0, 0, 0, 0, LONGEST + 65, 20_001]))
    if many:
        settings["batch_size"] = draw(st.sampled_from([None, 2 * LONGEST + 1]))
    if settings["batch_size"] is None:
        del settings["accumulate"]
    rule = draw(st.integers(0, len(RULES) - 1))
    return Case(sample, draw(st.sampled_from(["float32", "float64"])), rule, settings, draw(st.booleans()), many)


def drawn(seed: int, number: int) -> Case:
    """Return the case of a seed."""
    collected: list[Case] = []

    @hypothesis.seed(seed * 1_000_003 + number)
    @hypothesis.settings(ONCE, max_examples=2)  # the first example is always the simplest
    @hypothesis.given(cases())
    def collect(case: Case) -> None:
        collected.append(case)

    collect()
    return collected[-1]


def problem(case: Case) -> str | None:
    """Return what is wrong with a case, None when the two ways agree to the bit; an error that both raise is right."""
    began = time.process_time(), time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a batch larger than the rows, a row that joins the batch before it
        warnings.filterwarnings("error", message=".*cannot compile.*")
        try:
            (plain, why), (compiled, why_compiled) = case.fit(float("inf")), case.fit(float("-inf"))
        except Exception:
            return f"{case}\n{traceback.format_exc()}"
    if why != why_compiled:
        return f"{case}\nas written: {why or 'trains'}\ncompiled: {why_compiled or 'trains'}"
    for name, expected in plain.items():
        if compiled[name].tobytes() != expected.tobytes():
            return f"{case}\n{name} differs:\n{expected}\n{compiled[name]}"
    took = time.process_time() - began[0], time.perf_counter() - began[1]
    slow = any(seconds > most for seconds, most in zip(took, SLOWEST, strict=True))
    return f"{case}\ntook {took[0]:.0f} s, {took[1]:.0f} s by the clock" if slow else None


def attack(seconds: float, seed: int, first: int = 0, most: int = sys.maxsize) -> Report:
    """Compare for so many seconds, or so many cases."""
    report, end, number = Report(seed), time.monotonic() + seconds, first
    while time.monotonic() < end and report.fits < most:
        case = drawn(seed, number)
        wrong = problem(case)
        report.fits += 1
        if wrong:
            report.failures.append(f"--seed {seed} --number {number}: {wrong}")
            report.smallest.append(smaller(case))
        number += 1
    return report


def smaller(case: Case, most: int = 200) -> Case:
    """Return a case that is as simple as it goes and as wrong, found in so many tries."""
    tries = 0
    while tries < most:
        for simpler in case.simpler():
            tries += 1
            if problem(simpler):
                case = simpler
                break
        else:
            break
    return case


def kept() -> list[Case]:
    """Return the cases that were found to be wrong once."""
    return [Case.from_json(case) for case in json.loads(KEPT.read_text(encoding="ascii"))] if KEPT.exists() else []


def keep(cases: list[Case]) -> None:
    """Add cases to those that are kept."""
    every = [json.dumps(case.to_json(), sort_keys=True) for case in [*kept(), *cases]]
    KEPT.write_text("[\n" + ",\n".join(f"  {text}" for text in dict.fromkeys(every)) + "\n]\n", encoding="ascii")


if __name__ == "__main__":
    sys.exit(run("networks", __doc__, attack, lambda report: keep(report.smallest)))
