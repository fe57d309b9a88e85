"""The call table of a step with a loop over shards: tables of shards and of additions, which one call runs in order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import NamedTuple

import numpy as np
from bpengine_steps.ir import (
    ZEROS,
    Addition,
    DType,
    FusionGroup,
    HostArray,
    Path,
    ShardLoop,
    ShardTurn,
    StepGraph,
    StepNode,
)
from bpengine_steps.memory_plan import MemoryPlan
from bpengine_steps.plan import ExecutionPlan, make_plan

from bpengine_numpy.llvm_target import blas_threads
from bpengine_numpy.llvm_target.call_table import CallTable, CompiledLoop, RunArrays, aligned, array_at
from bpengine_numpy.llvm_target.codegen import Loop
from bpengine_numpy.llvm_target.interpreter import ROW, TURN, functions
from bpengine_numpy.llvm_target.target import LlvmTarget


class SumKind(NamedTuple):
    """The kind of an addition of so many vectors; its result overwrites the last of them, or is written elsewhere."""

    sources: int
    in_place: bool


class ShardPlan:
    """The plan of a loop over shards: a shard of each length, and each kind of addition as a pass over vectors.

    Raises Untraceable for operations that cannot be compiled.
    """

    def __init__(self, node: StepNode) -> None:
        self.loop: ShardLoop = node.info
        self.bodies = {length: make_plan(body, LlvmTarget(), ordered=True) for length, body in self.loop.bodies.items()}
        kinds = dict.fromkeys(kind_of(turn) for turn in self.loop.turns if isinstance(turn, Addition))
        self.sums = {kind: _pass_of(kind, self.loop.size, node.dtype) for kind in kinds if kind.sources > 1}

    @property
    def groups(self) -> Iterator[FusionGroup]:
        """The groups of all shards."""
        return (group for plan in self.bodies.values() for group in plan.groups)

    @property
    def loops(self) -> dict[FusionGroup, Loop]:
        """The code of every pass."""
        of_bodies = {
            group: Loop(group=group, memory=plan.memory)
            for plan in self.bodies.values()
            for group in plan.groups
            if group.kind == "pass"
        }
        return of_bodies | {loop.group: loop for loop in self.sums.values()}


def kind_of(turn: Addition) -> SumKind:
    """Return the kind of an addition."""
    return SumKind(len(turn.sources), turn.sources[-1] == turn.target)


def _pass_of(kind: SumKind, size: int, dtype: DType) -> Loop:
    """Return the pass that adds vectors, each to the sum of those before it."""
    graph = StepGraph()
    total, *others = (graph.add("input", (), (size,), dtype, ("source", k)) for k in range(kind.sources))
    group, last = FusionGroup("pass"), total
    for last in others:
        total = graph.add("ufunc", [last, total], (size,), dtype, "add")
        group.nodes.append(total)
    shares = {total.number: last} if kind.in_place else {}
    return Loop(group=group, memory=MemoryPlan(stored={total.number}, shares=shares))


class ShardTable(CallTable):
    """The calls of a shard: `aim_at` sets the data of its rows, `cell` counts rows in their order."""

    movable = False  # its arrays are the loop's

    def __init__(
        self,
        plan: ExecutionPlan,
        loops: Mapping[FusionGroup, CompiledLoop],
        state: Mapping[Path, HostArray],
        products: Mapping[StepNode, int],
        arena: HostArray,
        cell: HostArray,
    ) -> None:
        super().__init__(plan, loops, state, None, products, arena)
        self.cell = cell

    def aim_at(self, data: Sequence[HostArray], order: HostArray | None) -> None:
        """Write the calls that fetch the shard's rows."""
        del self._queues[self._own_queues :]
        step = self._plan.step
        brought = [pair for pair in zip(step.rows, data, strict=True) if pair[0].number in self._memory.places]
        begin = [self._together([*self._rows_of(node, array, order)]) for node, array in brought]
        if len(self.table):
            self.table[: len(begin)] = begin
        else:
            self.table, self._body = np.array([*begin, *self._body], np.int64), []

    def _rows_of(self, node: StepNode, array: HostArray, order: HostArray | None) -> Iterator[list[int]]:
        count, width = node.shape[0], node.dtype.itemsize * prod(node.shape[1:])
        where, item = (0, 0) if order is None else (order.ctypes.data, order.itemsize)
        for first, rows in blas_threads.pieces(count, count * width, self._team.size):
            at = self._address(node) + first * width
            arguments = (at, array.ctypes.data, where, self.cell.ctypes.data, rows, width, item, 1, first)
            yield _row(functions().take_rows, *arguments)


