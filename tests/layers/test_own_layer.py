"""A layer that a user writes: it trains, is checked and is penalised like the built-in ones, without registration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import bpengine as bp
from bpengine.layers import Run
from bpengine.ops import Ops
from tests.tolerances import oracle_rtol, training_rtol


@dataclass(frozen=True)
class Gate(bp.Layer):
    """Pass tanh(x w + b) of a square weight, twice: y = tanh(tanh(x w + b) w + b). Both uses share one weight."""

    start: float = 0.1

    def init(self, rng: np.random.Generator, inputs: int) -> Any:
        return {"weight": self.start * rng.standard_normal((inputs, inputs)), "shift": np.zeros(inputs)}

    def penalized(self) -> dict[str, str | None]:
        return {"weight": None}

    def forward(self, ops: Ops, params: Any, running: Any, x: Any, run: Run) -> Any:
        residuals = []
        for _ in range(2):
            x, linear = ops.dense_fwd(x, params["weight"], params["shift"])
            x, bent = ops.tanh_fwd(x)
            residuals.append((linear, bent))
        return x, tuple(residuals), running

    def backward(self, ops: Ops, residual: Any, dy: Any, *, need_dx: bool = True) -> Any:
        dy, dw, db = ops.dense_bwd(residual[1][0], ops.tanh_bwd(residual[1][1], dy))
        dx, dw_first, db_first = ops.dense_bwd(residual[0][0], ops.tanh_bwd(residual[0][1], dy), need_dx=need_dx)
        return dx, {"weight": ops.add_fwd(dw, dw_first)[0], "shift": ops.add_fwd(db, db_first)[0]}


NETWORK = bp.Network(
    3, [bp.Dense(4, "relu"), Gate(0.5), bp.Residual([Gate()]), bp.Dense(2)], "softmax_cross_entropy", bp.L2(1e-3)
)


@pytest.fixture
def data(rng: np.random.Generator) -> Any:
    x = rng.normal(size=(40, 3))
    return x, (x.sum(axis=1) > 0).astype(int)


def test_own_layer_trains(backend_name: str, data: Any) -> None:
    model = bp.Model(NETWORK, backend_name, "float64", seed=1)
    before = model.parameters
    history = model.fit(*data, optimizer=bp.Adam(0.05), batch_size=8, epochs=20)
    assert history.loss[-1] < history.loss[0] / 2
    assert model.evaluate(*data)["accuracy"] > 0.9
    assert all((model.parameters[name] != value).any() for name, value in before.items())


def test_own_layer_trains_equally_on_every_backend(backend_name: str, data: Any) -> None:
    losses = [
        bp.Model(NETWORK, name, "float64").fit(*data, optimizer=bp.SGD(0.1), steps=20).loss
        for name in ("numpy", backend_name)
    ]
    np.testing.assert_allclose(losses[1], losses[0], rtol=training_rtol(float, 20))


def test_own_gradients_agree_with_autodiff(backend_name: str, data: Any, jax: Any) -> None:
    from bpengine.check import autodiff_gradients, largest_difference

    model = bp.Model(NETWORK, backend_name, "float64", seed=1)
    loss, reference = autodiff_gradients(NETWORK, model.parameters, model.running, *data)
    ours, gradients = model.loss_and_gradients(*data)
    assert ours == pytest.approx(loss, rel=oracle_rtol())
    assert gradients.keys() == {"0.weight", "0.bias", "3.weight", "3.bias"} | {
        f"{place}.{name}" for place in ("1", "2.0") for name in ("weight", "shift")
    }
    assert largest_difference(gradients, reference) <= oracle_rtol()


def test_a_wrong_backward_is_found_by_autodiff(data: Any, jax: Any) -> None:
    from bpengine.check import autodiff_gradients, largest_difference

    class Wrong(Gate):
        def backward(self, ops: Ops, residual: Any, dy: Any, *, need_dx: bool = True) -> Any:
            dx, gradients = super().backward(ops, residual, dy, need_dx=need_dx)
            return dx, {**gradients, "shift": gradients["shift"] / 2}

    network = bp.Network(3, [Wrong(), bp.Dense(2)], "softmax_cross_entropy")
    model = bp.Model(network, dtype="float64")
    _, reference = autodiff_gradients(network, model.parameters, model.running, *data)
    assert largest_difference(model.loss_and_gradients(*data)[1], reference) > 0.1


def test_own_layer_can_be_frozen_and_clipped(data: Any) -> None:
    model = bp.Model(NETWORK)
    before = model.parameters
    model.fit(*data, steps=3, only=["1.*"], clip_norm=0.1)
    changed = {name for name, value in model.parameters.items() if (value != before[name]).any()}
    assert changed == {"1.weight", "1.shift"}


def test_sequential_updates_include_an_own_layer(data: Any) -> None:
    model = bp.Model(NETWORK)
    history = model.fit(*data, optimizer=bp.SGD(0.1), steps=10, update="sequential")
    assert history.loss[-1] < history.loss[0]


def test_the_base_is_a_layer_that_passes_everything_through(data: Any) -> None:
    x, _ = data
    network = bp.Network(3, [bp.Layer(), bp.Dense(1)], "mean_squared_error")
    model = bp.Model(network)
    assert network.sizes == [3, 3, 1]
    assert list(model.parameters) == ["1.weight", "1.bias"]
    model.fit(x, x[:, 0], steps=1)
