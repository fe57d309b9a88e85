"""How near to rounding the tolerance of the autodiff oracle is: it covers rounding, and no error beyond it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from bpengine_numpy import NumpyBackend

import bpengine as bp
from bpengine.check import Report, check_gradients
from bpengine.kernels import KERNELS
from tests.tolerances import oracle_rtol


def one_row(backend: Any, seed: int) -> Report:
    """Check a network whose batch of one row leaves BatchNorm as 0, where LayerNorm is steep.

    The gradient of what lies before is 400 - 400 there: 0 as it is written, a rounding of 400 by autodiff.
    """
    layers = [
        bp.Dense(3, "elu"),
        bp.Residual([bp.LayerNorm(), bp.Dense(3, "softplus", bias=False)]),
        bp.Dense(3, "elu"),
        bp.Residual([bp.BatchNorm(), bp.LayerNorm(), bp.Dense(3)]),
        bp.Dense(1, "selu"),
    ]
    model = bp.Model(bp.Network(5, layers, "sum_squared_residuals"), backend, "float64", seed)
    x = np.random.default_rng(seed).normal(size=(1, 5))
    return check_gradients(model, x, [[0.5]], oracles="autodiff", perturbed=False)


@pytest.mark.thorough(keep=1)
@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("backend", ["numpy", "jax"])
def test_rounding_of_autodiff_raises_no_false_alarm(backend: str, seed: int, jax: Any) -> None:
    report = one_row(backend, seed)
    assert report.passed, str(report)


def test_tolerance_excuses_no_other_gradient(jax: Any) -> None:
    tolerances = {v.array: v.tolerance for v in one_row("numpy", 2).verdicts}
    assert tolerances["0.weight"] > 10.0 * oracle_rtol()
    for name in ("3.1.gamma", "3.1.beta", "3.2.weight", "3.2.bias", "4.weight", "4.bias"):
        assert tolerances[name] < 1.2 * oracle_rtol()


class Slightly(NumpyBackend):
    """NumPy with a gradient that is a little more than it should be."""

    def replacements(self) -> Any:
        right = KERNELS["dense"].backward
        assert right

        def dense_bwd(residual: Any, dy: Any, **options: Any) -> Any:
            dx, dw, db = right(np, residual, dy, **options)
            return dx, dw + 1e-13, db

        return {"dense_bwd": dense_bwd}


def test_a_very_small_gradient_that_should_be_0_is_found(jax: Any) -> None:
    report = one_row(Slightly("float64"), 2)
    assert "3.2.weight" in {v.array for v in report.failures}
    assert str(report.guilty).startswith("dense_bwd")


@dataclass(frozen=True)
class Doubled(bp.Layer):
    """A gain of each feature, whose gradient is twice what it should be."""

    def init(self, rng: np.random.Generator, inputs: int) -> Any:
        return {"gain": np.ones(inputs)}

    def forward(self, ops: Any, params: Any, running: Any, x: Any, run: Any) -> Any:
        return x * params["gain"], (x, params["gain"]), running

    def backward(self, ops: Any, residual: Any, dy: Any, *, need_dx: bool = True) -> Any:
        x, gain = residual
        return dy * gain, {"gain": 2.0 * ops.xp.sum(dy * x, axis=0)}


@pytest.mark.thorough
def test_tolerance_of_a_vanishing_gradient_follows_its_size(rng: Any, jax: Any) -> None:
    """The more sigmoid layers lie behind it, the less of a gradient arrives: a part in 1e17 here."""
    layers = [Doubled(), *(bp.Dense(4, "sigmoid") for _ in range(24)), bp.Dense(1)]
    x, y = rng.normal(size=(6, 4)), rng.normal(size=(6, 1))
    report = check_gradients(bp.Network(4, layers, "half_sum_squares"), x, y, perturbed=False)
    assert [(v.array, v.oracle) for v in report.failures] == [("0.gain", "autodiff")]
    assert "ratio 2: a factor 2 too many" in str(report)
