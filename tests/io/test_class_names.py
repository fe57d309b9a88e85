"""Names of classes: checked when they are set, kept with their types."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import bpengine as bp
from bpengine import io

THREE = bp.Network(2, [bp.Dense(3)], "softmax_cross_entropy")
YES = bp.Network(2, [bp.Dense(1)], "sigmoid_cross_entropy")


@pytest.mark.parametrize(
    ("names", "kept"),
    [
        (None, None),
        (("a", "b", "c"), ("a", "b", "c")),
        (np.unique(["b", "c", "a"]), ("a", "b", "c")),
        (list(np.unique(["b", "c", "a"])), ("a", "b", "c")),
        ([3, 5, 7], (3, 5, 7)),
        (np.array([3, 5, 7], np.uint8), (3, 5, 7)),
        ([np.int64(3), 5.0, "7"], (3, 5.0, "7")),
        (range(3), (0, 1, 2)),
        ([0.5, 1.5, -2.5], (0.5, 1.5, -2.5)),
        (np.array([0.5, 1.5, 2.5], np.float32), (0.5, 1.5, 2.5)),
        ([False, np.True_, "unknown"], (False, True, "unknown")),
        (pd.Index(["a", "b", "c"]), ("a", "b", "c")),
        (pd.Series([3, 5, 7]), (3, 5, 7)),
        (pd.Series(["b", "a", "c"], dtype="category").cat.categories, ("a", "b", "c")),
        (["", " ", "\u00e9\U0001f600"], ("", " ", "\u00e9\U0001f600")),
        ([10**30, -1, 0], (10**30, -1, 0)),
    ],
)
def test_names_keep_their_types_through_a_file(names: Any, kept: Any, tmp_path: Path) -> None:
    model = bp.Model(THREE)
    model.class_names = names
    model.save(tmp_path / "m.safetensors")
    for other in (model, bp.load(tmp_path / "m.safetensors"), model.to("numpy")):
        assert other.class_names == kept
        assert list(map(type, other.class_names or ())) == list(map(type, kept or ()))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("abc", "requires a sequence of 3 names, got 'abc'"),
        (b"abc", "requires a sequence of 3 names"),
        ({"a", "b", "c"}, "order says which class"),
        ({"a": 0, "b": 1, "c": 2}, "requires a sequence"),
        (3, "requires a sequence of 3 names, got 3"),
        (np.array("abc"), "requires a sequence"),
        (np.array([["a", "b", "c"]]), "requires a sequence"),
        (["a", "b"], "requires 3 names, one for each class, got 2: 'a', 'b'"),
        (["a", "b", "c", "d"], "got 4"),
        ([], "got 0"),
        (["a", "b", "a"], "different names, got 'a' twice"),
        ([1, True, 2], "different names, got True twice"),
        ([1, "1", 2], "different names, got '1' twice"),
        ([1, None, 2], r"plain values, got None \(NoneType\)"),
        ([1.0, float("nan"), 2.0], "plain values, got nan"),
        ([b"a", b"b", b"c"], r"plain values, got b'a' \(bytes\)"),
        ([("a",), "b", "c"], "plain values"),
        ([np.datetime64("2020-01-01"), "b", "c"], "plain values"),
    ],
)
def test_names_that_cannot_be_kept_are_refused_when_they_are_set(names: Any, message: str) -> None:
    model = bp.Model(THREE)
    model.class_names = ("x", "y", "z")
    with pytest.raises(bp.ConfigError, match=message):
        model.class_names = names
    assert model.class_names == ("x", "y", "z")


def test_one_output_of_yes_or_no_has_two_names() -> None:
    model = bp.Model(YES)
    model.class_names = [False, True]
    with pytest.raises(bp.ConfigError, match="requires 2 names"):
        model.class_names = ["yes"]


@pytest.mark.parametrize("names", ["abc", [None], [["a"]], [float("nan")], {"a": 1}, 3])
def test_names_of_a_damaged_file_are_refused(names: Any, tmp_path: Path) -> None:
    model, path = bp.Model(THREE), tmp_path / "m.safetensors"
    settings = {**model._settings(), "class_names": names}
    io.write(path, io.Contents(io.describe(model.network), settings, model.parameters, model.running))
    with pytest.raises(bp.ModelFileError, match="class_names must be a list"):
        bp.load(path)


def test_names_in_json_are_plain(tmp_path: Path) -> None:
    model = bp.Model(THREE)
    model.class_names = np.array([3, 5, 7])
    assert json.dumps(model._settings()["class_names"]) == "[3, 5, 7]"
