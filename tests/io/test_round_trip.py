"""A model that is saved and loaded is the same model: on any backend, and for the training that follows."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

import bpengine as bp
from bpengine.layers.initializers import INITIALIZERS
from bpengine.losses import LOSSES
from tests.tolerances import agreement_rtol

LAYERS = [
    bp.Dense(6, "relu", weight_init="orthogonal", bias_init=bp.initializers.Normal(0.5)),
    bp.Dense(6, bp.Activation("leaky_relu", alpha=0.2), bias="column"),
    bp.BatchNorm(eps=1e-4, momentum=0.75),
    bp.Activation("elu", alpha=0.5),
    bp.Dropout(0.25),
    bp.Residual(
        [
            bp.Dense(5, "tanh", bias=False),
            bp.LayerNorm(eps=1e-3),
            bp.Residual([bp.BatchNorm(), bp.Dropout(0.5)]),
            bp.Dense(6, bias="column-first"),
        ]
    ),
    bp.Dense(3),
]
EVERYTHING = bp.Network(
    4, LAYERS, bp.Loss("huber", "sum", delta=0.5), [bp.L2(1e-3, per_sample=True), bp.L1(1e-4), bp.L2(0.0)]
)


@pytest.fixture
def data(rng: np.random.Generator) -> Any:
    return rng.normal(size=(24, 4)), rng.normal(size=(24, 3))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.safetensors"


def trained(data: Any, backend: str = "numpy", dtype: str = "float32") -> bp.Model:
    model = bp.Model(EVERYTHING, "numpy", dtype, seed=5)
    for _ in range(2):
        model.fit(*data, batch_size=8, epochs=1)
    return model.to(backend)


def assert_same(ours: bp.Model, theirs: bp.Model) -> None:
    for one, other in ((ours.parameters, theirs.parameters), (ours.running, theirs.running)):
        assert one.keys() == other.keys()
        for name, value in one.items():
            assert value.dtype == other[name].dtype
            np.testing.assert_array_equal(value, other[name])


@pytest.mark.thorough(keep=2)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_network_with_everything_is_read_back(backend_name: str, dtype: str, data: Any, path: Path) -> None:
    model = trained(data, backend_name, dtype)
    model.save(path)
    loaded = bp.load(path, backend_name)
    assert loaded.network == EVERYTHING
    assert (loaded.dtype, loaded.seed, loaded.fits) == (dtype, 5, 2)
    assert_same(loaded, model)
    assert {"2.mean", "5.2.0.variance"} <= set(loaded.running)
    np.testing.assert_array_equal(loaded.predict(data[0]), model.predict(data[0]))
    assert loaded.evaluate(*data) == model.evaluate(*data)


def test_loaded_model_trains_with_the_same_bits(backend_name: str, data: Any, path: Path) -> None:
    model = trained(data, backend_name)
    model.save(path)
    loaded = bp.load(path, backend_name)
    histories = [m.fit(*data, batch_size=8, epochs=2) for m in (model, loaded)]
    np.testing.assert_array_equal(histories[0].loss, histories[1].loss)
    assert_same(loaded, model)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_model_moves_from_backend_to_backend(backend_name: str, dtype: str, data: Any, path: Path) -> None:
    for source, target in (("numpy", backend_name), (backend_name, "numpy")):
        model = trained(data, source, dtype)
        model.save(path)
        loaded = bp.load(path, target)
        assert loaded.backend.name == target
        assert_same(loaded, model)
        rtol = agreement_rtol(dtype, 4 * 6 * 6)
        np.testing.assert_allclose(loaded.predict(data[0]), model.predict(data[0]), rtol=rtol, atol=rtol)
        assert_same(model.to(target), model)


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_is_read_back_with_every_reduction(loss: str, path: Path) -> None:
    kernel = bp.Loss(loss).kernel
    ending = "softmax" if kernel.output == "probabilities" else "identity"
    for reduction in kernel.reductions:
        network = bp.Network(2, [bp.Dense(2, ending)], bp.Loss(loss, reduction))
        bp.Model(network).save(path)
        assert bp.load(path).network == network


@pytest.mark.parametrize("initializer", [*INITIALIZERS, bp.initializers.Uniform(0.3), bp.initializers.Orthogonal(2.0)])
def test_every_initialiser_is_read_back(initializer: Any, path: Path) -> None:
    model = bp.Model(
        bp.Network(3, [bp.Dense(2, weight_init=initializer, bias_init=initializer)], "mean_squared_error"), seed=3
    )
    model.save(path)
    loaded = bp.load(path)
    assert loaded.network.layers[0].weight_init == model.network.layers[0].weight_init
    assert loaded.network.layers[0].bias_init == model.network.layers[0].bias_init
    assert_same(bp.Model(loaded.network, seed=3), model)  # so that it can be initialised again


@pytest.fixture(params=[True, "column"])
def explicit(request: pytest.FixtureRequest) -> bp.Model:
    rows = 2 if request.param is True else 3
    layer = bp.Dense(2, bias=request.param, weight_init=np.eye(rows, 2), bias_init=[3.0, 4.0])
    return bp.Model(bp.Network(2, [bp.Residual([layer])], "mean_squared_error"))


def test_model_with_explicit_initial_values_is_read_back_without_them(
    explicit: bp.Model, path: Path, data: Any
) -> None:
    explicit.save(path)
    loaded = bp.load(path)
    assert_same(loaded, explicit)
    loaded.fit(data[0][:, :2], data[1][:, :2], steps=1)
    loaded.save(path)
    assert_same(bp.load(path), loaded)
    with pytest.raises(bp.ConfigError, match="not kept in a model file"):
        bp.Model(loaded.network)


def test_a_model_loaded_with_explicit_initial_values_moves_on(
    explicit: bp.Model, path: Path, backend_name: str
) -> None:
    explicit.save(path)
    assert_same(bp.load(path).to(backend_name), explicit)


@dataclass(frozen=True)
class Scale(bp.Layer):
    """A layer of one's own with a setting and a parameter: y = (factor + shift) x, made of built-in kernels."""

    factor: float = 1.0

    def init(self, rng: np.random.Generator, inputs: int) -> Any:
        return {"weight": self.factor * np.eye(inputs)}

    def forward(self, ops: Any, params: Any, running: Any, x: Any, run: Any) -> Any:
        return *ops.dense_no_bias_fwd(x, params["weight"]), running

    def backward(self, ops: Any, residual: Any, dy: Any, *, need_dx: bool = True) -> Any:
        dx, dw = ops.dense_no_bias_bwd(residual, dy, need_dx=need_dx)
        return dx, {"weight": dw}


