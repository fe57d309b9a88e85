"""Whole networks on a server: losses with their links, layers in layers, shared ones, code of one's own; files and names."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings

import bpengine as bp
from bpengine.extras import install_command
from bpengine.kernels import KERNELS
from tests.check.random_networks import Sample, samples
from tests.onnx.served import assert_same, exported, outputs

LOSSES = [kernel for kernel in KERNELS.values() if kernel.kind == "loss"]
RNG = np.random.default_rng(0)
X = RNG.normal(0, 2, (67, 4))


class Squares(bp.Layer):
    """A layer of one's own, with a parameter and a statistic, written in functions of xp."""

    def outputs(self, inputs: int) -> int:
        return 2 * inputs

    def init(self, rng: np.random.Generator, inputs: int) -> dict[str, Any]:
        return {"scale": rng.normal(size=inputs)}

    def init_running(self, inputs: int) -> dict[str, Any]:
        return {"shift": np.full(inputs, 0.5)}

    def forward(self, ops: Any, params: Any, running: Any, x: Any, run: Any) -> Any:
        xp = ops.xp
        bent = xp.where(x > running["shift"], x * x, params["scale"] * x) / np.sqrt(4)  # a float64 by NumPy's rules
        return xp.concat([bent, xp.ones((x.shape[0], x.shape[1]), dtype=x.dtype)], axis=1), x, running

    def backward(self, ops: Any, residual: Any, dy: Any, *, need_dx: bool = True) -> Any:
        raise AssertionError("nothing is trained here")


class Sorted(Squares):
    """An own layer with a function that has no ONNX form."""

    def forward(self, ops: Any, params: Any, running: Any, x: Any, run: Any) -> Any:
        return ops.xp.concat([ops.xp.sort(x, axis=1), x], axis=1), x, running


class Counting(Squares):
    """An own layer that needs the number of rows."""

    def forward(self, ops: Any, params: Any, running: Any, x: Any, run: Any) -> Any:
        return np.ones((x.shape[0], 2 * x.shape[1])), x, running


def cube(xp: Any, x: Any) -> Any:
    return x * x * x, x


def cube_backward(xp: Any, x: Any, dy: Any) -> Any:
    return 3.0 * x * x * dy


def turned(xp: Any, x: Any) -> Any:
    return xp.arctan(x), x


def moved(model: bp.Model) -> bp.Model:
    """Let no parameter be 0 or 1, so that each one counts."""
    rng = np.random.default_rng(1)
    model.parameters = {n: a + rng.normal(0, 0.3, a.shape) for n, a in model.parameters.items()}
    return model


def check(model: bp.Model, folder: Path, x: Any = X) -> dict[str, Any]:
    """Check predictions and classes for several numbers of rows, and return what a server gives for the last."""
    running = exported(model, folder)
    for rows in (1, 2, len(x)):
        part = x[:rows].astype(model.dtype)
        served, predicted = outputs(running, {"x": part}), model.predict(part)
        assert_same(served.get("prediction", served.get("probabilities")), predicted)
    if "label" in served and model.class_names is None:
        chosen = predicted.argmax(axis=1) if model.network.outputs > 1 else predicted[:, 0] > 0.5
        np.testing.assert_array_equal(served["label"], chosen)
    empty = outputs(running, {"x": part[:0]})
    assert all(len(end) == 0 for end in empty.values())
    return served


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("loss", LOSSES, ids=lambda kernel: kernel.name)
def test_a_loss_gives_its_predictions(loss: Any, dtype: str, tmp_path: Path) -> None:
    several = loss.target == "classes"
    ends = {"probabilities": "softmax" if several else "sigmoid"}
    network = bp.Network(
        4, [bp.Dense(5, "tanh"), bp.Dense(3 if several else 1, ends.get(loss.output, "identity"))], loss.name
    )
    served = check(bp.Model(network, dtype=dtype), tmp_path)
    assert list(served) == (["prediction"] if loss.target == "values" else ["label", "probabilities"])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_nested_and_shared_layers_are_exported(dtype: str, tmp_path: Path) -> None:
    shared, encoder = bp.Dense(16, "gelu"), bp.Dense(6, "silu")
    inner = bp.Residual(
        [bp.LayerNorm(), bp.Dense(16, bp.Residual([bp.Dense(16, "mish")])), bp.Dropout(0.5), bp.BatchNorm()]
    )
    layers = [bp.BatchNorm(), bp.Dense(16), shared, inner, shared, encoder, bp.Dense(16, tie=encoder)]
    layers += [bp.Dense(5, bias="column"), bp.Dense(3, bias="column-first")]
    model = moved(bp.Model(bp.Network(4, [*layers, bp.Activation("softplus")], "mean_squared_error"), dtype=dtype))
    model.fit(X, X[:, :3], steps=3)
    check(model, tmp_path)
    names = {numbers.name for numbers in onnx.load(tmp_path / "model.onnx").graph.initializer}
    assert set(model.parameters) | set(model.running) == {n for n in names if not n.startswith("constant")}


