"""Fusion: which operations share a pass over memory.

A node's level counts, backwards from the end of the step, the groups that must come after it. Operations that feed each
other inside of a pass share a level; an operation that needs a finished array (a product, a sum, another shape) is on the
next. Levels grow along every path that leaves a pass, so passes of one level can never wait for each other in a circle.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence

from bpengine_steps.ir import FusionGroup, RecordedStep, StepNode, axes, needed, summed_shape
from bpengine_steps.target import Target

GIVEN = ("input", "constant", "view")  # operations that need no computation, so that no group has them


def fuse(step: RecordedStep, target: Target) -> list[FusionGroup]:
    """Cut a lowered step into groups; the tail comes last."""
    nodes = needed(step.outputs)
    users = _users(nodes)
    tail = _tail(step, nodes, users, target)
    level = _levels(nodes, users, tail, target)
    last, home = FusionGroup("tail"), dict[int, FusionGroup]()
    passes = _Passes()
    for node in nodes:
        if node.op in GIVEN:
            continue
        if node.number in tail:
            group = last
        elif node.op == "side":
            group = home[node.inputs[0].number]
        elif target.fuses(node):
            # neighbours by data on one level are one pass, so the node may merge several of them
            near = [i.base for i in node.inputs if target.joins(i, node) and level[i.base.number] == level[node.number]]
            groups = [home[base.number] for base in near if base.number in home]
            together, depth = passes.near([g for g in groups if g.kind == "pass"], node)
            group = _merged(together, home) or FusionGroup("pass")
            passes.joined(group, node, together, depth)
        else:
            group = FusionGroup("single")
        group.nodes.append(node)
        home[node.number] = group
    last.loaded = [node for node in step.reports.values() if node.number not in tail]
    groups = [group for group in dict.fromkeys(home.values()) if group is not last]
    return [*(_reading_once(groups) if target.two_stage_sums else groups), last]


def waits(group: FusionGroup, other: FusionGroup, before: dict[FusionGroup, set[FusionGroup]]) -> bool:
    """Tell whether `group` is the other one or must come after it, directly or indirectly."""
    seen, todo = set[FusionGroup](), [group]
    while todo:
        now = todo.pop()
        if now is other:
            return True
        if now not in seen:
            seen.add(now)
            todo += before[now]
    return False


def makers(groups: Sequence[FusionGroup]) -> dict[FusionGroup, set[FusionGroup]]:
    """Return for each group the groups that compute its operands."""
    home = {number: group for group in groups for number in group.own}
    return {g: {home[n.base.number] for n in g.reads if n.base.number in home} - {g} for g in groups}


def _users(nodes: Sequence[StepNode]) -> dict[int, list[StepNode]]:
    """Return the users of each node, and of the array behind a view."""
    users: dict[int, list[StepNode]] = defaultdict(list)
    for node in nodes:
        for operand in node.inputs:
            users[operand.number].append(node)
            if operand.op == "view":
                users[operand.base.number].append(node)
    return users


def _tail(step: RecordedStep, nodes: Sequence[StepNode], users: dict[int, list[StepNode]], target: Target) -> set[int]:
    """Return the single numbers that only reports need, and that the target computes in the tail."""
    reports = {node.number for node in step.reports.values()}
    changed = {node.number for node in step.changed.values()}
    tail: set[int] = set()
    for node in reversed(nodes):
        # A node belongs to the tail only with all of its users, since what the step itself needs cannot be computed last.
        wanted = (users[node.number] or node.number in reports) and node.number not in changed
        if wanted and all(user.number in tail for user in users[node.number]) and target.at_end(node):
            tail.add(node.number)
    return tail


def _levels(
    nodes: Sequence[StepNode], users: dict[int, list[StepNode]], tail: Collection[int], target: Target
) -> dict[int, int]:
    level = {node.number: 0 for node in nodes}
    for node in reversed(nodes):
        for operand in node.inputs:
            # An edge between passes adds one level; an edge within a pass, through registers, adds none, nor one in the tail.
            within = operand.number in tail if node.number in tail else target.joins(operand, node)
            free = node.op in ("view", "side") or within
            level[operand.number] = min(level[operand.number], level[node.number] - (0 if free else 1))
    # Counted backwards, a sum comes as late as its users allow, and so do the operands that only sums use: a separate pass
    # would read again what an earlier pass had in registers. So both move to the level where their operands are computed.
    # This creates no circle: a level only falls, never below those of a node's operands, and all users are sums as well.
    summed: set[int] = set()
    for node in reversed(nodes):
        between = node.op in ("ufunc", "reduce", "view") and users[node.number]
        if target.fuses_sum(node) or (between and all(user.number in summed for user in users[node.number])):
            summed.add(node.number)
    for node in nodes:
        if (node.number in summed and node.op != "view") or target.follows(node):
            computed = [operand for operand in node.inputs if operand.base.op not in ("input", "constant")]
            earliest = [level[operand.base.number] + (not target.joins(operand, node)) for operand in computed]
            level[node.number] = min(level[node.number], max(earliest, default=level[node.number]))
    return level


class _Passes:
    """The passes of a step while they grow: which of those that a node reads from registers may become one with it.

    A pass runs over one array's rows and columns, but numbers per row may be used with arrays of different widths. Such a use
    is cut: the later pass reads them from memory. `depth` counts these cuts along a path inside of a level, so passes of the
    same depth never wait for each other.
    """

    def __init__(self) -> None:
        self._width: dict[FusionGroup, tuple[int, ...] | None] = {}  # None for single numbers, or one for each row
        self._depth: dict[FusionGroup, int] = {}

    def near(self, passes: Sequence[FusionGroup], node: StepNode) -> tuple[list[FusionGroup], int]:
        """Return the passes that may become one with the node, and the depth of the result."""
        depth = max((self._depth[group] for group in passes), default=0)
        last = [group for group in passes if self._depth[group] == depth]
        widths = {self._width[group] for group in last} | {_width(node)}
        return (last, depth) if len(widths - {None}) < 2 else ([], depth + 1)

    def joined(self, group: FusionGroup, node: StepNode, merged: Sequence[FusionGroup], depth: int) -> None:
        """Take note that the node, and the passes merged for it, are in the group."""
        widths = [_width(node), *(self._width[other] for other in merged)]
        self._width[group], self._depth[group] = next(filter(None, widths), None), depth


def _width(node: StepNode) -> tuple[int, ...] | None:
    """Return the rows and columns that a node makes its pass run over, None where it has at most one number for each row."""
    shape = summed_shape(node.inputs[0]) if node.op in ("reduce", "partial") else axes(node.shape)
    return shape if len(shape) == 2 else None


def _merged(passes: Iterable[FusionGroup], home: dict[int, FusionGroup]) -> FusionGroup | None:
    """Merge passes into one and make it the entry of their nodes in `home`; None for no passes."""
    distinct = list(dict.fromkeys(passes))
    if not distinct:
        return None
    first = distinct[0]
    for other in distinct[1:]:
        # Recorded order is a topological order, so sorting by number keeps operands before their users.
        first.nodes = sorted(first.nodes + other.nodes, key=lambda node: node.number)
        home.update({node.number: first for node in other.nodes})
    return first


def _reading_once(groups: list[FusionGroup]) -> list[FusionGroup]:
    """Merge a pass that only sums an array into another that reads it anyway, if neither waits for the other.

    This pays where a sum has two stages: in one stage, a pass that sums rows cannot be cut between them.
    """
    for group in list(groups):
        if group.kind != "pass" or len(group.shape) != 2 or not _only_sums(group, groups):
            continue
        rows, columns = group.shape
        read = {n.number for n in group.reads if n.size == rows * columns}
        before = makers(groups)
        for other in groups:
            if other is group or other.kind != "pass" or other.shape != group.shape:
                continue
            common = read & {n.number for n in other.reads}
            # Merging two passes of which one waits for the other would make the merged pass wait for itself.
            if common and not waits(other, group, before) and not waits(group, other, before):
                other.nodes = sorted(other.nodes + group.nodes, key=lambda node: node.number)
                groups.remove(group)
                break
    return groups


def _only_sums(group: FusionGroup, groups: Sequence[FusionGroup]) -> bool:
    outside = {n.base.number for other in groups if other is not group for n in other.reads}
    sums = any(n.op == "partial" and n.info == ("add", "first") for n in group.nodes)
    return sums and not any(n.number in outside for n in group.nodes if n.op != "partial")
