"""The CPU as a target: what fused loops compute, and what is left to NumPy's own loops, so that NumPy's bits come out."""

from __future__ import annotations

from collections.abc import Sequence

from bpengine_steps.ir import FusionGroup, RecordedStep, StepGraph, StepNode
from bpengine_steps.lowering import product_of_one_term

from bpengine_numpy.llvm_target.expressions import template


class LlvmTarget:
    """See `bpengine_steps.target.Target`. Calls run one after another, each on all threads that there are."""

    two_stage_sums = False
    resident = False
    reuses_operands = True
    alignment = 64  # bytes: a cache line, and the widest vector
    queues = 1

    def lower(self, graph: StepGraph, node: StepNode, inputs: Sequence[StepNode]) -> StepNode | None:
        """Give NumPy's loops operands that lie in one piece; do products of one term each in a pass."""
        if node.op == "matmul" and len(node.shape) == 2 and inputs[0].shape[1] == 1:
            return product_of_one_term(graph, *inputs)
        if node.op == "ufunc" and not self.elementwise(node):
            whole = [_whole(graph, operand, node.shape) for operand in inputs]
            return graph.add("ufunc", whole, node.shape, node.dtype, node.info)
        return None

    def finished(self, step: RecordedStep) -> RecordedStep:
        """Change nothing more."""
        return step

    def require(self, node: StepNode) -> None:
        """Refuse nothing: what NumPy has no loop for is found when the loop is looked up."""

    def sum_lines(self, rows: int, width: int) -> int:
        """Return 1: sums have one stage."""
        return 1

    def elementwise(self, node: StepNode) -> bool:
        """Say whether fused loops compute the node: algebra that IEEE arithmetic rounds exactly."""
        return node.op == "ufunc" and template(node.info, node.dtype, tuple(n.dtype for n in node.inputs)) is not None

    def fuses(self, node: StepNode) -> bool:
        """Say whether the node is computed in a fused loop."""
        return self.elementwise(node) or self.fuses_sum(node)

    def fuses_sum(self, node: StepNode) -> bool:
        """Say whether the node is a sum over the first of two axes: NumPy adds it row after row, as a loop does."""
        return node.op == "reduce" and node.info == ("add", "first")

    def follows(self, node: StepNode) -> bool:
        """Say no: nothing is stored in two forms."""
        return False

    def joins(self, operand: StepNode, node: StepNode) -> bool:
        """Say whether `node` can take the elements of `operand` one by one, as they are computed."""
        if not self.elementwise(operand):
            return False
        return self.fuses_sum(node) or (self.elementwise(node) and node.shape == operand.shape)

    def at_end(self, node: StepNode) -> bool:
        """Say no: reports are read from memory."""
        return False

    def early(self, group: FusionGroup) -> bool:
        """Say no: a call is as good later."""
        return False

    def shares(self, groups: Sequence[FusionGroup]) -> bool:
        """Say no: a call has all threads for itself."""
        return False

    def writes_over(self, group: FusionGroup, new: StepNode) -> bool:
        """Say yes: a loop that does not read the old state, or reads it element by element, can write over it."""
        return True


def _whole(graph: StepGraph, node: StepNode, shape: tuple[int, ...]) -> StepNode:
    """Return an operand of NumPy's loop: in C order, of the result's shape, or one number for all elements."""
    if node.size == 1 or (node.op == "constant" and node.shape == shape):
        return node
    return graph.copied(node, shape)
