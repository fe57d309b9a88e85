"""Denormal numbers count as zero while NumPy runs an epoch, on every thread, and only then."""

from __future__ import annotations

import platform
import sys
from typing import Any

import numpy as np
import pytest
from bpengine_numpy import NumpyBackend
from bpengine_numpy.denormals import flushed
from bpengine_numpy.llvm_target import compiled_epochs

from bpengine.backend import Backend

KNOWN = sys.platform == "linux" and platform.machine() == "x86_64"
pytestmark = pytest.mark.skipif(not KNOWN, reason="this system's form of fenv_t is not known here")
LARGE = 2**18  # elements: a pass that is shared out among threads
SMALLEST = {"float32": 1e-38, "float64": 1e-308}  # halved, they are denormal


def halve(state: Any, rows: Any, lr: Any) -> Any:
    loss = rows[0][0, 0]
    return {"a": state["a"] * 0.5}, {"loss": loss, "halt": loss != loss}


def run(backend: NumpyBackend, dtype: str) -> Any:
    state = {"a": np.full(LARGE, SMALLEST[dtype], dtype)}
    data, order = (np.ones((4, 1), dtype),), np.arange(4).reshape(4, 1)
    state, _ = backend.run_epoch(halve, state, data, order, np.ones(4, dtype))
    return state["a"]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("patience", [float("-inf"), float("inf")], ids=["compiled", "as written"])
def test_denormals_are_zero_only_during_an_epoch(dtype: str, patience: float) -> None:
    backend = NumpyBackend(dtype)
    backend._compiled = compiled_epochs(lambda *args: Backend.run_epoch(backend, *args), patience)
    assert not run(backend, dtype).any()
    assert (np.full(9, SMALLEST[dtype], dtype) * np.array(0.5, dtype)).all()
    state = {"a": np.full(LARGE, SMALLEST[dtype], dtype)}
    halves, _ = Backend.run_epoch(backend, halve, state, (np.ones((4, 1), dtype),), None, np.ones(4, dtype))
    assert halves["a"].any()


def test_error_restores_the_denormal_setting() -> None:
    def fail() -> None:
        with flushed():
            assert not (np.full(9, 1e-38, "f") * np.float32(0.5)).any()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert (np.full(9, 1e-38, "f") * np.float32(0.5)).all()


def test_the_threads_of_openblas_are_left_as_they_were() -> None:
    backend = NumpyBackend("float32")
    backend._compiled = compiled_epochs(lambda *args: Backend.run_epoch(backend, *args), float("-inf"))
    run(backend, "float32")
    product = np.full((512, 512), 1e-30, "f") @ (np.eye(512, dtype="f") * np.float32(1e-12))
    assert product.all()  # 1e-42, also where another thread computed it


def test_normal_numbers_are_unchanged(rng: np.random.Generator) -> None:
    x = rng.normal(size=1000)
    with flushed():
        expected = np.exp(x) / 3 + x**3
    np.testing.assert_array_equal(expected, np.exp(x) / 3 + x**3)
