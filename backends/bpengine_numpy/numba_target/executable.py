"""Executable: a plan compiled, then run on any state and data that fit it."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter

import numpy as np
from bpengine_steps.ir import FusionGroup, HostArray
from bpengine_steps.plan import ExecutionPlan
from bpengine_steps.signature import Tree, leaves, rebuilt

from bpengine_numpy.numba_target.call_table import CallTable, CompiledLoop, RunArrays
from bpengine_numpy.numba_target.codegen import Loop, compiled, on_disk
from bpengine_numpy.numba_target.interpreter import run_table

SLICE = 0.2  # seconds of native work after which Python may hear Ctrl-C


class Executable:
    """A plan for one signature. Raises Untraceable where a pass has no form as a loop."""

    def __init__(self, plan: ExecutionPlan) -> None:
        self.plan = plan
        self.loops = {group: Loop(group=group, memory=plan.memory) for group in plan.groups if group.kind == "pass"}
        self._compiled: dict[FusionGroup, CompiledLoop] | None = None

    @property
    def missing(self) -> int:
        """The number of different loops that have never been compiled on this machine."""
        if self._compiled is not None:
            return 0
        return sum(not on_disk(source) for source in {loop.source for loop in self.loops.values()})

    def compile(self) -> None:
        """Compile what is not compiled yet."""
        self._functions()

    def _functions(self) -> dict[FusionGroup, CompiledLoop]:
        if self._compiled is None:
            self._compiled = {group: CompiledLoop(loop, compiled(loop.source)) for group, loop in self.loops.items()}
        return self._compiled

    def run(
        self, state: Tree, data: tuple[HostArray, ...], order: HostArray | None, lr: HostArray
    ) -> tuple[Tree, dict[str, HostArray]]:
        """Run len(lr) steps, or up to the first that reports "halt". Writes over `state`, which is donated."""
        return self.bind(state, data, order, lr)()

    def bind(
        self, state: Tree, data: tuple[HostArray, ...], order: HostArray | None, lr: HostArray
    ) -> Callable[[], tuple[Tree, dict[str, HostArray]]]:
        """Return what runs the steps, bound to the memory of these arrays."""
        step, leaf_at, functions = self.plan.step, dict(leaves(state)), self._functions()
        changing = [leaf_at[p] for p in step.changed]
        fresh = {
            p: leaf_at[p] if _is_own(leaf_at[p], changing) else np.array(leaf_at[p], order="C") for p in step.changed
        }
        reports = {name: np.empty((len(lr), *node.shape), node.dtype) for name, node in step.reports.items()}
        after = {**leaf_at, **fresh}
        calls = CallTable(self.plan, functions, RunArrays(state=after, data=data, order=order, lr=lr, reports=reports))

        def run() -> tuple[Tree, dict[str, HostArray]]:
            done = _run(calls, len(lr))
            return rebuilt(state, after), {name: values[:done] for name, values in reports.items()}

        return run


def _is_own(array: HostArray, among: list[HostArray]) -> bool:
    """Say whether an array may be written over: in C order, with memory of its own that is not there twice."""
    flags = array.flags
    return flags.owndata and flags.c_contiguous and flags.writeable and sum(other is array for other in among) == 1


def _run(calls: CallTable, steps: int) -> int:
    """Run in slices of about `SLICE` seconds; return the number of steps that were run."""
    done, length = 0, 1
    while done < steps and not calls.halted[0]:
        began, count = perf_counter(), min(length, steps - done)
        table = calls.table
        done += run_table(table, table.ctypes.data, len(table), count, calls.cell, calls.halted)
        length = max(1, int(count * min(SLICE / max(perf_counter() - began, 1e-9), 8.0)))
    return done
