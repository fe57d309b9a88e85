"""The other derivatives in the report of a network: right ones pass, wrong ones are named, and why they were not taken."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import bpengine as bp
from bpengine.check import network_derivatives
from bpengine.check.network_derivatives import REFERENCES, check_derivatives
from bpengine.check.problems import subjects
from bpengine.derivatives import per_sample
from bpengine.derivatives.rows import batched
from bpengine.errors import BackendUnavailable
from bpengine.layers import Run
from bpengine.ops import Ops
from tests.derivatives.networks import NETWORKS, rows
from tests.tolerances import derivative_rtol, stated_derivative_rtol


@dataclass(frozen=True)
class Noise(bp.Layer):
    """A layer that does nothing in training, and doubles outside of it, with a backward that knows of training only."""

    factor: float = 1.0

    def forward(self, ops: Ops, params: Any, running: Any, x: Any, run: Run) -> Any:
        return (x if run.training else 2.0 * x), run.training, running

    def backward(self, ops: Ops, residual: Any, dy: Any, *, need_dx: bool = True) -> Any:
        return (dy if residual else self.factor * dy), {}


def noisy(factor: float) -> bp.Network:
    return bp.Network(3, [bp.Dense(2, "tanh"), Noise(factor), bp.Dense(2)], "mean_squared_error")


def point(network: Any, rng: Any) -> Any:
    return subjects.network_point(network, *rows(network, rng), 0)


@pytest.mark.thorough(keep=1)
@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
def test_correct_derivatives_pass(network: bp.Network, jax: Any, rng: Any) -> None:
    note, verdicts = check_derivatives(point(network, rng))
    assert not note.startswith("not taken"), note
    assert {v.name: v.reference for v in verdicts} == REFERENCES
    for verdict in verdicts:
        assert verdict.passed, verdict.text()
        assert verdict.error <= (derivative_rtol("float64") if batched(network) else stated_derivative_rtol())
        assert verdict.compared > 0


def test_report_lists_the_network_derivatives(jax: Any, rng: Any) -> None:
    model = bp.Model(NETWORKS["layers"])
    x, y, weights = rows(model.network, rng)
    report = model.check(x, y, weights)
    assert report.passed, str(report)
    assert [d.name for d in report.derivatives] == list(REFERENCES)
    oracles = {"per row": "vmap(grad)", "jacobian": "jacrev", "inputs": "grad", "hvp": "jvp(grad)"}
    assert {row[0]: row[1] for row in report.rows()[-4:]} == oracles
    assert "outside training, 4 rows, at a nearby point" in dict(report.notes())["derivatives"]
    plain = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert {d["name"]: d["passed"] for d in plain["derivatives"]} == dict.fromkeys(REFERENCES, True)
    without = model.check(x, y, weights, oracles="inner products")
    assert without.derivatives == ()
    assert "derivatives" not in dict(without.notes())


def test_a_backward_that_is_wrong_outside_training_is_named(jax: Any, rng: Any) -> None:
    """In training nothing is wrong: only these see it."""
    x, y, _ = rows(noisy(1.0), rng)
    right, wrong = bp.check_gradients(noisy(2.0), x, y), bp.check_gradients(noisy(1.0), x, y)
    assert right.passed, str(right)
    assert not wrong.passed
    assert not wrong.failures
    assert {d.name for d in wrong.derivatives if not d.passed} >= {
        "per_sample_gradients",
        "jacobian",
        "input_gradients",
    }
    assert "jacobian: differs from jax.jacrev by 5.0e-01 of its largest element" in str(wrong)
    with pytest.raises(bp.GradientError, match="per_sample_gradients: differs from"):
        wrong.raise_if_failed()


def test_mixed_up_rows_are_detected(jax: Any, rng: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class Swapped(per_sample.PerRowOps):
        def __init__(self, ops: Ops) -> None:
            super().__init__(ops)
            self.dense_bwd: Any = lambda res, dy, **_: (dy @ res.w.T, (res.x[:, :, None] * dy[:, None, :])[::-1], dy)

    monkeypatch.setattr(per_sample, "PerRowOps", Swapped)
    _, verdicts = check_derivatives(point(NETWORKS["layers"], rng))
    assert [v.name for v in verdicts if not v.passed] == ["per_sample_gradients"]


def test_point_on_kinks_raises_no_false_alarm(jax: Any, rng: Any) -> None:
    network = bp.Network(3, [bp.Dense(4, "relu"), bp.Dense(2, "relu")], "mean_absolute_error", bp.L1(0.1))
    model = bp.Model(network, dtype="float64")
    x = rng.normal(size=(4, 3))
    x[0] = 0.0
    report = model.check(x, model.forward(x))
    assert all(d.passed for d in report.derivatives)
    assert len(report.derivatives) == 4


def test_report_says_why_derivatives_are_skipped(jax: Any, rng: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    wide = bp.Network(3, [bp.Dense(4000)], "mean_squared_error")
    note, verdicts = check_derivatives(point(wide, rng))
    assert verdicts == ()
    assert note == "not taken: 16,000 parameters and a Jacobian of 12,000 numbers a row; up to 10,000 are"

    def missing() -> Any:
        raise BackendUnavailable("the autodiff oracle needs JAX (not installed)")

    monkeypatch.setattr(network_derivatives, "get_oracle", missing)
    note, verdicts = check_derivatives(point(NETWORKS["layers"], rng))
    assert (note, verdicts) == ("not taken: the autodiff oracle needs JAX (not installed)", ())


@dataclass(frozen=True)
class Untraced(bp.Layer):
    """A layer that JAX cannot trace: it branches on a value."""

    def forward(self, ops: Ops, params: Any, running: Any, x: Any, run: Run) -> Any:
        return (x if float(ops.xp.sum(x)) > -1e9 else -x), None, running


def test_untraceable_code_is_reported(jax: Any, rng: Any) -> None:
    network = bp.Network(3, [bp.Dense(2), Untraced(), bp.Dense(2)], "mean_squared_error")
    note, verdicts = check_derivatives(point(network, rng))
    assert verdicts == ()
    assert "not taken: code of one's own does not support them (" in note


def test_layers_and_kernels_have_no_network_derivatives(rng: Any) -> None:
    assert bp.check_gradients(bp.Dense(2), rng.normal(size=(3, 2))).derivatives == ()
    assert bp.check_gradients("tanh").derivatives == ()


def test_rows_with_a_weight_are_chosen(jax: Any, rng: Any) -> None:
    """Rows of weight 0 would say nothing."""
    network = NETWORKS["a sum"]
    x, y, _ = rows(network, rng, 9)
    weights = np.zeros(9)
    weights[[2, 7]] = 1.0
    note, verdicts = check_derivatives(subjects.network_point(network, x, y, weights, 0))
    assert "2 rows" in note
    assert all(v.passed for v in verdicts)


def test_non_finite_result_of_jax_is_reported(jax: Any, rng: Any) -> None:
    """At a probability of exactly 1 JAX takes 0 / 0 for the second derivative."""
    network = bp.Network(1, [bp.Dense(1, "softmax")], "binary_cross_entropy")
    note, verdicts = check_derivatives(point(network, rng))
    assert note.endswith("not finite in JAX, and not checked: hvp")
    assert [v.name for v in verdicts] == [name for name in REFERENCES if name != "hvp"]


def test_fully_saturated_units_raise_no_false_alarm(jax: Any) -> None:
    """1 - y^2 is 0 where a complex step still sees 1e-32."""
    network = bp.Network(1, [bp.Dense(2, "tanh", weight_init=np.full((1, 2), 40.0)), bp.Dense(1)], "mean_squared_error")
    report = bp.check_gradients(network, np.ones((3, 1)), np.zeros((3, 1)), perturbed=False)
    assert report.passed, str(report)
    layers = [bp.Dense(1, "tanh", weight_init=[[40.0]])]
    alone = bp.check_gradients(bp.Network(1, layers, "huber"), np.ones((3, 1)), np.zeros((3, 1)), perturbed=False)
    assert alone.passed, str(alone)
