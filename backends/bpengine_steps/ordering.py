"""Ordering: the order in which groups run, which of them share a stage, and which new state overwrites the old one."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from bpengine_steps.fusion import makers, waits
from bpengine_steps.ir import FusionGroup, RecordedStep, StepNode, Untraceable
from bpengine_steps.target import Target

Before = dict[FusionGroup, set[FusionGroup]]


@dataclass(eq=False)
class PlanStage:
    """Groups that run at the same time: one call, or a few.

    The first stage, the `head`, fetches the step's rows and rate, and computes nodes that do not depend on them, and nothing
    else. `beside`: a product whose result is not needed before the last stage.
    """

    groups: list[FusionGroup]
    head: bool = False
    beside: bool = False

    @property
    def product(self) -> bool:
        """Whether this is a matrix product."""
        return bool(self.groups) and self.groups[0].kind == "single" and self.groups[0].nodes[0].op == "matmul"


def make_stages(step: RecordedStep, groups: list[FusionGroup], target: Target) -> tuple[list[PlanStage], set[int]]:
    """Return the stages of a step in order, and the numbers of the new states that are written over the old ones.

    Other new states are copied over the old ones, each by a group of its own.
    """
    before = makers(groups)
    in_place = _write_over(step, groups, before, target)
    groups = _with_copies(step, groups, before, in_place)
    changed = {node.base.number for node in step.changed.values()}
    # Nodes that do not depend on the step's rows run in the head, if a later group reads them from memory.
    early = {g for g in groups if g.kind == "pass" and not g.own & changed and target.early(g)}
    later = {n.base.number for group in groups if group not in early for n in group.reads}
    # the others are computed in the pass that uses them
    head = [group for group in groups if group in early and group.own & later]
    order = _ordered([g for g in groups if g not in early], before, early, changed)
    stages = [PlanStage(head, head=True), *_moved_back(order, before, target)]
    if target.queues > 1:
        _mark_beside(stages)
    return stages, in_place


def _write_over(step: RecordedStep, groups: Sequence[FusionGroup], before: Before, target: Target) -> set[int]:
    """Decide which new states are written over the old ones, and make those writers wait for all readers of the old.

    A reader that waits for the writer, through its operands or an earlier decision, would read the new state.
    """
    home = {number: group for group in groups for number in group.own}
    news = [node.number for node in step.changed.values()]
    readers = _readers(groups)
    in_place: set[int] = set()
    for path, new in step.changed.items():
        old, writer = step.inputs[path], home.get(new.number)
        if writer is None or news.count(new.number) > 1:
            continue
        # Writing in place adds edges reader -> writer. A reader that already waits for the writer would close a
        # circle.
        others = [reader for reader in readers[old.number] if reader is not writer]
        late = any(waits(reader, writer, before) for reader in others)
        if not late and _may_write(writer, old, new, target):
            before[writer].update(others)
            in_place.add(new.number)
    return in_place


def _may_write(writer: FusionGroup, old: StepNode, new: StepNode, target: Target) -> bool:
    """Tell whether the writer may overwrite the old state although it reads it itself."""
    looks = [n for n in writer.reads if n.base is old]
    # it is read element by element, through no other view, and not for a sum, which is stored at the end
    if writer.kind == "pass":
        whole = any(operand.base is old for node in writer.nodes if node.op == "dot" for operand in node.inputs)
        alike = new.op == "ufunc" and all(n is old for n in looks) and not whole
        return alike and target.writes_over(writer, new)
    return writer.kind == "single" and not looks and target.writes_over(writer, new)


def _with_copies(
    step: RecordedStep, groups: list[FusionGroup], before: Before, in_place: set[int]
) -> list[FusionGroup]:
    """Add copies of states that are not written in place, before the tail; each waits for the readers of the old state."""
    home = {number: group for group in groups for number in group.own}
    copies = [
        FusionGroup("copy", [new], step.inputs[p]) for p, new in step.changed.items() if new.number not in in_place
    ]
    every = [*groups[:-1], *copies, groups[-1]]
    readers = _readers(every)
    for copy in copies:
        (new,), old = copy.nodes, copy.replaced
        assert old is not None  # a copy has one node
        before[copy] = {home[new.base.number]} if new.base.number in home else set()
        before[copy].update(reader for reader in readers[old.number] if reader is not copy)
    return every


def _readers(groups: Sequence[FusionGroup]) -> dict[int, list[FusionGroup]]:
    readers: dict[int, list[FusionGroup]] = defaultdict(list)
    for group in groups:
        for number in dict.fromkeys(node.base.number for node in group.reads):
            readers[number].append(group)
    return readers


def _ordered(
    groups: Sequence[FusionGroup], before: Before, done: set[FusionGroup], changed: set[int]
) -> list[FusionGroup]:
    """Sort groups in the order of the recorded step, updates of the state as early as possible.

    An early update reads the gradient from the cache and frees its memory at once. Copies come after all other groups, the
    tail last.
    """

    def rank(group: FusionGroup) -> tuple[bool, bool, bool, int]:
        update = bool(group.own & changed)
        return group.kind == "tail", group.kind == "copy", not update, group.nodes[-1].number if group.nodes else 0

    # Kahn's algorithm; the queue holds every group whose predecessors are done, the smallest rank first.
    after, waiting = defaultdict[FusionGroup, list[FusionGroup]](list), dict[FusionGroup, int]()
    for group in groups:
        waiting[group] = len(before[group] - done)
        for earlier in before[group] - done:
            after[earlier].append(group)
    place = {group: k for k, group in enumerate(groups)}
    ready = [(rank(group), place[group]) for group in groups if not waiting[group]]
    heapq.heapify(ready)
    order = []
    while ready:
        group = groups[heapq.heappop(ready)[1]]
        order.append(group)
        for later in after[group]:
            waiting[later] -= 1
            if not waiting[later]:
                heapq.heappush(ready, (rank(later), place[later]))
    if len(order) < len(groups):
        raise Untraceable("passes that wait for each other")
    return order


def _moved_back(order: Sequence[FusionGroup], before: Before, target: Target) -> list[PlanStage]:
    """Move each group into the last stage that its users allow and that it may share, so that all updates form one call."""
    stages = [PlanStage([group]) for group in order]
    where = {group: k for k, group in enumerate(order)}
    after: dict[FusionGroup, set[FusionGroup]] = defaultdict(set)
    for group in order:
        for earlier in before[group]:
            after[earlier].add(group)
    for group in reversed(order):
        if not target.shares([group]):
            continue
        at = where[group]
        # From the last stage on: users have moved already, so each group can follow them as far as they allow.
        latest = min((where[user] for user in after[group]), default=len(stages)) - 1
        later = (k for k in range(latest, at, -1) if stages[k].groups)
        to = next((k for k in later if target.shares([*stages[k].groups, group])), None)
        if to is not None:
            stages[at].groups.remove(group)
            stages[to].groups.append(group)
            where[group] = to
    return [stage for stage in stages if stage.groups]


def _mark_beside(stages: Sequence[PlanStage]) -> None:
    """Mark the products whose results only the last stage reads: they may run on a second queue."""
    # The last stage waits for both queues, so only products that no earlier stage reads may run on the second.
    *earlier, _ = stages
    read = {n.base.number for stage in earlier for group in stage.groups for n in group.reads}
    for stage in earlier:
        stage.beside = stage.product and not stage.groups[0].own & read
