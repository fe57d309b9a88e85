"""Gradient accumulation: k batches to an update are one batch k times as large; and updates one makes oneself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import bpengine as bp
from bpengine.training.updates.accumulation import parts
from tests.tolerances import training_rtol
from tests.training.networks import labelled
from tests.training.test_loop import PLAIN, same_parameters

PENALISED = bp.Network(
    5, [bp.Dense(8, "tanh"), bp.Dense(3)], "softmax_cross_entropy", [bp.L2(0.3, per_sample=True), bp.L1(0.01)]
)
SUMMED = bp.Network(
    5, [bp.Dense(8, "tanh"), bp.Dense(3)], bp.Loss("softmax_cross_entropy", reduction="sum"), bp.L2(0.1)
)


@pytest.mark.thorough(keep=2)
@pytest.mark.parametrize("early", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("network", [PENALISED, SUMMED], ids=["mean", "sum"])
def test_accumulated_parts_equal_one_large_batch(
    network: bp.Network, weighted: bool, early: bool, backend_name: str, rng: np.random.Generator
) -> None:
    """60 rows in batches of 8, three to an update: 24, 24 and 12 rows, of which the last has a part of 4."""
    x, y = labelled(rng)
    weights = rng.integers(0, 3, 60).astype(float) if weighted else None
    models = [bp.Model(network, backend_name, "float64") for _ in range(2)]
    if early and backend_name == "numpy":
        for model in models:
            model.backend._compiled._patience = float("-inf")
    settings = {"optimizer": bp.Adam(0.01), "epochs": 4, "weights": weights, "clip_norm": 0.5}
    parted = models[0].fit(x, y, batch_size=8, accumulate=3, **settings)
    whole = models[1].fit(x, y, batch_size=24, **settings)
    assert parted.steps == whole.steps == 12
    np.testing.assert_allclose(parted.loss, whole.loss, rtol=training_rtol(float, 12))
    np.testing.assert_allclose([e.loss for e in parted.epochs], [e.loss for e in whole.epochs], rtol=1e-12)
    for name, value in models[1].parameters.items():
        np.testing.assert_allclose(models[0].parameters[name], value, rtol=training_rtol(float, 12), atol=1e-12)


def test_one_part_is_run_at_a_time(rng: np.random.Generator) -> None:
    seen = []

    @dataclass(frozen=True)
    class Watch(bp.Layer):
        def forward(self, ops: Any, params: Any, running: Any, x: Any, run: Any) -> Any:
            seen.append(x.shape[0])
            return x, None, running

    x, y = labelled(rng, rows=20)
    bp.Model(bp.Network(5, [Watch(), bp.Dense(3)], "softmax_cross_entropy")).fit(
        x, y, batch_size=4, accumulate=3, epochs=1, shuffle=False
    )
    assert seen == [4, 4, 4, 4, 4]


def test_dropout_draws_a_mask_for_each_part(backend_name: str) -> None:
    """With a rate of 1/2, equal rows and one output per row: parts with the same mask would have equal losses."""
    network = bp.Network(64, [bp.Dropout(0.5), bp.Dense(1, weight_init=np.ones((64, 1)))], "mean_squared_error")
    settings = {"optimizer": bp.SGD(0.0), "steps": 1, "shuffle": False}
    x, y = np.ones((4, 64)), np.zeros(4)
    two = bp.Model(network, backend_name).fit(x, y, batch_size=2, accumulate=2, **settings).loss[0]
    one = bp.Model(network, backend_name).fit(x[:2], y[:2], **settings).loss[0]
    assert two != pytest.approx(one, rel=1e-3)


def test_running_statistics_see_every_part(backend_name: str, rng: np.random.Generator) -> None:
    x, _ = labelled(rng, rows=9)
    network = bp.Network(5, [bp.BatchNorm(momentum=0.5), bp.Dense(1)], "mean_squared_error")
    model = bp.Model(network, backend_name, "float64")
    with pytest.warns(UserWarning, match="the last batch has 5 rows"):
        model.fit(x, x[:, :1], batch_size=4, accumulate=2, epochs=1, shuffle=False)
    expected = 0.25 * 0 + 0.25 * x[:4].mean(axis=0) + 0.5 * x[4:].mean(axis=0)
    np.testing.assert_allclose(model.running["0.mean"], expected, rtol=1e-12)


def test_batch_is_cut_into_parts_of_the_smallest_allowed_size() -> None:
    assert parts(12, 4, 1) == [(0, 4), (4, 8), (8, 12)]
    assert parts(14, 4, 1) == [(0, 4), (4, 8), (8, 12), (12, 14)]
    assert parts(13, 4, 2) == [(0, 4), (4, 8), (8, 13)]
    assert parts(3, 4, 2) == [(0, 3)]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"accumulate": 2}, "accumulate requires batch_size"),
        ({"accumulate": 0, "batch_size": 4}, "accumulate to be a whole number of at least 1, got 0"),
        ({"accumulate": 2, "batch_size": 4, "update": "sequential"}, "takes them one by one"),
    ],
)
def test_invalid_accumulation_settings_are_refused(
    settings: dict[str, Any], message: str, rng: np.random.Generator
) -> None:
    with pytest.raises(bp.ConfigError, match=message):
        bp.Model(PLAIN).fit(*labelled(rng), epochs=1, **settings)


@pytest.mark.thorough(keep=1)
@pytest.mark.parametrize("rule", [bp.SGD, bp.Momentum, bp.Adam])
def test_own_loop_of_updates_equals_a_fit(rule: Any, backend_name: str, rng: np.random.Generator) -> None:
    """Gradients and updates by hand, with a learning rate that changes: what `fit` does, moments and all."""
    x, y = labelled(rng)
    loop, fit = (bp.Model(PENALISED, backend_name, "float64") for _ in range(2))
    rates = [0.1, 0.05, 0.05, 0.01]
    for rate in rates:
        _, gradients = loop.loss_and_gradients(x, y)
        loop.apply_gradients(gradients, optimizer=rule(rate), clip_norm=0.1)
    fit.fit(x, y, optimizer=rule(lambda step: rates[step]), steps=4, clip_norm=0.1)
    if backend_name == "numpy":
        assert same_parameters(loop, fit)
    for name, value in fit.parameters.items():
        np.testing.assert_allclose(loop.parameters[name], value, rtol=training_rtol(float, 4), atol=1e-12)


def test_a_schedule_counts_the_updates() -> None:
    model = bp.Model(
        bp.Network(1, [bp.Dense(1, bias=False, weight_init="zeros")], "mean_squared_error"), dtype="float64"
    )
    optimizer = bp.SGD(lambda step: float(step))
    for _ in range(4):
        model.apply_gradients({"0.weight": [[1.0]]}, optimizer=optimizer)
    assert model.parameters["0.weight"][0, 0] == -(0 + 1 + 2 + 3)
    model.fit([[0.0]], [0.0], optimizer=optimizer, steps=1)
    model.apply_gradients({"0.weight": [[1.0]]}, optimizer=optimizer)
    assert model.parameters["0.weight"][0, 0] == -6


def test_parameters_without_a_gradient_stay(backend_name: str) -> None:
    model = bp.Model(PLAIN, backend_name)
    before = model.parameters
    model.apply_gradients({"1.bias": np.ones(3)}, optimizer=bp.Adam(0.5))
    changed = {name for name, value in before.items() if (model.parameters[name] != value).any()}
    assert changed == {"1.bias"}
    assert model.fits == 0


@pytest.mark.parametrize(
    ("gradients", "settings", "message"),
    [
        ({"1.biass": np.ones(3)}, {}, r"Did you mean '1\.bias'"),
        ({"1.bias": np.ones((1, 3))}, {}, r"gradient of parameter '1\.bias' requires the shape \(3,\), got \(1, 3\)"),
        ({"1.bias": [1.0, np.nan, 0.0]}, {}, r"gradient of parameter '1\.bias' requires finite numbers .* got nan"),
        ([np.ones(3)], {}, r"requires its name: \{'0\.weight': \.\.\.\}, got list"),
        ({"1.bias": np.ones(3)}, {"optimizer": "adan"}, "Did you mean 'adam'"),
        ({"1.bias": np.ones(3)}, {"clip_norm": 0}, "clip_norm above 0"),
        (
            {"1.bias": np.full(3, 1e30)},
            {"optimizer": bp.SGD(1e30)},
            r"finite parameters, got one that is not in '1\.bias'",
        ),
    ],
)
def test_invalid_gradients_are_refused_and_change_no_parameter(
    gradients: Any, settings: Any, message: str, backend_name: str
) -> None:
    model = bp.Model(PLAIN, backend_name)
    before = model.parameters
    with pytest.raises(bp.BpError, match=message):
        model.apply_gradients(gradients, **settings)
    assert all((model.parameters[name] == value).all() for name, value in before.items())
