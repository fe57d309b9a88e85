"""Dropout: off outside training, another mask for each step and layer, the same one on every backend."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import bpengine as bp
from bpengine.backend import as_host
from bpengine.layers import Run
from bpengine.ops import Ops
from bpengine.streams import dropout_counter
from tests.tolerances import correlation_atol, value_rtol

ONES = np.ones((40, 50))


def net(*layers: Any, inputs: int = 50) -> bp.Network:
    return bp.Network(inputs, layers, "mean_squared_error")


def masks(network: bp.Network, step: int, seed: int = 0, ops: Ops | None = None, rows: int = 40) -> Any:
    counter = np.array([seed, step], dtype=np.uint32)
    return network.forward(ops or Ops(np), *network.init(0), ONES[:rows], Run(True, counter)).y


def test_dropout_does_nothing_outside_training(backend_name: str) -> None:
    model = bp.Model(net(bp.Dropout(0.9)), backend_name)
    np.testing.assert_array_equal(model.forward(ONES), ONES)
    np.testing.assert_array_equal(model.predict(ONES), ONES)
    assert model.evaluate(ONES, ONES)["loss"] == 0.0


@pytest.mark.parametrize("rate", [0, 0.0])
def test_rate_zero_does_nothing(rate: float) -> None:
    np.testing.assert_array_equal(masks(net(bp.Dropout(rate)), 3), ONES)


@pytest.mark.parametrize("rate", [0.25, 0.5, 0.9])
def test_values_are_dropped_or_scaled_up(rate: float) -> None:
    y = masks(net(bp.Dropout(rate)), 0)
    kept = y != 0
    np.testing.assert_allclose(y[kept], 1 / (1 - rate), rtol=value_rtol(float))
    assert abs(kept.mean() - (1 - rate)) < correlation_atol(y.size)


def test_the_mask_differs_by_step_layer_and_seed() -> None:
    one = net(bp.Dropout())
    base = masks(one, 0)
    others = [masks(one, 1), masks(one, 0, seed=1), masks(net(bp.Activation("identity"), bp.Dropout()), 0)]
    others.append(masks(net(bp.Activation("identity"), bp.Residual([bp.Dropout()])), 0) - 1)
    for i, other in enumerate(others):
        for earlier in [base, *others[:i]]:
            agreement = np.mean((other != 0) == (earlier != 0))
            assert abs(2 * agreement - 1) < correlation_atol(ONES.size)  # no more alike than chance
    np.testing.assert_array_equal(base, masks(one, 0))


def test_the_mask_is_the_same_on_every_namespace(xp: Any) -> None:
    network = net(bp.Dropout(0.3), bp.Residual([bp.Dropout(0.6)]))
    counter = xp.asarray(np.array([5, 9], dtype=np.uint32))
    got = network.forward(Ops(xp), {}, {}, xp.asarray(ONES), Run(True, counter)).y
    np.testing.assert_allclose(as_host(got), masks(network, 9, seed=5), rtol=value_rtol(float))
    np.testing.assert_array_equal(as_host(got) == 0, masks(network, 9, seed=5) == 0)


def test_gradients_pass_through_kept_values(backend_name: str) -> None:
    network = net(bp.Dropout(0.5), bp.Dense(1, bias=False, weight_init="zeros"))
    model = bp.Model(network, backend_name, "float64", seed=3)
    _, gradients = model.loss_and_gradients(ONES, np.ones((40, 1)))
    drawn = int(dropout_counter(3)[0])
    wanted = -2 * masks(net(bp.Dropout(0.5)), 0, seed=drawn).mean(axis=0)[:, None]
    np.testing.assert_allclose(gradients["1.weight"], wanted, rtol=value_rtol(float, 40))
    _, outside = model.loss_and_gradients(ONES, np.ones((40, 1)), training=False)
    np.testing.assert_allclose(outside["1.weight"], -2 * np.ones((50, 1)), rtol=value_rtol(float, 40))


def test_training_without_a_counter_is_refused() -> None:
    with pytest.raises(bp.ConfigError, match=r"Dropout requires a counter .*Run\(training=True, counter=...\)"):
        net(bp.Dropout()).forward(Ops(np), {}, {}, ONES, Run(True))


@pytest.mark.parametrize("rate", [1, 1.0, -0.1, "0.5", None, True, float("nan")])
def test_a_rate_that_is_none_is_refused(rate: Any) -> None:
    with pytest.raises(bp.ConfigError, match="Dropout requires a rate of at least 0 and below 1, got"):
        bp.Dropout(rate)
