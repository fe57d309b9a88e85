"""The gradient with respect to the input of a network: no parameter needs it of the first layer, and yet it is judged."""

from __future__ import annotations

from typing import Any

import pytest

import bpengine as bp
from bpengine.check import check_gradients
from tests.training.networks import everything, labelled


class Wrong(bp.Dense):
    """A dense layer with half the gradient of its input."""

    def backward(self, ops: Any, residual: Any, dy: Any, *, need_dx: bool = True) -> Any:
        dx, gradients = super().backward(ops, residual, dy, need_dx=need_dx)
        return (dx / 2 if need_dx else None), gradients


class Careless(bp.Dense):
    """A dense layer that forgets the bias where it need not return dx."""

    def backward(self, ops: Any, residual: Any, dy: Any, *, need_dx: bool = True) -> Any:
        dx, gradients = super().backward(ops, residual, dy, need_dx=need_dx)
        return dx, gradients if need_dx else {**gradients, "bias": 0 * gradients["bias"]}


@pytest.mark.parametrize("oracles", ["autodiff", "differences", "inner products"])
def test_a_first_layer_with_a_wrong_dx_is_caught(oracles: str, rng: Any, jax: Any) -> None:
    network = bp.Network(3, [Wrong(4, "tanh"), bp.Dense(2)], "softmax_cross_entropy")
    x, y = labelled(rng, 6, 3, 2)
    report = check_gradients(bp.Model(network, dtype="float64"), x, y, oracles=oracles)
    assert {v.array for v in report.failures} == {"x"}
    assert report.guilty
    assert (report.guilty.place, report.guilty.function, report.guilty.argument) == (
        "0",
        "Wrong.backward",
        "gradient of x",
    )
    assert "ratio 0.5: a factor 2 is missing" in str(report)
    assert ("input, row " if oracles != "inner products" else "x along random direction") in report.findings()[-1]


def test_a_wrong_kernel_behind_it_is_named(rng: Any, jax: Any) -> None:
    from bpengine_numpy import NumpyBackend

    class Broken(NumpyBackend):
        def replacements(self) -> Any:
            return {
                "dense_bwd": lambda res, dy, need_dx=True: (-dy @ res.w.T if need_dx else None, res.x.T @ dy, dy.sum(0))
            }

    network = bp.Network(3, [bp.Dense(2)], "mean_squared_error")
    rows = rng.normal(size=(5, 3)), rng.normal(size=(5, 2))
    report = check_gradients(bp.Model(network, Broken("float64"), "float64"), *rows)
    assert {v.array for v in report.failures} == {"x"}
    assert report.guilty
    assert (report.guilty.place, report.guilty.function, report.guilty.argument) == ("0", "dense_bwd", "dx")


def test_gradients_used_in_training_are_checked(rng: Any) -> None:
    network = bp.Network(3, [Careless(4, "tanh"), bp.Dense(2)], "softmax_cross_entropy")
    report = check_gradients(network, *labelled(rng, 6, 3, 2), oracles="inner products")
    assert {v.array for v in report.failures} == {"0.bias"}


def test_every_array_has_a_row(rng: Any) -> None:
    network = everything()
    report = check_gradients(bp.Model(network), *labelled(rng, 8), oracles="inner products", perturbed=False)
    names = [*network.init(0)[0]]
    assert [v.array for v in report.verdicts if v.oracle == "inner products"] == [*names, "x"]
    assert [v.array for v in report.verdicts if v.oracle == "own float32"] == names


def test_large_inputs_do_not_hide_errors_of_small_parameters(rng: Any) -> None:
    """Inputs of a millionth have a gradient a million times that of the weights, which are judged all the same."""
    from bpengine_numpy import NumpyBackend

    class Broken(NumpyBackend):
        def replacements(self) -> Any:
            return {"dense_no_bias_bwd": lambda res, dy, need_dx=True: (dy @ res.w.T, (1 + 1e-3) * res.x.T @ dy)}

    network = bp.Network(3, [bp.Dense(2, bias=False)], "half_sum_squares")
    rows = 1e-6 * rng.normal(size=(5, 3)), rng.normal(size=(5, 2))
    report = check_gradients(bp.Model(network, Broken("float64"), "float64"), *rows, oracles="differences")
    assert {v.array for v in report.failures} == {"0.weight"}


def test_as_many_parameters_are_compared_as_without_inputs(rng: Any) -> None:
    network = bp.Network(100, [bp.Dense(2)], "mean_squared_error")
    report = check_gradients(network, rng.normal(size=(5, 100)), rng.normal(size=(5, 2)), oracles="differences")
    assert {v.array: v.compared for v in report.verdicts} == {"0.weight": 200, "0.bias": 2, "x": 8}
    assert "every other element, 8 elements sampled from x, seed 0" in str(report)
    assert report.passed
