"""Check a network, or a model with its own gradients, at both points."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from bpengine.check import localize
from bpengine.check.model_gradients import check_model_gradients
from bpengine.check.network_derivatives import check_derivatives
from bpengine.check.oracles import unstated_kinks
from bpengine.check.oracles.run import Oracles
from bpengine.check.points.subject_check import PointResults, SubjectCheck
from bpengine.check.problems.problem import Problem
from bpengine.check.problems.subjects import NetworkPoint, network_problem
from bpengine.check.reports.gradient_report import Report
from bpengine.check.reports.results import ArrayResult, FaultyCall, OracleUse
from bpengine.errors import NonFiniteError
from bpengine.network import Network
from bpengine.trained import TrainedNetwork


class NetworkCheck(SubjectCheck):
    """A network, or a model with its own gradients."""

    def __init__(self, subject: Network | TrainedNetwork, point: NetworkPoint, seed: int, names: list[str]) -> None:
        shape = "-".join(map(str, point.network.sizes))
        super().__init__([network_problem(point, f"network {shape}, {point.network.loss.name}")], seed, names)
        self.start, model = point, None if isinstance(subject, Network) else subject
        self.model = model if model is not None and (model.dtype != "float64" or model.backend.xp is not np) else None
        if self.model is not None:
            self.dtype = self.model.dtype
            self.precision += f", a copy of the {self.dtype} model on {self.model.backend.name}"

    def report(self, perturbed: bool) -> Report:
        """Return the report of both points and, where these agree, of the network's other derivatives."""
        report = super().report(perturbed)
        if not report.passed or "autodiff" not in self.names:
            return report
        note, derivatives = check_derivatives(self.start)
        return replace(report, derivatives=derivatives, derivatives_note=note)

    def network_point(self, problem: Problem) -> NetworkPoint:
        """Return the network at the point of a problem."""
        params = {name: problem.at[name] for name in self.start.params}
        return replace(self.start, params=params, rows=self.start.rows._replace(x=problem.at["x"]))

    def check_at(self, problem: Problem) -> PointResults:
        """Run every oracle, and compare the model's own gradients."""
        uses, results, oracles = super().check_at(problem)
        if self.model is None:
            return uses, results, oracles
        use, of_model = self.model_results(problem, oracles)
        return [*uses, use], [*results, *of_model], oracles

    def model_results(self, problem: Problem, oracles: Oracles) -> tuple[OracleUse, list[ArrayResult]]:
        """Compare the model's own gradients; at the perturbed point its loss need not be finite."""
        reference = oracles.reference or oracles.hand
        from_oracles = problem, oracles.kinks, reference, oracles.reference_rounding
        assert self.model is not None
        if problem is self.problem:
            return check_model_gradients(self.model, self.start, *from_oracles)
        moved: Any = copy.copy(self.model)
        moved.parameters = {name: problem.at[name] for name in self.start.params}
        try:
            return check_model_gradients(moved, self.network_point(problem), *from_oracles)
        except NonFiniteError:
            why = f"its own loss in {self.dtype} is not finite there"
            return OracleUse(f"own {self.dtype}", False, "", why), []

    def inner_kinks(self, problem: Problem) -> list[ArrayResult]:
        """Check the custom layers and the custom loss at their unstated kinks."""
        if problem.foreign is None:
            return []
        point = self.network_point(problem)
        steps, cotangents = point.layer_steps()
        loss, y = point.network.loss, steps[-1].y
        of_loss = unstated_kinks.check_custom_loss(loss, y, point.rows, point.ops, self.seed)
        return [*unstated_kinks.check_custom_layers(steps, cotangents, point.ops, self.seed), *of_loss]

    def localize(self, problem: Problem, failures: Sequence[ArrayResult]) -> FaultyCall | None:
        """Find the faulty kernel call, or else the layer; the model's own gradients may be wrong where both are right."""
        if all(v.oracle.startswith("own") for v in failures):
            return None
        call = localize.faulty_kernel_call(problem, self.names)
        return call or localize.faulty_layer(*self.network_point(problem).layer_steps(), self.start.ops, self.names)
