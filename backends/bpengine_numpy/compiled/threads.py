"""Threads: those of OpenBLAS, lent to passes over memory between its products.

Threads of our own would fight with OpenBLAS's for the cores: they go on spinning for a while after each product. So blocks
of a pass are jobs in the queue that OpenBLAS hands its own products to. It is not in OpenBLAS's manual, but its symbol is
public in every build and its form the same in every 0.3 (common_thread.h and driver/others/blas_server.c of its source).
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import cache
from importlib import import_module
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from bpengine_steps.ir import HostArray

from bpengine_numpy.compiled.machine import AS_GIVEN, ITEM, STRIDED
from bpengine_numpy.denormals import SIZE, Environment

LEAST = 2**17  # bytes that a piece of work moves at least: with less, telling another thread takes longer than the work
GRAIN = 64  # elements: what lies further apart is in different cache lines, which no two threads should write to
KNOWN = "OpenBLAS 0.3."
_PTHREADS = 1  # what openblas_get_parallel says: 0 no threads, 2 OpenMP
_NAMES = [(prefix, suffix) for prefix in ("scipy_", "") for suffix in ("64_", "_64", "")]  # how builds decorate them
_JOB = 32  # integers per job: room for its lock, condition, mode and status, which OpenBLAS fills in
_ROUTINE, _ARGUMENTS, _NEXT = 0, 3, 8  # where a job keeps them; all else is 0


class Team(NamedTuple):
    """Where OpenBLAS's `exec_blas` lies, and how many threads NumPy's products use: 1 where none can be lent."""

    execute: int
    size: int


def team() -> Team:
    """Return the threads that there are now; someone may have changed their number."""
    library = _library()
    return Team(library.execute, max(1, library.threads())) if library else Team(0, 1)


def jobs(calls: Sequence[Sequence[int]], environment: Environment) -> HostArray:
    """Return a queue of jobs, one for each call of a function's address and its arguments; both must outlive its use."""
    before = _JOB + SIZE  # room for a thread's own floating-point environment
    memory = np.zeros((len(calls), before + 5 + max(map(len, calls))), np.int64)
    for job, (function, *arguments) in zip(memory, calls, strict=True):
        around = (environment.get, environment.set, job.ctypes.data + _JOB * ITEM, environment.value.ctypes.data)
        given = [*around, function or STRIDED, *arguments]
        job[before : before + len(given)] = given
        job[[_ROUTINE, _ARGUMENTS]] = AS_GIVEN, job.ctypes.data + before * ITEM
    memory[:-1, _NEXT] = [job.ctypes.data for job in memory[1:]]
    return memory


def pieces(length: int, moved: int, most: int, grain: int = 1) -> list[tuple[int, int]]:
    """Cut work that moves so many bytes into at most so many pieces, each (where it begins, a multiple of `grain`; length)."""
    count = min(most, moved // LEAST)
    within = {length * k // count // grain * grain for k in range(1, count)} - {0}
    return [(first, stop - first) for first, stop in pairwise([0, *sorted(within), length])]


class _Library(NamedTuple):
    execute: int
    threads: Any


@cache
def _library() -> _Library | None:
    """Return what is needed of the OpenBLAS that NumPy multiplies with, None if it is another library or version."""
    core = import_module("numpy._core._multiarray_umath")
    loaded = ctypes.CDLL(core.__file__)  # a symbol is looked for in all that it was linked with
    configuration, parallel = _function(loaded, "get_config"), _function(loaded, "get_parallel")
    threads = _function(loaded, "get_num_threads")
    if not (configuration and parallel and threads and hasattr(loaded, "exec_blas")):
        return None
    configuration.restype = ctypes.c_char_p
    if not configuration().decode().startswith(KNOWN) or parallel() != _PTHREADS:
        return None
    return _Library(ctypes.cast(loaded.exec_blas, ctypes.c_void_p).value or 0, threads)


def _function(loaded: ctypes.CDLL, name: str) -> Any:
    """Return one of OpenBLAS's functions, under whichever name a build gives it."""
    names = (f"{prefix}openblas_{name}{suffix}" for prefix, suffix in _NAMES)
    return next((getattr(loaded, name) for name in names if hasattr(loaded, name)), None)
