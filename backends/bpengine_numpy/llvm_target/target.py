"""The CPU as a target: what fused loops compute, and what is left to NumPy's own loops, so that results have NumPy's bits."""

from __future__ import annotations

from collections.abc import Sequence

from bpengine_steps.access import COLUMN, FULL, access
from bpengine_steps.ir import FusionGroup, RecordedStep, StepGraph, StepNode, axes, in_order
from bpengine_steps.lowering import product_of_one_term

from bpengine_numpy.llvm_target.expressions import template
from bpengine_numpy.llvm_target.rows.row_width import RowWidths, takes_row


class LlvmTarget:
    """See `bpengine_steps.target.Target`. Calls run one after another, each on all threads."""

    two_stage_sums = False
    resident = False
    reuses_operands = True
    alignment = 64  # bytes: a cache line, and the widest vector
    queues = 1

    def __init__(self) -> None:
        self._widths = RowWidths()

    def lower(self, graph: StepGraph, node: StepNode, inputs: Sequence[StepNode]) -> StepNode | None:
        """Give NumPy's loops contiguous operands; compute products of one term in a pass."""
        if node.op == "matmul" and node.info is None and len(node.shape) == 2 and inputs[0].shape[1] == 1:
            return product_of_one_term(graph, *inputs)
        if node.op == "ufunc" and not self.elementwise(node):
            whole = [_whole(graph, operand, node.shape) for operand in inputs]
            return graph.add("ufunc", whole, node.shape, node.dtype, node.info)
        return None

    def finished(self, step: RecordedStep) -> RecordedStep:
        """Change nothing."""
        return step

    def require(self, node: StepNode) -> None:
        """Refuse nothing: an operation without a loop in NumPy is detected when the loop is looked up."""

    def sum_lines(self, rows: int, width: int) -> int:
        """Return 1: sums have one stage."""
        return 1

    def elementwise(self, node: StepNode) -> bool:
        """Tell whether fused loops compute the node: algebra that IEEE arithmetic rounds exactly."""
        return node.op == "ufunc" and template(node.info, node.dtype, tuple(n.dtype for n in node.inputs)) is not None

    def fuses(self, node: StepNode) -> bool:
        """Tell whether the node is computed in a fused loop."""
        return self.elementwise(node) or self.fuses_sum(node)

    def fuses_sum(self, node: StepNode) -> bool:
        """Tell whether the node is a sum over the first of two axes, or reduces short rows.

        NumPy sums over the first axis row after row, as a loop does.
        """
        return _adds_rows(node) or takes_row(node)

    def follows(self, node: StepNode) -> bool:
        """Return False: nothing is stored in two forms."""
        return False

    def joins(self, operand: StepNode, node: StepNode) -> bool:
        """Tell whether `node` can use the elements of `operand` as they are computed, or the numbers of their rows."""
        if _adds_rows(node):
            return self.elementwise(operand)
        producer = operand.base
        if takes_row(node):
            return self.elementwise(producer) and len(axes(producer.shape)) == 2 and _same(operand)
        if not self.elementwise(node):
            return False
        return self._of_element(operand, node) or self._of_row(operand, node)

    def _of_element(self, operand: StepNode, node: StepNode) -> bool:
        alike = self.elementwise(operand) and node.shape == operand.shape
        return alike and self._widths.of(operand) == self._widths.of(node)

    def _of_row(self, operand: StepNode, node: StepNode) -> bool:
        """Tell whether `operand` is a number per row of the rows of `node`.

        All nodes of a pass have rows of one length, so a number per row that fits rows of two lengths joins only one of them.
        """
        producer, rows = operand.base, axes(operand.base.shape)
        if not (self.elementwise(producer) or takes_row(producer)) or len(rows) != 1 or operand.offset:
            return False
        width = self._widths.of(producer)
        if width is None or width != self._widths.of(node):
            return False
        pattern = access(operand, node.shape)
        return pattern == FULL if axes(node.shape) == rows else pattern == COLUMN

    def at_end(self, node: StepNode) -> bool:
        """Return False: reports are read from memory."""
        return False

    def early(self, group: FusionGroup) -> bool:
        """Return False: a call gains nothing by running early."""
        return False

    def shares(self, groups: Sequence[FusionGroup]) -> bool:
        """Return False: a call uses all threads."""
        return False

    def writes_over(self, group: FusionGroup, new: StepNode) -> bool:
        """Return True: a loop that does not read the old state, or reads it element by element, can overwrite it."""
        return True


def _adds_rows(node: StepNode) -> bool:
    return node.op == "reduce" and node.info == ("add", "first")


def _same(operand: StepNode) -> bool:
    """Tell whether an operand is its whole array, in its order."""
    return not operand.offset and operand.size == operand.base.size and in_order(operand)


def _whole(graph: StepGraph, node: StepNode, shape: tuple[int, ...]) -> StepNode:
    """Return an operand for NumPy's loop: in C order with the result's shape, or one number for all elements."""
    if node.size == 1 or (node.op == "constant" and node.shape == shape):
        return node
    return graph.copied(node, shape)
