"""MemoryPlan: one piece for a program, in which every place is a number, so that a captured graph serves any data.

The state comes first, its leaves in order, so that it is brought in and taken out as one piece.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from bpengine_steps.ir import HostArray, Node
from bpengine_steps.recorded import RecordedStep

from bpengine_cupy.cuda_target.launches import Launch

ALIGN = 256  # bytes: what cuBLASLt asks for by default


@dataclass
class MemoryPlan:
    """`places` gives each array its offset in bytes, `stored` the nodes that lie in memory at all."""

    stored: set[int]
    places: dict[int, int] = field(default_factory=dict)
    constants: dict[int, HostArray] = field(default_factory=dict)
    state_size: int = 0
    size: int = 0

    def at(self, node: Node) -> int:
        """Return where the first element of a node lies."""
        return self.places[node.base.number] + node.offset * node.dtype.itemsize


def room(node: Node) -> int:
    """Return the bytes that are set aside for an array."""
    return -(-max(node.size * node.dtype.itemsize, 1) // ALIGN) * ALIGN


def make_memory(step: RecordedStep, launches: Sequence[Launch], in_place: set[int]) -> MemoryPlan:
    """Give every array its place: state, rows, rate and constants for good, all else for the launches it lives in."""
    every = [group for launch in launches for group in launch.groups]
    stored = {n.base.number for group in every for n in group.reads}
    stored |= {node.base.number for node in step.changed.values()}
    stored |= {n.number for group in every for n in group.nodes if n.op in ("partial", "matmul", "concat")}
    memory = MemoryPlan(stored)
    memory.state_size = _append(memory, step.inputs.values())
    _append(memory, [*step.rows, step.rate])
    held = {n.base.number: n.base for group in every for n in group.reads if n.base.op == "constant"}
    _append(memory, held.values())
    memory.constants = {number: np.ascontiguousarray(node.info) for number, node in held.items()}
    for path, new in step.changed.items():
        if new.number in in_place:
            memory.places[new.number] = memory.places[step.inputs[path].number]
    _place_by_lifetime(memory, launches)
    return memory


def _append(memory: MemoryPlan, nodes: Iterable[Node]) -> int:
    for node in nodes:
        memory.places[node.number] = memory.size
        memory.size += room(node)
    return memory.size


def _place_by_lifetime(memory: MemoryPlan, launches: Sequence[Launch]) -> None:
    """Let arrays share memory that never live in the same launch: its passes run at the same time."""
    made: list[list[Node]] = []
    last: dict[int, int] = {}
    for k, launch in enumerate(launches):
        nodes = [n for g in launch.groups for n in g.nodes if n.number in memory.stored]
        made.append(sorted((n for n in nodes if n.number not in memory.places), key=room, reverse=True))
        last.update({n.number: max(k, last.get(n.number, 0)) for n in nodes})
        # what a product on the second stream reads stays until the streams meet, in the last launch
        until = len(launches) - 1 if launch.beside else k
        for n in (n.base for g in launch.groups for n in g.reads):
            last[n.number] = max(last.get(n.number, 0), until)
    start, live = memory.size, list[tuple[int, int, int]]()  # (offset, room, last launch)
    for k, nodes in enumerate(made):
        live = [entry for entry in live if entry[2] >= k]
        for node in nodes:
            where = start
            for offset, size, _ in sorted(live):
                if where + room(node) <= offset:
                    break
                where = max(where, offset + size)
            live.append((where, room(node), last[node.number]))
            memory.places[node.number] = where
            memory.size = max(memory.size, where + room(node))
