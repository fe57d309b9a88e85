"""Ops: kernels bound to a namespace, replacements, and observers that see every call."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from bpengine_numpy import NumpyBackend

import bpengine as bp
from bpengine.kernels import KERNELS
from bpengine.layers import Run
from bpengine.ops import Call, ObservedOps, Ops

NETWORK = bp.Network(
    3,
    [bp.Dense(4, "tanh"), bp.Residual([bp.Dense(4, "relu", bias=False)]), bp.Dense(2)],
    "softmax_cross_entropy",
    bp.L2(0.1),
)
FORWARD = [
    *[("0", "dense_fwd"), ("0", "tanh_fwd")],
    *[("1.0", "dense_no_bias_fwd"), ("1.0", "relu_fwd"), ("1", "add_fwd")],
    *[("2", "dense_fwd"), ("2", "identity_fwd")],
]
LOSS = [
    *[("loss", "softmax_cross_entropy_fwd"), ("loss", "softmax_cross_entropy_bwd")],
    *[("penalty", "l2_fwd")] * 3,
    *[("penalty", "add_fwd")] * 3,
]
BACKWARD = [
    *[("2", "identity_bwd"), ("2", "dense_bwd")],
    *[("1", "add_bwd"), ("1.0", "relu_bwd"), ("1.0", "dense_no_bias_bwd"), ("1", "add_fwd")],
    *[("0", "tanh_bwd"), ("0", "dense_bwd")],
    *[("penalty", "l2_bwd"), ("penalty", "add_fwd")] * 3,
]
FUNCTIONS = {f.__name__: f for k in KERNELS.values() for f in (k.forward, k.backward) if f}


def step(ops: Ops, rng: np.random.Generator) -> tuple[Any, dict[str, Any], dict[str, Any]]:
    params, running = NETWORK.init(0)
    return NETWORK.loss_and_gradients(
        ops, params, running, rng.normal(size=(5, 3)), rng.integers(0, 2, 5), None, Run(True)
    )


def observed(rng: np.random.Generator) -> list[Call]:
    calls: list[Call] = []
    step(ObservedOps(Ops(np), calls.append), rng)
    return calls


def test_every_function_of_the_table_is_bound_to_the_namespace() -> None:
    ops = Ops(np)
    assert set(vars(ops)) == {"xp", "scope", *FUNCTIONS}
    for name, function in FUNCTIONS.items():
        bound = getattr(ops, name)
        assert bound.func is function
        assert bound.args == (np,)


def test_a_bound_kernel_computes_what_the_kernel_computes(rng: np.random.Generator) -> None:
    x, w, b, dy = (rng.normal(size=s) for s in [(4, 3), (3, 2), (2,), (4, 2)])
    y, residual = Ops(np).dense_fwd(x, w, b)
    expected, expected_residual = KERNELS["dense"].forward(np, x, w, b)
    np.testing.assert_array_equal(y, expected)
    for got, wanted in zip(
        Ops(np).dense_bwd(residual, dy), FUNCTIONS["dense_bwd"](np, expected_residual, dy), strict=True
    ):
        np.testing.assert_array_equal(got, wanted)


def test_a_kernel_is_found_by_name() -> None:
    ops = Ops(np)
    assert ops.forward("relu") is ops.relu_fwd
    assert ops.backward("relu") is ops.relu_bwd
    assert ops.forward("adam") is getattr(ops, KERNELS["adam"].forward.__name__)


def test_an_unknown_kernel_is_refused_with_the_nearest_names() -> None:
    ops = Ops(np)
    with pytest.raises(bp.ConfigError, match=r"unknown kernel function 'desne_fwd'\. Did you mean .*'dense_fwd'"):
        ops.desne_fwd(1)
    with pytest.raises(bp.ConfigError, match=r"unknown kernel function 'sgd'\. Known: accumulate, "):
        ObservedOps(ops, lambda call: None).sgd(1)
    for find in (ops.forward, ops.backward):
        with pytest.raises(bp.ConfigError, match=r"unknown kernel 'rellu'\. Did you mean .*'relu'"):
            find("rellu")


def test_a_kernel_without_backward_says_why() -> None:
    with pytest.raises(bp.ConfigError, match=r"'step' has no backward: the derivative of a step is 0 everywhere"):
        Ops(np).backward("step")
    with pytest.raises(bp.ConfigError, match=r"'halt' has no backward: it is not differentiated"):
        Ops(np).backward("halt")


def test_a_network_is_not_trained_through_a_step() -> None:
    net = bp.Network(2, [bp.Dense(2, "step"), bp.Dense(1)], "mean_squared_error")
    model = bp.Model(net)
    assert model.forward([[1.0, 2.0]]).shape == (1, 1)
    with pytest.raises(bp.ConfigError, match="nothing could be learned through it"):
        model.loss_and_gradients([[1.0, 2.0]], [1.0])


def test_a_replacement_runs_in_place_of_the_kernel() -> None:
    class Replacing(NumpyBackend):
        def replacements(self) -> dict[str, Any]:
            return {"relu_fwd": lambda x: (np.full_like(x, 7.0), x)}

    net = bp.Network(2, [bp.Activation("relu")], "mean_squared_error")
    assert bp.Model(net, Replacing()).forward([[1.0, -1.0]]).tolist() == [[7.0, 7.0]]
    assert bp.Model(net).forward([[1.0, -1.0]]).tolist() == [[1.0, 0.0]]
    ops = Replacing().ops()
    assert ops.forward("relu") is ops.relu_fwd
    seen: list[Call] = []
    ObservedOps(ops, seen.append).relu_fwd(np.ones((1, 1)))
    assert seen[0].named_results()["y"] == 7.0
    assert seen[0].kernel is KERNELS["relu"]


def test_a_replacement_of_no_kernel_is_refused() -> None:
    class Misspelt(NumpyBackend):
        def replacements(self) -> dict[str, Any]:
            return {"relu_forward": lambda x: (x, x)}

    with pytest.raises(bp.ConfigError, match=r"unknown kernel function to replace 'relu_forward'.*'relu_fwd'"):
        Misspelt().ops()


def test_an_observer_sees_every_call_once_in_order_with_its_place(rng: np.random.Generator) -> None:
    assert [(c.place, c.function) for c in observed(rng)] == FORWARD + LOSS + BACKWARD


def test_an_observed_call_can_be_repeated(rng: np.random.Generator) -> None:
    for call in observed(rng):
        assert call.function in (call.kernel.forward.__name__, getattr(call.kernel.backward, "__name__", None))
        again = Call(
            place=call.place,
            function=call.function,
            kernel=call.kernel,
            args=call.args,
            options=call.options,
            result=FUNCTIONS[call.function](np, *call.args, **call.options),
        )
        for name, value in again.named_results().items():
            np.testing.assert_array_equal(call.named_results()[name], value)


def test_results_are_named_by_the_table(rng: np.random.Generator) -> None:
    calls = observed(rng)
    names = {(c.place, c.function): tuple(c.named_results()) for c in calls}
    assert names["0", "dense_fwd"] == ("y",)
    assert names["2", "dense_bwd"] == ("dx", "dw", "db")
    assert names["0", "dense_bwd"] == ("dw", "db")  # the first layer's dx is not computed
    assert names["1.0", "dense_no_bias_bwd"] == ("dx", "dw")
    assert names["2", "identity_bwd"] == ("dx",)
    assert names["1", "add_bwd"] == tuple(f"d{name}" for name in KERNELS["add"].differentiable)
    assert names["loss", "softmax_cross_entropy_fwd"] == KERNELS["softmax_cross_entropy"].outputs
    assert names["loss", "softmax_cross_entropy_bwd"] == tuple(
        f"d{name}" for name in KERNELS["softmax_cross_entropy"].differentiable
    )
    by_key = {(c.place, c.function): c.named_results() for c in calls}
    assert by_key["2", "dense_bwd"]["db"].shape == (2,)
    assert by_key["2", "dense_bwd"]["dw"].shape == (4, 2)


def test_results_of_kernels_without_backward_are_named_too(rng: np.random.Generator) -> None:
    calls: list[Call] = []
    ops = ObservedOps(Ops(np), calls.append)
    ops.step_fwd(np.array([[1.0, -1.0]]))
    ops.halt(np.array(1.0))
    ops.momentum_update(*(rng.normal(size=s) for s in [(2, 2), (2, 2), (2, 2), (1,), (1,)]))
    named = [call.named_results() for call in calls]
    assert named[0]["y"].tolist() == [[1.0, 0.0]]
    assert not named[1]["stop"]
    assert tuple(named[2]) == KERNELS["momentum"].outputs


def test_observing_changes_no_bit(rng: np.random.Generator) -> None:
    state = rng.bit_generator.state
    loss, gradients, _ = step(Ops(np), rng)
    rng.bit_generator.state = state
    seen_loss, seen_gradients, _ = step(ObservedOps(Ops(np), lambda call: None), rng)
    assert loss == seen_loss
    assert list(gradients) == list(seen_gradients)
    for name, gradient in gradients.items():
        np.testing.assert_array_equal(gradient, seen_gradients[name])


def test_places_cost_nothing_without_an_observer() -> None:
    ops = Ops(np)
    assert ops.at("0") is ops
    assert ops.at("loss").at("1.0") is ops


def test_two_observers_can_watch_the_same_ops() -> None:
    outer: list[str] = []
    inner: list[str] = []
    ops = ObservedOps(ObservedOps(Ops(np), lambda c: inner.append(c.function)), lambda c: outer.append(c.function))
    ops.at("0").relu_fwd(np.ones((1, 1)))
    assert inner == outer == ["relu_fwd"]
