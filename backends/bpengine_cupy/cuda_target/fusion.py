"""Fusion: which operations share a pass over memory on a GPU.

Levels count back from the end of the step, as on the CPU: operations that feed each other share one, and whatever needs
a finished array lies on the next, so passes of one level can never wait for each other in a circle. More joins than on
the CPU: numbers of a row with the rows they come from or go to, a reduction over the row, and both stages of a sum.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from bpengine_steps.grouping import merged
from bpengine_steps.ir import Node, Unrecordable
from bpengine_steps.recorded import RecordedStep

from bpengine_cupy.cuda_target.access import COLUMN, FULL, access, in_order
from bpengine_cupy.cuda_target.expressions import elementwise, typed
from bpengine_cupy.cuda_target.lowering import axes

Kind = Literal["pass", "matmul", "concat", "copy", "tail"]


@dataclass(eq=False)
class Group:
    """Operations that are done together: a pass over memory, one product, one concatenation, one copy, or the step's tail.

    `target` is the old state that a copy writes over, `loaded` the reports that the tail reads from memory.
    """

    kind: Kind = "pass"
    nodes: list[Node] = field(default_factory=list)
    target: Node | None = None
    loaded: list[Node] = field(default_factory=list)

    @property
    def own(self) -> set[int]:
        """The numbers of the nodes made here."""
        return {node.number for node in self.nodes}

    @property
    def reads(self) -> list[Node]:
        """Arrays that the group needs in memory, views as they are; a constant of one value is part of the code."""
        if self.kind == "copy":
            return list(self.nodes)
        own = self.own
        found = {n.number: n for node in self.nodes for n in node.inputs if n.base.number not in own}
        found |= {n.number: n for n in self.loaded}
        return [n for n in found.values() if not (self.kind in ("pass", "tail") and n.uniform is not None)]

    @property
    def shape(self) -> tuple[int, ...]:
        """What a pass runs over: (rows, columns) or (elements,)."""
        found = {axes(n.shape) for n in self.nodes if n.op in ("ufunc", "finish")}
        found |= {axes(n.inputs[0].base.shape) for n in self.nodes if n.op in ("reduce", "partial")}
        two, one = {s for s in found if len(s) == 2}, {s for s in found if len(s) == 1}
        if len(two) > 1 or any(len(s) > 2 for s in found) or (not two and len(one) > 1):
            raise Unrecordable(f"a pass over arrays of {sorted(found)}")
        if two:
            (shape,) = two
            if any(s[0] not in (shape[0], shape[0] * shape[1]) for s in one):
                raise Unrecordable(f"a pass over arrays of {sorted(found)}")
            return shape
        return next(iter(one), (1,))

    @property
    def layout(self) -> Literal["rows", "columns", "flat"]:
        """Whether a row is looked at as a whole, columns are summed, or neither."""
        small = [n for n in self.nodes if n.op == "reduce" or (n.op in ("ufunc", "finish") and len(axes(n.shape)) < 2)]
        sums = {n.info[1] for n in self.nodes if n.op == "partial"}
        if len(self.shape) == 2 and (small or sums == {"first", "all"}):
            return "rows"
        return "columns" if "first" in sums else "flat"


def users_of(nodes: Sequence[Node]) -> dict[int, list[Node]]:
    """Return for each node, and for the array a view looks at, what uses it."""
    users: dict[int, list[Node]] = defaultdict(list)
    for node in nodes:
        for given in node.inputs:
            users[given.number].append(node)
            if given.op == "view":
                users[given.base.number].append(node)
    return users


def joins(given: Node, node: Node) -> bool:
    """Say whether `node` takes the numbers of `given`, or of the array it is a view of, from registers."""
    made = given.base
    if not (elementwise(made) or made.op in ("reduce", "finish")) or given.offset:
        return False
    source, domain = axes(made.shape), axes(node.shape)
    if node.op == "partial":
        return in_order(given) and given.size == made.size and made.op != "finish"
    if node.op == "reduce":
        return len(source) == 2 and elementwise(made) and in_order(given)
    if not elementwise(node):
        return False
    if source == domain and (not source or access(given, node.shape) == FULL):
        return True
    return len(domain) == 2 and len(source) == 1 and source[0] == domain[0] and access(given, node.shape) == COLUMN


def groups(step: RecordedStep, nodes: Sequence[Node]) -> list[Group]:
    """Cut the nodes of a lowered step, given in the order they were made, into groups; the tail comes last."""
    tail = _tail(step, nodes)
    level = _levels(nodes, tail)
    home: dict[int, Group] = {}
    last = Group("tail")
    for node in nodes:
        if node.op in ("input", "constant", "view"):
            continue
        if node.number in tail:
            group = last
        elif node.op in ("matmul", "concat"):
            group = Group("matmul" if node.op == "matmul" else "concat")
        else:
            _require_cuda(node)
            near = [i for i in node.inputs if joins(i, node) and level[i.base.number] == level[node.number]]
            made = [home[i.base.number] for i in near if i.base.number in home]
            group = merged([g for g in made if g.kind == "pass"], home) or Group()
        group.nodes.append(node)
        home[node.number] = group
    last.loaded = [node for node in step.reports.values() if node.number not in tail]
    return [*(group for group in dict.fromkeys(home.values()) if group is not last), last]


def _require_cuda(node: Node) -> None:
    if node.op == "ufunc" and not elementwise(node):
        raise Unrecordable(f"np.{node.info} of {node.inputs[0].dtype} in CUDA")
    if not typed(node):
        raise Unrecordable(f"{node.dtype} in CUDA")


def _tail(step: RecordedStep, nodes: Sequence[Node]) -> set[int]:
    """Return the numbers that only reports are made of: one warp works them out, last of all."""
    users = users_of(nodes)
    reports = {node.number for node in step.reports.values()}
    changed = {node.number for node in step.changed.values()}
    tail: set[int] = set()
    for node in reversed(nodes):
        single = node.size == 1 and (elementwise(node) or node.op == "finish") and node.number not in changed
        wanted = users[node.number] or node.number in reports
        if single and wanted and all(user.number in tail for user in users[node.number]):
            tail.add(node.number)
    return tail


def _levels(nodes: Sequence[Node], tail: set[int]) -> dict[int, int]:
    level = {node.number: 0 for node in nodes}
    for node in reversed(nodes):
        for given in node.inputs:
            free = node.op == "view" or (joins(given, node) and node.number not in tail)
            level[given.number] = min(level[given.number], level[node.number] - (0 if free else 1))
    # counted back, what only sums need would come late, and its operands be read again: it is made where they are
    users = users_of(nodes)
    summed: set[int] = set()
    for node in reversed(nodes):
        middle = node.op in ("ufunc", "reduce", "view") and users[node.number]
        if node.op == "partial" or (middle and all(user.number in summed for user in users[node.number])):
            summed.add(node.number)
    for node in nodes:
        if node.number in summed and node.op != "view":
            made = [i for i in node.inputs if i.base.op not in ("input", "constant")]
            earliest = [level[i.base.number] + (not joins(i, node)) for i in made]
            level[node.number] = min(level[node.number], max(earliest, default=level[node.number]))
    return level
