"""The whole engine on array_api_strict, the namespace that refuses everything outside the standard.

It stands in for CuPy where there is no GPU: what runs here uses no method or promotion that only NumPy has.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import array_api_strict
import numpy as np
import pytest

import bpengine as bp
from bpengine.backend import Availability, Backend, HostArray
from tests.tolerances import training_rtol
from tests.training.networks import everything, labelled


class StrictBackend(Backend):
    """Runs eagerly, looks at "halt" every 4 steps as a GPU backend does, and knows only the array API standard."""

    name = "strict"
    window = 4
    xp = array_api_strict
    device = "cpu"

    @classmethod
    def availability(cls) -> Availability:
        return Availability("ready", "array_api_strict")

    def asarray(self, x: Any, dtype: Any = None, *, copy: bool = True) -> Any:
        return array_api_strict.asarray(np.array(x, dtype=dtype))

    def to_numpy(self, x: Any) -> HostArray:
        return np.from_dlpack(x).copy()

    def copy(self, state: Any) -> Any:
        return state

    def compile(self, step: Callable[..., Any], *, donate: Sequence[int] = ()) -> Callable[..., Any]:
        return step

    def take(self, array: Any, rows: HostArray) -> Any:
        return array_api_strict.take(array, array_api_strict.asarray(rows), axis=0)

    def synchronize(self, *arrays: Any) -> None:
        pass


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("update", ["simultaneous", "sequential"])
def test_fit_with_every_kind_of_layer_runs_on_the_strict_namespace(
    dtype: str, update: str, rng: np.random.Generator
) -> None:
    x, y = labelled(rng)
    settings = {"batch_size": 16, "epochs": 4, "update": update, "track_step_size": True}
    strict = bp.Model(everything(), StrictBackend(dtype), dtype).fit(x, y, weights=np.ones(60), **settings)
    plain = bp.Model(everything(), "numpy", dtype).fit(x, y, weights=np.ones(60), **settings)
    np.testing.assert_allclose(strict.loss, plain.loss, rtol=training_rtol(dtype, plain.steps))


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "nesterov", "rmsprop", "adam", "adamw"])
def test_every_optimizer_with_clipping_and_stopping_rules_runs_on_the_strict_namespace(
    optimizer: str, rng: np.random.Generator
) -> None:
    x, y = labelled(rng)
    network = bp.Network(5, [bp.Dense(8, "relu"), bp.Dense(3)], "softmax_cross_entropy")
    settings = {
        "optimizer": optimizer,
        "clip_norm": 1.0,
        "stop": [bp.LossBelow(0.9), bp.StepSizeBelow(1e-9)],
        "steps": 500,
    }
    strict, plain = bp.Model(network, StrictBackend("float64"), "float64"), bp.Model(network, dtype="float64")
    ours, theirs = strict.fit(x, y, **settings), plain.fit(x, y, **settings)
    assert (ours.steps, ours.stopped_by) == (theirs.steps, theirs.stopped_by)
    np.testing.assert_allclose(ours.loss, theirs.loss, rtol=training_rtol(float, theirs.steps))
    assert strict.evaluate(x, y)["accuracy"] == plain.evaluate(x, y)["accuracy"]
