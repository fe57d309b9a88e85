"""NumPy on another BLAS, or on an OpenBLAS that hides what is needed of it: one thread, the same bits, nothing amiss."""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from bpengine_numpy import NumpyBackend
from bpengine_numpy.llvm_target import blas_threads
from bpengine_numpy.llvm_target.blas_threads import Team
from bpengine_numpy.llvm_target.self_test import openblas
from bpengine_steps.disk import Cache

import bpengine as bp

SOUND = {
    "scipy_openblas_get_config64_": b"OpenBLAS 0.3.99 DYNAMIC_ARCH",
    "scipy_openblas_get_parallel64_": 1,
    "scipy_openblas_get_num_threads64_": 4,
    "scipy_openblas_set_num_threads64_": None,
}


def returning(value: Any) -> Any:
    return lambda *_: value


def pretend(monkeypatch: pytest.MonkeyPatch, symbols: dict[str, Any], *, queue: bool) -> None:
    """Have NumPy linked with a library that has these functions, by what they return, and perhaps a queue."""
    fake = SimpleNamespace(**{name: returning(value) for name, value in symbols.items()})
    if queue:
        fake.exec_blas = ctypes.CFUNCTYPE(ctypes.c_int)(returning(0))
    names = {name: getattr(ctypes, name) for name in ("c_char_p", "c_void_p", "cast")}
    monkeypatch.setattr(openblas, "ctypes", SimpleNamespace(CDLL=returning(fake), **names))
    monkeypatch.setattr(openblas, "library", cache(openblas.library.__wrapped__))


def test_openblas_with_all_symbols_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, SOUND, queue=True)
    blas = openblas.library()
    assert blas is not None
    assert blas.threads() == 4


@pytest.mark.parametrize(
    ("changed", "queue"),
    [
        ({}, False),  # as in NumPy's wheels from 2.5 on
        ({"scipy_openblas_get_config64_": b"OpenBLAS 0.4.0"}, True),
        ({"scipy_openblas_get_config64_": b""}, True),
        ({"scipy_openblas_get_parallel64_": 0}, True),
        ({"scipy_openblas_get_parallel64_": 2}, True),
        *(({name: "missing"}, True) for name in SOUND if "set" not in name),
        (dict.fromkeys(SOUND, "missing"), False),  # MKL, Accelerate, BLIS
    ],
)
def test_openblas_that_lacks_a_symbol_lends_no_threads(
    changed: dict[str, Any], queue: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    symbols = {name: value for name, value in {**SOUND, **changed}.items() if value != "missing"}
    pretend(monkeypatch, symbols, queue=queue)
    assert openblas.library() is None
    assert blas_threads.team() == Team(0, 1)


def test_epochs_without_openblas_are_compiled_for_one_thread_with_the_same_bits(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """No warning is given: here each would be an error."""
    pretend(monkeypatch, {}, queue=False)
    monkeypatch.setattr(openblas, "store", lambda: Cache(tmp_path))
    monkeypatch.setattr(openblas, "verdict", cache(openblas.verdict.__wrapped__))
    monkeypatch.setattr("bpengine_numpy.llvm_target.blas_threads.LEAST", 1)
    bound: list[int] = []
    program = "bpengine_numpy.llvm_target.executable.StepTable"

    def note(real: Any, *arguments: Any) -> Any:
        bound.append(blas_threads.team().size)
        return real(*arguments)

    from bpengine_numpy.llvm_target.shard_tables import StepTable

    monkeypatch.setattr(program, lambda *arguments: note(StepTable, *arguments))

    def losses(patience: float) -> list[float]:
        monkeypatch.setattr(NumpyBackend, "patience", patience)
        layers = [bp.Dense(300, "relu"), bp.Dense(3)]
        model = bp.Model(bp.Network(200, layers, "softmax_cross_entropy"), NumpyBackend(), seed=1)
        draw = np.random.default_rng(0)
        x, y = draw.normal(size=(512, 200)), draw.integers(0, 3, 512)
        history: list[float] = model.fit(x, y, batch_size=128, epochs=2, optimizer="adam").loss.tolist()
        return history

    expected = losses(float("inf"))
    assert not bound
    assert losses(float("-inf")) == expected
    assert set(bound) == {1}
    openblas.verdict()  # loops that an earlier test has asked for are at hand, and not asked for again
    said = dict(openblas.notes())
    assert said["NumPy's loops"] == "used by address"
    assert said["threads"].startswith("one: NumPy's BLAS is no OpenBLAS 0.3 that lets others use its queue")
