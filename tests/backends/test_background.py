"""What was never compiled on this machine is made beside a fit, in a thread of its own; what is on disk is loaded at once."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bpengine_numpy import NumpyBackend, llvm_target
from bpengine_numpy.background import Background
from bpengine_numpy.llvm_target import compiled_epochs, interpreter, row_reductions
from bpengine_numpy.llvm_target.object_code import loop_cache
from bpengine_numpy.llvm_target.self_test import openblas
from bpengine_steps import adaptive
from bpengine_steps.adaptive import CompiledEpochs
from bpengine_steps.disk import Cache

from bpengine.backend import Backend

ENGINES: list[Any] = []  # of tests, whose code may be called as long as a program lives
ORDER, RATES = np.arange(12).reshape(6, 2), np.linspace(0.1, 0.6, 6)


def step(state: Any, rows: Any, lr: Any) -> Any:
    """Move an average, and tell its size."""
    w = state["w"] + lr * np.sum(rows[0] * rows[0], axis=0)
    return {"w": w}, {"loss": np.sum(w), "halt": ~np.isfinite(np.sum(w))}


@pytest.fixture
def cold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cache:
    """Return an empty cache, for a process that has loaded nothing."""
    store = Cache(tmp_path / "loops")
    monkeypatch.setattr(loop_cache, "store", lambda: store)
    monkeypatch.setattr(openblas, "store", lambda: store)
    monkeypatch.setattr(llvm_target, "user_cache", lambda name: store)
    monkeypatch.setattr(loop_cache, "_loaded", {})
    ENGINES.append(loop_cache._engine.__wrapped__())
    monkeypatch.setattr(loop_cache, "_engine", lambda: ENGINES[-1])
    for name in ("functions", "_drive"):
        monkeypatch.setattr(interpreter, name, cache(getattr(interpreter, name).__wrapped__))
    monkeypatch.setattr(row_reductions, "_functions", cache(row_reductions._functions.__wrapped__))
    return store


def ran(epochs: CompiledEpochs, data: Any) -> Any:
    return epochs.run(step, {"w": np.zeros(3)}, data, ORDER, RATES)


def epochs_of(patience: float) -> CompiledEpochs:
    return compiled_epochs(Backend.run_epoch.__get__(NumpyBackend("float64")), patience)


def known_of(epochs: CompiledEpochs) -> Any:
    (of_step,) = epochs._known.values()
    (known,) = of_step.by_signature._values.values()
    return known


def wait_for(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_code_missing_on_disk_is_compiled_beside_a_fit_with_the_same_bits(
    cold: Cache, rng: np.random.Generator
) -> None:
    data, epochs, threads = (rng.normal(size=(12, 3)),), epochs_of(0.0), set[str]()
    make = epochs._make

    def noting(*arguments: Any) -> Any:
        threads.add(threading.current_thread().name)
        return make(*arguments)

    epochs._make = noting
    expected = ran(epochs_of(float("inf")), data)
    first = ran(epochs, data)
    known = known_of(epochs)
    wait_for(lambda: not known.job.is_waited_for())
    assert known.job.error is None
    assert threads == {"bpengine compiles"}
    assert cold.state().files > 2
    second = ran(epochs, data)
    assert known.compiled
    for state, reports in (first, second):
        np.testing.assert_array_equal(state["w"], expected[0]["w"], strict=True)
        np.testing.assert_array_equal(reports["loss"], expected[1]["loss"], strict=True)


def test_code_on_disk_is_loaded_before_patience_ends(
    cold: Cache, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = (rng.normal(size=(12, 3)),)
    ran(epochs_of(float("-inf")), data)
    interpreter.functions()  # a table of calls has them, but this process may have had them before its cache was cold
    files = cold.state().files
    epochs, never = epochs_of(1e9), epochs_of(float("inf"))
    monkeypatch.setattr(adaptive, "READY", 0.0)
    monkeypatch.setattr(epochs._beside, "start", lambda pieces: pytest.fail("nothing is missing"))
    for one in (epochs, never):
        ran(one, data)
    assert known_of(epochs).compiled
    assert known_of(never).program is None
    assert cold.state().files == files


@pytest.mark.parametrize(("ahead", "compiled"), [(None, False), (40, False), (10_000, True)])
def test_code_on_disk_is_loaded_at_once_where_many_steps_are_to_come(
    ahead: int | None, compiled: bool, cold: Cache, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a clock by which a step in Python takes a millisecond: 40 of them take less than loading, 10,000 more."""
    data, ticks = (rng.normal(size=(12, 3)),), itertools.count()
    ran(epochs_of(float("-inf")), data)
    interpreter.functions()
    epochs, eager = epochs_of(1e9), list[int]()
    run = epochs._eager

    def timed(step: Any, state: Any, data: Any, order: Any, lr: Any) -> Any:
        eager.append(len(lr))
        for _ in lr[1:]:
            next(ticks)  # one for each step, with the two looks at the clock around them
        return run(step, state, data, order, lr)

    epochs._eager = timed
    monkeypatch.setattr(adaptive.time, "perf_counter", lambda: next(ticks) * 1e-3)
    if ahead is not None:
        epochs.expect(step, ahead)
    expected = ran(epochs_of(float("inf")), data)
    state, reports = ran(epochs, data)
    assert known_of(epochs).compiled == compiled
    assert eager == ([1, 2] if compiled else [1, 2, 3])
    np.testing.assert_array_equal(state["w"], expected[0]["w"], strict=True)
    np.testing.assert_array_equal(reports["loss"], expected[1]["loss"], strict=True)


