"""Runs on several processes, each with one BLAS thread and a hard limit of time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from bpengine.system.launcher import mpiexec

ROOT = Path(__file__).parents[2]
LIMIT = 120  # seconds, on a machine that is busy
Run = Callable[..., "Ended"]


class Ended(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


def run(command: list[str], **environment: str) -> Ended:
    """Run a command in a session of its own, which is killed after the limit."""
    paths = os.pathsep.join([str(ROOT), str(ROOT / "backends"), os.environ.get("PYTHONPATH", "")])
    own = {**os.environ, "PYTHONPATH": paths, "OPENBLAS_NUM_THREADS": "1", **environment}
    own = {name: value for name, value in own.items() if not name.startswith("PMI_")}
    job = subprocess.Popen(
        command, env=own, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        out, err = job.communicate(timeout=LIMIT)
    except subprocess.TimeoutExpired:
        os.killpg(job.pid, signal.SIGKILL)
        out, err = job.communicate()
        pytest.fail(f"{command} did not end within {LIMIT} s: {out}{err}")
    return Ended(job.returncode, out, err)


@pytest.fixture(scope="session")
def python() -> Run:
    """Give what runs a module of Python by itself: `python("tests.x", ...)`."""
    return lambda *arguments, **environment: run([sys.executable, "-m", *arguments], **environment)


@pytest.fixture(scope="session")
def processes(python: Run) -> Run:
    """Give what runs a module on several processes; the extra "test" brings mpi4py and, on Linux, MPICH."""
    start = mpiexec()
    if start is None or find_spec("mpi4py") is None:
        (pytest.fail if sys.platform == "linux" else pytest.skip)("no mpiexec, or no mpi4py")
    return lambda count, *arguments, **environment: run(
        [start, "-n", str(count), sys.executable, "-m", *arguments], **environment
    )


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a folder with the rows of the memory-mapped case."""
    cases = tmp_path_factory.mktemp("cases")
    np.save(cases / "x.npy", np.random.default_rng(7).standard_normal((1000, 20)).astype(np.float32))
    return cases
