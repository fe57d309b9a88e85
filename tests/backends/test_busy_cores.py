"""Busy cores are noticed, once and with the cure; a backend's own number of threads holds while it works, and no longer."""

from __future__ import annotations

import contextlib
import copy
import threading
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bpengine as bp
from bpengine.system import busy
from bpengine.system.blas_pool import BLAS_POOL, BlasPool
from bpengine.system.busy import BusyWatch, CoreUse, core_use
from tests.attacks import failing
from tests.attacks.interrupts import Counting, moments


class Library:
    """A BLAS library that records the thread numbers it is given."""

    def __init__(self, threads: int) -> None:
        self.num_threads, self.said = threads, list[int]()

    def set_num_threads(self, threads: int) -> None:
        self.num_threads = threads
        self.said.append(threads)


class Machine:
    """A clock, and what threads have run and waited by then: they wait for `waiting` of each second."""

    def __init__(self, waiting: float, threads: int = 2) -> None:
        self.now, self.waiting, self.threads, self.asked = 100.0, waiting, threads, 0
        self.watch = BusyWatch(self.use, lambda: self.now, lambda: threads)

    def use(self) -> CoreUse:
        self.asked += 1
        return CoreUse(self.now, self.waiting * self.now)

    def train(self, seconds: int) -> list[str]:
        """Check every tenth of a second, and return the warnings."""
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            for _ in range(10 * seconds):
                self.watch.look()
                self.now = round(self.now + 0.1, 1)
        return [str(one.message) for one in said]


def test_a_fit_that_waits_for_cores_says_so_once_with_the_cure() -> None:
    machine = Machine(waiting=0.6)
    (said,) = machine.train(30)
    assert "waited for a core for 1.8 s" in said
    assert "Matrix products in 2 threads" in said
    assert "OPENBLAS_NUM_THREADS=1" in said
    assert "bp.get_backend('numpy', threads=1)" in said


@pytest.mark.parametrize(("waiting", "threads"), [(0.01, 2), (0.2, 2), (0.9, 1)])
def test_no_warning_for_an_idle_machine_or_a_single_thread(waiting: float, threads: int) -> None:
    assert Machine(waiting, threads).train(30) == []


def test_the_system_is_asked_every_few_seconds_alone() -> None:
    machine = Machine(waiting=0.0)
    machine.train(30)
    assert machine.asked <= 11


def test_time_between_fits_does_not_count_as_waiting() -> None:
    machine = Machine(waiting=0.0)
    machine.train(1)
    machine.waiting, machine.now = 0.9, 200.0
    assert machine.train(1) == []


def test_no_warning_where_the_system_gives_no_load(tmp_path: Path) -> None:
    assert core_use(tmp_path / "none") is None
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "schedstat").write_text("2000000000 500000000 7\n")
    (tmp_path / "2").mkdir()
    (tmp_path / "2" / "schedstat").write_text("1000000000 0 7\n")
    assert core_use(tmp_path) == CoreUse(3.0, 0.5)
    (tmp_path / "2" / "schedstat").write_text("nothing\n")
    assert core_use(tmp_path) is None
    watch = BusyWatch(lambda: None, iter(range(0, 1000, 2)).__next__, lambda: 2)
    for _ in range(20):
        watch.look()


def test_fit_checks_the_load(monkeypatch: pytest.MonkeyPatch) -> None:
    from bpengine_numpy import backend

    machine = Machine(waiting=0.6)
    monkeypatch.setattr(backend, "BUSY_WATCH", machine.watch)
    model = bp.Model(bp.Network(2, bp.Dense(1), "mean_squared_error"))

    def later(*_: Any) -> None:
        machine.now += 2.0

    with pytest.warns(UserWarning, match="the cores of this machine have other work"):
        model.fit(np.ones((4, 2)), np.ones((4, 1)), epochs=6, callbacks=later)


@pytest.mark.parametrize(
    ("runnable", "threads", "warns"), [(0.9, 2, True), (0.3, 2, False), (3.0, 1, False), (None, 2, False)]
)
def test_doctor_warns_of_the_load(
    monkeypatch: pytest.MonkeyPatch, runnable: float | None, threads: int, warns: bool
) -> None:
    monkeypatch.setattr(busy, "load", lambda: runnable)
    said = busy.load_warning(threads)
    assert (said is not None) == warns
    assert not warns or "0.9 runnable threads for each core" in str(said)


