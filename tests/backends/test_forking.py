"""Forks before, within and beside a fit: nobody hangs, and OpenBLAS's new threads take denormal numbers for what they are."""

from __future__ import annotations

import contextlib
import ctypes
import os
import subprocess
import sys
import threading
import time
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from bpengine_numpy import forking
from bpengine_numpy.forking import Forks

import bpengine as bp
from tests.attacks import failing
from tests.attacks.interrupts import Counting

FORK = """
import os, sys, threading, time
import numpy as np, bpengine as bp
from bpengine_numpy import forking

forking.PATIENCE = 500  # on a machine with much other work an epoch may take more than its ten seconds
tiny, one = np.full((512, 512), 1e-39, np.float32), np.eye(512, dtype=np.float32)
rng = np.random.default_rng(0)
x, y = rng.normal(size=(2048, 256)).astype(np.float32), rng.integers(0, 3, 2048)
children = []

def fork(*_):
    child = os.fork()
    if not child:
        fit()
        os._exit(0 if ((tiny @ one) > 0).all() else 3)
    children.append(child)

def fit(epochs=3, **settings):
    model = bp.Model(bp.Network(256, [bp.Dense(512, "relu"), bp.Dense(3)], "softmax_cross_entropy"))
    model.fit(x, y, batch_size=256, epochs=epochs, **settings)

if sys.argv[1] == "before a fit":
    fork()
elif sys.argv[1] == "in a callback":
    fit(callbacks=lambda model, epoch: fork() if epoch.number == 2 else None)
else:
    fit(30)  # first of all: a child forked amid an import has that module locked for ever, in any program
    beside = threading.Thread(target=lambda: [time.sleep(0.05) or fork() for _ in range(3)])
    beside.start()
    while beside.is_alive():
        fit(20)
    beside.join()
fit()
assert ((tiny @ one) > 0).all(), "the parent's threads flush"
codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
assert codes == [0] * len(children), codes
"""


@pytest.mark.thorough(keep=2)
@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
@pytest.mark.parametrize("when", ["before a fit", "in a callback", "in another thread"])
def test_a_fork_leaves_threads_as_they_were(when: str) -> None:
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORK, when], capture_output=True, text=True, timeout=600, check=False
    )
    assert run.returncode == 0, run.stderr


def test_a_fork_waits_for_the_epochs_of_other_threads_and_they_for_it() -> None:
    forks, log = Forks(), list[str]()
    inside, leave = threading.Event(), threading.Event()

    def train() -> None:
        with forks.epoch():
            inside.set()
            leave.wait(10)
            log.append("epoch ends")
        with forks.epoch():
            log.append("next epoch")

    def fork() -> None:
        forks._before()
        log.append("fork")
        time.sleep(0.05)
        forks._after()

    threads = [threading.Thread(target=target) for target in (train, fork)]
    threads[0].start()
    assert inside.wait(10)
    threads[1].start()
    while not forks._waiting:
        time.sleep(0.001)
    leave.set()
    for thread in threads:
        thread.join(10)
    assert log == ["epoch ends", "fork", "next epoch"]


@pytest.mark.parametrize("threads", [1, 2])
def test_a_fork_that_cannot_wait_any_longer_warns_and_its_child_does_not_train(
    threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    forks = Forks()
    monkeypatch.setattr(forking, "PATIENCE", 0.01)
    monkeypatch.setattr(forking, "BLAS_POOL", SimpleNamespace(threads=threads))
    inside, leave = threading.Event(), threading.Event()

    def train() -> None:
        with forks.epoch():
            inside.set()
            leave.wait(10)

    beside = threading.Thread(target=train)
    beside.start()
    assert inside.wait(10)
    with pytest.warns(RuntimeWarning, match="forked while another thread of it trained, which went on for 0.01 s"):
        forks._before()
    forks._after_in_child()
    refused = pytest.raises(bp.ConfigError, match="may wait for ever") if threads > 1 else nullcontext()
    with refused, forks.epoch():
        pass
    leave.set()
    beside.join(10)


POOLS = """
import multiprocessing, sys
import numpy as np
import bpengine as bp
from bpengine_numpy import NumpyBackend

class Compiled(NumpyBackend):
    patience = float("-inf")

def losses(number):
    x, y = np.random.default_rng(0).normal(size=(64, 8)), np.arange(64) % 3
    model = bp.Model(bp.Network(8, [bp.Dense(16, "tanh"), bp.Dense(3)], "softmax_cross_entropy"), Compiled())
    return model.fit(x, y, batch_size=16, epochs=3).loss.tobytes()

if __name__ == "__main__":
    here = losses(0)
    for method in sys.argv[1:]:
        with multiprocessing.get_context(method).Pool(1) as pool:
            assert pool.map_async(losses, [1, 2]).get(300) == [here, here], method
"""


@pytest.mark.skipif(sys.platform == "win32", reason="the system has no fork server")
def test_compiled_fits_in_processes_of_a_pool_have_the_same_bits(tmp_path: Path) -> None:
    (tmp_path / "pools.py").write_text(POOLS, encoding="ascii")
    command = [sys.executable, "-W", "error", str(tmp_path / "pools.py"), "spawn", "forkserver"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert run.returncode == 0, run.stderr


def test_an_epoch_may_fork_and_run_within_another() -> None:
    forks = Forks()
    with forks.epoch():
        forks._before()
        with forks.epoch():
            pass
        forks._after()
    assert not forks._running


def test_epoch_interrupted_at_its_start_counts_as_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    forks = Forks()

    def interrupt(*args: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(np, "matmul", interrupt)
        with pytest.raises(KeyboardInterrupt), forks.epoch():
            pass
    assert not forks._running
    with forks.epoch():
        with forks.epoch():
            assert list(forks._running.values()) == [2]
        assert list(forks._running.values()) == [1]
    assert not forks._running


@pytest.mark.skipif(not failing.possible(), reason="bytecodes are counted by CPython's own interface, on Linux")
def test_interrupted_epoch_never_blocks_other_threads() -> None:
    forks = Forks()

    def epoch() -> None:
        with forks.epoch():
            pass

    with Counting() as whole:
        epoch()
    for after in range(1, whole.count + 1):
        with contextlib.suppress(KeyboardInterrupt), Counting(after):
            epoch()
        ctypes.pythonapi.PyEval_SetTrace(None, None)
        other = threading.Thread(target=epoch, daemon=True)
        other.start()
        other.join(10)
        assert not other.is_alive(), f"after {after} bytecodes"


LOCKED = """
import os, threading
from bpengine_numpy.blas import fastest, mkl
held, done = threading.Event(), threading.Event()
def hold():
    with fastest._lock, mkl._lock:
        held.set()
        done.wait()
thread = threading.Thread(target=hold)
thread.start()
held.wait()
child = os.fork()
if not child:
    os._exit(not all(module._lock.acquire(blocking=False) for module in (fastest, mkl)))
still = not fastest._lock.acquire(blocking=False)
done.set()
thread.join()
assert still and os.waitpid(child, 0)[1] == 0
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no forks")
def test_locks_that_another_thread_holds_are_open_in_a_forked_process() -> None:
    subprocess.run([sys.executable, "-c", LOCKED], check=True, timeout=100)
