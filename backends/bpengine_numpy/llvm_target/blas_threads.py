"""Threads: those of OpenBLAS, lent to passes over memory between its products.

Threads of our own would fight with OpenBLAS's for the cores: they go on spinning for a while after each product. So blocks
of a pass are jobs in the queue that OpenBLAS hands its own products to (see `openblas`).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from bpengine_steps.ir import HostArray

from bpengine_numpy.denormals import SIZE, Environment
from bpengine_numpy.llvm_target.interpreter import ITEM, functions
from bpengine_numpy.llvm_target.self_test import openblas
from bpengine_numpy.llvm_target.self_test.openblas import ARGUMENTS, JOB, NEXT, ROUTINE

LEAST = 2**17  # bytes that a piece of work moves at least: with less, telling another thread takes longer than the work
GRAIN = 64  # elements: what lies further apart is in different cache lines, which no two threads should write to


class Team(NamedTuple):
    """Where OpenBLAS's `exec_blas` lies, and how many threads NumPy's products use: 1 where none can be lent."""

    execute: int
    size: int


def team() -> Team:
    """Return the threads that there are now; someone may have changed their number."""
    library = openblas.library()
    size = library.threads() if library else 1
    return Team(library.execute, size) if library and size > 1 and not openblas.verdict().queue else Team(0, 1)


def jobs(calls: Sequence[Sequence[int]], environment: Environment) -> HostArray:
    """Return a queue of jobs, one for each call of a function's address and its arguments; both must outlive its use."""
    before = JOB + SIZE  # room for a thread's own floating-point environment
    memory = np.zeros((len(calls), before + 5 + max(map(len, calls))), np.int64)
    for job, (function, *arguments) in zip(memory, calls, strict=True):
        around = (environment.get, environment.set, job.ctypes.data + JOB * ITEM, environment.value.ctypes.data)
        words = [*around, function or functions().strided, *arguments]
        job[before : before + len(words)] = words
        job[[ROUTINE, ARGUMENTS]] = functions().as_given, job.ctypes.data + before * ITEM
    memory[:-1, NEXT] = [job.ctypes.data for job in memory[1:]]
    return memory


def pieces(length: int, moved: int, most: int, grain: int = 1) -> list[tuple[int, int]]:
    """Cut work that moves so many bytes into at most so many pieces, each (where it begins, a multiple of `grain`; length)."""
    count = min(most, moved // LEAST)
    within = {length * k // count // grain * grain for k in range(1, count)} - {0}
    return [(first, stop - first) for first, stop in pairwise([0, *sorted(within), length])]