@dataclass(frozen=True, eq=False, kw_only=True)
class _Turning:
    """A bound loop: the tables of its shards by (rows, target), those of its additions, and the memory that calls refer to."""

    loop: ShardLoop
    shards: dict[tuple[int, int], ShardTable]
    additions: dict[Addition, HostArray]
    turns: HostArray  # (turns, TURN), see `bp_run_turns`
    held: list[HostArray]  # buffers, the loop's cell, the position of a shard's first row

    def aim_at(self, run: RunArrays) -> None:
        """Make the shards read their rows from a run's data."""
        data = [run.data[k] for k in self.loop.data]
        for shard in self.shards.values():
            shard.aim_at(data, run.order)
        if not self.turns.any():
            self.turns[:] = [self._turn(turn) for turn in self.loop.turns]

    def _turn(self, turn: ShardTurn | Addition) -> list[int]:
        if isinstance(turn, Addition):
            return [self.additions[turn].ctypes.data, 1, 0, 0]
        table = self.shards[turn.rows, turn.target].table
        return [table.ctypes.data, len(table), turn.begin, turn.first]


class StepTable(CallTable):
    """The calls of a step (see `CallTable`), some of which run loops over shards; `plans` are those of the loops."""

    def __init__(
        self,
        plan: ExecutionPlan,
        loops: Mapping[FusionGroup, CompiledLoop],
        state: Mapping[Path, HostArray],
        data: tuple[HostArray, ...] | None,
        products: Mapping[StepNode, int],
        plans: Mapping[ShardLoop, ShardPlan],
    ) -> None:
        self._plans, self._turning = plans, list[_Turning]()
        super().__init__(plan, loops, state, data, products)

    def aim(self, run: RunArrays) -> None:
        """Write the calls that differ from run to run."""
        super().aim(run)
        for turning in self._turning:
            turning.aim_at(run)

    def _loop(self, node: StepNode) -> list[int]:
        """Return the call that runs the turns of a loop."""
        plan = self._plans[node.info]
        first, cell = np.zeros(1, np.uint32), np.zeros(1, np.int64)
        buffers = self._buffers(plan.loop, node)
        additions = dict.fromkeys(turn for turn in plan.loop.turns if isinstance(turn, Addition))
        turning = _Turning(
            loop=plan.loop,
            shards=self._shards(plan, node, buffers, first, cell),
            additions={turn: np.array([self._addition(plan, turn, buffers)], np.int64) for turn in additions},
            turns=np.zeros((len(plan.loop.turns), TURN), np.int64),
            held=[*buffers.values(), first, cell],
        )
        self._turning.append(turning)
        rows = self._plan.step.rows[plan.loop.data[0]].shape[0] if self._plan.ordered else 0
        places = (cell.ctypes.data, first.ctypes.data)
        return _row(
            functions().run_turns, turning.turns.ctypes.data, len(turning.turns), self.cell.ctypes.data, rows, *places
        )

    def _shards(
        self, plan: ShardPlan, node: StepNode, buffers: Mapping[int, HostArray], first: HostArray, cell: HostArray
    ) -> dict[tuple[int, int], ShardTable]:
        """Return the table of each kind of shard; only one runs at a time, so they share memory."""
        arena = aligned(max(body.memory.size for body in plan.bodies.values()))
        outer = {("outer", k): array_at(self._address(n), n) for k, n in enumerate(node.inputs)}
        tables: dict[tuple[int, int], ShardTable] = {}
        for turn in plan.loop.turns:
            if isinstance(turn, ShardTurn) and (turn.rows, turn.target) not in tables:
                body = plan.bodies[turn.rows]
                state = {("first",): first, **outer, **_parts(body, buffers[turn.target])}
                inputs = {path: state[path] for path in body.step.inputs}
                tables[turn.rows, turn.target] = ShardTable(body, self._loops, inputs, self._products, arena, cell)
        return tables

    def _buffers(self, loop: ShardLoop, node: StepNode) -> dict[int, HostArray]:
        """Return the vectors of a loop by number; those from 0 on begin with the lines of its result."""
        lines = array_at(self._address(node), node).reshape(-1, loop.size)
        wanted = {turn.target for turn in loop.turns} | {
            source for turn in loop.turns if isinstance(turn, Addition) for source in turn.sources
        }
        own = {number: aligned(loop.size * node.dtype.itemsize).view(node.dtype) for number in wanted}
        if ZEROS in own:
            own[ZEROS][:] = 0
        return own | dict(enumerate(lines))

    def _addition(self, plan: ShardPlan, turn: Addition, buffers: Mapping[int, HostArray]) -> list[int]:
        arrays = [buffers[number] for number in (*turn.sources, turn.target)]
        addresses = [array.ctypes.data for array in arrays]
        kind = kind_of(turn)
        if kind.sources == 1:
            return _row(functions().copy_block, addresses[1], addresses[0], 1, arrays[0].nbytes, 0, 0)
        loop = plan.sums[kind]
        where = [addresses[node.info[1] if node.op == "input" else -1] for node in loop.arrays]
        function = self._loops[loop.group].address
        return self._together([self._fused(function, loop.arguments(b, where)) for b in loop.blocks(self._team.size)])


def _parts(body: ExecutionPlan, buffer: HostArray) -> dict[Path, HostArray]:
    """Return the positions in a buffer of the arrays that a shard contributes."""
    places, first = dict[Path, HostArray](), 0
    for path, node in body.step.changed.items():
        places[path] = buffer[first : first + node.size].reshape(node.shape)
        first += node.size
    return places


def _row(function: int, *arguments: int) -> list[int]:
    return [function, *arguments, *[0] * (ROW - 1 - len(arguments))]
