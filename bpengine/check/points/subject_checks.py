"""A subject at its two points: the point given and the perturbed one, before every oracle, and who is to blame."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from bpengine.check import localize
from bpengine.check.describe.special_values import special
from bpengine.check.kinks import kinks
from bpengine.check.kinks.kinks import Counts
from bpengine.check.localize import Guilty
from bpengine.check.model_gradients import own_gradients
from bpengine.check.network_derivatives import check_derivatives
from bpengine.check.oracles import custom_layers, unstated_kinks
from bpengine.check.oracles.run import Oracles, OracleUse
from bpengine.check.points.perturb import Perturbed, perturb
from bpengine.check.problems import subjects
from bpengine.check.problems.problem import Problem
from bpengine.check.problems.subjects import Point
from bpengine.check.reports.gradient_report import Report
from bpengine.check.reports.results import PERTURBED, Verdict
from bpengine.errors import NonFiniteError
from bpengine.kernels import Kernel
from bpengine.layers import Layer
from bpengine.network import Network


class Examination(ABC):
    """What is checked, at the point given and at a perturbed one."""

    precision = "float64 on numpy"
    dtype = "float64"

    def __init__(
        self,
        problems: Sequence[Problem],
        seed: int,
        names: list[str],
        domains: Mapping[str, str] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self.problem, *others = problems
        self.candidates, self.seed, self.names = [*others, self.problem], seed, names
        self.domains, self.options = domains or {}, options or {}

    def report(self, perturbed: bool) -> Report:
        """Return the report of both points, or of the one given."""
        uses, verdicts, judged = self.judge(self.problem)
        report = Report(
            self.problem.title, self.precision, judged.loss, tuple(verdicts), _counts(judged, verdicts), tuple(uses),
            special=special(self.problem.at, self.options),
        )  # fmt: skip
        moved = None
        if perturbed:
            moved, note = perturb(self.candidates, self.domains, self.seed, self.dtype)
            report = replace(report, perturbed=Perturbed(note=note))
        try:
            report = self.with_perturbed(report, moved, note) if moved else report
        except Exception as error:  # code of one's own may refuse what lies near the point
            if self.problem.foreign is None:
                raise
            refused = f"none: {self.problem.foreign} raises {type(error).__name__} near it: {error}"
            report = replace(report, perturbed=Perturbed(note=refused))
        if report.passed:
            return report
        return replace(report, guilty=self.guilty(self.problem, moved, report.failures))

    def with_perturbed(self, report: Report, moved: Problem, note: str) -> Report:
        """Return the report with the verdicts at the perturbed point."""
        uses, verdicts, judged = self.judge(moved)
        refused = [use.note for use in uses if not use.used and use.name.startswith("own")]
        title = [f"as {moved.title}"] * (moved.title != report.subject)
        found = Perturbed(True, judged.loss, _counts(judged, verdicts), "; ".join([note, *title, *refused]))
        told = (replace(verdict, point=PERTURBED) for verdict in verdicts)
        return replace(report, verdicts=(*report.verdicts, *told), perturbed=found)

    def judge(self, problem: Problem) -> tuple[list[OracleUse], list[Verdict], Oracles]:
        """Ask every oracle about the problem at its point."""
        judged = Oracles(problem, self.seed)
        uses: list[OracleUse] = []
        verdicts: list[Verdict] = []
        for name in self.names:
            use, found = judged.run(name)
            uses.append(use)
            verdicts += found
        beside = [*judged.sides(), *self.inner_sides(problem)]
        if beside:
            uses.append(
                OracleUse(unstated_kinks.ORACLE, True, "float64, differences to one side", unstated_kinks.SCOPE)
            )
        return uses, [*verdicts, *beside], judged

    def inner_sides(self, problem: Problem) -> list[Verdict]:
        """Judge the values at kinks of what is inside."""
        return []

    def guilty(self, problem: Problem, moved: Problem | None, failures: Sequence[Verdict]) -> Guilty | None:
        """Find who is to blame: at the point given, where it fails there, else at the perturbed point."""
        here = [v for v in failures if v.point != PERTURBED]
        there = [v for v in failures if v.point == PERTURBED]
        found = self.blame(problem, here) if here else None
        if found or not there or not moved:
            return found
        found = self.blame(moved, there)
        return found and replace(found, point=PERTURBED)

    @abstractmethod
    def blame(self, problem: Problem, failures: Sequence[Verdict]) -> Guilty | None:
        """Find who is to blame at a point."""


class Alone(Examination):
    """A layer or a kernel."""

    def __init__(self, subject: Layer | Kernel, *args: Any) -> None:
        super().__init__(*args)
        self.subject = subject

    def blame(self, problem: Problem, failures: Sequence[Verdict]) -> Guilty | None:
        """Find the kernel inside of a layer, or blame the subject."""
        inside = localize.guilty_call(problem, self.names) if isinstance(self.subject, Layer) else None
        return inside or localize.guilty_subject(self.subject, failures)


class NetworkSubject(Examination):
    """A network, or a model with its own gradients."""

    def __init__(self, subject: Any, point: Point, seed: int, names: list[str]) -> None:
        shape = "-".join(map(str, point.network.sizes))
        super().__init__([subjects.network_problem(point, f"network {shape}, {point.network.loss.name}")], seed, names)
        self.start, model = point, None if isinstance(subject, Network) else subject
        self.model = model if model is not None and (model.dtype != "float64" or model.backend.xp is not np) else None
        if self.model is not None:
            self.dtype = self.model.dtype
            self.precision += f", a copy of the {self.dtype} model on {self.model.backend.name}"

    def report(self, perturbed: bool) -> Report:
        """Return the report of both points and, where all is right so far, of the network's other derivatives."""
        report = super().report(perturbed)
        if not report.passed or "autodiff" not in self.names:
            return report
        note, derivatives = check_derivatives(self.start)
        return replace(report, derivatives=derivatives, derivatives_note=note)

    def point(self, problem: Problem) -> Point:
        """Return the network at the point of a problem."""
        params = {name: problem.at[name] for name in self.start.params}
        return replace(self.start, params=params, rows=self.start.rows._replace(x=problem.at["x"]))

    def judge(self, problem: Problem) -> tuple[list[OracleUse], list[Verdict], Oracles]:
        """Ask every oracle, and judge the model's own gradients."""
        uses, verdicts, judged = super().judge(problem)
        if self.model is None:
            return uses, verdicts, judged
        use, found = self.own(problem, judged)
        return [*uses, use], [*verdicts, *found], judged

    def own(self, problem: Problem, judged: Oracles) -> tuple[OracleUse, list[Verdict]]:
        """Judge the model's own gradients; at the perturbed point its loss need not be finite."""
        reference = judged.reference or judged.hand
        if problem is self.problem:
            return own_gradients(self.model, self.start, problem, judged.kinks, reference, judged.explained)
        there: Any = copy.copy(self.model)
        there.parameters = {name: problem.at[name] for name in self.start.params}
        try:
            return own_gradients(there, self.point(problem), problem, judged.kinks, reference, judged.explained)
        except NonFiniteError:
            why = f"its own loss in {self.dtype} is not finite there"
            return OracleUse(f"own {self.dtype}", False, "", why), []

    def inner_sides(self, problem: Problem) -> list[Verdict]:
        """Judge the layers and the loss of one's own at their kinks."""
        if problem.foreign is None:
            return []
        point = self.point(problem)
        walked, cotangents = point.walked()
        of_loss = custom_layers.loss_verdicts(point.network.loss, walked[-1].y, point.rows, point.ops, self.seed)
        return [*custom_layers.verdicts(walked, cotangents, point.ops, self.seed), *of_loss]

    def blame(self, problem: Problem, failures: Sequence[Verdict]) -> Guilty | None:
        """Find the kernel call, or else the layer; the model's own gradients may be wrong where these are right."""
        if all(v.oracle.startswith("own") for v in failures):
            return None
        found = localize.guilty_call(problem, self.names)
        return found or localize.guilty_layer(*self.point(problem).walked(), self.start.ops, self.names)


def _counts(judged: Oracles, verdicts: list[Verdict]) -> Counts:
    return replace(
        kinks.count(judged.kinks),
        left_out=sum(v.left_out for v in verdicts),
        aside=sum(v.aside for v in verdicts),
        elements=tuple(dict.fromkeys(e for v in verdicts for e in v.elements)),
    )
