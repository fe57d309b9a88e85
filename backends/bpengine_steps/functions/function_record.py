"""A function recorded as a step whose state is its arguments and its results: it runs once, and only results change."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bpengine_steps.ir import Path, RecordedStep, StepGraph, StepNode, Untraceable
from bpengine_steps.signature import Tree
from bpengine_steps.tracing import TracedArray, copied_apart

RESULT = "result"  # the first word of the paths of results


@dataclass(frozen=True)
class RecordedFunction:
    """A function as a step, and its results as a tree of numbers of the step's changed arrays."""

    step: RecordedStep
    form: Tree


def record_function(
    function: Callable[..., Tree], arguments: Tree, kind: type, dtype: str = "float32"
) -> RecordedFunction:
    """Run a function once on arrays that record the operations on them.

    arguments: (args, options), trees of arrays of `kind` and of other values, which become constants of the program. Raises
    Untraceable for an operation without a node, and where nothing is computed.
    """
    graph, inputs = StepGraph(), dict[Path, StepNode]()

    def traced(path: Path, leaf: object) -> object:
        if not isinstance(leaf, kind):
            return leaf
        array: Any = leaf
        inputs[path] = graph.add("input", (), tuple(array.shape), array.dtype, ("state", path))
        return TracedArray(graph, inputs[path])

    args, options = mapped(arguments, traced)
    rate = graph.add("input", (), (1,), dtype, ("rate",))
    changed: dict[Path, StepNode] = {}

    def numbered(path: Path, leaf: object) -> int:
        if not isinstance(leaf, TracedArray):
            raise Untraceable(f"a result that depends on no argument: {type(leaf).__name__}")
        node = copied_apart(graph, leaf)
        place = RESULT, len(changed)
        changed[place] = node
        return place[1]

    form = mapped(function(*args, **options), numbered)
    if not changed:
        raise Untraceable("a function without results")
    results = {p: graph.add("input", (), n.shape, n.dtype, ("state", p)) for p, n in changed.items()}
    halt = {"halt": graph.constant(False)}
    step = RecordedStep(inputs={**inputs, **results}, rows=(), rate=rate, changed=changed, reports=halt)
    return RecordedFunction(step, form)


def mapped(tree: Tree, function: Callable[[Path, Any], object], path: Path = ()) -> Tree:
    """Return a tree of the same form, named tuples included, with function(path, leaf) for each leaf; None stays None."""
    if tree is None:
        return None
    if isinstance(tree, Mapping):
        return {key: mapped(value, function, (*path, key)) for key, value in tree.items()}
    if isinstance(tree, (list, tuple)):
        parts: Sequence[Tree] = [mapped(value, function, (*path, key)) for key, value in enumerate(tree)]
        return type(tree)(*parts) if hasattr(tree, "_fields") else type(tree)(parts)
    return function(path, tree)
