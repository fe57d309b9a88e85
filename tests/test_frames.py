"""Results have one base: `to_dict` for JSON, `to_rows` for tables, `to_frame` where pandas is installed."""

from __future__ import annotations

import ast
import sys
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import bpengine as bp
from bpengine.explain import forward, graph, paths
from bpengine.output import tabular
from bpengine.output.tabular import TabularResult
from tests import shape


def results() -> dict[str, Any]:
    x, y = np.eye(3)[:, :2], np.ones((3, 1))
    model = bp.Model(bp.Network(2, [bp.Dense(1)], "half_sum_squares"), dtype="float64")
    return {
        "History": model.fit(x, y, steps=2),
        "Explanation": bp.explain(model, x, y, layer=0, unit=0),
        "Paths": paths(model, x, y, "0.weight[0,0]"),
        "ForwardPass": forward(model, x, y),
        "Sensitivity": bp.sensitivity(model, x, y),
        "Graph": graph(model, x, y),
        "Trace": model.trace(x, y),
        "Report": model.check(x, y, oracles=["differences"], perturbed=False),
    }


def definitions(method: str) -> list[type]:
    """Return the classes of the engine that define a method."""
    return [
        getattr(import_module(shape.module_name(path)), node.name)
        for path, tree in shape.trees([path for path in shape.SOURCES if "backends" not in path.parts]).items()
        for node in tree.body
        if isinstance(node, ast.ClassDef)
        and any(isinstance(part, ast.FunctionDef) and part.name == method for part in node.body)
    ]


def test_every_result_with_rows_has_the_one_base() -> None:
    classes = definitions("to_rows")
    assert len(classes) > len(results())
    assert [cls.__name__ for cls in classes if not issubclass(cls, TabularResult)] == []
    assert definitions("to_frame") == [TabularResult]


def test_rows_become_a_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    pandas = ModuleType("pandas")
    pandas.DataFrame = list  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pandas", pandas)
    monkeypatch.setattr(tabular, "find_spec", lambda name: pandas)
    for name, result in results().items():
        assert result.to_rows(), name
        assert result.to_frame() == result.to_rows(), name


def test_missing_pandas_names_the_package_and_the_alternative(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tabular, "find_spec", lambda name: None)
    for name, result in results().items():
        with pytest.raises(bp.ConfigError, match=rf"{name}\.to_frame requires pandas.*to_rows\(\)"):
            result.to_frame()
