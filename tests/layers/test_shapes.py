"""Shapes without numbers: what a layer says is what it makes, and nothing nested is gone through more than once."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import bpengine as bp
from bpengine.layers.contract import shapes_of
from tests.explain.networks import random_case

SHARED = bp.Residual([bp.Dense(4, "gelu"), bp.BatchNorm()])
TIED = bp.Dense(3)
NETWORKS = [
    bp.Network(4, [SHARED, SHARED, bp.Dense(3, bias="column"), bp.Dense(2, bias=False)], "mean_squared_error"),
    bp.Network(8, [TIED, bp.Dense(8, tie=TIED, bias=False), bp.LayerNorm(), bp.Dropout()], "mean_squared_error"),
    bp.Network(2, [bp.Dense(2, bp.Dense(3, bp.BatchNorm())), bp.Activation("elu")], "mean_squared_error"),
    *(random_case(np.random.default_rng(seed))[0] for seed in range(10)),
]


@pytest.mark.parametrize("network", NETWORKS, ids=range(len(NETWORKS)))
def test_shapes_agree_with_initial_parameters(network: bp.Network) -> None:
    shapes = [{name: np.shape(array) for name, array in part.items()} for part in network.init(0)]
    assert [dict(part) for part in network.shapes()] == shapes
    assert [list(part) for part in network.shapes()] == [list(part) for part in shapes]


@dataclass(frozen=True)
class Gain(bp.Layer):
    """An own layer that states its shapes; `said` adds to them."""

    said: int = 0

    def init(self, rng: Any, inputs: int) -> Any:
        return {"gain": np.ones(inputs)}

    def shapes(self, inputs: int) -> bp.layers.Shapes:
        return bp.layers.Shapes({"gain": (inputs + self.said,)}, {})


class More(Gain):
    """A subclass with a further parameter that inherits the shapes of its base."""

    def init(self, rng: Any, inputs: int) -> Any:
        return {"gain": np.ones(inputs), "shift": np.ones(1)}


class MoreDense(bp.Dense):
    """The same for a subclass of an engine's layer."""

    def init(self, rng: Any, inputs: int) -> Any:
        return {**super().init(rng, inputs), "extra": np.ones(5)}


@dataclass(frozen=True)
class Wrong(bp.Layer):
    """An own layer that returns invalid shapes."""

    said: Any

    def shapes(self, inputs: int) -> Any:
        return self.said


def test_subclass_with_further_parameters_needs_its_own_shapes() -> None:
    assert shapes_of(More(), 3).params == {"gain": (3,), "shift": (1,)}
    assert shapes_of(MoreDense(2), 3).params == {"weight": (3, 2), "bias": (2,), "extra": (5,)}


def test_a_layer_that_says_other_shapes_than_it_makes_is_refused() -> None:
    bp.Model(bp.Network(2, [Gain()], "mean_squared_error"))
    with pytest.raises(bp.ShapeError, match=r"layer 0 \(Gain\) requires its shapes to be those .*\(2,\).*got .*\(3,\)"):
        bp.Model(bp.Network(2, [Gain(1)], "mean_squared_error"))


@pytest.mark.parametrize("said", [None, 3, ({"a": 2}, {}), ({"a": ("x",)}, {}), ({"a": (-1,)}, {}), ({3: (1,)}, {})])
def test_invalid_shapes_are_refused(said: Any) -> None:
    with pytest.raises(bp.ConfigError, match=r"Wrong requires (its shapes to return|the shape of)"):
        shapes_of(Wrong(said), 2)


@pytest.mark.parametrize("shared", [False, True])
def test_nested_layers_are_visited_once(shared: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sizes, sharing and initial parameters of 50 levels: with a block that has the one below it twice, 2^50 places."""
    counted: Counter[str] = Counter()
    for name in ("init", "outputs"):
        real = getattr(bp.Dense, name)

        def count(layer: Any, *args: Any, real: Any = real, name: str = name) -> Any:
            counted[name] += 1
            return real(layer, *args)

        monkeypatch.setattr(bp.Dense, name, count)
    block: bp.Layer = bp.Dense(2)
    for _ in range(50):
        block = bp.Residual([block, block] if shared else [block])
    params, _ = bp.Network(2, [block], "mean_squared_error").init(0)
    assert len(params) == 2
    assert counted["init"] == 1
    assert counted["outputs"] <= 12
