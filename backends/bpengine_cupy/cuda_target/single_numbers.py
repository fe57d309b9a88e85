"""Single numbers that each thread of the head computes itself, from the step counter and the learning rate.

Some are elements of small arrays: the counter of a part of an accumulated batch is the step's counter, two words, plus the
number of the part, and the dropout masks of that part depend on both words. Such an array is computed element by element,
since nothing that the head stores can be read in the head.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from bpengine_steps.ir import StepNode
from bpengine_steps.memory_plan import MemoryPlan

from bpengine_cupy.cuda_target.expressions import c_type, elementwise, expression, literal


def is_single(node: StepNode) -> bool:
    """Tell whether a number depends on states, the rate and constants alone, through operations on elements."""
    return node.size == 1 and node.op != "constant" and _has_elements(node)


def _has_elements(node: StepNode) -> bool:
    """Tell whether one thread can compute any element of the node."""
    if node.op in ("input", "constant"):
        return True
    if node.op == "view":
        return node.size == 1 and _has_elements(node.base)
    return elementwise(node) and all(
        operand.size in (1, node.size) and len(operand.shape) < 2 and _has_elements(operand) for operand in node.inputs
    )


@dataclass
class SingleNumbers:
    """Writes declarations of single numbers to `lines`, each number once."""

    memory: MemoryPlan
    lines: list[str]
    _names: dict[tuple[int, int], str] = field(default_factory=dict)

    def name(self, node: StepNode, place: int = 0) -> str:
        """Return the name of the element at a place of a node, or a literal."""
        if node.op == "constant":
            return literal(node.info.reshape(-1)[place])
        if node.op == "view":
            return self.name(node.base, node.offset)
        known = self._names.get((node.number, place))
        if known is None:
            kind, known = c_type(node.dtype), f"e{node.number}" + f"_{place}" * (node.size > 1)
            value = self._read(node, place) if node.op == "input" else self._computed(node, place)
            self.lines.append(f"const {kind} {known} = {value};")
            self._names[node.number, place] = known
        return known

    def _read(self, node: StepNode, place: int) -> str:
        kind = c_type(node.dtype)
        if node.info == ("rate",):
            return f"live ? ((const {kind}*)run->lr)[step] : {kind}(0)"
        return f"AT(const {kind}, {self.memory.at(node)})[{place}]"

    def _computed(self, node: StepNode, place: int) -> str:
        return expression(node, [self.name(operand, place if operand.size > 1 else 0) for operand in node.inputs])
