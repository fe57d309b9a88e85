"""Launches: which passes share one, in what order they run, and which new state is written over the old.

The first launch, the head, takes the step's rows and works out numbers that are known before them (from the step counter and
the learning rate). The last one, the tail, holds all updates and the reports. Passes of a launch run at the same time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from bpengine_steps.ir import Node, Unrecordable, needed
from bpengine_steps.recorded import RecordedStep

from bpengine_cupy.cuda_target.expressions import elementwise
from bpengine_cupy.cuda_target.fusion import Group, groups
from bpengine_cupy.cuda_target.lowering import axes


@dataclass(eq=False)
class Launch:
    """Groups that run at the same time. `beside`: a product that nobody waits for before the last launch."""

    groups: list[Group]
    head: bool = False
    beside: bool = False

    @property
    def product(self) -> bool:
        """Whether this is a matrix product."""
        return bool(self.groups) and self.groups[0].kind == "matmul"

    @property
    def flat(self) -> bool:
        """Whether other flat passes may run in it."""
        return all(
            g.kind in ("tail", "copy", "concat") or (g.kind == "pass" and g.layout == "flat") for g in self.groups
        )


def make_launches(step: RecordedStep) -> tuple[list[Launch], set[int]]:
    """Return the launches of a lowered step in order, and the numbers of new states that are written over the old."""
    nodes = needed(step.outputs)
    made = _sharing(groups(step, nodes))
    home = {node.number: group for group in made for node in group.nodes}
    in_place = _in_place(step, made, home)
    copies = [Group("copy", [new], step.inputs[p]) for p, new in step.changed.items() if new.number not in in_place]
    made[-1:-1] = copies
    before = _dependencies(step, made, home, in_place)
    head = {group for group in made if _early(group, step)}
    later = {n.base.number for group in made if group not in head for n in group.reads}
    kept = [group for group in made if group in head and group.own & later]
    launches = [
        Launch(kept, head=True),
        *_moved_back(_ordered([g for g in made if g not in head], before, head), before),
    ]
    _mark_beside(launches)
    return launches, in_place


def _sharing(made: list[Group]) -> list[Group]:
    """Let a pass that only adds up an array join another that reads it anyway, where neither waits for the other."""
    for group in list(made):
        if group.kind != "pass" or len(group.shape) != 2 or not _only_sums(group, made):
            continue
        rows, columns = group.shape
        read = {n.number for n in group.reads if n.size == rows * columns}
        home = {node.number: g for g in made for node in g.nodes}
        for other in made:
            if other is group or other.kind != "pass" or other.shape != group.shape:
                continue
            common = read & {n.number for n in other.reads}
            if common and not _waits(other, group, home) and not _waits(group, other, home):
                other.nodes = sorted(other.nodes + group.nodes, key=lambda node: node.number)
                made.remove(group)
                break
    return made


def _only_sums(group: Group, made: Sequence[Group]) -> bool:
    outside = {n.base.number for other in made if other is not group for n in other.reads}
    sums = any(n.op == "partial" and n.info == ("add", "first") for n in group.nodes)
    return sums and not any(n.number in outside for n in group.nodes if n.op != "partial")


def _in_place(step: RecordedStep, made: Sequence[Group], home: Mapping[int, Group]) -> set[int]:
    """Return the new states that a pass writes, element by element, where every other reader of the old comes earlier."""
    news = [node.number for node in step.changed.values()]
    found = set()
    for path, new in step.changed.items():
        old, writer = step.inputs[path], home.get(new.number)
        if writer is None or writer.kind != "pass" or new.op != "ufunc" or news.count(new.number) > 1:
            continue
        if new.dtype != old.dtype or (writer.layout == "rows" and len(axes(new.shape)) < 2):
            continue
        if any(n is not old or axes(n.shape) != axes(new.shape) for n in writer.reads if n.base is old):
            continue
        readers = {g for g in made for n in g.reads if n.base is old} - {writer}
        if not any(_waits(reader, writer, home) for reader in readers):
            found.add(new.number)
    return found


def _waits(group: Group, target: Group, home: Mapping[int, Group]) -> bool:
    """Say whether `group` needs, by way of others, what `target` makes."""
    seen: set[Group] = set()
    todo = [group]
    while todo:
        now = todo.pop()
        if now is target:
            return True
        if now not in seen:
            seen.add(now)
            todo += [home[n.base.number] for n in now.reads if n.base.number in home]
    return False


def _dependencies(
    step: RecordedStep, made: Sequence[Group], home: Mapping[int, Group], in_place: set[int]
) -> dict[Group, set[Group]]:
    """Return what must run before each group: what makes its operands, and readers of an old state before its writer."""
    before = {g: {home[n.base.number] for n in g.reads if n.base.number in home} - {g} for g in made}
    copies = {g.target.number: g for g in made if g.target is not None}
    for path, new in step.changed.items():
        old = step.inputs[path]
        writer = home[new.number] if new.number in in_place else copies[old.number]
        before[writer] |= {g for g in made for n in g.reads if n.base is old} - {writer}
    return before


def early(node: Node) -> bool:
    """Say whether a number is known before the step's rows are: from the counter, the rate and constants alone."""
    if node.op == "input":
        return bool(node.info == ("rate",) or node.info[1] == ("counter",))
    return node.op == "constant" or ((elementwise(node) or node.op == "view") and all(map(early, node.inputs)))


def _early(group: Group, step: RecordedStep) -> bool:
    """Say whether a pass can run in the head: each of its threads works out the single numbers it needs by itself."""
    if group.kind != "pass" or group.layout != "flat" or not all(map(early, group.nodes)):
        return False
    if group.own & {node.number for node in step.changed.values()}:
        return False
    return all(n.base.size == 1 or n.base.op in ("input", "constant") for n in group.reads)


def _ordered(made: Iterable[Group], before: Mapping[Group, set[Group]], done: set[Group]) -> list[Group]:
    """Put groups in the order in which the step made them, the tail last and copies of state before it."""
    order: list[Group] = []
    left, done = list(made), set(done)
    while left:
        ready = [group for group in left if before[group] <= done]
        if not ready:
            raise Unrecordable("passes that wait for each other")
        group = min(ready, key=lambda g: (g.kind == "tail", g.kind == "copy", g.nodes[-1].number if g.nodes else 0))
        order.append(group)
        done.add(group)
        left.remove(group)
    return order


def _moved_back(order: Sequence[Group], before: Mapping[Group, set[Group]]) -> list[Launch]:
    """Let each flat pass move into the last flat launch that its users allow: all updates end in the tail."""
    launches = [Launch([group]) for group in order]
    where = {group: k for k, group in enumerate(order)}
    after: dict[Group, set[Group]] = defaultdict(set)
    for group in order:
        for earlier in before[group]:
            after[earlier].add(group)
    for group in reversed(order):
        at = where[group]
        if not launches[at].flat:
            continue
        latest = min((where[user] for user in after[group]), default=len(launches)) - 1
        to = next((k for k in range(latest, at, -1) if launches[k].groups and launches[k].flat), None)
        if to is not None:
            launches[at].groups.remove(group)
            launches[to].groups.append(group)
            where[group] = to
    return [launch for launch in launches if launch.groups]


def _mark_beside(launches: Sequence[Launch]) -> None:
    """Mark the products whose results only the last launch reads: they may run on a second stream."""
    *earlier, _ = launches
    read = {n.base.number for launch in earlier for g in launch.groups for n in g.reads}
    for launch in earlier:
        launch.beside = launch.product and not launch.groups[0].own & read
