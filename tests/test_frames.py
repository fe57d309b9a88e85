"""Results become tables by one pair of names: `to_rows`, and `to_frame` where pandas is installed."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import bpengine as bp
from bpengine.explain import forward, graph, paths
from bpengine.output import frames


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


def test_rows_become_a_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    pandas = ModuleType("pandas")
    pandas.DataFrame = list  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pandas", pandas)
    monkeypatch.setattr(frames, "find_spec", lambda name: pandas)
    for name, result in results().items():
        assert result.to_rows(), name
        assert result.to_frame() == result.to_rows(), name


def test_missing_pandas_names_the_package_and_the_alternative(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "find_spec", lambda name: None)
    for name, result in results().items():
        with pytest.raises(bp.ConfigError, match=rf"{name}\.to_frame requires pandas.*to_rows\(\)"):
            result.to_frame()
