"""The self-test of NumPy's loops and OpenBLAS's queue: what crashes, hangs or gives wrong numbers is never called here."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bpengine_numpy import NumpyBackend
from bpengine_numpy.llvm_target import blas_threads, compiled_epochs, ufunc_loops
from bpengine_numpy.llvm_target.blas_threads import Team
from bpengine_numpy.llvm_target.self_test import openblas, trial
from bpengine_numpy.llvm_target.self_test.trial import TrialVerdict
from bpengine_steps.disk import Cache
from bpengine_steps.ir import Untraceable

import bpengine as bp
from bpengine.backend import Backend
from tests.backends.beside import lends

LENT = pytest.mark.skipif(not lends(), reason="no OpenBLAS on Linux with a queue for others: no thread is lent")
C = {"library": None, "set_threads": ""}  # C's own functions in place of the library's


@pytest.fixture
def store(tmp_path: Path) -> Cache:
    return Cache(tmp_path)


def settings(queue: dict[str, Any] | None = None, **loops: Any) -> dict[str, Any]:
    """Return this machine's settings with some changed; without a queue unless it is given."""
    asked = {"loops": {**trial.LOOPS, **loops}}
    if queue is None:
        return asked
    library = openblas.library()
    assert library is not None
    return {**asked, "queue": {**library.settings, **queue}}


@LENT
def test_this_machines_libraries_pass(store: Cache) -> None:
    assert trial.tried(settings({"jobs": 5}), store) == TrialVerdict("", "")


