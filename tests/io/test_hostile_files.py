"""A model file is judged whole before anything is built from it: what is refused, in what words, and at what cost."""

from __future__ import annotations

import json
import os
import re
import threading
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bpengine as bp
from bpengine.layers.chain import MOST_NESTED
from tests.attacks import files
from tests.attacks.hostile import raw

NETWORK = bp.Network(2, [bp.Dense(3, "tanh"), bp.BatchNorm(), bp.Dense(2)], "softmax_cross_entropy")
Edit = Callable[[dict[str, Any]], Any]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path, model = tmp_path / "model.safetensors", bp.Model(NETWORK, seed=1)
    model.class_names = ("no", "yes")
    model.save(path)
    return path


def change(path: Path, edit: Edit, arrays: bytes | None = None) -> None:
    """Rewrite a file with its header edited; the two texts in it are trees."""
    header, sound = files.split(path.read_bytes())
    edit(header)
    path.write_bytes(files.join(header, sound if arrays is None else arrays))


def described(edit: Edit) -> Edit:
    return lambda header: edit(header["__metadata__"]["network"])


def settings(**values: Any) -> Edit:
    return lambda header: header["__metadata__"]["settings"].update(values)


def refusal(path: Path, **own: Any) -> str:
    """Return what is said of a file that is refused, which names it, in one line; little memory is taken for it."""
    tracemalloc.start()
    try:
        with pytest.raises(bp.ModelFileError) as caught:
            bp.load(path, **own)
        assert tracemalloc.get_traced_memory()[1] < 50e6
    finally:
        tracemalloc.stop()
    text = str(caught.value)
    assert path.name in text
    assert text.isprintable()
    assert len(text) < 1000
    return text


def nested(depth: int) -> str:
    return raw('{"type": "Residual", "layers": [' * depth + '{"type": "Dropout", "rate": 0.5}' + "]}" * depth)


def insert(layer: Any) -> Edit:
    return described(lambda network: network["layers"].insert(1, layer))


def bomb_as_tie(header: dict[str, Any]) -> None:
    """Name what is shared 2^40 times in a setting whose refusal shows what it was given."""
    layers = header["__metadata__"]["network"]["layers"]
    layers[1:1] = [files._bomb(40, {"type": "Dropout", "rate": 0.5}, "1"), {"type": "Dense", "units": 2, "tie": "1"}]


def long(header: dict[str, Any]) -> None:
    header["__metadata__"]["network"]["layers"][1:1] = [{"type": "Dropout", "rate": 0.5}] * 5000


