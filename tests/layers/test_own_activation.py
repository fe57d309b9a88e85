"""An activation of one's own: a pair of functions, or any layer, where the name of an activation is accepted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bpengine as bp
from bpengine.explain import forward, graph, paths
from bpengine.explain.page import page
from bpengine.layers.initializers import Glorot
from tests.backends.test_compiled import Both
from tests.tolerances import training_rtol


def bump_forward(xp: Any, x: Any) -> Any:
    y = 1.0 / (1.0 + x * x)
    return y, (x, y)


def bump_backward(xp: Any, residual: Any, dy: Any) -> Any:
    x, y = residual
    return -2.0 * x * y * y * dy


def arc_forward(xp: Any, x: Any) -> Any:
    """Write tanh anew: the built-in one is its reference."""
    y = xp.tanh(x)
    return y, y


def arc_backward(xp: Any, y: Any, dy: Any) -> Any:
    return dy * (1.0 - y * y)


def norm_forward(xp: Any, x: Any) -> Any:
    """Divide by the root of one and the row's sum of squares: it is not elementwise."""
    size = xp.sqrt(1.0 + xp.sum(x * x, axis=1, keepdims=True))
    return x / size, (x, size)


def norm_backward(xp: Any, residual: Any, dy: Any) -> Any:
    x, size = residual
    return dy / size - x * xp.sum(x * dy, axis=1, keepdims=True) / (size * size * size)


BUMP, TANH, NORM = (bump_forward, bump_backward), (arc_forward, arc_backward), (norm_forward, norm_backward)


@dataclass(frozen=True)
class Leaky(bp.Layer):
    """max(x, 0) + alpha min(x, 0) with a slope that is learned, one for each unit."""

    start: float = 0.25

    def init(self, rng: np.random.Generator, inputs: int) -> Any:
        return {"alpha": np.full(inputs, self.start)}

    def forward(self, ops: Any, params: Any, running: Any, x: Any, run: Any) -> Any:
        below = ops.xp.minimum(x, ops.xp.zeros_like(x))
        return x - below + params["alpha"] * below, (x, below, params["alpha"]), running

    def backward(self, ops: Any, residual: Any, dy: Any, *, need_dx: bool = True) -> Any:
        x, below, alpha = residual
        slope = ops.xp.where(x > 0, ops.xp.ones_like(x), ops.xp.zeros_like(x) + alpha)
        return dy * slope, {"alpha": ops.xp.sum(dy * below, axis=0)}


def model_of(activation: Any, backend: str = "numpy", dtype: str = "float64") -> bp.Model:
    layers = [bp.Dense(4, activation), bp.Dense(2)]
    return bp.Model(bp.Network(3, layers, "mean_squared_error"), backend, dtype, seed=2)


@pytest.fixture
def data(rng: np.random.Generator) -> Any:
    return rng.normal(size=(30, 3)), rng.normal(size=(30, 2))


def test_an_activation_written_anew_is_the_built_in_one(backend_name: str, data: Any) -> None:
    own, builtin = model_of(TANH, backend_name), model_of("tanh", backend_name)
    for model in (own, builtin):
        model.fit(*data, optimizer=bp.Adam(0.05), epochs=4, batch_size=8)
    for name, value in builtin.parameters.items():
        np.testing.assert_allclose(own.parameters[name], value, rtol=0, atol=training_rtol("float64", 40), err_msg=name)


@pytest.mark.parametrize("activation", [BUMP, NORM], ids=["bump", "norm"])
def test_compiled_own_activation_has_the_same_bits(activation: Any, data: Any) -> None:
    before = Both.steps
    model = bp.Model(model_of(activation).network, Both(precision="float32"))
    model.fit(*data, epochs=2, batch_size=8)
    assert Both.steps == before + 8


def test_own_activation_gets_glorot_weights() -> None:
    layer = bp.Dense(4, BUMP)
    assert layer.weight_init == Glorot()
    assert layer.activation.name == "bump"
    assert bp.Dense(4, Leaky()).weight_init == Glorot()


def wrong_backward(xp: Any, residual: Any, dy: Any) -> Any:
    x, y = residual
    return 2.0 * x * y * y * dy


@pytest.mark.thorough(keep=1)
def test_wrong_own_activation_is_found_and_named(backend_name: str, data: Any) -> None:
    data = tuple(array[:6] for array in data)  # finite differences take time for each element
    for subject in (BUMP, NORM, bp.CustomActivation(*BUMP)):
        assert bp.check_gradients(subject).passed
        assert bp.check_gradients(subject, data[0]).passed
        assert model_of(subject, backend_name, "float32").check(*data).passed
    report = bp.check_gradients((bump_forward, wrong_backward))
    assert str(report.guilty).startswith("bump_bwd, dx: ")
    report = model_of((bump_forward, wrong_backward), backend_name, "float32").check(*data)
    assert str(report.guilty).startswith("bump_bwd in layer 0, dx: ")
    assert "the sign is wrong" in report.guilty.words
    assert bp.compare_backends(model_of(BUMP).network, *data).passed


