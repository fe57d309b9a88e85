"""The loss as one parameter moves, a descent laid on it; every parameter's partial, ranked."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

import bpengine as bp
from bpengine.examples.known import known
from bpengine.explain import Walk
from tests.explain.networks import dosage, xor
from tests.not_finite import put
from tests.tolerances import agreement_rtol, published_atol


def test_sweep_of_the_dosage_network_has_the_published_losses() -> None:
    model, x, y = dosage()
    swept = bp.sweep(model, x, y, "1.bias", [0, 1, 2, 3])
    np.testing.assert_allclose(swept.loss, [20.4236, 7.7685, 1.1134, 0.4583], rtol=0, atol=published_atol(4))
    np.testing.assert_allclose(
        swept.slopes[0], swept.slopes[0][0] + 6.0 * np.arange(4), rtol=agreement_rtol("float64", 3)
    )
    assert swept.names == ("1.bias[0]",)
    assert swept.lowest == (3.0,)
    assert model.parameters["1.bias"][0] == 0.0


def test_descent_of_the_sweep_has_the_published_steps() -> None:
    model, x, y = dosage()
    walk = Walk(model, "1.bias")
    rule = bp.StepSizeBelow(1e-3)
    history = model.fit(x, y, optimizer=bp.SGD(0.1), steps=1000, only=["1.bias"], stop=rule, callbacks=walk)
    drawn = bp.sweep(model, x, y, "1.bias", [0, 3], history=history)
    seen = bp.sweep(model, x, y, "1.bias", [0, 3], history=history, walk=walk)
    expected = np.array(next(q.value for q in known("statquest_dosage_b3").quantities if q.name == "trace"))
    for swept in (drawn, seen):
        points = swept.descent.points
        rows = [[p.value[0], p.slope[0], p.step_size[0], p.new[0]] for p in points]
        np.testing.assert_allclose(rows, expected, rtol=0, atol=published_atol(9))
        np.testing.assert_allclose([p.loss for p in points], history.loss, rtol=agreement_rtol("float64", 3) * 10)
        assert swept.descent.stopped_by == history.stopped_by == "step size below 0.001"
    assert "parou por: tamanho do passo abaixo de 0.001" in drawn.text("pt")
    assert json.loads(json.dumps(drawn.to_json(), allow_nan=False))["descent"]["points"][0]["step"] == 1


def test_sensitivity_names_the_inputs_as_the_features_do() -> None:
    table = {"age": [20.0, 30.0, 40.0, 55.0], "city": ["Oslo", "Rio", "Oslo", "Rio"], "y": ["no", "no", "yes", "yes"]}
    people = pd.DataFrame(table)
    features = bp.Features().fit(people, "y")
    network = bp.Network(features.inputs, [bp.Dense(3, "tanh"), bp.Dense(2)], "softmax_cross_entropy")
    model = bp.Model(network, features=features, dtype="float64")
    named = bp.sensitivity(model, people, people["y"])
    names = features.input_names
    assert {(row["parameter"], row["input"]) for row in named.to_rows() if row["parameter"].startswith("0.weight")} == {
        (f"0.weight[{at},{unit}]", name) for at, name in enumerate(names) for unit in range(3)
    }
    assert all(row["input"] is None for row in named.to_rows() if not row["parameter"].startswith("0.weight"))
    assert "city = Oslo" in named.text()
    assert "entrada" in named.text("pt")
    source, x, y = xor()
    assert "input" not in bp.sensitivity(source, x, y).to_rows()[0]


def test_two_parameters_make_a_surface(backend_name: str) -> None:
    source, x, y = xor()
    model = source.to(backend_name)
    names, values = ["0.weight[2,1]", "1.weight[0,0]"], [np.linspace(-1, 1, 3), np.linspace(0, 1, 2)]
    swept = bp.sweep(model, x, y, names, values)
    assert swept.loss.shape == swept.slopes[0].shape == swept.slopes[1].shape == (3, 2)
    changed = {n: v.copy() for n, v in source.parameters.items()}
    changed["0.weight"][2, 1], changed["1.weight"][0, 0] = 1.0, 0.0
    source.parameters = changed
    loss, gradients = source.loss_and_gradients(x, y)
    np.testing.assert_allclose(swept.loss[2, 0], loss, rtol=agreement_rtol("float64", 4))
    np.testing.assert_allclose(
        swept.slopes[0][2, 0], gradients["0.weight"][2, 1], rtol=agreement_rtol("float64", 4) * 10
    )
    assert len(swept.to_rows()) == 6


def test_walk_records_the_trajectory_of_two_parameters() -> None:
    model, x, y = dosage()
    names = ["1.bias", "1.weight[0,0]"]
    walk = Walk(model, names)
    history = model.fit(x, y, optimizer=bp.SGD(0.05), steps=5, only=["1.*"], callbacks=walk)
    swept = bp.sweep(model, x, y, names, [[0.0, 1.0], [0.0]], history=history, walk=walk)
    assert len(swept.descent.points) == 5
    assert swept.descent.points[-1].new == (model.parameters["1.bias"][0], model.parameters["1.weight"][0, 0])


def test_invalid_sweeps_are_refused() -> None:
    model, x, y = dosage()
    with pytest.raises(bp.ConfigError, match=r"unknown parameter '1.bais'. Did you mean '1.bias'"):
        bp.sweep(model, x, y, "1.bais", [0.0])
    with pytest.raises(bp.ShapeError, match="name one of them"):
        bp.sweep(model, x, y, "0.bias", [0.0])
    with pytest.raises(bp.ConfigError, match="takes one parameter or two, got 3"):
        bp.sweep(model, x, y, ["a", "b", "c"], [[0.0]] * 3)
    with pytest.raises(bp.ConfigError, match="values for each of 2 parameters, got 1"):
        bp.sweep(model, x, y, ["1.bias", "0.bias[0]"], [[0.0]])
    with pytest.raises(bp.ConfigError, match="different parameters"):
        bp.sweep(model, x, y, ["1.bias", "1.bias[0]"], [[0.0], [0.0]])
    with pytest.raises(bp.DataError, match=r"finite values .* got 'abc'"):
        bp.sweep(model, x, y, "1.bias", "abc")
    with pytest.raises(bp.DataError, match="finite values"):
        bp.sweep(model, x, y, "1.bias", [np.nan])


def test_a_history_of_something_else_is_refused() -> None:
    model, x, y = dosage()
    whole = model.fit(x, y, optimizer=bp.SGD(0.01), steps=5)
    with pytest.raises(bp.ConfigError, match="not of a descent in this parameter"):
        bp.sweep(model, x, y, "1.bias", [0.0], history=whole)
    with pytest.raises(bp.ConfigError, match="one parameter; for two pass walk"):
        bp.sweep(model, x, y, ["1.bias", "0.bias[0]"], [[0.0], [0.0]], history=whole)
    batches = model.fit(x, y, batch_size=1, epochs=1)
    with pytest.raises(bp.ConfigError, match="no step sizes"):
        bp.sweep(model, x, y, "1.bias", [0.0], history=batches)
    with pytest.raises(bp.ConfigError, match=r"the Walk records 0\.bias"):
        bp.sweep(model, x, y, "1.bias", [0.0], walk=Walk(model, "0.bias[0]"))
    with pytest.raises(bp.ConfigError, match="one step must be one epoch"):
        bp.sweep(model, x, y, "1.bias", [0.0], walk=Walk(model, "1.bias"), history=batches)


def test_every_partial_is_there_and_ranked() -> None:
    model, x, y = xor()
    _, gradients = model.loss_and_gradients(x, y)
    partials = bp.sensitivity(model, x, y)
    ranked = list(partials.ranked())
    assert len(ranked) == partials.size == 12
    assert [abs(p.partial) for p in ranked] == sorted((abs(p.partial) for p in ranked), reverse=True)
    for p in ranked:
        assert p.partial == gradients[p.name][p.index]
        assert p.value == model.parameters[p.name][p.index]
    np.testing.assert_allclose(sum(p.share for p in ranked), 1.0)
    np.testing.assert_allclose(partials.layers[0].norm, np.linalg.norm(gradients["0.weight"]))
    np.testing.assert_allclose(partials.units[2].norm, np.linalg.norm(gradients["0.weight"][:, 2]))
    assert partials.to_rows(3)[0]["rank"] == 1
    assert "derivada parcial" in partials.text("pt")
    by_unit = partials.text(largest=2).partition("By unit\n")[2].splitlines()
    assert [line.split()[:5] for line in by_unit[1:3]] == [
        ["unit", str(u.unit), "of", "layer", u.place] for u in sorted(partials.units, key=lambda u: -u.norm)[:2]
    ]
    assert by_unit[3] == "  ... 2"


def test_dead_and_saturated_units_and_vanishing_layers_are_named() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(16, 3)), rng.integers(0, 2, 16)
    relu = bp.Dense(3, "relu", bias_init=[-99.0, 0.0, 99.0])
    tanh = bp.Dense(2, "tanh", bias_init=[3.0, 0.0])
    model = bp.Model(bp.Network(3, [relu, tanh, bp.Dense(2)], "softmax_cross_entropy"), dtype="float64")
    model.parameters = {"1.weight": 0.01 * model.parameters["1.weight"]}
    first, second, _ = bp.sensitivity(model, x, y).layers
    assert (first.dead, first.saturated) == ((0,), ())
    assert (second.dead, second.saturated) == ((), (0,))
    sigmoids = [bp.Dense(4, "sigmoid", weight_init="glorot") for _ in range(8)]
    deep = bp.Model(bp.Network(3, [*sigmoids, bp.Dense(2)], "softmax_cross_entropy"), dtype="float64")
    layers = bp.sensitivity(deep, x, y).layers
    assert layers[0].verdict == "vanishing"
    assert layers[-1].verdict == ""
    deep.parameters = {f"{i}.weight": 1e3 * deep.parameters[f"{i}.weight"] for i in range(1, 9)}
    linear = [bp.Dense(3) for _ in range(3)]
    steep = bp.Model(bp.Network(3, [*linear, bp.Dense(2)], "softmax_cross_entropy"), dtype="float64")
    steep.parameters = {f"{i}.weight": 100 * steep.parameters[f"{i}.weight"] for i in range(1, 4)}
    assert bp.sensitivity(steep, x, y).layers[0].verdict == "exploding"
    assert "vanishing gradient" in bp.sensitivity(bp.Model(deep.network, dtype="float64"), x, y).text()


def test_non_finite_units_are_not_called_dead() -> None:
    network = bp.Network(1, [bp.Dense(1, "relu"), bp.Dense(1)], "half_sum_squares")
    model = bp.Model(network)
    put(model, {"0.weight": [[np.nan]]})
    partials = bp.sensitivity(model, [[1.0]], [[1.0]])
    assert partials.layers[0].dead == ()
    assert "First cause: parameter '0.weight'" in partials.text()
    assert json.dumps(partials.to_json(), allow_nan=False)
