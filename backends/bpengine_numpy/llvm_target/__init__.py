"""Compiled epochs for the NumPy backend: a step planned once, then run without Python between its kernels.

target           the CPU as a target: what joins a pass, and what NumPy's own loops do
expressions      the operations that fused loops compute, as LLVM's instructions
codegen          a pass as code, `loop_text` its instructions
row_reductions   sums and maxima of short rows, where a test shows NumPy's bits
ufunc_loops      NumPy's own inner loops (matrix products, exp, log ...) by address
blas_threads     OpenBLAS's threads, which share the long passes
call_table       the calls of a step with the addresses of one run's arrays
shard_tables     the calls of a shard, and of a loop over shards
interpreter      runs that table
rows             passes that take a row at a time
products         products of few columns, where a test shows NumPy's bits
whole_step       networks of a handful of units: the table as one function
native_functions the interpreter's functions as LLVM's instructions; `table_layout`: the rows of the table
executable       a plan compiled, and run
object_code      instructions to object code, kept on disk and loaded by LLVM
self_test        tests of NumPy's loops and OpenBLAS's queue, in a separate process

How a step is recorded and planned, and when it pays to compile, is `bpengine_steps`.

Every number has the bits that the kernels on NumPy give: algebra is exactly rounded in IEEE arithmetic, and everything
else is done by NumPy's own loops, in the same order. So no result depends on when compilation begins.
"""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING

from bpengine_steps.adaptive import Beside, CompiledEpochs, EagerRun
from bpengine_steps.disk import user_cache

from bpengine_numpy.background import Background
from bpengine_numpy.forking import FORKS

if TYPE_CHECKING:
    from bpengine_steps.disk import Cache
    from bpengine_steps.signature import Signature

    from bpengine.backend import State, Step
    from bpengine_numpy.llvm_target.executable import Executable


COMPILING = Background(FORKS.epoch)  # a fork waits for the running piece, whose locks would stay locked in the child


def compiled_epochs(eager: EagerRun, patience: float) -> CompiledEpochs:
    """Return epochs that are compiled by LLVM once that pays."""
    make = partial(compiled_step, beside=COMPILING) if patience >= 0 else compiled_step
    return CompiledEpochs(eager, patience, make, "LLVM", beside=COMPILING, kept=something_kept)


def something_kept() -> bool:
    """Tell whether anything has been compiled on this machine, by looking for one file in the cache folder.

    The first name is enough: a fit calls this often, and reading all names of a full cache takes longer than an epoch.
    """
    folder = user_cache("loops").folder
    if folder is None:
        return False
    try:
        with os.scandir(folder) as names:
            return next(names, None) is not None
    except OSError:
        return False


def disk_cache() -> Cache:
    """Return the cache of compiled code on disk, with notes on the tests of this machine."""
    from bpengine_steps.disk import LIMIT, Cache

    from bpengine_numpy.llvm_target.object_code import loop_cache
    from bpengine_numpy.llvm_target.self_test import openblas

    return Cache(loop_cache.store().folder, LIMIT, openblas.notes)


def compiled_step(step: Step, state: State, signature: Signature, beside: Beside | None = None) -> Executable:
    """Return a step recorded and planned for the CPU; raise Untraceable where that is impossible.

    beside: the background thread for code that only a long fit needs; without it that is compiled before the first step.
    """
    from bpengine_steps.plan import make_plan
    from bpengine_steps.tracing import record

    # imports llvmlite, so only when it is needed
    from bpengine_numpy.llvm_target.executable import Executable
    from bpengine_numpy.llvm_target.target import LlvmTarget

    plan = make_plan(record(step, state, signature), LlvmTarget(), ordered=signature.ordered)
    return Executable(plan, beside)