def twice(header: dict[str, Any]) -> None:
    header["extra"] = raw('{"dtype": "F32", "dtype": "F32"}')


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (described(lambda n: n["layers"][0].update(units=40_000_000)), "'0.weight' has the shape (2, 40000000)"),
        (described(lambda n: n["layers"][0].update(units=10**15)), "'0.weight' has the shape"),
        (described(lambda n: n["layers"][0].update(units=10**99)), "'0.weight' has the shape"),
        (described(lambda n: n["layers"][0].update(units=raw("1" + "0" * 400))), "a whole number of 401 digits"),
        (described(lambda n: n["layers"][0].update(units=raw("1" * 100_000))), "a whole number of 100,000 digits"),
        (described(lambda n: n.update(inputs=10**9)), "'0.weight' has the shape (1000000000, 3)"),
        (described(lambda n: n["layers"][1].update(eps=raw("1e400"))), "eps above 0"),
        (described(lambda n: n["layers"][1].update(momentum=raw("NaN"))), "a momentum of at least 0 and below 1, got nan"),
        (described(lambda n: n["layers"][0]["weight_init"].update(type="Normal", std="x")), "std of at least 0, got 'x'"),
        (described(lambda n: n["layers"][0].update(units=raw('3, "units": 3'))), "it has 'units' twice"),
        (insert(nested(100)), "nested"),
        (insert(nested(300)), "nested more than 160 deep"),
        (insert(nested(20_000)), "nested more than 160 deep"),
        (insert(raw("[" * 600 + "]" * 600)), "nested more than 160 deep"),
        (insert(files._bomb(60, {"type": "Dropout", "rate": 0.5}, "1")), "at most"),
        (insert(files._bomb(13, {"type": "Dropout", "rate": 0.5}, "1")), "at most 4,096 layers, got"),
        (bomb_as_tie, "at most 65,536 parts"),
        (long, "at most 4,096 layers, got 5003"),
        (insert({"type": "Shared", "place": ["0"]}), "shares those of place ['0']"),
        (insert({"type": "\x1b[2J\n", "x": 1}), "which is not known here"),
        (insert({"type": "Dropout", "a\nb": 1}), "settings it does not have"),
        (described(lambda n: n["layers"].append("\ud800")), "no Unicode"),
        (settings(class_names=["a", "a"]), "got 'a' twice"),
        (settings(class_names=[1, "1"]), "got '1' twice"),
        (settings(class_names=["a", "b", "c"]), "requires 2 names, one for each class, got 3"),
        (settings(class_names=["\ud800", "b"]), "no Unicode"),
        (settings(seed=raw("9" * 101)), "a whole number of 101 digits"),
        (settings(fits=True), "fits must be a whole number"),
        (settings(dtype="float64"), "is of the dtype float32, the model's is float64"),
        (lambda h: h["params/0.weight"].update(dtype="I32"), "requires the dtype F32 or F64, got 'I32'"),
        (lambda h: h["params/0.weight"].update(dtype="C64"), "requires the dtype F32 or F64, got 'C64'"),
        (lambda h: h["params/0.weight"].update(shape=[-2, -3]), "whole numbers as shape"),
        (lambda h: h["params/0.weight"].update(shape=[2**32, 2**32]), "does not take the 24 bytes"),
        (lambda h: h["params/0.weight"].update(shape=[True, 6]), "whole numbers as shape"),
        (lambda h: h["params/0.weight"].update(more=1), "requires dtype, shape and data_offsets"),
        (lambda h: h["params/0.weight"].update(data_offsets=[0, 24]), "overlaps another"),
        (lambda h: h.update(extra={"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}), "neither a parameter nor"),
        (twice, "it has 'dtype' twice"),
        (lambda h: h.update(extra=raw("{" + "".join(f'"{i}": 0, ' for i in range(99_000)) + '"98999": 1}')), "'98999' twice"),
        (lambda h: h["__metadata__"].update(network=raw("5")), "it has no 'network'"),
        (lambda h: h.update(extra=raw("[" + "{}," * 200_000 + "{}]")), "values, at most 250,000 are read"),
        (lambda h: h.update(extra="\U0001f600" * 500_000), "its header is of"),
    ],
)  # fmt: skip
def test_hostile_header_is_refused_before_memory_is_allocated(path: Path, edit: Edit, words: str) -> None:
    change(path, edit)
    assert words in refusal(path)


def test_unmodified_file_loads(path: Path) -> None:
    change(path, lambda header: None)
    assert bp.load(path).class_names == ("no", "yes")


def test_array_named_twice_is_refused(path: Path) -> None:
    content = path.read_bytes()
    header, arrays = files.split(content)
    length = int.from_bytes(content[:8], "little")
    again = f', "params/0.weight": {json.dumps(header["params/0.weight"])}}}'.encode()
    text = content[8 : 8 + length].rstrip().removesuffix(b"}") + again
    path.write_bytes(len(text).to_bytes(8, "little") + text + arrays)
    assert "it has 'params/0.weight' twice" in refusal(path)


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_are_refused(path: Path, number: float) -> None:
    _, arrays = files.split(path.read_bytes())
    values = np.frombuffer(arrays, "<f4").copy()
    values[-1] = number
    change(path, lambda header: None, values.tobytes())
    assert f"requires finite numbers, got {number}" in refusal(path)
    model = bp.Model(NETWORK)
    before = model.parameters
    with pytest.raises(bp.ModelFileError, match="requires finite numbers"):
        model.load_parameters(path)
    for name, value in before.items():
        np.testing.assert_array_equal(model.parameters[name], value)


@pytest.mark.parametrize("name", ["1.variance", "2.0.variance"])
def test_negative_variance_is_refused(name: str, tmp_path: Path) -> None:
    layers = [bp.Dense(3), bp.BatchNorm(), bp.Residual([bp.BatchNorm()]), bp.Dense(1)]
    model, path = bp.Model(bp.Network(2, layers, "mean_squared_error")), tmp_path / "model"
    model._running = {
        **model._running,
        "1.mean": -model._running["1.variance"],
        "1.variance": -0.0 * model._running["1.mean"],
    }
    model.save(path)
    assert bp.load(path).running["1.mean"].tolist() == [-1, -1, -1]  # a mean may be negative, and -0 is 0
    header, arrays = files.split(path.read_bytes())
    begin, _ = header[f"running/{name}"]["data_offsets"]
    change(path, lambda header: None, arrays[: begin + 4] + np.float32(-0.5).tobytes() + arrays[begin + 8 :])
    expected = f"running statistic '{name}' requires numbers of at least 0, got -0.5 at [1]"
    assert expected in refusal(path)
    with pytest.raises(bp.ModelFileError, match=re.escape(expected)):
        model.load_parameters(path)
    model._running = {**model._running, name: -np.ones(3, np.float32)}
    with pytest.raises(bp.ModelFileError, match=r"cannot write .*requires numbers of at least 0, got -1.0 at \[0\]"):
        model.save(path)


def test_numbers_that_a_model_cannot_hold_are_not_taken_over(path: Path) -> None:
    wide = bp.Model(NETWORK, dtype="float64")
    wide.parameters = {"0.bias": [0.0, 1e300, 0.0]}
    wide.save(path)
    with pytest.raises(bp.ModelFileError, match=r"'0.bias' requires finite numbers that float32 can hold, got 1e\+300"):
        bp.Model(NETWORK).load_parameters(path)


@pytest.mark.parametrize("names", [["a", "a"], ["a"]])
def test_load_parameters_checks_the_whole_file_first(path: Path, names: list[str]) -> None:
    change(path, settings(class_names=names))
    with pytest.raises(bp.ModelFileError, match="class names that do not fit"):
        bp.Model(NETWORK).load_parameters(path)


@pytest.mark.skipif(os.name != "posix", reason="POSIX has named pipes and devices as files")
@pytest.mark.parametrize("kind", ["pipe", "device", "link to pipe"])
def test_only_regular_files_are_opened(tmp_path: Path, kind: str) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    path = {"pipe": pipe, "device": Path("/dev/zero"), "link to pipe": tmp_path / "link"}[kind]
    if kind.startswith("link"):
        path.symlink_to(pipe)
    said: list[str] = []
    for read in (bp.load, bp.Model(NETWORK).load_parameters):
        thread = threading.Thread(target=lambda read: said.append(message(read, path)), args=(read,), daemon=True)
        thread.start()
        thread.join(20)
        assert not thread.is_alive()
    assert all("no regular file" in text for text in said)
    assert len(said) == 2


def message(read: Any, path: Any) -> str:
    with pytest.raises(bp.ModelFileError) as caught:
        read(path)
    return str(caught.value)


def test_invalid_file_names_are_refused(tmp_path: Path) -> None:
    assert "no regular file" in message(bp.load, f"{tmp_path}/a\0b")
    assert "there is no model file" in message(bp.load, tmp_path / "a\udcff")
    assert "cannot be read" in message(bp.load, tmp_path / ("n" * 300))


@dataclass(frozen=True)
class Asked(files.Gain):
    """Counts nothing, but says for which sizes it is asked to make its arrays."""

    def init(self, rng: Any, inputs: int) -> Any:
        assert inputs <= 4096, inputs
        return super().init(rng, inputs)


def test_own_layer_is_not_asked_for_arrays_larger_than_a_file(tmp_path: Path) -> None:
    path = tmp_path / "own"
    bp.Model(bp.Network(3, [Asked(2.0), Asked(1.0)], "mean_squared_error")).save(path)
    bp.load(path, layers={"Asked": Asked})
    change(path, described(lambda network: network.update(inputs=10**12)))
    assert "is given 1000000000000 inputs" in refusal(path, layers={"Asked": Asked})
    change(path, described(lambda n: n.update(layers=[n["layers"][0], {"type": "Shared", "place": "0"}])))
    assert "is given 1000000000000 inputs" in refusal(path, layers={"Asked": Asked})


def test_own_layer_that_fails_on_a_files_settings_is_named(tmp_path: Path) -> None:
    class Fails(files.Gain):
        def init(self, rng: Any, inputs: int) -> Any:
            raise ZeroDivisionError("by\nnothing")

    path = tmp_path / "own"
    bp.Model(bp.Network(3, [files.Gain(2.0)], "mean_squared_error")).save(path)
    assert "ZeroDivisionError" in refusal(path, layers={"Gain": Fails})


def deep(levels: int, layer: bp.Layer | None = None) -> bp.Layer:
    nested = layer or bp.Dense(2)
    for _ in range(levels):
        nested = bp.Residual([nested])
    return nested


def test_layers_at_the_depth_limit_train_and_are_saved(tmp_path: Path) -> None:
    network = bp.Network(2, [deep(MOST_NESTED), bp.BatchNorm()], "mean_squared_error")
    model = bp.Model(network)
    model.fit([[1.0, 2.0], [0.0, 1.0]], [[0.0, 0.0], [1.0, 1.0]], steps=2)
    model.save(tmp_path / "deep")
    loaded = bp.load(tmp_path / "deep")
    assert loaded.network == network
    for name, value in model.parameters.items():
        np.testing.assert_array_equal(loaded.parameters[name], value)


def test_layers_beyond_the_depth_limit_are_refused() -> None:
    with pytest.raises(bp.ConfigError, match=f"Residual requires layers nested at most {MOST_NESTED} deep, got 65"):
        deep(MOST_NESTED + 1)
    inner = bp.Dense(2)
    for _ in range(MOST_NESTED):
        inner = bp.Dense(2, inner)
    with pytest.raises(bp.ConfigError, match="Dense requires layers nested at most"):
        bp.Dense(2, inner)


def test_model_that_could_not_be_loaded_is_not_saved(tmp_path: Path) -> None:
    path = tmp_path / "model"
    many = bp.Model(bp.Network(1, [bp.Dropout(0.5)] * 4097, "mean_squared_error"))
    with pytest.raises(bp.ModelFileError, match="at most 4,096 layers, got 4097"):
        many.save(path)
    model = bp.Model(NETWORK)
    model.class_names = (10**100, "b")
    with pytest.raises(bp.ModelFileError, match=r"could not be loaded again: .* of 101 digits.*Nothing was changed"):
        model.save(path)
    model.class_names = ("\ud800", "b")
    with pytest.raises(bp.ModelFileError, match="no Unicode"):
        model.save(path)
    model = bp.Model(NETWORK)
    model._running = {**model._running, "1.variance": model._running["1.variance"] * np.inf}
    with pytest.raises(bp.ModelFileError, match=r"running statistic '1\.variance' requires finite numbers, got inf"):
        model.save(path)
    assert list(tmp_path.iterdir()) == []


def test_loading_draws_no_initial_values(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def drawn(*args: Any) -> Any:
        raise AssertionError("an initialiser was called")

    for kind in set(map(type, bp.initializers.INITIALIZERS.values())):
        monkeypatch.setattr(kind, "__call__", drawn)
    bp.load(path)


def test_a_short_round_of_hostile_files() -> None:
    report = files.attack(float("inf"), 2026, most=60)
    assert not report.failures, str(report)
    assert report.cases == 60