def test_the_load_is_that_of_each_core(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(busy.os, "getloadavg", lambda: (6.0, 0.0, 0.0))
    monkeypatch.setattr(busy.os, "cpu_count", lambda: 4)
    assert busy.load() == 1.5


def test_pool_gets_its_earlier_thread_number_back() -> None:
    library = Library(8)
    pool = BlasPool([library])
    with pool.limited(4):
        with pool.limited(2):
            assert library.num_threads == 2
        with pool.limited(6):
            assert library.num_threads == 4
    assert library.num_threads == 8
    assert library.said == [4, 2, 4, 8]  # and nothing where nothing changes
    with pytest.raises(ZeroDivisionError), pool.limited(1):
        _ = 1 / 0
    assert library.num_threads == pool.threads == 8


def test_a_number_that_the_library_refuses_leaves_no_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    library = Library(8)
    pool = BlasPool([library])
    with monkeypatch.context() as patch:
        patch.setattr(Library, "set_num_threads", lambda self, threads: 1 / 0)
        with pytest.raises(ZeroDivisionError), pool.limited(4):
            pass
    with pool.limited(6):
        assert library.num_threads == 6
    assert library.num_threads == 8


@pytest.mark.skipif(not failing.possible(), reason="bytecodes are counted by CPython's own interface, on Linux")
def test_wherever_a_block_is_interrupted_its_limit_is_lifted() -> None:
    library = Library(8)
    pool = BlasPool([library])

    def block() -> None:
        with pool.limited(2):
            pass

    for after in moments(block):
        with contextlib.suppress(KeyboardInterrupt), Counting(after):
            block()
        with pool.limited(4):
            assert library.num_threads == 4, f"after {after} bytecodes"
        assert library.num_threads == 8, f"after {after} bytecodes"


def test_threads_that_overlap_leave_the_number_from_before() -> None:
    library, inside, out = Library(8), threading.Event(), threading.Event()
    pool = BlasPool([library])

    def other() -> None:
        with pool.limited(3):
            inside.set()
            out.wait(20)

    thread = threading.Thread(target=other)
    with pool.limited(2):
        thread.start()
        assert inside.wait(20)
    assert library.num_threads == 3
    out.set()
    thread.join(20)
    assert library.num_threads == 8


def test_a_backend_has_its_threads_while_it_works(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = set[int]()
    backend = bp.get_backend("numpy", threads=1)
    assert backend.threads == 1
    assert backend is bp.get_backend("numpy", threads=1)
    assert backend is not bp.get_backend("numpy")
    before = BLAS_POOL.threads
    model = bp.Model(bp.Network(2, bp.Dense(1), "mean_squared_error"), backend)
    original = type(model.network).forward

    def forward(*args: Any, **options: Any) -> Any:
        seen.add(BLAS_POOL.threads)
        return original(*args, **options)

    monkeypatch.setattr(type(model.network), "forward", forward)
    model.fit(np.ones((4, 2)), np.ones((4, 1)), epochs=2)
    model.predict(np.ones((4, 2)))
    assert seen == {1}
    assert BLAS_POOL.threads == before
    assert copy.deepcopy(backend).threads == 1


def test_the_bits_are_those_of_a_process_with_as_many_threads(rng: np.random.Generator) -> None:
    x, y = rng.standard_normal((256, 300)), rng.integers(0, 3, 256)
    network = bp.Network(300, [bp.Dense(64, "relu"), bp.Dense(3)], "softmax_cross_entropy")
    own = bp.Model(network, bp.get_backend("numpy", threads=1))
    own.fit(x, y, batch_size=128, epochs=2)
    with BLAS_POOL.limited(1):
        limited = bp.Model(network)
        limited.fit(x, y, batch_size=128, epochs=2)
    for name, value in own.parameters.items():
        np.testing.assert_array_equal(value, limited.parameters[name])


def test_threads_that_make_no_sense_are_refused(jax: Any) -> None:
    for threads in (0, -1, 1.5, True):
        with pytest.raises(bp.ConfigError, match="threads to be a whole number of at least 1"):
            bp.get_backend("numpy", threads=threads)
    for many in (1025, 10**30):
        with pytest.raises(bp.ConfigError, match="threads to be at most 1,024"):
            bp.get_backend("numpy", threads=many)
    with pytest.raises(bp.ConfigError, match=r"backend 'jax' cannot set its threads, got threads=2\. Leave it out"):
        bp.get_backend("jax", threads=2)
    with pytest.raises(bp.ConfigError, match="and threads=2 asked for"):
        bp.get_backend(bp.get_backend("numpy", threads=1), threads=2)
