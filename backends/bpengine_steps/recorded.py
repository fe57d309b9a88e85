"""A step recorded: its inputs, what it makes of the state, and what it reports, as nodes of one graph."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bpengine_steps.ir import Graph, Inline, Node, Unrecordable
from bpengine_steps.signature import Path, Signature, Tree, leaves, rebuilt
from bpengine_steps.tracing import Recorded, as_node, contiguous_to


@dataclass(frozen=True, eq=False)
class RecordedStep:
    """The nodes of a step: `inputs` is the state it is given by path, `rows` and `rate` what each step sees anew.

    `changed` is the new state where it differs from the old; `reports` the numbers that are read after each step. All
    outputs lie in C order.
    """

    graph: Graph
    inputs: dict[Path, Node]
    rows: tuple[Node, ...]
    rate: Node
    changed: dict[Path, Node]
    reports: dict[str, Node]

    @property
    def outputs(self) -> list[Node]:
        """The nodes that the step is run for."""
        return [*self.changed.values(), *self.reports.values()]


def record(step: Callable[..., Any], state: Tree, signature: Signature, inline: Inline) -> RecordedStep:
    """Run the step once on arrays that note what is done to them.

    Raises Unrecordable when the step does something that has no node, or changes the form of its state.
    """
    graph = Graph(inline)
    inputs = {p: graph.add("input", (), s, d, ("state", p)) for p, s, d in signature.state}
    rows = tuple(graph.add("input", (), s, d, ("rows", k)) for k, (s, d) in enumerate(signature.rows))
    rate = graph.add("input", (), (1,), signature.dtype, ("rate",))
    recorded = rebuilt(state, {p: Recorded(graph, node) for p, node in inputs.items()})
    after, report = step(recorded, tuple(Recorded(graph, n) for n in rows), Recorded(graph, rate))
    outputs = {p: _in_order(graph, leaf) for p, leaf in leaves(after)}
    if outputs.keys() != inputs.keys():
        raise Unrecordable("a step that changes the form of its state")
    changed = {p: node for p, node in outputs.items() if node is not inputs[p]}
    reports = {name: _in_order(graph, value) for name, value in report.items()}
    return RecordedStep(graph, inputs, rows, rate, changed, reports)


def _in_order(graph: Graph, leaf: Any) -> Node:
    """Return the node of an output, in C order."""
    node = as_node(graph, leaf)
    return contiguous_to(graph, node, node.shape)