@LENT
@pytest.mark.parametrize(
    ("changed", "trouble"),
    [
        ({**C, "execute": "abort"}, "ended with code -6"),
        ({**C, "execute": "abs"}, "of 3 jobs, each to be run once, some were run 0 times"),
        ({**C, "execute": "no_such_function"}, "AttributeError"),
        ({"routine": 1}, "ended with code -11"),
        ({"arguments": 4}, "some were run 0 times"),
        ({"library": "/no/such/library"}, "OSError"),
    ],
)
def test_a_queue_that_crashes_or_leaves_work_undone_fails(
    changed: dict[str, Any], trouble: str, store: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = settings({"jobs": 3, **changed})
    verdict = trial.tried(asked, store)
    assert verdict.loops == ""
    assert trouble in verdict.queue
    monkeypatch.setattr(subprocess, "run", None)
    assert trial.tried(asked, store) == verdict  # kept


@LENT
def test_a_queue_that_hangs_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for seconds in (2.0, 10.0, 60.0):  # on a busy machine the loops, which come first, take longer
        monkeypatch.setattr(trial, "SECONDS", seconds)
        verdict = trial.tried(settings({**C, "execute": "pause"}), Cache(tmp_path / str(seconds)))
        if not verdict.loops:
            break
    assert verdict == TrialVerdict("", f"the self-test failed: no answer within {seconds:.0f} s")


@pytest.mark.parametrize(
    ("changed", "trouble"),
    [({"order": [1, 0, 2]}, "ended with code"), ({"capsule": "another"}, "incorrect name"), ({"unary": ["no"]}, "no")],
)
def test_loops_of_another_form_fail(changed: dict[str, Any], trouble: str, store: Cache) -> None:
    assert trouble in trial.tried(settings(**changed), store).loops


def test_loops_with_other_numbers_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    from bpengine_numpy.llvm_target.self_test import trial_child

    assert trial_child.loops(trial.LOOPS) == ""
    call = trial_child._call

    def wrong(library: Any, name: str, arrays: list[Any], *rest: Any) -> None:
        call(library, name, arrays, *rest)
        arrays[-1].view(f"u{arrays[-1].itemsize}").flat[-1] ^= 1

    monkeypatch.setattr(trial_child, "_call", wrong)
    for names in ({"binary": []}, {"unary": []}, {"unary": [], "binary": []}):
        assert "other numbers" in trial_child.loops({**trial.LOOPS, **names})


def test_a_verdict_holds_for_the_same_libraries_only(store: Cache, tmp_path: Path) -> None:
    library = tmp_path / "library.so"
    library.write_bytes(b"one")
    asked = {"loops": trial.LOOPS, "queue": {"library": str(library), "jobs": 2, "configuration": "OpenBLAS 0.3.1"}}
    key = trial.fingerprint(asked)
    assert trial.fingerprint({**asked, "queue": {**asked["queue"], "jobs": 8}}) == key
    assert trial.fingerprint({**asked, "queue": {**asked["queue"], "configuration": "OpenBLAS 0.3.2"}}) != key
    library.write_bytes(b"another")
    assert trial.fingerprint(asked) != key


@pytest.mark.parametrize("how", ["no executable", "frozen", "embedded", "inside a trial", "gone", "broken"])
def test_self_test_that_cannot_start_is_tried_again_by_the_next_process(
    how: str, store: Cache, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken, server = tmp_path / "python3", tmp_path / "httpd"
    for path, text in ((broken, "exit 3"), (server, f"touch {tmp_path / 'started'}")):
        if how in ("broken", "embedded"):
            path.write_text(f"#!/bin/sh\n{text}\n")
            path.chmod(0o755)
    if how == "frozen":
        monkeypatch.setattr(sys, "frozen", True, raising=False)
    elif how == "inside a trial":
        monkeypatch.setenv(trial.INSIDE, "1")
    else:
        named = {"no executable": "", "embedded": str(server)}
        monkeypatch.setattr(sys, "executable", named.get(how, str(broken)))
    asked = {"loops": trial.LOOPS}
    verdict = trial.tried(asked, store)
    assert verdict.loops.startswith("not tested")
    assert not verdict.lasting
    assert not (tmp_path / "started").exists()
    assert trial.kept(trial.fingerprint(asked), store) is None


def test_output_of_other_modules_is_not_read_as_a_verdict() -> None:
    said = b'hello\n["started", ""]\n[1]\n["loops", ""]\n{"a": 1}\n["queue", "bad"]\n'
    assert trial._judged(said, "no answer") == TrialVerdict("", "bad")
    assert not trial._judged(b"hello", "no answer").lasting


@LENT
def test_a_queue_that_failed_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    library = openblas.library()
    assert library is not None
    monkeypatch.setattr(openblas, "library", lambda: library._replace(threads=lambda: 4))
    for trouble, expected in (("", Team(library.execute, 4)), ("it crashed", Team(0, 1))):
        monkeypatch.setattr(openblas, "verdict", lambda trouble=trouble: TrialVerdict("", trouble))
        assert blas_threads.team() == expected


def test_loops_that_failed_the_self_test_are_not_called(monkeypatch: pytest.MonkeyPatch) -> None:
    def losses() -> list[float]:
        backend = NumpyBackend()
        backend._compiled = compiled_epochs(lambda *args: Backend.run_epoch(backend, *args), float("-inf"))
        model = bp.Model(bp.Network(2, [bp.Dense(3, "tanh"), bp.Dense(1)], "mean_squared_error"), backend, seed=1)
        history: list[float] = model.fit(np.eye(2), np.ones(2), epochs=3).loss.tolist()
        return history

    expected = losses()
    monkeypatch.setattr(openblas, "verdict", cache(lambda: TrialVerdict("it crashed", "")))
    monkeypatch.setattr(ufunc_loops, "strided_loop", cache(ufunc_loops.strided_loop.__wrapped__))
    monkeypatch.setattr("bpengine_numpy.llvm_target.call_table.strided_loop", ufunc_loops.strided_loop)
    with pytest.raises(Untraceable, match="it crashed"):
        ufunc_loops.strided_loop("exp", (np.dtype("f"), np.dtype("f")))
    assert losses() == expected


def test_verdict_is_stated_in_words(monkeypatch: pytest.MonkeyPatch, store: Cache) -> None:
    monkeypatch.setattr(openblas, "store", lambda: store)
    assert dict(openblas.notes())["self-test"].startswith("not run yet")
    monkeypatch.setattr(openblas, "store", lambda: Cache(None))
    assert "every process that compiles training runs it" in dict(openblas.notes())["self-test"]
    monkeypatch.setattr(openblas, "store", lambda: store)
    key = trial.fingerprint(openblas._settings())
    store.put(key, b'["", ""]')
    assert dict(openblas.notes())["NumPy's loops"] == "used by address"
    store.put(key, b'["it crashed", "it hung"]')
    assert "nothing is compiled: it crashed" in dict(openblas.notes())["NumPy's loops"]
    if openblas.library():
        assert dict(openblas.notes())["threads"] == "one: it hung"


def test_importing_and_building_a_model_starts_no_process() -> None:
    code = """
import sys
sys.addaudithook(lambda event, given: event == "subprocess.Popen" and print("started", given))
import bpengine_numpy.llvm_target.self_test.openblas, bpengine_numpy.llvm_target.self_test.trial
import numpy as np, bpengine as bp
model = bp.Model(bp.Network(2, [bp.Dense(2), bp.Dense(1)], "mean_squared_error"))
model.fit(np.ones((4, 2)), np.ones(4), epochs=1)
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    ended = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (0, "")
