"""Orders of epochs are drawn one ahead where the host only waits: the same numbers, by a thread that ends with the fit."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from bpengine_numpy import NumpyBackend

import bpengine as bp
from bpengine.backend import HostArray
from bpengine.training import batching
from bpengine.training.memory.epoch_orders import EpochOrders
from tests.training.test_prefetch import threads

ROWS, BATCH = 60, 20
X = np.random.default_rng(0).normal(size=(ROWS, 3))


class Draws:
    """Draws order [epoch] for an epoch; knows which were drawn, by which thread, and can fail at one."""

    def __init__(self, fails_at: int | None = None) -> None:
        self.fails_at, self.epochs, self.drawers = fails_at, list[int](), set[int]()
        self.drawn = [threading.Event() for _ in range(10)]

    def __call__(self, epoch: int) -> HostArray:
        if epoch == self.fails_at:
            raise MemoryError("no room for an order")
        self.epochs.append(epoch)
        self.drawers.add(threading.get_ident())
        self.drawn[epoch].set()
        return np.array([epoch])


def test_next_order_is_drawn_by_a_thread_while_one_is_in_use() -> None:
    orders, draws = EpochOrders(), Draws()
    orders.draw_ahead(3)
    assert orders.of(0, draws) == [0]
    assert draws.drawn[1].wait(60)
    assert [int(orders.of(epoch, draws)[0]) for epoch in (0, 1, 1, 2, 2)] == [0, 1, 1, 2, 2]
    orders.close()
    assert draws.epochs == [0, 1, 2], "each once, and none after the last"
    assert threading.get_ident() not in draws.drawers
    assert not threads()


def test_without_drawing_ahead_each_order_is_drawn_by_its_reader() -> None:
    orders, draws = EpochOrders(), Draws()
    assert [int(orders.of(epoch, draws)[0]) for epoch in (0, 1)] == [0, 1]
    assert draws.epochs == [0, 1]
    assert draws.drawers == {threading.get_ident()}


def test_a_replay_goes_back_and_on_again() -> None:
    orders, draws = EpochOrders(), Draws()
    orders.draw_ahead(6)
    assert [int(orders.of(epoch, draws)[0]) for epoch in (2, 3, 1, 2, 3, 4, 5, 6, 7)] == [2, 3, 1, 2, 3, 4, 5, 6, 7]
    orders.close()
    assert not threads()


def test_a_failure_is_raised_for_its_own_epoch_and_the_next_call_begins_anew() -> None:
    orders, draws = EpochOrders(), Draws(fails_at=1)
    orders.draw_ahead(5)
    assert orders.of(0, draws) == [0]
    with pytest.raises(MemoryError, match="no room"):
        orders.of(1, draws)
    assert not threads()
    draws.fails_at = None
    assert [int(orders.of(epoch, draws)[0]) for epoch in (1, 2)] == [1, 2]
    orders.close()


class Waiting(NumpyBackend):
    """NumPy, as a backend whose host only waits."""

    name = "waiting"
    host_is_free = True


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, str]]:
    """Give the epochs whose orders were drawn, each with its thread's name; few rows count as many."""
    calls, draw = list[tuple[int, str]](), batching.epoch_order

    def noted(seed: int, epoch: int, rows: int, *, shuffle: bool) -> HostArray:
        calls.append((epoch, threading.current_thread().name))
        return draw(seed, epoch, rows, shuffle=shuffle)

    monkeypatch.setattr(batching, "epoch_order", noted)
    monkeypatch.setattr(batching, "SLOW", ROWS)
    return calls


def fitted(backend: Any, **options: Any) -> tuple[bp.Model, bp.History]:
    model = bp.Model(bp.Network(3, [bp.Dense(4, "tanh"), bp.Dense(1)], "mean_squared_error"), backend, seed=1)
    return model, model.fit(X, X[:, :1], **{"batch_size": BATCH, "epochs": 4, "optimizer": bp.Adam(0.01), **options})


def test_a_fit_draws_each_order_once_and_computes_the_same_numbers(drawn: list[tuple[int, str]]) -> None:
    plain, before = fitted("numpy")
    assert {name for _, name in drawn} == {threading.current_thread().name}
    drawn.clear()
    model, history = fitted(Waiting())
    assert [epoch for epoch, _ in drawn] == [0, 1, 2, 3]
    assert all(name.startswith("bpengine-ahead") for _, name in drawn)
    np.testing.assert_array_equal(history.loss, before.loss)
    for name, array in plain.parameters.items():
        np.testing.assert_array_equal(model.parameters[name], array)
    assert not threads()


@pytest.mark.parametrize("options", [{"batch_size": None}, {"shuffle": False}], ids=["full batch", "in order"])
def test_no_thread_where_nothing_is_drawn(options: dict[str, Any], drawn: list[tuple[int, str]]) -> None:
    fitted(Waiting(), **options)
    assert not any(name.startswith("bpengine-ahead") for _, name in drawn)


def test_few_rows_are_shuffled_by_the_fit_itself(drawn: list[tuple[int, str]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "SLOW", ROWS + 1)
    fitted(Waiting())
    assert not any(name.startswith("bpengine-ahead") for _, name in drawn)


def test_a_continued_fit_goes_on_with_the_order_of_its_epoch(drawn: list[tuple[int, str]]) -> None:
    def steps(backend: Any) -> tuple[HostArray, HostArray]:
        model, first = fitted(backend, epochs=None, steps=4)
        return first.loss, model.fit(
            X, X[:, :1], continue_from=first, epochs=4, batch_size=BATCH, optimizer=bp.Adam(0.01)
        ).loss

    for ahead, plain in zip(steps(Waiting()), steps("numpy"), strict=True):
        np.testing.assert_array_equal(ahead, plain)
    assert not threads()


def raise_interrupt(model: bp.Model, epoch: bp.Epoch) -> bool:
    raise KeyboardInterrupt


def raise_error(model: bp.Model, epoch: bp.Epoch) -> bool:
    raise ValueError("a callback's own")


@pytest.mark.parametrize("callback", [raise_interrupt, raise_error])
def test_the_thread_ends_with_a_fit_that_is_cut_short(
    callback: Callable[[bp.Model, bp.Epoch], bool], drawn: list[tuple[int, str]]
) -> None:
    with suppress(ValueError):
        fitted(Waiting(), callbacks=callback)
    assert any(name.startswith("bpengine-ahead") for _, name in drawn)
    assert not threads()
