"""`bpengine export`: from a table to a file that a server runs, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

import bpengine as bp
from tests.onnx.served import outputs, session


@pytest.fixture
def model(cli, tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    lines = [f"{age},{'Oslo' if age % 2 else 'Rio'},{'yes' if age > 50 else 'no'}" for age in rng.integers(18, 90, 60)]
    (tmp_path / "people.csv").write_text("\n".join(["age,city,bought", *lines]) + "\n", encoding="utf-8")
    path = tmp_path / "people.safetensors"
    assert cli("train", tmp_path / "people.csv", "--target", "bought", "--epochs", "3", "--out", path).code == 0
    return path


def test_export_writes_a_file_and_names_it(cli, model: Path, tmp_path: Path) -> None:
    path = tmp_path / "people.onnx"
    ended = cli("export", model, "--onnx", path)
    assert ended.code == 0, ended
    assert [line.split()[:4] for line in ended.out.splitlines()[1:] if ":  " in line] == [
        ["input:", "age", "float64", "(rows,"],
        ["input:", "city", "text", "(rows,"],
        ["output:", "label", "text", "(rows,)"],
        ["output:", "probabilities", "float32", "(rows,"],
    ]
    served = outputs(session(path), {"age": np.array([[30.0]]), "city": np.array([["Oslo"]], object)})
    assert served["label"].shape == (1,)
    assert bp.load(model).class_names == ("no", "yes")


def test_existing_file_is_kept(cli, mistake, model: Path, tmp_path: Path) -> None:
    path = tmp_path / "people.onnx"
    path.write_text("kept")
    assert "pass --force to overwrite it" in mistake("export", model, "--onnx", path)
    assert path.read_text() == "kept"
    ended = cli("export", model, "--onnx", path, "--force", "--json")
    assert (ended.code, json.loads(ended.out)["arrays"][1]["shape"]) == (0, ["rows", 1])
    assert onnx.load(path).producer_name == "bpengine"


def test_mistakes_are_one_line(mistake, model: Path, tmp_path: Path) -> None:
    path = tmp_path / "people.onnx"
    assert "there is no model file" in mistake("export", tmp_path / "no.safetensors", "--onnx", path)
    assert "missing option '--onnx'" in mistake("export", model)
    assert "requires a file name, got the folder" in mistake("export", model, "--onnx", tmp_path)
    assert "there is no folder" in mistake("export", model, "--onnx", tmp_path / "no" / "people.onnx")
    assert not path.exists()


def test_code_of_ones_own_is_named(mistake, tmp_path: Path) -> None:
    def bent_forward(xp, x):
        return 2.0 * x, x

    def bent_backward(xp, x, dy):
        return 2.0 * dy

    network = bp.Network(2, bp.Dense(1, (bent_forward, bent_backward)), "mean_squared_error")
    bp.Model(network).save(tmp_path / "own.safetensors")
    assert "'bent'" in mistake("export", tmp_path / "own.safetensors", "--onnx", tmp_path / "own.onnx")


def test_a_model_is_not_overwritten_by_its_own_export(cli, model: Path) -> None:
    before = model.read_bytes()
    ended = cli("export", model, "--onnx", model, "--force")
    assert ended.code == 2
    assert "another file than the model itself" in ended.err
    assert model.read_bytes() == before
