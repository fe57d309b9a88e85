"""Threads: those of OpenBLAS, used for passes over memory between its products.

Other threads would compete with OpenBLAS's for the cores, since these spin for a while after each product. So blocks of a
pass are jobs in the queue that OpenBLAS uses for its products (see `openblas`). Where another library was chosen for
products, its threads run the passes for the same reason, by OpenMP.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from bpengine_steps.ir import HostArray

from bpengine_numpy.blas.blas_library import OpenMp
from bpengine_numpy.denormals import SIZE as ENVIRONMENT
from bpengine_numpy.denormals import Environment
from bpengine_numpy.llvm_target.interpreter import ITEM, functions
from bpengine_numpy.llvm_target.object_code.loop_cache import addresses
from bpengine_numpy.llvm_target.self_test import openblas
from bpengine_numpy.llvm_target.self_test.openblas import ARGUMENTS, JOB, NEXT, ROUTINE

# the least bytes that a piece of work moves: with less, starting another thread takes longer than the work
LEAST = 2**17
# positions in a queue's first job, which OpenBLAS alone uses: OpenMP's functions, the bytes of a job, how many threads
PARALLEL, NUMBER, COUNT, STEP, SIZE = 1, 2, 4, 5, 6
GRAIN = 64  # elements: two threads should not write to one cache line, so pieces begin at multiples of this


_OPENMP = """; Run the jobs of a queue on the threads of a team, each thread every so many of them.
define i32 @bp_on_openmp(i64 %count, ptr %jobs) "no-builtins" {{
  %room = alloca [2 x i64]
  %room1 = getelementptr i64, ptr %room, i64 1
  store i64 %count, ptr %room
  store ptr %jobs, ptr %room1
  %parallel.p = getelementptr i64, ptr %jobs, i64 {parallel}
  %parallel = load ptr, ptr %parallel.p
  %size.p = getelementptr i64, ptr %jobs, i64 {size}
  %size = load i64, ptr %size.p
  %threads = trunc i64 %size to i32
  call void %parallel(ptr @share, ptr %room, i32 %threads, i32 0)
  ret i32 0
}}

define internal void @share(ptr %room) "no-builtins" {{
entry:
  %count = load i64, ptr %room
  %room1 = getelementptr i64, ptr %room, i64 1
  %jobs = load ptr, ptr %room1
  %number.p = getelementptr i64, ptr %jobs, i64 {number}
  %number = load ptr, ptr %number.p
  %count.p = getelementptr i64, ptr %jobs, i64 {count}
  %team = load ptr, ptr %count.p
  %step.p = getelementptr i64, ptr %jobs, i64 {step}
  %step = load i64, ptr %step.p
  %me.n = call i32 %number()
  %me = zext i32 %me.n to i64
  %all.n = call i32 %team()
  %all = zext i32 %all.n to i64
  br label %check

check:
  %k = phi i64 [ %me, %entry ], [ %k.next, %job ]
  %more = icmp ult i64 %k, %count
  br i1 %more, label %job, label %end

job:
  %at = mul nuw nsw i64 %k, %step
  %one = getelementptr i8, ptr %jobs, i64 %at
  %routine.p = getelementptr i64, ptr %one, i64 {routine}
  %routine = load ptr, ptr %routine.p
  %arguments.p = getelementptr i64, ptr %one, i64 {arguments}
  %arguments = load ptr, ptr %arguments.p
  call void %routine(ptr %arguments)
  %k.next = add nuw nsw i64 %k, %all
  br label %check

end:
  ret void
}}
"""


class Team(NamedTuple):
    """The address of OpenBLAS's `exec_blas` or of a function called like it, and the number of threads.

    The number is that of the products; 1 where passes cannot use their threads.
    """

    execute: int
    size: int


def team() -> Team:
    """Return the present team: the number of threads may have been changed."""
    library = openblas.library()
    size = library.threads() if library else 1
    return Team(library.execute, size) if library and size > 1 and not openblas.verdict().queue else Team(0, 1)


def openmp_team(openmp: OpenMp) -> Team:
    """Return the present team of the threads of a chosen library; its queues need `on_openmp`."""
    size = openmp.threads()
    return Team(addresses(_text())[0], size) if size > 1 else Team(0, 1)


def on_openmp(queue: HostArray, openmp: OpenMp, size: int) -> HostArray:
    """Write into a queue what runs it on so many threads of a chosen library."""
    queue[0, [PARALLEL, NUMBER, COUNT, STEP, SIZE]] = *openmp[:3], queue.strides[0], size
    return queue


@cache
def _text() -> str:
    """Return the function that runs a queue by OpenMP, called like OpenBLAS's, as LLVM's instructions."""
    words = {"parallel": PARALLEL, "number": NUMBER, "count": COUNT, "step": STEP, "size": SIZE}
    return _OPENMP.format(**words, routine=ROUTINE, arguments=ARGUMENTS)


def jobs(calls: Sequence[Sequence[int]], environment: Environment) -> HostArray:
    """Return a queue of jobs, one for each call of a function's address and its arguments; both must outlive its use."""
    before = JOB + ENVIRONMENT  # room for a thread's own floating-point environment
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