def test_step_missing_from_the_cache_waits_out_its_patience(
    cold: Cache, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    cold.put("something", b"else")
    monkeypatch.setattr(adaptive, "READY", 0.0)
    epochs = epochs_of(1e9)
    for _ in range(3):
        ran(epochs, (rng.normal(size=(12, 3)),))
    known = known_of(epochs)
    assert known.program.missing > 0
    assert known.job is None
    assert not known.compiled


def test_failed_background_compilation_warns_once_and_training_continues(cold: Cache, rng: np.random.Generator) -> None:
    epochs, data = epochs_of(0.0), (rng.normal(size=(12, 3)),)

    def broken(*arguments: Any) -> Any:
        raise MemoryError("no room")

    def twice() -> tuple[Any, Any]:
        first = ran(epochs, data)  # which may hear of it, or be over before
        wait_for(lambda: not known_of(epochs).job.is_waited_for())
        return first, ran(epochs, data)

    epochs._make = broken
    with pytest.warns(UserWarning, match="LLVM cannot compile the training step.*no room") as warned:
        first, second = twice()
    assert len(warned) == 1
    np.testing.assert_array_equal(ran(epochs, data)[0]["w"], second[0]["w"])
    np.testing.assert_array_equal(first[0]["w"], second[0]["w"])


def test_jobs_are_done_in_turn_piece_by_piece() -> None:
    done: list[Any] = []
    around: list[str] = []

    class Around(AbstractContextManager[None]):
        def __enter__(self) -> None:
            around.append("in")

        def __exit__(self, *_: object) -> None:
            around.append("out")

    def pieces(name: str) -> Iterator[Callable[[], object] | None]:
        for k in range(2):
            done.append((name, k, around[-1]))
            yield lambda: done.append((name, "outside", around[-1]))
        if name == "b":
            raise ValueError(name)

    background = Background(Around)
    jobs = [background.start(pieces(name)) for name in "abc"]
    wait_for(lambda: not any(job.is_waited_for() for job in jobs))
    each = [[(n, 0, "in"), (n, "outside", "out"), (n, 1, "in"), (n, "outside", "out")] for n in "abc"]
    assert done == [piece for job in each for piece in job]
    assert [type(job.error) for job in jobs] == [type(None), ValueError, type(None)]
    wait_for(lambda: background._process == 0)
    again = background.start(iter([None]))
    wait_for(lambda: not again.is_waited_for())


def test_closing_starts_no_further_piece() -> None:
    begun, go_on, done = threading.Event(), threading.Event(), list[int]()

    def pieces() -> Iterator[None]:
        begun.set()
        go_on.wait(60)
        done.append(1)
        yield None
        done.append(2)

    background = Background()
    background.start(pieces())
    assert begun.wait(60)
    threading.Timer(0.1, go_on.set).start()
    background.end()
    assert done == [1]
    assert not background._working.acquire(timeout=0.01)


def test_other_threads_of_python_run_while_a_segment_does(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[tuple[float, float]] = []
    drive = interpreter._drive()

    def noting(arguments: int) -> None:
        began = time.perf_counter()
        drive(arguments)
        called.append((began, time.perf_counter()))

    monkeypatch.setattr(interpreter, "_drive", lambda function: noting)
    ticks, over = list[float](), threading.Event()

    def tick() -> None:
        while not over.is_set():
            ticks.append(time.perf_counter())
            time.sleep(0.0005)

    other = threading.Thread(target=tick)
    other.start()
    steps = 200_000
    epochs_of(float("-inf")).run(
        step, {"w": np.zeros(3)}, (rng.normal(size=(12, 3)),), np.zeros((steps, 2), np.int64), np.zeros(steps)
    )
    over.set()
    other.join()
    began, ended = max(called, key=lambda call: call[1] - call[0])
    assert sum(began < at < ended for at in ticks) >= 3


TRAIN = """
import hashlib, json, os, sys
import bpengine_numpy, numpy as np
import bpengine as bp
from bpengine.system.busy import BUSY_WATCH
BUSY_WATCH.rest()  # what else this machine does is no part of it
bpengine_numpy.NumpyBackend.patience = 0.0
x = np.random.default_rng(0).normal(size=(60, 4))
def fit(epochs):
    model = bp.Model(bp.Network(4, [bp.Dense(5, "relu"), bp.Dense(2)], "mean_squared_error"), seed=1)
    loss = model.fit(x, x[:, :2], batch_size=20, epochs=epochs).loss
    return hashlib.sha256(loss.tobytes()).hexdigest()
def compiled():
    backend = bp.get_backend("numpy")
    return any(k.compiled for s in backend._compiled._known.values() for k in s.by_signature._values.values())
"""
SHORT = "fit(1)"
UNTIL = """
losses = {fit(2)}
while not compiled():
    losses.add(fit(2))
losses.add(fit(2))
print(json.dumps(sorted(losses)))
"""
FORK = """
fit(1)
for _ in range(20):
    child = os.fork()
    if not child:
        while not compiled():
            fit(1)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
"""


def process(code: str, folder: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "XDG_CACHE_HOME": str(folder)}
    command = [sys.executable, "-W", "error", "-W", "ignore::DeprecationWarning", "-c", TRAIN + code]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def end_of(started: subprocess.Popen[str]) -> tuple[str, str, int]:
    """Return a process's output and exit code; after the limit it is killed with its children."""
    try:
        return *started.communicate(timeout=100), started.returncode
    except subprocess.TimeoutExpired:
        os.killpg(started.pid, signal.SIGKILL)
        raise


def test_two_processes_fill_one_cache_beside_their_fits(tmp_path: Path) -> None:
    ended = [end_of(started) for started in [process(UNTIL, tmp_path) for _ in range(2)]]
    assert [rest for _, *rest in ended] == [["", 0]] * 2
    losses = {tuple(json.loads(stdout)) for stdout, *_ in ended}
    assert len(losses) == 1
    assert len(losses.pop()) == 1  # the same bits before, meanwhile and after
    assert not list(tmp_path.rglob("*.draft"))


def test_a_process_that_ends_while_it_compiles_ends_as_any_other(tmp_path: Path) -> None:
    for _ in range(3):
        assert end_of(process(SHORT, tmp_path)) == ("", "", 0)
        for file in tmp_path.rglob("*.bin"):
            file.unlink()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks")
def test_a_process_that_is_forked_while_it_compiles_compiles_for_itself(tmp_path: Path) -> None:
    assert end_of(process(FORK, tmp_path)) == ("", "", 0)


def test_checking_for_a_filled_cache_reads_at_most_one_file_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fit looks before each of its first epochs: in a cache of 25,000 loops the list of names took 10 ms a look."""
    folder, read = tmp_path / "loops", list[str]()
    monkeypatch.setattr(llvm_target, "user_cache", lambda name: Cache(folder))
    assert not llvm_target.something_kept()
    folder.mkdir()
    assert not llvm_target.something_kept()
    for name in "abc":
        (folder / name).touch()

    def names() -> Iterator[str]:
        for name in "abc":
            read.append(name)
            yield name

    monkeypatch.setattr(os, "scandir", lambda path: contextlib.nullcontext(names()))
    monkeypatch.setattr(os, "listdir", lambda path: list(names()))
    assert llvm_target.something_kept()
    assert len(read) == 1
