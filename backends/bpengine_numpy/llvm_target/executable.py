"""Executable: a compiled plan, which runs on any state and data that fit it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from threading import Thread
from time import perf_counter
from weakref import ref

import numpy as np
from bpengine_steps.adaptive import Beside, Pieces
from bpengine_steps.ir import FusionGroup, HostArray, Path, StepNode
from bpengine_steps.plan import ExecutionPlan
from bpengine_steps.signature import Tree, leaves, rebuilt

from bpengine_numpy.llvm_target import interpreter
from bpengine_numpy.llvm_target.call_table import CallTable, CompiledLoop, RunArrays, require_order
from bpengine_numpy.llvm_target.codegen import Loop, compiled
from bpengine_numpy.llvm_target.interpreter import run_table
from bpengine_numpy.llvm_target.object_code.loop_cache import addresses, on_disk
from bpengine_numpy.llvm_target.products.library_product import library_source
from bpengine_numpy.llvm_target.products.narrow_product import narrow_form, narrow_source
from bpengine_numpy.llvm_target.products.product_orders import is_known, order_of
from bpengine_numpy.llvm_target.row_reductions import row_length, source_of
from bpengine_numpy.llvm_target.self_test import openblas
from bpengine_numpy.llvm_target.shard_tables import ShardPlan, StepTable
from bpengine_numpy.llvm_target.whole_step.step_function import StepFunction, step_function

SLICE = 0.2  # seconds of native work after which Python can handle Ctrl-C
GROWTH = 8  # largest ratio of a slice's length to the length of the slice before
KEPT = 2  # tables of a program that are kept for later runs
SMALL = 2**18  # bytes of memory with which a table outlives its arrays, to be moved to those of the next fit


@dataclass(frozen=True, eq=False)
class _KeptTable:
    """A call table between two runs, with weak references to the arrays for which it was made."""

    calls: CallTable
    arrays: tuple[ref[HostArray], ...]
    writeable: tuple[bool, ...]

    def is_for(self, arrays: Sequence[HostArray]) -> bool:
        """Return whether these are the same arrays, unchanged in layout."""
        if len(arrays) != len(self.arrays) or any(a() is not b for a, b in zip(self.arrays, arrays, strict=True)):
            return False
        return all(a.flags.writeable == before for a, before in zip(arrays, self.writeable, strict=True))

    @property
    def outlives(self) -> bool:
        """Whether it is kept without its arrays, for others."""
        return self.calls.movable and self.calls.size <= SMALL

    def is_whole(self) -> bool:
        """Return whether all arrays are still alive."""
        return all(array() is not None for array in self.arrays)


class Executable:
    """A plan for one signature. Raises Untraceable for a pass that cannot be written as a loop.

    A step of a handful of units is also compiled as one function: `beside` a fit that is long enough, or else with the loops.
    """

    def __init__(self, plan: ExecutionPlan, beside: Beside | None = None) -> None:
        self.plan, self._beside = plan, beside
        self.loops = {group: Loop(group=group, memory=plan.memory) for group in plan.groups if group.kind == "pass"}
        singles = (group.nodes[0] for group in plan.groups if group.kind == "single")
        self._shards = {node.info: ShardPlan(node) for node in singles if node.op == "loop"}
        for shards in self._shards.values():
            self.loops |= shards.loops
        self._singles = [group for group in self._groups() if group.kind == "single"]
        self._forms = {node: form for group in self._singles if (form := narrow_form(node := group.nodes[0]))}
        self._products: dict[StepNode, int] = {}
        self._addresses: dict[Loop, int] = {}
        self._compiled: dict[FusionGroup, CompiledLoop] | None = None
        self._kept: deque[_KeptTable] = deque(maxlen=KEPT)  # not those of a run in progress: threads share a program
        self._whole: StepFunction | None = None
        self._length = 1  # the number of steps that take about `SLICE`, by the last run

    @property
    def missing(self) -> int:
        """The number of different loops that have never been compiled on this machine."""
        if self._compiled is not None:
            return 0
        untested = 0 if openblas.is_tested() else 1
        unknown = [form for form in self._forms.values() if not is_known(form)]
        return untested + len(unknown) or sum(not on_disk(source) for source in self._sources())

    def compile(self) -> None:
        """Compile the loops that are not compiled yet."""
        self._functions()

    def pieces(self) -> Pieces:
        """Compile missing loops piece by piece, while NumPy's and OpenBLAS's interfaces are tested."""
        test = None if openblas.is_tested() else Thread(target=openblas.verdict, daemon=True)
        if test:
            test.start()
        for form in self._forms.values():
            order_of(form)
            yield None
        for source in self._sources():
            addresses(source)
            yield None
        if test:
            yield test.join

    def _groups(self) -> Iterator[FusionGroup]:
        """Yield the groups of the step and of the shards that its loops run."""
        yield from self.plan.groups
        for shards in self._shards.values():
            yield from shards.groups

    def _sources(self) -> list[str]:
        """Return the source texts of everything to compile."""
        rows, loops = map(_row_source, self._singles), (loop.source for loop in self.loops.values())
        return [
            source
            for source in dict.fromkeys([interpreter.text(), *rows, *loops, *self._of_products().values()])
            if source
        ]

    def _of_products(self) -> dict[StepNode, str]:
        """Return the source text of the function of each product that NumPy's loop does not compute."""
        chosen = {group.nodes[0]: library_source(group.nodes[0]) for group in self._singles}
        narrow = {node: narrow_source(form) for node, form in self._forms.items()}
        return {node: source for node, source in (*chosen.items(), *narrow.items()) if source}

    def _functions(self) -> dict[FusionGroup, CompiledLoop]:
        if self._compiled is None:
            self._whole = step_function(self.plan, self.loops)
            if self._whole:
                (self._whole.load if self._beside else self._whole.compile)()
            self._products = {node: compiled(source) for node, source in self._of_products().items()}
            self._addresses = {loop: compiled(loop.source) for loop in self.loops.values()}
            self._compiled = {group: CompiledLoop(loop, self._addresses[loop]) for group, loop in self.loops.items()}
        return self._compiled

    def _run(self, calls: CallTable, steps: int) -> int:
        """Run the table in slices of about `SLICE` seconds; return the number of steps that were run."""
        done, function = 0, self._function(calls)
        while done < steps and not calls.halted[0]:
            began, count = perf_counter(), min(self._length, steps - done)
            table = calls.table
            done += run_table(table, table.ctypes.data, len(table), count, calls.cell, calls.halted, function)
            if calls.failure is not None:
                raise calls.failure
            taken = perf_counter() - began
            self._length = max(1, min(GROWTH * self._length, int(count * SLICE / max(taken, 1e-9))))
            if self._whole and self._beside and not function:
                self._whole.spend(taken, self._beside)
                function = self._function(calls)
        return done

    def _function(self, calls: CallTable) -> int:
        """Return the address of the function that runs a table in place of the interpreter, 0 where there is none."""
        if self._whole is None or self._compiled is None:
            return 0
        return self._whole.runs(calls.table, self._addresses)

    def run(
        self, state: Tree, data: tuple[HostArray, ...], order: HostArray | None, lr: HostArray
    ) -> tuple[Tree, dict[str, HostArray]]:
        """Run len(lr) steps, or up to the first that reports "halt". Overwrites `state`, which is donated."""
        return self.bind(state, data, order, lr)()

    def bind(
        self, state: Tree, data: tuple[HostArray, ...], order: HostArray | None, lr: HostArray
    ) -> Callable[[], tuple[Tree, dict[str, HostArray]]]:
        """Return a function that runs the steps, bound to the memory of these arrays."""
        leaf_at, step = dict(leaves(state)), self.plan.step
        reports = {name: np.empty((len(lr), *node.shape), node.dtype) for name, node in step.reports.items()}
        order = None if order is None else np.ascontiguousarray(order)
        arrays = RunArrays(data=data, order=order, lr=lr, reports=reports)
        require_order(arrays)
        whole = data if order is None else None
        after, kept = leaf_at, self._taken([*leaf_at.values(), *(whole or ())])
        if kept is None or not kept.is_for([*leaf_at.values(), *(whole or ())]):
            after = self._own(leaf_at)
            kept = self._keeping(self._calls(kept, after, whole), [*after.values(), *(whole or ())])

        def run() -> tuple[Tree, dict[str, HostArray]]:
            calls = kept.calls
            calls.aim(arrays)
            try:
                done = self._run(calls, len(lr))
            finally:
                calls.release()
            if kept.outlives or kept.is_whole():
                self._kept.append(kept)
            ended = state if after is leaf_at else rebuilt(state, after)
            return ended, {name: values if done == len(lr) else values[:done] for name, values in reports.items()}

        return run

    def _own(self, leaf_at: Mapping[Path, HostArray]) -> dict[Path, HostArray]:
        """Return the state in arrays that may be overwritten where the step changes them."""
        changing = [leaf_at[p] for p in self.plan.step.changed]
        fresh = {
            p: leaf_at[p] if _is_own(leaf_at[p], changing) else np.array(leaf_at[p], order="C")
            for p in self.plan.step.changed
        }
        return {**leaf_at, **fresh}

    def _taken(self, arrays: Sequence[HostArray]) -> _KeptTable | None:
        """Take the table of a run before, for these arrays, all of which may still be written over, or to be moved."""
        with suppress(IndexError):
            kept = self._kept.pop()
            if (kept.outlives or kept.is_for(arrays)) and kept.calls.fits():
                return kept
        return None

    def _calls(
        self, kept: _KeptTable | None, state: Mapping[Path, HostArray], data: tuple[HostArray, ...] | None
    ) -> CallTable:
        """Return the table for arrays: one that was kept, moved to them, or else a new one."""
        if kept is None:
            return StepTable(self.plan, self._functions(), state, data, self._products, self._shards)
        kept.calls.move(state, data)
        return kept.calls

    def _keeping(self, calls: CallTable, arrays: list[HostArray]) -> _KeptTable:
        """Keep a table for the next run, a large one until one of its arrays is freed, as at the end of a fit; return it."""
        me = ref(self)

        def drop(_: object) -> None:
            if (executable := me()) is not None:
                executable._forget()

        kept = _KeptTable(calls, tuple(map(ref, arrays)), tuple(a.flags.writeable for a in arrays))
        return kept if kept.outlives else replace(kept, arrays=tuple(ref(array, drop) for array in arrays))

    def _forget(self) -> None:
        """Drop the tables that wait for arrays which are gone."""
        for _ in range(len(self._kept)):
            with suppress(IndexError):  # another thread may have taken it
                kept = self._kept.pop()
                if kept.outlives or kept.is_whole():
                    self._kept.appendleft(kept)


def _row_source(group: FusionGroup) -> str | None:
    """Return the source text of the function that reduces the rows of a reduction, None where there is none."""
    (node,) = group.nodes
    if node.op != "reduce" or node.info[1] == "middle":
        return None
    return source_of(node.info[0], node.dtype, row_length(node))


def _is_own(array: HostArray, among: list[HostArray]) -> bool:
    """Tell whether an array may be overwritten: it is in C order, owns its memory, and occurs only once."""
    flags = array.flags
    return flags.owndata and flags.c_contiguous and flags.writeable and sum(other is array for other in among) == 1
