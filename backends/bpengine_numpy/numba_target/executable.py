"""Program: a step recorded, scheduled and compiled for one signature, then run on any state and data that fit it."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import Any

import numpy as np
from bpengine_steps.ir import HostArray, needed
from bpengine_steps.recorded import record
from bpengine_steps.signature import Signature, Tree, leaves, rebuilt

from bpengine_numpy.numba_target.call_table import Binding
from bpengine_numpy.numba_target.codegen import Loop, compiled, on_disk
from bpengine_numpy.numba_target.expressions import inline
from bpengine_numpy.numba_target.interpreter import drive
from bpengine_numpy.numba_target.schedule import make_schedule

SLICE = 0.2  # seconds of native work after which Python may hear Ctrl-C


class Program:
    """A step for one signature. Raises Unrecordable when the step cannot be recorded."""

    def __init__(self, step: Callable[..., Any], state: Tree, signature: Signature) -> None:
        recorded = record(step, state, signature, inline)
        self.rows, self.rate, self.inputs = recorded.rows, recorded.rate, recorded.inputs
        self.changed, self.reports = recorded.changed, recorded.reports
        kept = [(self.inputs[p], node) for p, node in self.changed.items()]
        streamed = [*(self.rows if signature.ordered else []), self.rate]
        self.schedule = make_schedule(kept, list(self.reports.values()), streamed)
        self.loops = {
            id(unit): Loop(unit, self.schedule.stored, self.schedule.shares)
            for unit in self.schedule.order
            if unit.fused
        }
        everything = needed(recorded.outputs)
        constants = [n for n in everything if n.op == "constant" and n.number in self.schedule.stored]
        self.constants = {n.number: np.ascontiguousarray(n.info) for n in constants}
        self.functions: dict[int, int] | None = None

    @property
    def missing(self) -> int:
        """The number of different loops that have never been compiled on this machine."""
        if self.functions is not None:
            return 0
        return sum(not on_disk(source) for source in {loop.source for loop in self.loops.values()})

    def compile(self) -> None:
        """Compile what is not compiled yet."""
        if self.functions is None:
            self.functions = {key: compiled(loop.source) for key, loop in self.loops.items()}

    def run(
        self, state: Tree, data: tuple[HostArray, ...], order: HostArray | None, lr: HostArray
    ) -> tuple[Tree, dict[str, HostArray]]:
        """Run len(lr) steps, or up to the first that reports "halt". Writes over `state`, which is donated."""
        return self.bind(state, data, order, lr)()

    def bind(
        self, state: Tree, data: tuple[HostArray, ...], order: HostArray | None, lr: HostArray
    ) -> Callable[[], tuple[Tree, dict[str, HostArray]]]:
        """Return what runs the steps, bound to the memory of these arrays."""
        self.compile()
        given = dict(leaves(state))
        changing = [given[p] for p in self.changed]
        fresh = {p: given[p] if _is_own(given[p], changing) else np.array(given[p], order="C") for p in self.changed}
        reports = {name: np.empty((len(lr), *node.shape), node.dtype) for name, node in self.reports.items()}
        binding = Binding(self, {**given, **fresh}, data, order, lr, reports)

        def run() -> tuple[Tree, dict[str, HostArray]]:
            done = _drive(binding, len(lr))
            return rebuilt(state, {**given, **fresh}), {name: values[:done] for name, values in reports.items()}

        return run


def _is_own(array: HostArray, among: list[HostArray]) -> bool:
    """Say whether an array may be written over: in C order, with memory of its own that is not there twice."""
    flags = array.flags
    return flags.owndata and flags.c_contiguous and flags.writeable and sum(other is array for other in among) == 1


def _drive(binding: Binding, steps: int) -> int:
    """Run in slices of about `SLICE` seconds; return the number of steps that were run."""
    done, length = 0, 1
    while done < steps and not binding.halted[0]:
        began, count = perf_counter(), min(length, steps - done)
        table = binding.table
        done += drive(table, table.ctypes.data, len(table), count, binding.cell, binding.halted)
        length = max(1, int(count * min(SLICE / max(perf_counter() - began, 1e-9), 8.0)))
    return done