PUBLIC = {name: getattr(bp, name) for name in dir(bp)}
KINDS = {name for name, kind in PUBLIC.items() if isinstance(kind, type) and issubclass(kind, bp.Layer)}
EACH: dict[str, Callable[[], bp.Layer]] = {
    "Dense": lambda: bp.Dense(4, "tanh"),
    "Dropout": lambda: bp.Dropout(0.5),
    "BatchNorm": bp.BatchNorm,
    "LayerNorm": bp.LayerNorm,
    "Residual": lambda: bp.Residual([bp.Dense(4, "tanh")]),
    "Activation": lambda: bp.Activation("elu"),
    "CustomActivation": lambda: bp.CustomActivation(cube, cube_backward),
}


def test_every_layer_is_tried() -> None:
    assert set(EACH) == KINDS - {"Layer"}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", EACH)
def test_a_layer_gives_what_predict_gives(name: str, dtype: str, tmp_path: Path) -> None:
    model = bp.Model(bp.Network(4, [EACH[name](), bp.Dense(2)], "mean_squared_error"), dtype=dtype)
    model.fit(X, X[:, :2], steps=3)
    check(moved(model), tmp_path)


@pytest.mark.parametrize("link", [kernel.name for kernel in KERNELS.values() if kernel.kind == "activation"])
def test_every_activation_is_exported_as_a_link(link: str, tmp_path: Path) -> None:
    own = bp.CustomLoss(
        lambda xp, y, t: (xp.sum(y - t), y), lambda xp, y, d: d + 0 * y, link=link, name="off", reduction="sum"
    )
    check(moved(bp.Model(bp.Network(4, bp.Dense(3), own))), tmp_path)


@pytest.mark.parametrize("networks", [8, pytest.param(200, marks=pytest.mark.thorough)])
def test_random_networks_agree_with_onnx_runtime(networks: int, tmp_path: Path) -> None:
    @settings(derandomize=True, deadline=None, suppress_health_check=list(HealthCheck), max_examples=networks)
    @given(samples())
    def look(sample: Sample) -> None:
        model, x = moved(sample.model(dtype="float64")), sample.data()[0]
        served = outputs(exported(model, tmp_path), {"x": x})
        assert_same(served.get("prediction", served.get("probabilities")), model.predict(x))

    look()


def test_several_outputs_are_decided_one_by_one(tmp_path: Path) -> None:
    model = bp.Model(bp.Network(4, bp.Dense(3), "sigmoid_cross_entropy"))
    assert list(check(model, tmp_path)) == ["probabilities"]


def test_network_without_a_computation_is_exported(tmp_path: Path) -> None:
    check(bp.Model(bp.Network(4, bp.Dropout(0.5), "mean_squared_error")), tmp_path)


def test_code_of_ones_own_is_exported(tmp_path: Path) -> None:
    own = bp.CustomLoss(
        lambda xp, y, t: (xp.sum(y - t), y), lambda xp, y, d: d + 0 * y, link="tanh", name="off", reduction="sum"
    )
    network = bp.Network(4, [bp.Dense(3, (cube, cube_backward)), Squares(), bp.Dense(2)], own)
    check(moved(bp.Model(network)), tmp_path)


@pytest.mark.parametrize(
    ("layer", "wanted"),
    [
        (Sorted(), "layer 1 (Sorted) cannot be exported: np.sort has no ONNX form."),
        (bp.Dense(4, (turned, cube_backward)), "layer 1 (Dense) cannot be exported: np.arctan has no ONNX form."),
        (bp.Residual([bp.Dense(4), Sorted(), bp.Dense(4)]), "layer 1.1 (Sorted) cannot be exported: np.sort"),
        (
            Counting(),
            "layer 1 (Counting) cannot be exported: the number of rows as a number (xp.ones((x.shape[0], 1)) is",
        ),
    ],
)
def test_what_cannot_be_exported_is_named(layer: Any, wanted: str, tmp_path: Path) -> None:
    model = bp.Model(bp.Network(4, [bp.Dense(4), layer, bp.Dense(1)], "mean_squared_error"))
    model.predict(X)
    with pytest.raises(bp.ConfigError) as refusal:
        model.export_onnx(tmp_path / "model.onnx")
    assert str(refusal.value).startswith(wanted)
    assert "\n" not in str(refusal.value)
    assert not list(tmp_path.iterdir())