def test_own_layer_is_read_back_by_name(path: Path, data: Any) -> None:
    model = bp.Model(bp.Network(4, [bp.Residual([Scale(2.5)]), bp.Dense(3)], "mean_squared_error"))
    model.fit(*data, steps=2)
    model.save(path)
    loaded = bp.load(path, layers={"Scale": Scale})
    assert loaded.network == model.network
    assert_same(loaded, model)
    with pytest.raises(bp.ModelFileError, match=r"uses the layer 'Scale', which is not known here.*layers=\{'Scale'"):
        bp.load(path)


def test_settings_given_as_numpy_numbers_are_kept(path: Path) -> None:
    network = bp.Network(
        np.int64(2),
        [bp.Dense(np.int32(2), bp.Activation("elu", alpha=np.float64(0.5))), bp.LayerNorm(np.float32(0.25))],
        bp.Loss("huber", delta=np.float32(0.5)),
        bp.L2(np.float64(0.5)),
    )
    bp.Model(network, seed=np.int64(3)).save(path)
    loaded = bp.load(path)
    assert loaded.network == network
    assert loaded.seed == 3


def test_the_file_is_plain_safetensors(path: Path, data: Any) -> None:
    model = trained(data)
    model.save(path)
    arrays = load_file(path)
    wanted = {f"params/{n}": v for n, v in model.parameters.items()}
    wanted |= {f"running/{n}": v for n, v in model.running.items()}
    assert arrays.keys() == wanted.keys()
    for name, value in wanted.items():
        assert arrays[name].dtype == np.float32
        np.testing.assert_array_equal(arrays[name], value)


DEEP = bp.Network(2, [bp.Dense(2) for _ in range(11)], "mean_squared_error")
ORDER = [f"{i}.{name}" for i in range(11) for name in ("weight", "bias")]


def test_a_loaded_model_has_its_parameters_in_the_order_of_the_layers(path: Path) -> None:
    model = bp.Model(DEEP)
    assert list(model.parameters) == ORDER
    model.save(path)
    assert list(bp.load(path).parameters) == ORDER
    model.load_parameters(path)
    assert list(model.parameters) == ORDER


def test_a_trained_model_has_its_parameters_in_the_order_of_the_layers(backend_name: str) -> None:
    model = bp.Model(DEEP, backend_name)
    model.fit([[0.5, 1.0]], [[1.0, 0.0]], steps=1)
    assert list(model.parameters) == ORDER


def test_a_loaded_model_saves_the_same_file(path: Path, tmp_path: Path, data: Any) -> None:
    """Up to the order of the texts in its header, which the format leaves open."""
    trained(data).save(path)
    bp.load(path).save(tmp_path / "again")
    contents = []
    for name in (path, tmp_path / "again"):
        content = name.read_bytes()
        start = 8 + int.from_bytes(content[:8], "little")
        contents.append((json.loads(content[8:start]), content[start:]))
    assert contents[0] == contents[1]


def test_paths_may_be_text(tmp_path: Path) -> None:
    model = bp.Model(bp.Network(2, [bp.Dense(1)], "mean_squared_error"))
    model.save(str(tmp_path / "Übung 1"))
    assert_same(bp.load(str(tmp_path / "Übung 1")), model)


def test_parameters_are_taken_over(path: Path, data: Any, backend_name: str) -> None:
    model = trained(data)
    model.save(path)
    other = bp.Model(EVERYTHING, backend_name, seed=99)
    other.load_parameters(path)
    assert_same(other, model)


def test_parameters_of_another_dtype_are_converted(path: Path, data: Any) -> None:
    trained(data, dtype="float64").save(path)
    other = bp.Model(EVERYTHING)
    other.load_parameters(path)
    assert {v.dtype for v in other.parameters.values()} == {np.dtype("float32")}
