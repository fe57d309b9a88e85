"""Compiled epochs for the NumPy backend: a step planned once, then run without Python between its kernels.

target           the CPU as a target: what joins a pass, and what NumPy's own loops do
expressions      which operations are computed inside fused loops, and how they are written
codegen          a pass as code, `loop_text` its instructions
row_reductions   short rows added up and compared, where a test shows NumPy's bits
ufunc_loops      NumPy's own inner loops (matrix products, exp, log ...) by address
blas_threads     OpenBLAS's, which share the long passes
call_table       the calls of a step with the addresses of one run's arrays
shard_tables     the calls of a shard, and of a loop over shards
interpreter      runs that table
rows             passes that take a row at a time
products         those of few columns, where a test shows NumPy's bits
whole_step       networks of a handful of units: the table as one function
native_functions its functions as LLVM's instructions, `table_layout` their rows
executable       a plan compiled, and run
object_code      instructions to object code, kept on disk and brought into the process by LLVM
self_test        of NumPy's loops and OpenBLAS's queue, in a process of its own

How a step is recorded and planned, and when it pays to compile, is `bpengine_steps`.

Every number comes out as the kernels on NumPy give it, to the last bit: algebra is exact in IEEE arithmetic, and all
else is done by the very loops that NumPy runs, in the same order. So nothing depends on when compilation sets in.
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


COMPILING = Background(FORKS.epoch)  # a fork waits for the piece in hand, whose locks the child would never get back


def compiled_epochs(eager: EagerRun, patience: float) -> CompiledEpochs:
    """Return epochs that are compiled by LLVM once that pays."""
    make = partial(compiled_step, beside=COMPILING) if patience >= 0 else compiled_step
    return CompiledEpochs(eager, patience, make, "LLVM", beside=COMPILING, kept=something_kept)


def something_kept() -> bool:
    """Say whether anything was compiled on this machine before, or is by now; a look at the folder, no more."""
    folder = user_cache("loops").folder
    try:
        if folder is None:
            return False
        with os.scandir(
            folder
        ) as entries:  # a filled folder has tens of thousands, and this is asked after every epoch
            return next(entries, None) is not None
    except OSError:
        return False


def disk_cache() -> Cache:
    """Return what is kept on disk, with what was tested on this machine."""
    from bpengine_steps.disk import LIMIT, Cache

    from bpengine_numpy.llvm_target.object_code import loop_cache
    from bpengine_numpy.llvm_target.self_test import openblas

    return Cache(loop_cache.store().folder, LIMIT, openblas.notes)


def compiled_step(step: Step, state: State, signature: Signature, beside: Beside | None = None) -> Executable:
    """Return a step recorded and planned for the CPU; raise Untraceable where it cannot be.

    beside: where what only a long fit needs is compiled; else it is compiled before the first step.
    """
    from bpengine_steps.plan import make_plan
    from bpengine_steps.tracing import record

    # imports llvmlite: only once it is needed
    from bpengine_numpy.llvm_target.executable import Executable
    from bpengine_numpy.llvm_target.target import LlvmTarget

    plan = make_plan(record(step, state, signature), LlvmTarget(), ordered=signature.ordered)
    return Executable(plan, beside)
