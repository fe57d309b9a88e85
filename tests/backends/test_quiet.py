"""NumPy's error settings in the scope of the NumPy backend: nested, in threads, in generators, and outside."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any

import numpy as np
import pytest

import bpengine as bp
from bpengine.layers import Run
from bpengine.system import quiet

LOUD = {"divide": "raise", "over": "warn", "under": "print", "invalid": "raise"}
SILENT = dict.fromkeys(LOUD, "ignore")
SCOPE = bp.get_backend("numpy").scope


@pytest.fixture(autouse=True)
def loud() -> Iterator[None]:
    with np.errstate(**LOUD):
        yield


@pytest.fixture(params=["NumPy's variable", "no variable"])
def variable(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run with NumPy's context variable, and as with a NumPy that keeps its settings in another way."""
    if request.param == "no variable":
        monkeypatch.setattr(quiet, "_SETTINGS", None)


@pytest.mark.usefixtures("variable")
def test_nested_scopes_are_silent_and_restore_the_settings() -> None:
    for _ in range(2):  # the second time the settings of the first are over
        with SCOPE():
            with SCOPE(), SCOPE():
                assert np.geterr() == SILENT
            assert np.geterr() == SILENT
        assert np.geterr() == LOUD


@pytest.mark.usefixtures("variable")
def test_settings_that_were_changed_in_between_are_replaced() -> None:
    with SCOPE():
        with np.errstate(all="raise"):
            with SCOPE(), SCOPE():
                assert np.geterr() == SILENT
            assert set(np.geterr().values()) == {"raise"}
        assert np.geterr() == SILENT
        np.seterr(all="raise")
        with SCOPE():
            assert np.geterr() == SILENT
    assert np.geterr() == LOUD


@pytest.mark.usefixtures("variable")
def test_a_scope_decides_when_it_is_entered_and_is_entered_once() -> None:
    with SCOPE():
        kept = SCOPE()
    with kept:
        assert np.geterr() == SILENT
        with pytest.raises(TypeError, match="twice"):
            kept.__enter__()
    assert np.geterr() == LOUD


def test_another_thread_enters_its_own() -> None:
    def work() -> list[dict[str, str]]:
        np.seterr(**LOUD)
        with SCOPE():
            return [np.geterr()]

    def copied() -> list[dict[str, str]]:
        with SCOPE():
            return [np.geterr()]

    with SCOPE(), ThreadPoolExecutor(1) as pool:
        assert pool.submit(work).result() == [SILENT]
        assert pool.submit(copy_context().run, copied).result() == [SILENT]
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(work).result() == [SILENT]


@pytest.mark.usefixtures("variable")
def test_a_generator_that_is_left_in_its_scope_hides_nothing() -> None:
    def numbers() -> Iterator[int]:
        with SCOPE():
            yield 1

    generator = numbers()
    next(generator)  # its settings are the caller's until it goes on, as with `np.errstate`
    assert np.geterr() == SILENT
    generator.close()
    assert np.geterr() == LOUD
    with SCOPE():
        assert np.geterr() == SILENT
    assert np.geterr() == LOUD


def test_step_changes_error_settings_once(monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator) -> None:
    entered: list[Any] = []
    before = quiet._silenced

    def counted(settings: Any) -> Any:
        entered.append(settings)
        return before(settings)

    network = bp.Network(3, [bp.Dense(4, "tanh"), bp.Dense(2)], "softmax_cross_entropy", bp.L2(0.1))
    ops, (params, running) = bp.get_backend("numpy").ops(), network.init(seed=0)
    x, labels = rng.normal(size=(5, 3)), rng.integers(0, 2, 5)
    monkeypatch.setattr(quiet, "_silenced", counted)
    network.loss_and_gradients(ops, params, running, x, labels, None, Run(training=True))
    assert len(entered) == 1


def test_numpy_warns_outside_of_a_scope() -> None:
    with SCOPE():
        np.ones(1) / np.zeros(1)
    with np.errstate(all="warn"), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        np.ones(1) / np.zeros(1)
    assert [entry.category for entry in caught] == [RuntimeWarning]
