"""compare_backends: agreement, the first place where backends part, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from bpengine_numpy import NumpyBackend

import bpengine as bp
from bpengine.check import compare_backends
from tests.training.networks import everything, labelled

NET = bp.Network(5, [bp.Dense(6, "relu"), bp.Dense(4, "tanh"), bp.Dense(3)], "softmax_cross_entropy")


class Off(NumpyBackend):
    """NumPy with a tanh whose derivative is wrong by one in ten thousand."""

    def replacements(self) -> Any:
        return {"tanh_bwd": lambda y, dy: dy * (1 - y * y) * (1 + 1e-4)}


@pytest.mark.thorough(keep=1)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_backends_agree(backend_name: str, dtype: str, rng: Any) -> None:
    comparison = compare_backends(everything(), *labelled(rng, 20), ("numpy", backend_name), dtype=dtype, steps=5)
    assert comparison.passed, str(comparison)
    assert comparison.first is None
    assert "agree" in str(comparison)
    parts = list(dict.fromkeys(d.part for d in comparison.differences))
    assert parts == ["forward", "loss", "gradient", "after 5 steps"]
    assert [d.array for d in comparison.differences][:2] == ["layer 0, Dense", "layer 1, BatchNorm"]


def test_first_disagreeing_place_is_named(rng: Any) -> None:
    comparison = compare_backends(NET, *labelled(rng, 20), ["numpy", Off()], steps=3)
    assert not comparison.passed
    assert comparison.first
    assert (comparison.first.part, comparison.first.array, comparison.first.backend) == (
        "gradient",
        "1.bias",
        "numpy 2",
    )
    assert all(d.agrees for d in comparison.differences if d.part == "forward" or d.array.startswith("2."))
    assert "FAILED: numpy 2 and numpy 1 disagree first in gradient, 1.bias" in str(comparison)


def test_report_reads_as_documented(rng: Any) -> None:
    comparison = compare_backends(NET, *labelled(rng, 20), ["numpy", Off()], steps=0)
    head, *rows = comparison.table().splitlines()
    assert head.split() == list(comparison.heads)
    assert len(rows) == len(comparison.differences)
    assert str(comparison).startswith(comparison.verdict())
    assert str(comparison).endswith("tolerance: " + dict(comparison.notes())["tolerance"])


def test_json_is_complete(rng: Any) -> None:
    comparison = compare_backends(NET, *labelled(rng, 20), ["numpy", Off()], steps=0)
    record = json.loads(json.dumps(comparison.to_dict(), allow_nan=False))
    assert record.keys() == {
        "network",
        "reference",
        "backends",
        "missing",
        "dtype",
        "steps",
        "passed",
        "first",
        "differences",
    }
    assert (record["passed"], record["dtype"], record["steps"]) == (False, "float32", 0)
    assert (record["first"]["array"], record["first"]["agrees"]) == ("1.bias", False)
    assert record["differences"][0].keys() == {"part", "array", "backend", "error", "ulp", "tolerance", "agrees"}
    assert {d["part"] for d in record["differences"]} == {"forward", "loss", "gradient"}
    comparison = compare_backends(NET, *labelled(rng, 20), ["numpy", "numpy"], steps=0)
    assert comparison.to_dict()["first"] is None


def test_a_network_that_float32_can_hardly_compute_raises_no_alarm(backend_name: str, rng: Any) -> None:
    layers = [bp.Dense(8, "elu"), bp.Dense(8, "elu"), bp.BatchNorm(), bp.Dense(1)]
    x = 100.0 + 0.01 * rng.normal(size=(32, 4))
    network = bp.Network(4, layers, "half_sum_squares")
    comparison = compare_backends(network, x, rng.normal(size=(32, 1)), ["numpy", backend_name], steps=2)
    assert comparison.passed, str(comparison)
    assert max(d.error for d in comparison.differences) > 1e-5 or backend_name == "numpy"


def test_backends_are_compared_with_weights_and_other_optimizers(rng: Any) -> None:
    x, y = labelled(rng, 10)
    comparison = compare_backends(NET, x, y, ["numpy", "numpy"], optimizer=bp.SGD(0.1), weights=np.ones(10), steps=2)
    assert comparison.passed
    assert max(d.error for d in comparison.differences) == 0


def test_invalid_comparisons_are_refused(rng: Any) -> None:
    x, y = labelled(rng, 5)
    with pytest.raises(bp.ConfigError, match=r"requires a bp.Network, got 3"):
        compare_backends(3, x, y)
    with pytest.raises(bp.ConfigError, match="requires at least two backends, got 1"):
        compare_backends(NET, x, y, "numpy")
    with pytest.raises(bp.ConfigError, match="steps to be a whole number of at least 0, got -1"):
        compare_backends(NET, x, y, ["numpy", "numpy"], steps=-1)
    with pytest.raises(bp.ConfigError, match="unknown backend 'nunpy'"):
        compare_backends(NET, x, y, ["numpy", "nunpy"])
    with pytest.raises(bp.ShapeError):
        compare_backends(NET, x[:, :2], y, ["numpy", "numpy"])
