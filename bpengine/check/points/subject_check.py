"""Check a subject at the point given and at the perturbed point, with every oracle, and find the faulty call."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from bpengine.check import localize
from bpengine.check.describe.elements import special_values
from bpengine.check.kinks.kinks import count_kinks
from bpengine.check.oracles import unstated_kinks
from bpengine.check.oracles.run import Oracles
from bpengine.check.points.perturb import perturb
from bpengine.check.problems.problem import Problem
from bpengine.check.reports.gradient_report import Report
from bpengine.check.reports.results import PERTURBED, ArrayResult, FaultyCall, KinkCounts, OracleUse, PerturbedPoint
from bpengine.errors import in_english
from bpengine.kernels import Kernel
from bpengine.layers import Layer

PointResults = tuple[list[OracleUse], list[ArrayResult], Oracles]


class SubjectCheck(ABC):
    """A subject and how it is checked, at the point given and at a perturbed one."""

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
        """Return the report of both points, or of the point given alone."""
        uses, results, oracles = self.check_at(self.problem)
        report = Report(
            subject=self.problem.title,
            precision=self.precision,
            loss=oracles.loss,
            verdicts=tuple(results),
            kinks=_counts(oracles, results),
            oracles=tuple(uses),
            special=special_values(self.problem.at, self.options, self.problem.input_names),
        )
        moved = None
        if perturbed:
            moved, note = perturb(self.candidates, self.domains, self.seed, self.dtype)
            report = replace(report, perturbed=PerturbedPoint(note=note))
        try:
            report = self.with_perturbed(report, moved, note) if moved else report
        except Exception as error:  # a custom layer or kernel may raise an error for values near the point
            if self.problem.foreign is None:
                raise
            refused = f"none: {self.problem.foreign} raises {type(error).__name__} near it: {in_english(error)}"
            report = replace(report, perturbed=PerturbedPoint(note=refused))
        if report.passed:
            return report
        return replace(report, guilty=self.faulty_call(self.problem, moved, report.failures))

    def with_perturbed(self, report: Report, moved: Problem, note: str) -> Report:
        """Return the report with the results at the perturbed point."""
        uses, results, oracles = self.check_at(moved)
        refused = [use.note for use in uses if not use.used and use.name.startswith("own")]
        title = [f"as {moved.title}"] * (moved.title != report.subject)
        point = PerturbedPoint(True, oracles.loss, _counts(oracles, results), "; ".join([note, *title, *refused]))
        at_point = (replace(result, point=PERTURBED) for result in results)
        return replace(report, verdicts=(*report.verdicts, *at_point), perturbed=point)

    def check_at(self, problem: Problem) -> PointResults:
        """Run every oracle on the problem at its point."""
        oracles = Oracles(problem, self.seed)
        uses: list[OracleUse] = []
        results: list[ArrayResult] = []
        for name in self.names:
            use, of_oracle = oracles.run(name)
            uses.append(use)
            results += of_oracle
        at_kinks = [*oracles.at_unstated_kinks(), *self.inner_kinks(problem)]
        if at_kinks:
            uses.append(
                OracleUse(unstated_kinks.ORACLE, True, "float64, differences to one side", unstated_kinks.SCOPE)
            )
        return uses, [*results, *at_kinks], oracles

    def inner_kinks(self, problem: Problem) -> list[ArrayResult]:
        """Check the values at unstated kinks of the layers inside."""
        return []

    def faulty_call(
        self, problem: Problem, moved: Problem | None, failures: Sequence[ArrayResult]
    ) -> FaultyCall | None:
        """Find the faulty call: at the point given, where the check fails there, else at the perturbed point."""
        here = [v for v in failures if v.point != PERTURBED]
        there = [v for v in failures if v.point == PERTURBED]
        faulty = self.localize(problem, here) if here else None
        if faulty or not there or not moved:
            return faulty
        faulty = self.localize(moved, there)
        return faulty and replace(faulty, point=PERTURBED)

    @abstractmethod
    def localize(self, problem: Problem, failures: Sequence[ArrayResult]) -> FaultyCall | None:
        """Find the faulty call at a point."""


class SingleCheck(SubjectCheck):
    """A layer or a kernel by itself."""

    def __init__(self, subject: Layer | Kernel, *args: Any) -> None:
        super().__init__(*args)
        self.subject = subject

    def localize(self, problem: Problem, failures: Sequence[ArrayResult]) -> FaultyCall | None:
        """Find the kernel inside of a layer, or name the subject."""
        inside = localize.faulty_kernel_call(problem, self.names) if isinstance(self.subject, Layer) else None
        return inside or localize.faulty_subject(self.subject, failures)


def _counts(oracles: Oracles, results: list[ArrayResult]) -> KinkCounts:
    return replace(
        count_kinks(oracles.kinks),
        left_out=sum(v.left_out for v in results),
        aside=sum(v.aside for v in results),
        elements=tuple(dict.fromkeys(e for v in results for e in v.elements)),
    )