def test_own_activation_is_explained(data: Any) -> None:
    model = model_of(BUMP)
    explanation = bp.explain(model, *data, layer=0, unit=1, sample=2)
    assert explanation.adds_up
    assert "f'(z) of bump, unit 1 of layer 0" in explanation.text()
    assert paths(model, *data, "0.weight[0,0]").text().endswith("they agree")
    assert "bump" in forward(model, *data, sample=0).text()
    assert "bump_fwd" in graph(model, *data).dot()
    assert "Dense, bump" in page(model, *data, steps=1).html()
    assert [u.verdict for u in bp.sensitivity(model, *data).units] == [""] * 6


def test_activation_that_mixes_units_is_recognised(data: Any) -> None:
    model = model_of(NORM)
    explanation = bp.explain(model, *data, layer=0, unit=1, sample=2)
    assert explanation.adds_up
    assert "taken as a whole" in explanation.text()
    with pytest.raises(bp.ConfigError, match="slopes of kernel 'norm' in layer 0 are not known"):
        paths(model, *data, "0.weight[0,0]")


@pytest.mark.thorough(keep=1)
def test_layer_as_activation_has_its_own_parameters(backend_name: str, data: Any) -> None:
    model = model_of(Leaky(), backend_name)
    assert list(model.parameters) == ["0.weight", "0.bias", "0.activation.alpha", "1.weight", "1.bias"]
    apart = bp.Network(3, [bp.Dense(4), Leaky(), bp.Dense(2)], "mean_squared_error")
    beside = bp.Model(apart, backend_name, "float64")
    names = {"0.weight": "0.weight", "0.bias": "0.bias", "1.alpha": "0.activation.alpha", "2.weight": "1.weight"}
    beside.parameters = {there: model.parameters[here] for there, here in names.items()}
    for trained in (model, beside):
        trained.fit(*data, optimizer=bp.Adam(0.05), epochs=3)
    for there, here in names.items():
        np.testing.assert_allclose(
            model.parameters[here], beside.parameters[there], rtol=0, atol=training_rtol("float64", 3), err_msg=here
        )
    assert model.check(*data).passed
    explanation = bp.explain(model, *data, layer=0, unit=1, sample=2)
    assert "Leaky computes outside of kernels: the terms of dL/dz cannot be shown" in explanation.text()
    dz = beside.backend and bp.explain(model, *data, layer=0, unit=1).dz
    assert sum(dz) == pytest.approx(model.loss_and_gradients(*data)[1]["0.bias"][1])


def test_a_normalization_inside_keeps_its_statistics(data: Any) -> None:
    model = model_of(bp.BatchNorm())
    assert list(model.running) == ["0.activation.mean", "0.activation.variance"]
    before = model.running
    model.fit(*data, epochs=2)
    assert all((model.running[name] != value).any() for name, value in before.items())


def test_file_keeps_an_own_activation_by_name(data: Any, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    network = bp.Network(3, [bp.Residual([bp.Dense(3, BUMP)]), bp.CustomActivation(*NORM)], "mean_squared_error")
    model = bp.Model(network)
    model.save(path)
    x = data[0]
    for own in ({"bump": BUMP, "norm": NORM}, {"bump": bp.CustomActivation(*BUMP), "norm": NORM}):
        np.testing.assert_array_equal(bp.load(path, activations=own).predict(x), model.predict(x))
    with pytest.raises(bp.ModelFileError, match="the activation 'bump', which is one's own"):
        bp.load(path)
    with pytest.raises(bp.ModelFileError, match="has the name 'norm', got one with 'bump'"):
        bp.load(path, activations={"bump": BUMP, "norm": bp.CustomActivation(*BUMP)})
    inside = model_of(Leaky(0.5))
    inside.save(path)
    np.testing.assert_array_equal(bp.load(path, layers={"Leaky": Leaky}).predict(x), inside.predict(x))


def summed(xp: Any, x: Any) -> Any:
    return xp.sum(x, axis=1, keepdims=True), x


def writing(xp: Any, x: Any) -> Any:
    x *= 2.0
    return x, x


def test_result_of_an_own_activation_is_checked(data: Any) -> None:
    with pytest.raises(bp.ShapeError, match=r"activation 'summed' requires its forward to return y of shape \(30, 4\)"):
        model_of((summed, bump_backward)).predict(data[0])
    with pytest.raises(bp.ShapeError, match=r"activation 'bump' requires its backward to return dx of shape \(30, 4\)"):
        model_of((bump_forward, lambda xp, residual, dy: dy[:, :1])).fit(*data, epochs=1)
    with pytest.raises(bp.ConfigError, match="to leave its arguments as they are"):
        model_of((writing, bump_backward)).predict(data[0])


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: bp.Dense(2, bump_forward), r"requires a pair \(forward, backward\), got the function"),
        (lambda: bp.Dense(2, bp.BatchNorm), "got the class BatchNorm. Call it"),
        (lambda: bp.Dense(2, (bump_backward, bump_backward)), r"requires forward\(xp, x\), got a function of 3"),
        (lambda: bp.CustomActivation(*BUMP, name="relu"), "a name of its own, got 'relu'"),
        (lambda: bp.CustomActivation(*BUMP, name="my bump"), "requires a name such as 'my_activation'"),
    ],
)
def test_invalid_activations_are_refused(make: Any, words: str) -> None:
    with pytest.raises(bp.ConfigError, match=words):
        make()
