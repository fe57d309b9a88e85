"""Executable: a plan compiled, then run on any state and data that fit it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from threading import Thread
from time import perf_counter
from weakref import ref

import numpy as np
from bpengine_steps.adaptive import Pieces
from bpengine_steps.ir import FusionGroup, HostArray, Path
from bpengine_steps.plan import ExecutionPlan
from bpengine_steps.signature import Tree, leaves, rebuilt

from bpengine_numpy.llvm_target import interpreter
from bpengine_numpy.llvm_target.call_table import CallTable, CompiledLoop, RunArrays, require_order
from bpengine_numpy.llvm_target.codegen import Loop, compiled
from bpengine_numpy.llvm_target.interpreter import run_table
from bpengine_numpy.llvm_target.object_code.loop_cache import addresses, on_disk
from bpengine_numpy.llvm_target.row_reductions import row_length, source_of
from bpengine_numpy.llvm_target.self_test import openblas
from bpengine_numpy.llvm_target.shard_tables import ShardPlan, StepTable

SLICE = 0.2  # seconds of native work after which Python may hear Ctrl-C


@dataclass(frozen=True, eq=False)
class _KeptTable:
    """A table between two runs, and the arrays that it was made for, which it does not keep alive."""

    calls: CallTable
    arrays: tuple[ref[HostArray], ...]
    writeable: tuple[bool, ...]

    def is_for(self, arrays: Sequence[HostArray]) -> bool:
        """Return whether these are the arrays, and as they were."""
        if len(arrays) != len(self.arrays) or any(a() is not b for a, b in zip(self.arrays, arrays, strict=True)):
            return False
        return all(a.flags.writeable == before for a, before in zip(arrays, self.writeable, strict=True))

    def is_whole(self) -> bool:
        """Return whether all arrays are still there."""
        return all(array() is not None for array in self.arrays)


class Executable:
    """A plan for one signature. Raises Untraceable where a pass has no form as a loop."""

    def __init__(self, plan: ExecutionPlan) -> None:
        self.plan = plan
        self.loops = {group: Loop(group=group, memory=plan.memory) for group in plan.groups if group.kind == "pass"}
        singles = (group.nodes[0] for group in plan.groups if group.kind == "single")
        self._shards = {node.info: ShardPlan(node) for node in singles if node.op == "loop"}
        for shards in self._shards.values():
            self.loops |= shards.loops
        self._compiled: dict[FusionGroup, CompiledLoop] | None = None
        self._kept: _KeptTable | None = None

    @property
    def missing(self) -> int:
        """The number of different loops that have never been compiled on this machine."""
        if self._compiled is not None:
            return 0
        untested = 0 if openblas.is_tested() else 1
        return untested + sum(not on_disk(source) for source in self._sources())

    def compile(self) -> None:
        """Compile what is not compiled yet."""
        self._functions()

    def pieces(self) -> Pieces:
        """Compile what is missing piece by piece, while NumPy's and OpenBLAS's interfaces are tested."""
        test = None if openblas.is_tested() else Thread(target=openblas.verdict, daemon=True)
        if test:
            test.start()
        for source in self._sources():
            addresses(source)
            yield None
        if test:
            yield test.join

    def _sources(self) -> list[str]:
        """Return the texts of all that is compiled."""
        groups = [*self.plan.groups, *(group for shards in self._shards.values() for group in shards.groups)]
        rows = (_row_source(group) for group in groups if group.kind == "single")
        loops = (loop.source for loop in self.loops.values())
        return [source for source in dict.fromkeys([interpreter.text(), *rows, *loops]) if source]

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
        leaf_at, step = dict(leaves(state)), self.plan.step
        reports = {name: np.empty((len(lr), *node.shape), node.dtype) for name, node in step.reports.items()}
        order = None if order is None else np.ascontiguousarray(order)
        arrays = RunArrays(data=data, order=order, lr=lr, reports=reports)
        require_order(arrays)
        whole = data if order is None else None
        after, kept = leaf_at, self._taken([*leaf_at.values(), *(whole or ())])
        if kept is None:
            after = self._own(leaf_at)
            calls = StepTable(self.plan, self._functions(), after, whole, self._shards)
            kept = self._keeping(calls, [*after.values(), *(whole or ())])

        def run() -> tuple[Tree, dict[str, HostArray]]:
            calls = kept.calls
            calls.aim(arrays)
            try:
                done = _run(calls, len(lr))
            finally:
                calls.release()
            self._kept = kept if kept.is_whole() else None
            return rebuilt(state, after), {name: values[:done] for name, values in reports.items()}

        return run

    def _own(self, leaf_at: Mapping[Path, HostArray]) -> dict[Path, HostArray]:
        """Return the state in arrays that may be written over where the step changes them."""
        changing = [leaf_at[p] for p in self.plan.step.changed]
        fresh = {
            p: leaf_at[p] if _is_own(leaf_at[p], changing) else np.array(leaf_at[p], order="C")
            for p in self.plan.step.changed
        }
        return {**leaf_at, **fresh}

    def _taken(self, arrays: Sequence[HostArray]) -> _KeptTable | None:
        """Return the table of the run before, where it was for these arrays, all of which may still be written over."""
        kept, self._kept = self._kept, None
        return kept if kept and kept.is_for(arrays) and kept.calls.fits() else None

    def _keeping(self, calls: CallTable, arrays: list[HostArray]) -> _KeptTable:
        """Return a table to keep for the next run, until one of its arrays is gone: a fit's own end with it."""
        me = ref(self)

        def drop(_: object) -> None:
            if (executable := me()) is not None:
                executable._kept = None

        return _KeptTable(calls, tuple(ref(array, drop) for array in arrays), tuple(a.flags.writeable for a in arrays))


def _row_source(group: FusionGroup) -> str | None:
    """Return the text of the function that reduces the rows of a reduction, None where there is none."""
    (node,) = group.nodes
    if node.op != "reduce" or node.info[1] == "middle":
        return None
    return source_of(node.info[0], node.dtype, row_length(node))


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
        if calls.failure is not None:
            raise calls.failure
        length = max(1, int(count * min(SLICE / max(perf_counter() - began, 1e-9), 8.0)))
    return done
