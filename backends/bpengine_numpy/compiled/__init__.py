"""Compiled epochs for the NumPy backend: the training step recorded once, then run without Python between its kernels.

fused       which operations are computed inside fused loops, and how they are written
fusion      which operations share a pass over memory
schedule    in what order, and where every array lies
loops       a pass as code
numpy_loops NumPy's own inner loops (matrix products, exp, log ...) by address
threads     OpenBLAS's, which share the long passes
openblas    the queue that they take their work from
trial       a self-test of NumPy's loops and OpenBLAS's queue, in a process of its own (`trial_child`)
machine     runs the list of native calls
natives     its functions, `layout` their rows
building    code to object code, by Numba
machine_code  what is kept of a compiled text
objects     object code, kept on disk and brought into the process by LLVM
program     the list, bound to memory

What is recorded, and when it pays to compile, is `bpengine_steps`.

Every number comes out as the kernels on NumPy give it, to the last bit: algebra is exact in IEEE arithmetic, and all
else is done by the very loops that NumPy runs, in the same order. So nothing depends on when compilation sets in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bpengine_steps.adaptive import CompiledEpochs, EagerRun

if TYPE_CHECKING:
    from bpengine_steps.disk import Cache
    from bpengine_steps.signature import Signature

    from bpengine.backend import State, Step
    from bpengine_numpy.compiled.program import Program


def compiled_epochs(eager: EagerRun, patience: float) -> CompiledEpochs:
    """Return epochs that are compiled by Numba once that pays."""
    return CompiledEpochs(eager, patience, _program, "Numba")


def disk_cache() -> Cache:
    """Return what is kept on disk, with what was tested on this machine."""
    from bpengine_steps.disk import LIMIT, Cache

    from bpengine_numpy.compiled import objects, openblas

    return Cache(objects.store().folder, LIMIT, openblas.notes)


def _program(step: Step, state: State, signature: Signature) -> Program:
    from bpengine_numpy.compiled.program import Program  # imports Numba, which takes a second: only once it is needed

    return Program(step, state, signature)
