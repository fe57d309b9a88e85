"""The contract of `run_epoch`, on every backend and on an eager one that reads the device only every few steps."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from typing import Any

import numpy as np
import pytest
from bpengine_jax import JaxBackend
from bpengine_jax.epoch_plan import LOOP, WINDOWED, EpochPlan
from bpengine_numpy import NumpyBackend

import bpengine as bp
from bpengine.backend import Backend


class Windowed(NumpyBackend):
    """Reads "halt" every four steps, as a backend does whose device is slow to ask."""

    window = 4
    run_epoch = Backend.run_epoch  # the loop of libraries that run eagerly, and no other


def counting(halt_after: int | None = None) -> Any:
    """Return a step that counts, adds up lr times the sum of the rows, and reports what it saw."""

    def step(state: Any, rows: Any, lr: Any) -> Any:
        x, y = rows
        n = state["count"] + 1
        new = {"count": n, "nested": {"w": state["nested"]["w"] + lr * x.sum() * state["count"]}}
        halt = n[0] < 0 if halt_after is None else n[0] >= halt_after
        return new, {"first": x[0, 0], "last": x[-1, 1], "y": y.sum(), "lr": lr[0], "halt": halt}

    return step


def fresh(backend: Backend) -> Any:
    return {
        "count": backend.asarray(np.zeros(1, np.int32)),
        "nested": {"w": backend.asarray(np.zeros(1, np.float32))},
    }


def planned(plan: EpochPlan) -> Backend:
    """Return the JAX backend with the plan of another platform."""
    backend = JaxBackend()
    backend._plan = plan
    return backend


def rows(backend: Backend, number: int = 6) -> tuple[Any, Any]:
    x = np.arange(2 * number, dtype=np.float32).reshape(number, 2)
    return backend.asarray(x), backend.asarray(np.arange(number, dtype=np.int32))


def result(backend: Backend, state: Any) -> tuple[int, float]:
    return int(backend.to_numpy(state["count"])[0]), float(backend.to_numpy(state["nested"]["w"])[0])


def rates(steps: int) -> Any:
    return (0.5 + np.arange(steps, dtype=np.float32)) / 64  # exact in float32


def expected(orders: Any, lr: Any) -> tuple[int, float]:
    """Return the state after the given steps, added up in plain Python."""
    x = np.arange(12.0).reshape(6, 2)
    return len(lr), sum(
        float(rate) * x[order].sum() * i for i, (rate, order) in enumerate(zip(lr, orders, strict=True))
    )


class TestRunEpoch:
    """Tests that every backend passes."""

    @pytest.fixture
    def backend(self, backend_name: str) -> Backend:
        return bp.get_backend(backend_name)

    @pytest.mark.parametrize("steps", [1, 2, 4, 5, 8, 9])
    def test_each_step_sees_its_rows_and_its_rate(self, backend: Backend, rng: np.random.Generator, steps: int) -> None:
        order, lr = rng.integers(0, 6, (steps, 3)), rates(steps)
        state, reports = backend.run_epoch(counting(), fresh(backend), rows(backend), order, lr)
        np.testing.assert_array_equal(reports["first"], 2.0 * order[:, 0])
        np.testing.assert_array_equal(reports["last"], 2.0 * order[:, -1] + 1)
        np.testing.assert_array_equal(reports["y"], order.sum(axis=1))
        np.testing.assert_array_equal(reports["lr"], lr)
        assert not reports["halt"].any()
        assert result(backend, state) == expected(order, lr)

    @pytest.mark.parametrize("steps", [1, 3, 4, 7])
    def test_without_an_order_each_step_sees_all_rows(self, backend: Backend, steps: int) -> None:
        state, reports = backend.run_epoch(counting(), fresh(backend), rows(backend), None, rates(steps))
        assert reports["first"].tolist() == [0.0] * steps
        assert reports["last"].tolist() == [11.0] * steps
        assert reports["y"].tolist() == [15] * steps
        assert result(backend, state) == expected([slice(None)] * steps, rates(steps))

    def test_reports_are_numpy_arrays_of_one_number_per_step(self, backend: Backend) -> None:
        _, reports = backend.run_epoch(counting(), fresh(backend), rows(backend), None, rates(3))
        assert set(reports) == {"first", "last", "y", "lr", "halt"}
        for values in reports.values():
            assert type(values) is np.ndarray
            assert values.shape == (3,)
        assert reports["first"].dtype == np.float32
        assert reports["halt"].dtype == np.bool_

    @pytest.mark.thorough(keep=9)
    @pytest.mark.parametrize("with_order", [True, False])
    @pytest.mark.parametrize("halt_after", [1, 2, 4, 5, 6, 10])
    def test_a_run_ends_right_after_the_step_that_halts(
        self, backend: Backend, halt_after: int, with_order: bool
    ) -> None:
        order = np.arange(20).reshape(10, 2) % 6 if with_order else None
        state, reports = backend.run_epoch(counting(halt_after), fresh(backend), rows(backend), order, rates(10))
        assert {len(values) for values in reports.values()} == {halt_after}
        assert reports["halt"].tolist() == [False] * (halt_after - 1) + [True]
        seen = [slice(None)] * halt_after if order is None else order[:halt_after]
        assert result(backend, state) == expected(seen, rates(halt_after))

    def test_a_run_that_halted_goes_on_from_its_state(self, backend: Backend) -> None:
        whole, _ = backend.run_epoch(counting(), fresh(backend), rows(backend), None, rates(9))
        half, reports = backend.run_epoch(counting(6), fresh(backend), rows(backend), None, rates(9))
        rest, _ = backend.run_epoch(counting(), half, rows(backend), None, rates(9)[len(reports["halt"]) :])
        assert result(backend, rest) == result(backend, whole)

    def test_run_on_all_rows_may_have_more_steps_than_a_padded_length(
        self, backend: Backend, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """More steps than one padded length of any backend."""
        if backend.name == "jax":
            monkeypatch.setattr(import_module("bpengine_jax.epoch"), "ROUND", 8)
        lr = np.full(30, 1 / 64, np.float32)
        state, reports = backend.run_epoch(counting(), fresh(backend), rows(backend), None, lr)
        assert result(backend, state)[0] == len(lr)
        assert reports["lr"].shape == lr.shape
        assert reports["lr"].min() == np.float32(1 / 64)
        state, reports = backend.run_epoch(counting(27), fresh(backend), rows(backend), None, lr)
        assert result(backend, state)[0] == len(reports["halt"]) == 27

    def test_one_step_serves_runs_of_different_lengths_and_batches(self, backend: Backend) -> None:
        step = counting()
        for steps, batch in ((1, 2), (3, 2), (5, 1), (2, 6)):
            order = np.arange(steps * batch).reshape(steps, batch) % 6
            state, reports = backend.run_epoch(step, fresh(backend), rows(backend), order, rates(steps))
            assert len(reports["halt"]) == steps
            assert result(backend, state) == expected(order, rates(steps))

    def test_a_copy_survives_the_donation_of_the_original(self, backend: Backend) -> None:
        state = backend.run_epoch(counting(), fresh(backend), rows(backend), None, rates(3))[0]
        before, copy = result(backend, state), backend.copy(state)
        backend.run_epoch(counting(), state, rows(backend), None, rates(5))
        assert result(backend, copy) == before

    def test_fetched_arrays_survive_the_donation(self, backend: Backend) -> None:
        state = fresh(backend)
        fetched = backend.to_numpy(state["nested"]["w"])
        backend.run_epoch(counting(), state, rows(backend), None, rates(5))
        assert fetched.tolist() == [0.0]

    def test_data_are_not_donated(self, backend: Backend) -> None:
        data = rows(backend)
        for _ in range(2):
            backend.run_epoch(counting(), fresh(backend), data, None, rates(2))
        assert backend.to_numpy(data[1]).tolist() == [0, 1, 2, 3, 4, 5]


class TestRunEpochWindowed(TestRunEpoch):
    """The same where the device is read only every few steps."""

    @pytest.fixture
    def backend(self) -> Backend:
        return Windowed()


def test_jax_frees_the_donated_state(jax: Any) -> None:
    backend = bp.get_backend("jax")
    state = fresh(backend)
    backend.run_epoch(counting(), state, rows(backend), None, rates(2))
    for leaf in jax.tree.leaves(state):
        assert leaf.is_deleted()
    with pytest.raises(RuntimeError, match="deleted"):
        backend.to_numpy(state["count"])


def test_the_loop_of_jax_compiles_once_for_all_lengths_of_a_run_on_all_rows(jax: Any) -> None:
    traces = []

    def step(state: Any, rows: Any, lr: Any) -> Any:
        traces.append(1)
        return counting()(state, rows, lr)

    backend = planned(LOOP)  # windows are compiled once per length
    for steps in (1, 7, 300):
        backend.run_epoch(step, fresh(backend), rows(backend), None, rates(steps))
        assert len(traces) <= 2, steps  # the shapes of the reports are found out by a trace of their own


def test_the_windowed_loop_reads_the_device_once_per_window() -> None:
    runs = []

    class Counted(Windowed):
        def _run(self, step: Any, state: Any, data: Any, order: Any, rates: Any, numbers: Any) -> Any:
            runs.append(numbers)
            return super()._run(step, state, data, order, rates, numbers)

    backend = Counted()
    backend.run_epoch(counting(6), fresh(backend), rows(backend), None, rates(10))
    assert runs == [range(4), range(4, 8), range(4, 6)]  # the last one again, up to the step that halted


def test_training_is_the_same_with_and_without_a_window(rng: np.random.Generator) -> None:
    x, y = rng.normal(size=(32, 3)), rng.normal(size=(32, 1))
    net = bp.Network(3, [bp.Dense(4, "tanh"), bp.Dense(1)], "mean_squared_error")
    models = [bp.Model(net, kind()) for kind in (NumpyBackend, Windowed)]
    histories = [m.fit(x, y, batch_size=4, epochs=3, stop=bp.LossBelow(0.3)) for m in models]
    assert histories[0].loss.tolist() == histories[1].loss.tolist()
    for name, value in models[0].parameters.items():
        np.testing.assert_array_equal(value, models[1].parameters[name])


class TestRunEpochInBlocks(TestRunEpoch):
    """The same on JAX where rows are taken in every step, and where they are taken for a few steps at a time."""

    @pytest.fixture(params=[{"small": 0}, {"taken": 128}], ids=["none", "of two to eight steps"])
    def backend(self, jax: Any, request: pytest.FixtureRequest) -> Backend:
        return planned(replace(LOOP, **request.param))


class TestRunEpochInWindows(TestRunEpoch):
    """The same on JAX in the form of a GPU, with rows taken for a whole window and in every step, in short windows too."""

    @pytest.fixture(params=[{}, {"small": 0}, {"windows": (4, 2, 1), "unroll": 2}], ids=["whole", "each", "short"])
    def backend(self, jax: Any, request: pytest.FixtureRequest) -> Backend:
        return planned(replace(WINDOWED, **request.param))


@pytest.mark.parametrize(("rows", "batch", "expected"), [(64, 32, 512), (784, 32, 64), (784, 128, 1), (2, 1, 512)])
def test_rows_of_small_batches_are_taken_for_many_steps_at_once(rows: int, batch: int, expected: int) -> None:
    """At most 8 MiB of them; batches from 256 KiB on step by step."""
    data = (np.zeros((7, rows), np.float32), np.zeros(7, np.int32))
    assert LOOP.steps_at_once(data, (512, batch)) == expected
