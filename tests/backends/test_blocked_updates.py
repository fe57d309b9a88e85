"""Update rules in blocks: the bits of the kernels, whatever the size, and nothing of its arguments is written over."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
from bpengine_numpy import blocked_updates, joined_updates

import bpengine as bp
from bpengine.kernels import KERNELS
from bpengine.ops import UpdateInputs

RULES = [name for name, kernel in KERNELS.items() if kernel.kind == "update"]


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocked_updates, "LARGE", 100)
    monkeypatch.setattr(blocked_updates, "BLOCK", 64)
    monkeypatch.setattr(joined_updates, "LARGE", 100)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rule", RULES)
def test_the_bits_are_those_of_the_kernel(rule: str, dtype: str, rng: np.random.Generator) -> None:
    kernel = KERNELS[rule]
    slots = len(kernel.arguments) - 4
    for shape in ((10, 10), (13, 11), (257,), (3, 1)):
        arrays = [np.abs(rng.standard_normal(shape)).astype(dtype) for _ in range(2 + slots)]
        for array in arrays:
            array.flags.writeable = False
        scalars = np.array([3], dtype), np.array([0.01], dtype)
        blocked = blocked_updates.in_blocks(partial(kernel.forward, np), *arrays, *scalars)
        for ours, theirs in zip(blocked, kernel.forward(np, *arrays, *scalars), strict=True):
            assert ours.dtype == theirs.dtype
            np.testing.assert_array_equal(ours, theirs)


def test_large_parameters_are_run_in_blocks_and_others_as_they_are(rng: np.random.Generator) -> None:
    sizes: list[int] = []

    def rule(w: Any, dw: Any, t: Any, lr: Any) -> Any:
        sizes.append(w.size)
        return (w - lr * dw,)

    one, ops = np.ones(1), bp.get_backend("numpy").ops()
    for array in (rng.standard_normal((13, 11)), rng.standard_normal((10, 10)), rng.standard_normal((13, 11)).T):
        ops.update_all(rule, UpdateInputs({"w": array}, {"w": array}, {"w": []}, one, one))
    assert sizes == [64, 64, 15, 100, 143]  # the last one does not lie in C order


def test_training_has_the_same_bits(monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator) -> None:
    x, y = rng.standard_normal((64, 20)), rng.integers(0, 3, 64)

    def trained() -> dict[str, Any]:
        network = bp.Network(20, [bp.Dense(30, "relu"), bp.Dense(3)], "softmax_cross_entropy")
        model = bp.Model(network, "numpy")
        model.fit(x, y, optimizer=bp.AdamW(0.01), batch_size=16, epochs=2)
        return model.parameters

    monkeypatch.setattr(joined_updates, "SMALL", 0)
    blocked = trained()
    monkeypatch.setattr(joined_updates, "LARGE", 10**9)
    for name, value in trained().items():
        np.testing.assert_array_equal(blocked[name], value)
