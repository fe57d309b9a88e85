"""Schedule: the order of the units, where every array lies, and for how long."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from bpengine_steps.ir import Node, needed

from bpengine_numpy.numba_target.fusion import Unit, is_elementwise, units

ALIGN = 64  # bytes: a cache line, and the widest vector


@dataclass
class Schedule:
    """Units in order; `places` gives each array in the arena its offset in bytes, `shares` what takes over whose memory.

    `kept` are (old, new) nodes of the state that a step changes; a new one in `in_place` is written over the old one.
    """

    order: list[Unit]
    stored: set[int]
    shares: dict[int, Node] = field(default_factory=dict)
    in_place: set[int] = field(default_factory=set)
    places: dict[int, int] = field(default_factory=dict)
    arena: int = 0


def make_schedule(kept: Sequence[tuple[Node, Node]], reports: Sequence[Node], streamed: Sequence[Node]) -> Schedule:
    """Schedule a step: `kept` (old, new) state, `reports` read after each step, `streamed` inputs that lie in the arena."""
    nodes = needed([new for _, new in kept] + list(reports))
    made = units(nodes)
    home = {node.number: unit for unit in made for node in unit.nodes}
    order = _ordered(made, home, kept)
    schedule = Schedule(order, _stored(made, [new for _, new in kept] + list(reports)))
    position = {id(unit): k for k, unit in enumerate(order)}
    _reuse_state(schedule, kept, home, position)
    _place(schedule, [n.base for n in reports] + [new.base for _, new in kept], list(streamed))
    return schedule


def _stored(made: Sequence[Unit], outputs: Sequence[Node]) -> set[int]:
    """Return the numbers of the nodes that are needed in memory: by another unit, or after the step."""
    numbers = {node.base.number for unit in made for node in unit.reads}
    return numbers | {node.base.number for node in outputs}


def _ordered(made: Sequence[Unit], home: dict[int, Unit], kept: Sequence[tuple[Node, Node]]) -> list[Unit]:
    """Put units in the order in which the step made them, updates of the state as early as they can be.

    A unit that overwrites a parameter waits for all that read the old value, unless one of them waits for it.
    """
    before: dict[int, set[int]] = {
        id(u): {id(home[n.base.number]) for n in u.reads if n.base.number in home} for u in made
    }
    readers = defaultdict(list)
    for unit in made:
        for node in unit.reads:
            readers[node.base.number].append(unit)
    updates = set()
    for old, new in kept:
        writer = home.get(new.base.number)
        if writer is None:
            continue
        updates.add(id(writer))
        for reader in readers[old.number]:
            if reader is not writer and not _waits(id(reader), id(writer), before):
                before[id(writer)].add(id(reader))
    after = defaultdict(list)
    for unit in made:
        for earlier in before[id(unit)]:
            after[earlier].append(unit)
    waiting = {id(u): len(before[id(u)]) for u in made}
    ready = [(_priority(u, updates), k, u) for k, u in enumerate(made) if not waiting[id(u)]]
    heapq.heapify(ready)
    number = {id(u): k for k, u in enumerate(made)}
    order = []
    while ready:
        unit = heapq.heappop(ready)[2]
        order.append(unit)
        for later in after[id(unit)]:
            waiting[id(later)] -= 1
            if not waiting[id(later)]:
                heapq.heappush(ready, (_priority(later, updates), number[id(later)], later))
    return order


def _priority(unit: Unit, updates: set[int]) -> int:
    return -1 if id(unit) in updates else unit.nodes[-1].number


def _waits(unit: int, target: int, before: dict[int, set[int]]) -> bool:
    """Say whether `unit` comes after `target` by what it needs."""
    seen, todo = set(), [unit]
    while todo:
        now = todo.pop()
        if now == target:
            return True
        if now not in seen:
            seen.add(now)
            todo += before[now]
    return False


def _reuse_state(
    schedule: Schedule, kept: Sequence[tuple[Node, Node]], home: dict[int, Unit], position: dict[int, int]
) -> None:
    """Let each new state take over the old one's memory where nobody reads the old one afterwards."""
    last: dict[int, int] = defaultdict(lambda: -1)
    for unit in schedule.order:
        for node in unit.reads:
            last[node.base.number] = max(last[node.base.number], position[id(unit)])
    news = [new.number for _, new in kept]
    for old, new in kept:
        writer = home.get(new.number)
        if writer is None or new.op == "view" or news.count(new.number) > 1 or last[old.number] > position[id(writer)]:
            continue
        seen = [n for n in writer.reads if n.base is old]
        if not writer.fused and seen:
            continue
        if writer.fused and (new.op != "ufunc" or any(n is not old or n.shape != new.shape for n in seen)):
            continue
        schedule.in_place.add(new.number)
        if seen:
            schedule.shares[new.number] = old


def _place(schedule: Schedule, outputs: Sequence[Node], streamed: Sequence[Node]) -> None:
    """Give every array that is not state an offset in one arena; arrays that never live together share memory."""
    order = schedule.order
    end = {n.base.number: k for k, unit in enumerate(order) for n in unit.reads}
    end.update({node.number: len(order) for node in outputs})
    free: list[tuple[int, int]] = [(0, 1 << 62)]
    taken: dict[int, tuple[int, int]] = {}

    def give(node: Node) -> None:
        size = -(-max(node.size * node.dtype.itemsize, 1) // ALIGN) * ALIGN
        k = next(k for k, (_, room) in enumerate(free) if room >= size)
        start, room = free[k]
        free[k : k + 1] = [(start + size, room - size)] if room > size else []
        taken[node.number] = (start, size)
        schedule.places[node.number] = start
        schedule.arena = max(schedule.arena, start + size)

    def release(number: int) -> None:
        if number in taken:
            free.append(taken.pop(number))
            free.sort()
            for k in range(len(free) - 1, 0, -1):
                if sum(free[k - 1]) == free[k][0]:
                    free[k - 1 : k + 1] = [(free[k - 1][0], free[k - 1][1] + free[k][1])]

    for node in streamed:
        give(node)
    for k, unit in enumerate(order):
        dying = {n.number: n for n in unit.reads if n.op != "view" and end[n.number] == k and n.number in taken}
        for node in unit.nodes:
            if node.number not in schedule.stored or node.number in schedule.in_place:
                continue
            heir = next((n for n in dying.values() if _can_share(unit, node, n)), None)
            if heir is not None:
                del dying[heir.number]
                schedule.shares[node.number] = heir
                schedule.places[node.number] = schedule.places[heir.number]
                taken[node.number] = taken.pop(heir.number)
            else:
                give(node)
        for number in [n.base.number for n in unit.reads] + [n.number for n in unit.nodes]:
            if end.get(number, k) <= k:
                release(number)


def _can_share(unit: Unit, node: Node, given: Node) -> bool:
    """Say whether a pass may write a result over an operand: both are read and written element by element."""
    if not unit.fused or not is_elementwise(node) or given.shape != node.shape or given.dtype != node.dtype:
        return False
    return all(n is given or n.base is not given for n in unit.reads)
