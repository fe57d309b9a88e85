"""Model.trace: every number of a step, the same as the step's own, on every backend."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

import bpengine as bp
from tests.explain.networks import random_case, xor
from tests.not_finite import put
from tests.tolerances import agreement_rtol


def deep(rng: np.random.Generator) -> tuple[bp.Network, Any, Any]:
    block = bp.Residual([bp.Dense(4, "gelu"), bp.BatchNorm()])
    layers = [bp.Dense(4, "tanh"), block, bp.LayerNorm(), bp.Dropout(0.3), bp.Activation("softplus"), bp.Dense(2)]
    network = bp.Network(3, layers, "softmax_cross_entropy", bp.L2(0.1))
    return network, rng.normal(size=(5, 3)), np.array([0, 1, 1, 0, 1])


def test_a_trace_holds_the_numbers_of_the_step_on_every_backend(backend_name: str, rng: np.random.Generator) -> None:
    network, x, y = deep(rng)
    model = bp.Model(network, backend_name, "float64")
    traced = model.trace(x, y, optimizer=bp.SGD(0.5))
    loss, gradients = model.loss_and_gradients(x, y)
    for name, value in gradients.items():
        largest = np.max(np.abs(value)) or 1.0
        np.testing.assert_allclose(traced.gradients[name], value, rtol=0, atol=agreement_rtol("float64", 5) * largest)
        stepped = model.parameters[name] - 0.5 * traced.gradients[name]
        np.testing.assert_allclose(traced.updated[name], stepped, rtol=agreement_rtol("float64"), atol=1e-16)
    np.testing.assert_allclose(traced.loss, loss, rtol=agreement_rtol("float64", 5))
    assert list(traced.layers) == ["0", "1.0", "1.1", "1", "2", "3", "4", "5"]


def test_trace_on_numpy_has_the_bits_of_the_step() -> None:
    for seed in range(25):
        network, x, y, weights = random_case(np.random.default_rng(seed))
        model = bp.Model(network, dtype="float64", seed=seed)
        before = model.parameters
        traced = model.trace(x, y, weights)
        loss, gradients = model.loss_and_gradients(x, y, weights)
        assert traced.loss == loss or np.isnan(loss)
        for name, value in gradients.items():
            np.testing.assert_array_equal(traced.gradients[name], value)
            np.testing.assert_array_equal(model.parameters[name], before[name])


def test_the_step_is_the_first_of_a_fit() -> None:
    model, x, y = xor()
    traced = model.trace(x, y, optimizer=bp.Adam(0.01))
    model.fit(x, y, optimizer=bp.Adam(0.01), steps=1)
    for name, value in model.parameters.items():
        np.testing.assert_array_equal(traced.updated[name], value)


def test_each_layer_has_its_input_output_and_gradients() -> None:
    model, x, y = xor()
    w = model.parameters
    hidden, output = model.trace(x, y).layers.values()
    z = np.hstack([x, np.ones((4, 1))]) @ w["0.weight"]
    a = 1 / (1 + np.exp(-z))
    out = 1 / (1 + np.exp(-a @ w["1.weight"]))
    dz = (out - y) * out * (1 - out)
    expected = {"z": z, "a": a, "da": dz @ w["1.weight"].T, "dz": dz @ w["1.weight"].T * a * (1 - a)}
    for name, value in expected.items():
        np.testing.assert_allclose(getattr(hidden, name), value, rtol=agreement_rtol("float64", 4), err_msg=name)
    np.testing.assert_allclose(output.gradients["weight"], a.T @ dz, rtol=agreement_rtol("float64", 4))
    assert (hidden.activation, hidden.units, hidden.dx) == ("sigmoid", 3, None)
    assert len(model.trace(x, y).to_rows()) == 4 * (3 + 1)


def test_every_array_has_one_producer_and_every_backward_its_forward(rng: np.random.Generator) -> None:
    network, x, y = deep(rng)
    traced = bp.Model(network).trace(x, y)
    outputs = [id(a) for call in traced.calls for a in call.named_results().values()]
    assert len(outputs) == len(set(outputs))
    backward = [i for i, call in enumerate(traced.calls) if call.function.endswith("_bwd")]
    assert sorted(traced.forward_of) == backward
    for back, ahead in traced.forward_of.items():
        assert traced.calls[back].kernel is traced.calls[ahead].kernel
        assert traced.calls[back].place == traced.calls[ahead].place


def test_identity_inside_a_residual_is_not_taken_for_the_skip_connection() -> None:
    network = bp.Network(2, [bp.Residual([bp.Activation("identity")]), bp.Dense(1)], "half_sum_squares")
    explained = bp.Model(network, dtype="float64").explain([[1.0, 2.0]], [[1.0]], layer="0.0", unit=1)
    assert explained.adds_up
    assert len(explained.incoming.product[0]) == 1


def test_tracing_leaves_the_model_unchanged() -> None:
    model, x, y = xor()
    model.trace(x, y)
    assert type(model._ops) is bp.Model(model.network)._ops.__class__
    assert "observe" not in str(model._ops.dense_fwd)


def test_json_of_a_trace_has_every_number_and_null_for_non_finite_ones() -> None:
    model, x, y = xor()
    trace = model.trace(x, y)
    plain = json.loads(json.dumps(trace.to_dict(), allow_nan=False))
    assert plain["loss"] == trace.loss
    assert plain["weights"] is None
    for name, gradient in trace.gradients.items():
        assert np.array_equal(plain["gradients"][name], gradient)
    for place, layer in trace.layers.items():
        assert plain["layers"][place]["activation"] == layer.activation
        assert np.array_equal(plain["layers"][place]["dz"], layer.dz)
    put(model, {"1.weight": np.array([[1.0], [np.nan], [1.0]])})
    assert model.trace(x, y).to_dict()["parameters"]["1.weight"] == [[1.0], [None], [1.0]]


def test_no_target_is_refused() -> None:
    model, x, _ = xor()
    with pytest.raises(bp.ConfigError, match="requires y, the targets"):
        model.trace(x, None)
    with pytest.raises(bp.ConfigError, match="requires y, the targets"):
        bp.explain(model, x, layer=0, unit=0)
    with pytest.raises(bp.ConfigError, match="requires y, the targets"):
        bp.sweep(model, x, None, "0.weight[0,0]", [0.0])


def test_the_first_number_that_is_not_finite_is_named() -> None:
    model, x, y = xor()
    assert model.trace(x, y).first_bad is None
    put(model, {"1.weight": np.array([[1.0], [np.nan], [1.0]])})
    assert str(model.trace(x, y).first_bad) == "parameter '1.weight', row 1, column 0 = nan (1 of 3 values)"
    big = bp.Model(bp.Network(1, [bp.Dense(1, bias=False), bp.Dense(1)], "half_sum_squares"), dtype="float32")
    big.parameters = {"0.weight": [[3e38]]}
    assert str(big.trace([[10.0]], [[0.0]]).first_bad).startswith(
        "y of dense_no_bias_fwd in layer 0, row 0, column 0 = inf"
    )
