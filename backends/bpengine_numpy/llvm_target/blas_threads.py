"""Threads: those of OpenBLAS, used for passes over memory between its products.

Other threads would compete with OpenBLAS's for the cores, since these spin for a while after each product. So blocks of a
pass are jobs in the queue that OpenBLAS uses for its products (see `openblas`).
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

# the least bytes that a piece of work moves: with less, starting another thread takes longer than the work
LEAST = 2**17
GRAIN = 64  # elements: two threads should not write to one cache line, so pieces begin at multiples of this


class Team(NamedTuple):
    """The address of OpenBLAS's `exec_blas`, and the number of threads of NumPy's products; 1 where passes cannot use them."""

    execute: int
    size: int


def team() -> Team:
    """Return the present team: the number of threads may have been changed."""
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
    """Cut work that moves so many bytes into at most so many pieces, each (start, a multiple of `grain`; length)."""
    count = min(most, moved // LEAST)
    within = {length * k // count // grain * grain for k in range(1, count)} - {0}
    return [(first, stop - first) for first, stop in pairwise([0, *sorted(within), length])]
