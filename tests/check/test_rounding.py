"""What rounding explains: enough for a badly conditioned network, and no more for a good one."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import bpengine as bp
from bpengine.check import check_gradients
from bpengine.check.tolerance import stochastic_rounding as rounding
from bpengine.kernels import KERNELS
from bpengine.ops import Ops

NET = bp.Network(3, [bp.Dense(4, "tanh"), bp.Dense(2)], "mean_squared_error")
QUICK = "inner products"


def spoiled(monkeypatch: pytest.MonkeyPatch, factor: float) -> bp.Model:
    """Return a float32 model whose own gradient of the last bias is off by a factor."""
    model = bp.Model(NET)
    right = model.loss_and_gradients

    def wrong(*rows: Any) -> Any:
        loss, gradients = right(*rows)
        return loss, {**gradients, "1.bias": gradients["1.bias"] * np.float32(factor)}

    monkeypatch.setattr(model, "loss_and_gradients", wrong)
    return model


def badly_conditioned() -> bp.Network:
    """Return a network that normalises units which hardly vary: float32 keeps a few digits of what is left."""
    layers = [bp.Dense(8, "elu"), bp.Dense(8, "elu"), bp.BatchNorm(), bp.Dense(1)]
    return bp.Network(4, layers, "half_sum_squares")


def test_a_small_error_of_the_models_own_is_found(rng: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    report = check_gradients(
        spoiled(monkeypatch, 1 + 1e-4), rng.normal(size=(5, 3)), np.ones((5, 2)), oracles=QUICK, perturbed=False
    )
    assert [(v.array, v.oracle) for v in report.failures] == [("1.bias", "own float32")]
    assert max(v.tolerance for v in report.verdicts if v.oracle == "own float32") < 1e-4


def test_rounding_in_float32_raises_no_alarm(backend_name: str, rng: Any) -> None:
    x = 100.0 + 0.01 * rng.normal(size=(32, 4))
    report = check_gradients(
        bp.Model(badly_conditioned(), backend_name), x, rng.normal(size=(32, 1)), oracles=QUICK, perturbed=False
    )
    own = {v.array: v for v in report.verdicts if v.oracle == "own float32"}
    assert report.passed, str(report)
    assert own["2.beta"].error > 1e-5  # far more than the rounding of sums
    assert own["2.beta"].compared == 8


def test_result_within_rounding_is_marked_uninformative(rng: Any) -> None:
    x = 1e4 + 1e-3 * rng.normal(size=(32, 4))
    report = check_gradients(bp.Model(badly_conditioned()), x, rng.normal(size=(32, 1)), oracles=QUICK, perturbed=False)
    own = {v.array: v for v in report.verdicts if v.oracle == "own float32"}
    assert own["0.weight"].ill == 32
    assert own["0.weight"].compared == 0
    assert "0, 32 ill conditioned" in str(report)


def test_differences_larger_than_rounding_are_not_excused(rng: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a model that fits its rows, every gradient is a rounding: no tolerance relative to them says anything."""
    model, x = bp.Model(NET), rng.normal(size=(6, 3))
    y, right = model.forward(x), model.loss_and_gradients
    assert check_gradients(model, x, y, oracles=QUICK, perturbed=False).passed

    def wrong(*rows: Any) -> Any:
        loss, gradients = right(*rows)
        return loss, {**gradients, "1.bias": gradients["1.bias"] + np.float32(1.0)}

    monkeypatch.setattr(model, "loss_and_gradients", wrong)
    report = check_gradients(model, x, y, oracles=QUICK, perturbed=False)
    assert [(v.array, v.oracle) for v in report.failures] == [("1.bias", "own float32")]


def test_uninformative_difference_is_not_counted() -> None:
    def fwd(xp: Any, x: Any) -> Any:
        y, residual = KERNELS["tanh"].forward(xp, x)
        return y + 1e15, residual

    report = check_gradients(
        replace(KERNELS["tanh"], name="drowned", forward=fwd), oracles=["differences", QUICK], perturbed=False
    )
    assert [(v.compared, v.ill) for v in report.verdicts] == [(0, 15), (0, 3)]
    assert "nothing could be compared" in str(report)


def test_a_gradient_that_is_not_finite_is_never_excused(rng: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model = spoiled(monkeypatch, np.nan)
    report = check_gradients(model, rng.normal(size=(5, 3)), np.ones((5, 2)), oracles=QUICK, perturbed=False)
    assert [(v.array, v.oracle) for v in report.failures] == [("1.bias", "own float32")]


def test_a_loss_that_overflows_in_float32_alone(rng: Any) -> None:
    model = bp.Model(bp.Network(3, [bp.Dense(2, weight_init=np.full((3, 2), 1e30))], "mean_squared_error"))
    with pytest.raises(
        bp.NonFiniteError, match=r"got inf from the model itself, float32 on numpy; in float64 it is \d"
    ):
        check_gradients(model, rng.normal(size=(5, 3)), np.ones((5, 2)), oracles=QUICK, perturbed=False)


def test_allowance_follows_its_formula() -> None:
    eps = rounding.machine_epsilon("float32")
    spread, sums = rounding.STUDENT * math.sqrt((9 + 16) / 2), rounding.SUMS * math.sqrt(100) * eps / 2 * 7
    assert rounding.rounding_allowance([3.0, 4.0], 7.0, 100, eps) == pytest.approx(spread + sums)
    assert rounding.rounding_allowance([3.0, math.inf, 4.0, math.nan], 7.0, 100, eps) == pytest.approx(spread + sums)
    assert rounding.rounding_allowance([math.nan], 7.0, 100, eps) == pytest.approx(sums)


def test_the_constants_are_the_quantiles_they_are_said_to_be(rng: Any) -> None:
    """Student's t with 8 degrees of freedom beyond STUDENT, by integration; and Hoeffding's bound at SUMS."""
    t = np.linspace(rounding.STUDENT, 4000.0, 4_000_001)
    density = math.gamma(4.5) / (math.sqrt(8 * math.pi) * math.gamma(4.0)) * (1 + t * t / 8) ** -4.5
    assert 2 * float(np.trapezoid(density, t)) == pytest.approx(1e-6, rel=1e-2)
    assert 2 * math.exp(-(rounding.SUMS**2) / 2) == pytest.approx(1e-6, rel=2e-2)


def test_machine_epsilon_of_every_precision_is_the_published_one() -> None:
    assert [rounding.machine_epsilon(p) for p in ("float64", "float32", "tf32", "bfloat16")] == [
        2**-52,
        2**-23,
        2**-10,
        2**-7,
    ]


def test_rounded_ops_round_once_and_keep_the_dtype(rng: Any) -> None:
    x = rng.normal(size=(400, 3))
    ops = rounding.StochasticRoundingOps(Ops(np), 2.0**-23, 0, "float32")
    y, _ = ops.identity_fwd(x)
    assert y.dtype == np.float32
    error = np.abs(y - x) / np.abs(x)
    assert 2.0**-24 < error.max() <= 1.5 * 2.0**-23
    labels = np.array([0, 2, 1])
    assert ops.rounded((labels, None, 3.0)) == (labels, None, 3.0) or ops.rounded((labels,))[0] is labels