def test_a_link_without_a_form_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(np, "exp", np.arctan)
    with pytest.raises(bp.ConfigError, match=r"^the link cannot be exported: np\.arctan"):
        bp.Model(bp.Network(4, bp.Dense(3), "softmax_cross_entropy")).export_onnx(tmp_path / "model.onnx")


def test_classes_have_their_names(tmp_path: Path) -> None:
    model = bp.Model(bp.Network(4, bp.Dense(3), "softmax_cross_entropy"))
    model.class_names = ["no", "perhaps", "ja \u00e6"]
    served = check(model, tmp_path)
    assert served["label"].tolist() == [model.class_names[k] for k in model.predict(X).argmax(axis=1)]
    binary = bp.Model(bp.Network(4, bp.Dense(1), "sigmoid_cross_entropy"))
    binary.class_names = [False, True]
    served = check(binary, tmp_path)
    assert set(served["label"].tolist()) == {"False", "True"}
    assert served["label"].tolist() == [str(bool(p)) for p in binary.predict(X)[:, 0] > 0.5]


@pytest.mark.parametrize(("outputs_", "loss"), [(2, "softmax_cross_entropy"), (1, "sigmoid_cross_entropy")])
def test_nan_output_has_no_class(outputs_: int, loss: str, tmp_path: Path) -> None:
    model = bp.Model(bp.Network(1, bp.Dense(outputs_), loss))
    x = np.array([[np.nan], [1.0]], np.float32)
    label, probabilities = outputs(exported(model, tmp_path), {"x": x}).values()
    assert (label[0], np.isnan(probabilities[0]).all(), label[1] >= 0) == (-1, True, True)
    model.class_names = ["no", "yes"]
    assert outputs(exported(model, tmp_path), {"x": x})["label"][0] == ""


def test_file_has_its_metadata(tmp_path: Path) -> None:
    model = bp.Model(bp.Network(4, bp.Dense(2), "softmax_cross_entropy"))
    model.class_names = [4, 7]
    model.export_onnx(tmp_path / "model.onnx")
    file = onnx.load(tmp_path / "model.onnx")
    onnx.checker.check_model(file, full_check=True)
    onnx.shape_inference.infer_shapes(file, check_type=True, strict_mode=True, data_prop=True)
    assert (file.producer_name, file.ir_version) == ("bpengine", 8)
    assert {op.domain: op.version for op in file.opset_import} == {"": 17, "ai.onnx.ml": 3}
    about = {entry.key: json.loads(entry.value) for entry in file.metadata_props}
    assert about["class_names"] == [4, 7]
    assert list(about["inputs"]) == ["x"]
    assert list(about["outputs"]) == ["label", "probabilities"]
    (x,) = file.graph.input
    assert [d.dim_param or d.dim_value for d in x.type.tensor_type.shape.dim] == ["rows", 4]


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    model, path = bp.Model(bp.Network(4, bp.Dense(1), "mean_squared_error")), tmp_path / "model.onnx"
    path.write_bytes(b"before")
    with pytest.raises(bp.ConfigError):
        bp.Model(bp.Network(4, [Sorted()], "mean_squared_error")).export_onnx(path)
    assert path.read_bytes() == b"before"
    model.export_onnx(path)
    assert onnx.load(path).producer_name == "bpengine"
    for wrong in (tmp_path, tmp_path / "no" / "model.onnx", "/dev/null"):
        with pytest.raises(bp.WriteError, match="cannot write"):
            model.export_onnx(wrong)
    assert os.listdir(tmp_path) == ["model.onnx"]


def test_more_than_a_file_can_hold_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("bpengine.onnx.onnx_file.MOST_BYTES", 19)
    with pytest.raises(bp.ConfigError, match="an ONNX file holds at most 19 bytes of numbers, got a model of 20"):
        bp.Model(bp.Network(4, bp.Dense(1), "mean_squared_error")).export_onnx(tmp_path / "model.onnx")


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    with pytest.raises(bp.ConfigError, match=re.escape(install_command("onnx"))):
        bp.Model(bp.Network(4, bp.Dense(1), "mean_squared_error")).export_onnx(tmp_path / "model.onnx")
