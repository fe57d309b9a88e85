"""MemoryPlan: the offset of every array in one block of memory, and its lifetime.

An array lives from the stage that computes it to the last one that reads it. The groups of a stage run at the same time, so
arrays share memory only when they never live in the same stage; each gets the first gap that is long enough. A pass may
also write its result over an operand that nothing reads later, if the target allows it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from bpengine_steps.ir import FusionGroup, HostArray, RecordedStep, StepNode
from bpengine_steps.ordering import PlanStage
from bpengine_steps.target import Target


@dataclass(kw_only=True)
class MemoryPlan:
    """`places` holds the offset in bytes of each array of the block, `stored` the nodes that are in memory at all.

    `shares` maps a result to the operand that it overwrites, `in_place` has the new states that overwrite the old ones.
    The first `state_size` bytes are the state, its arrays in order, where the block holds it.
    """

    stored: set[int] = field(default_factory=set)
    in_place: set[int] = field(default_factory=set)
    shares: dict[int, StepNode] = field(default_factory=dict)
    places: dict[int, int] = field(default_factory=dict)
    constants: dict[int, HostArray] = field(default_factory=dict)
    state_size: int = 0
    size: int = 0

    def at(self, node: StepNode) -> int:
        """Return the offset of the first element of a node."""
        return self.places[node.base.number] + node.offset * node.dtype.itemsize


def plan_memory(
    step: RecordedStep, stages: Sequence[PlanStage], in_place: set[int], target: Target, *, ordered: bool
) -> MemoryPlan:
    """Return the memory plan of a step; `ordered` says whether its rows are gathered by number in each step."""
    groups = [group for stage in stages for group in stage.groups]
    read = {n.base.number: n.base for group in groups for n in group.reads}
    stored = read.keys() | {node.base.number for node in step.changed.values()}
    constants = {number: np.ascontiguousarray(n.info) for number, n in read.items() if n.op == "constant"}
    memory = MemoryPlan(stored=set(stored), in_place=in_place, constants=constants)
    rows = [node for node in step.rows if node.number in read] if ordered else []  # a loop fetches its rows itself
    brought = [*rows, step.rate]  # arrays that the head writes again in each step
    if target.resident:
        rows = [*step.rows, *step.rounded_rows.values()]
        _for_good(memory, [*step.inputs.values(), *rows, step.rate], [read[n] for n in constants], target)
        memory.state_size = sum(_room(node, target) for node in step.inputs.values())
        brought = []
    _write_over(memory, step, groups, target)
    _by_lifetime(memory, stages, brought, target)
    return memory


def _for_good(memory: MemoryPlan, inputs: Iterable[StepNode], constants: Iterable[StepNode], target: Target) -> None:
    """Give state, rows and constants places that nothing else uses, since they live from step to step."""
    for node in (*inputs, *constants):
        memory.places[node.number] = memory.size
        memory.size += _room(node, target)


def _write_over(memory: MemoryPlan, step: RecordedStep, groups: Sequence[FusionGroup], target: Target) -> None:
    """Give each new state that is written in place the old state's place."""
    home = {number: group for group in groups for number in group.own}
    for path, new in step.changed.items():
        if new.number not in memory.in_place:
            continue
        old = step.inputs[path]
        if target.resident:
            memory.places[new.number] = memory.places[old.number]
        # Only a writer that reads the old state passes on its operand's place; for any other, the place is free by then.
        if any(node is old for node in home[new.number].reads):
            memory.shares[new.number] = old


def _by_lifetime(memory: MemoryPlan, stages: Sequence[PlanStage], brought: Sequence[StepNode], target: Target) -> None:
    """Place arrays that live for some stages only: those of the head, and the results of the stages."""
    last = _last_stages(memory, stages)
    arena = _Arena(memory.size, target)
    wanted = memory.stored - memory.places.keys() - memory.in_place
    for k, stage in enumerate(stages):
        arena.free_before(k)
        outputs = [n for g in stage.groups if g.kind != "copy" for n in g.nodes if n.number in wanted]
        # First fit fragments least when the largest arrays choose first.
        outputs.sort(key=lambda node: _room(node, target), reverse=True)  # placing large arrays first leaves fewer gaps
        for node in [*(brought if stage.head else ()), *outputs]:
            until = last.get(node.number, k)
            heir = _dying_operand(node, stage, k, last, arena) if target.reuses_operands and node in outputs else None
            if heir is None:
                memory.places[node.number] = arena.place(node, until)
            else:
                memory.shares[node.number] = heir
                memory.places[node.number] = arena.pass_on(heir, node, until)
    memory.size = arena.size


def _last_stages(memory: MemoryPlan, stages: Sequence[PlanStage]) -> dict[int, int]:
    """Return for each array the last stage that needs it."""
    last: dict[int, int] = {}
    for k, stage in enumerate(stages):
        # operands of a product on the second queue live until the queues meet, in the last stage
        # A product on the second queue has no point in time at which it ends before the queues meet.
        until = len(stages) - 1 if stage.beside else k
        for group in stage.groups:
            last.update({number: max(k, last.get(number, 0)) for number in group.own & memory.stored})
            for number in {node.base.number for node in group.reads}:
                last[number] = max(last.get(number, 0), until)
    return last


def _dying_operand(node: StepNode, stage: PlanStage, k: int, last: dict[int, int], arena: _Arena) -> StepNode | None:
    """Return an operand that `node` can overwrite: read here for the last time, element by element, in the same form."""
    # Groups of one stage run at the same time: another one could still read what this one overwrites.
    if len(stage.groups) != 1:
        return None
    (group,) = stage.groups
    if group.kind != "pass" or not arena.target.elementwise(node):
        return None
    for operand in group.reads:
        alone = all(n is operand or n.base is not operand for n in group.reads)  # no other view of the same memory
        alike = operand.op != "view" and (operand.shape, operand.dtype) == (node.shape, node.dtype)
        if alone and alike and last[operand.number] == k and arena.holds(operand):
            return operand
    return None


def _room(node: StepNode, target: Target) -> int:
    """Return the bytes reserved for an array."""
    return -(-max(node.size * node.dtype.itemsize, 1) // target.alignment) * target.alignment


class _Arena:
    """The memory after `start`, allocated by lifetime; `size` is the end of the highest allocation so far."""

    def __init__(self, start: int, target: Target) -> None:
        self.target, self.size, self._start = target, start, start
        self._live: dict[int, tuple[int, int, int]] = {}  # by node: begin, end, last stage

    def free_before(self, stage: int) -> None:
        """Free what no stage from this one on needs."""
        self._live = {number: entry for number, entry in self._live.items() if entry[2] >= stage}

    def place(self, node: StepNode, until: int) -> int:
        """Return the first place with room for an array that lives until a stage."""
        where, room = self._start, _room(node, self.target)
        for begin, end, _ in sorted(self._live.values()):
            if where + room <= begin:
                break
            # Places of live arrays never overlap: the next gap begins where this array ends.
            where = max(where, end)
        self._live[node.number] = where, where + room, until
        self.size = max(self.size, where + room)
        return where

    def holds(self, node: StepNode) -> bool:
        """Tell whether a node has a place here that has not been passed on."""
        return node.number in self._live

    def pass_on(self, node: StepNode, heir: StepNode, until: int) -> int:
        """Give one array's place to another, and return it."""
        # The heir has the shape and dtype of the operand, so its room is the same and no gap arises.
        begin, end, _ = self._live.pop(node.number)
        self._live[heir.number] = begin, end, until
        return begin
