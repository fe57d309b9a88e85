"""A job of several processes one of which fails in a certain way, for the tests of what is told of it.

    python -m tests.distributed.failing PROCESSES RESTARTS HOW RANK

starts it as `bpengine launch` does; HOW is what happens to RANK (or to "all") in the middle of the training, and only in the
first attempt.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

import bpengine as bp
from bpengine.cli.exit_codes import show_warning, tell
from bpengine.distributed import Comm, guarded
from bpengine.distributed.alike import compare_states, digest_of
from bpengine.distributed.job import Job
from bpengine.output.writing import Draft

STEP = 5  # the step in which it happens
RUN = "BPENGINE_TEST_RUN"  # names a folder for checkpoints
FIRST = "BPENGINE_TEST_FIRST"  # names a file that is there in the first attempt only


def _hang() -> None:
    time.sleep(1000)


def _raise() -> None:
    raise RuntimeError("boom")


FAILURES: dict[str, Callable[[], Any]] = {
    "raise": _raise,
    "exit": lambda: sys.exit(3),
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "hang": _hang,
    "asked to end": lambda: os.kill(os.getpid(), signal.SIGTERM),
}


def failing(comm: Any, how: str) -> None:
    """Let the communicator fail in a step."""
    whole, count = comm.add_up, [0]

    def add_up(*arguments: Any) -> None:
        count[0] += 1
        if count[0] == STEP:
            FAILURES[how]()
        whole(*arguments)

    comm.add_up = add_up


def fill_folder() -> None:
    """Let the folder have no more room once the checkpoint of step 3 is written, and half of the next one."""
    write = Draft.write

    def full(draft: Draft, content: bytes | memoryview) -> None:
        half = len(content) // 2 if draft.target.name.endswith("06.ckpt") else None
        write(draft, memoryview(content).cast("B")[:half])
        if half is not None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    Draft.write = full  # type: ignore[method-assign]


def train(comm: Comm, how: str, here: bool) -> None:
    """Train, with a failure here or none, and print a digest of the parameters."""
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(64, 4)), rng.integers(0, 3, 64)
    if here and how == "other data":
        x[5, 2] += 1
    if here and how == "no number":
        x[60, 2] = np.nan  # only one process reads that row before the training
    rate = {"other rate": 0.1, "not finite": 1e38}.get(how, 0.01) if here else 0.01
    model = bp.Model(bp.Network(4, [bp.Dense(5, "tanh"), bp.Dense(3)], "softmax_cross_entropy"), seed=1)
    if here and how == "other parameters":
        model = bp.Model(model.network, seed=2)
    if here and how == "other versions":
        type(model.backend).circumstances = lambda self: {"numpy": "1.0"}  # type: ignore[method-assign]
    if here and how == "full folder":
        fill_folder()
    if here and how in FAILURES:
        failing(comm, how)
    settings: dict[str, Any] = {"batch_size": 16, "steps": 12, "optimizer": bp.SGD(rate), "shards": 4, "comm": comm}
    if folder := os.environ.get(RUN):
        settings |= {"run": bp.RunFolder(folder, every=3), "resume": True}
    model.fit(x, y, **settings)
    arrays = dict(model.parameters)
    if here and how == "drift":
        arrays["1.bias"] = arrays["1.bias"] + 1e-7
    compare_states(comm, digest_of(arrays), 12)
    if comm.rank == 0:
        print(digest_of(arrays).hex(), flush=True)


def main(how: str, rank: str) -> int:
    """Train on this one of the processes."""
    warnings.showwarning = show_warning
    comm = bp.world()
    first = os.path.exists(os.environ[FIRST])
    comm.any(first)  # all have looked
    if comm.rank == 0 and first:
        os.unlink(os.environ[FIRST])
    return guarded(comm, lambda: train(comm, how, first and rank in ("all", str(comm.rank))))


if __name__ == "__main__":
    if len(sys.argv) == 3:
        sys.exit(main(*sys.argv[1:]))
    handle, os.environ[FIRST] = tempfile.mkstemp()
    count, restarts, *what = sys.argv[1:]
    command = [sys.executable, "-m", "tests.distributed.failing", *what]
    sys.exit(Job(processes=int(count), command=command, say=tell, restarts=int(restarts)).run())
