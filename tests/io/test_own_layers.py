"""A model file holds the settings of a layer of one's own, or refuses it by name; nothing is lost without a word."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bpengine as bp
from bpengine.io.descriptions import build
from bpengine.io.own import Own


@dataclass(frozen=True)
class Scaled(bp.Layer):
    """y = factor x, with a setting of any kind."""

    factor: Any = 1.0
    derived: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "derived", 2.0)
        object.__setattr__(self, "_beside", "not a setting")

    def forward(self, ops: Any, params: Any, running: Any, x: Any, run: Any) -> Any:
        return 2.0 * x, None, running

    def backward(self, ops: Any, residual: Any, dy: Any, *, need_dx: bool = True) -> Any:
        return 2.0 * dy, {}


class Undeclared(Scaled):
    """Takes a setting that is no field."""

    def __init__(self, start: float = 1.0) -> None:
        super().__init__()
        object.__setattr__(self, "start", start)


class Passing(Scaled):
    """Hands its settings on as they come."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)


def model_with(layer: bp.Layer) -> bp.Model:
    return bp.Model(bp.Network(2, [layer, bp.Dense(1)], "mean_squared_error"))


@pytest.mark.parametrize("kind", [Scaled, Passing])
@pytest.mark.parametrize(
    "factor", [2.0, np.float32(2.0), 3, True, "text", None, float("inf"), [1, [2.0, "a"]], bp.Dense(3, "relu")]
)
def test_settings_come_back(kind: type[Scaled], factor: Any, tmp_path: Path) -> None:
    model = model_with(kind(factor))
    model.save(tmp_path / "model.safetensors")
    loaded = bp.load(tmp_path / "model.safetensors", layers={kind.__name__: kind})
    assert loaded.network == model.network


@pytest.mark.parametrize("factor", [{"a": 1}, np.ones(2), 1j, print, [1.0, {"a": 1}], (np.ones(2),)])
def test_a_setting_that_a_file_cannot_hold_is_refused(factor: Any, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    with pytest.raises(
        bp.ModelFileError, match="requires the setting 'factor' of Scaled to be a number, text, None, a layer"
    ):
        model_with(Scaled(factor)).save(path)
    assert not path.exists()


def test_a_setting_that_is_no_field_is_refused(tmp_path: Path) -> None:
    with pytest.raises(bp.ModelFileError, match=r"settings of Undeclared as fields .*got 'start' in its __init__"):
        model_with(Undeclared(3.0)).save(tmp_path / "model.safetensors")


@dataclass(frozen=True)
class Gates(bp.Layer):
    """A layer whose settings must be hashable: tuples, within tuples, beside a list."""

    spans: tuple[Any, ...] = ()
    names: Any = ()

    def outputs(self, inputs: int) -> int:
        hash(self.spans)
        return inputs


def test_tuples_and_lists_come_back_as_they_were(tmp_path: Path) -> None:
    layer = Gates(spans=((0, 2), (2, 3), ()), names=["a", ("b", None)])
    bp.Model(bp.Network(3, [layer, bp.Dense(1)], "mean_squared_error")).save(path := tmp_path / "m.safetensors")
    loaded = bp.load(path, layers={"Gates": Gates})
    assert loaded.network.layers[0] == layer
    loaded.load_parameters(path)


@pytest.mark.parametrize("items", [{}, {"items": 3}, {"items": [], "more": 1}])
def test_tuple_described_by_anything_but_its_items_is_refused(items: Any) -> None:
    description = {"type": "Gates", "spans": {"type": "Tuple", **items}}
    with pytest.raises(bp.ModelFileError, match="describes a Tuple by its items"):
        build(description, Own(layers={"Gates": Gates}))
