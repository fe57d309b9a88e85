"""An NVIDIA GPU as a target: what a pass computes, in blocks that run at the same time."""

from __future__ import annotations

from collections.abc import Sequence

from bpengine_steps.access import COLUMN, FULL, access
from bpengine_steps.ir import FusionGroup, RecordedStep, StepGraph, StepNode, Untraceable, axes, in_order, summed_shape
from bpengine_steps.lowering import product_of_one_term

from bpengine_cupy.cuda_target.bfloat16 import ROUND, with_rounded_operands
from bpengine_cupy.cuda_target.epilogues import with_epilogues
from bpengine_cupy.cuda_target.expressions import elementwise, typed
from bpengine_cupy.cuda_target.pass_form import flat_call, form
from bpengine_cupy.cuda_target.single_numbers import is_single

LINES = 264  # the most lines of partial results: two blocks for each multiprocessor of a Hopper GPU
SHORT = 64  # the most terms of a product that a pass computes
FEW = 2**19  # the most multiplications of it: with more, cuBLASLt's product and its launch take less time
WIDE = 256  # from this width on a row needs a block of threads


class CudaTarget:
    """See `bpengine_steps.target.Target`. Each stage is a launch, or a product; products may use a second stream."""

    two_stage_sums = True
    resident = True
    reuses_operands = False  # passes of a launch run at the same time
    alignment = 256  # bytes: cuBLASLt's default requirement
    queues = 2

    def __init__(self, precision: str = "float32", *, epilogues: bool = False, dots: bool = False) -> None:
        # the dtype that products read; in the other precisions cuBLASLt rounds, if at all
        self._rounds = precision == "bfloat16"
        self._epilogues = epilogues
        # short products inside of passes, true float32 in tf32 as well; in bfloat16 operands are stored rounded in any case
        self._dots = dots and not epilogues and not self._rounds

    def lower(self, graph: StepGraph, node: StepNode, inputs: Sequence[StepNode]) -> StepNode | None:
        """Compute products of one term, and short ones, in a pass, which saves a launch."""
        if node.op == "matmul" and len(node.shape) == 2 and inputs[0].shape[1] == 1:
            return product_of_one_term(graph, *inputs)
        if self._dots and _is_short(node, inputs):
            return graph.add("dot", inputs, node.shape, node.dtype)
        if node.op == "plus":  # a pass can add many shards at once
            return graph.add("ufunc", inputs, node.shape, node.dtype, "add")
        return None

    def finished(self, step: RecordedStep) -> RecordedStep:
        """In bfloat16, make products read copies of their operands; otherwise use epilogues if they are enabled."""
        if self._rounds:
            return with_rounded_operands(step)
        return with_epilogues(step) if self._epilogues else step

    def require(self, node: StepNode) -> None:
        """Refuse operations and dtypes that have no CUDA C, and arrays in blocks."""
        if (node.op == "reduce" and node.info[1] == "middle") or (node.op == "matmul" and len(node.shape) > 2):
            raise Untraceable(f"a {node.op} of {node.inputs[0].shape} in blocks")
        if not self.fuses(node):
            return
        if node.op == "ufunc" and not elementwise(node):
            raise Untraceable(f"np.{node.info} of {node.inputs[0].dtype} in CUDA")
        if not typed(node):
            raise Untraceable(f"{node.dtype} in CUDA")
        domain = axes(node.shape) if node.op in ("ufunc", "finish", "dot") else summed_shape(node.inputs[0])
        if len(domain) > 2:
            raise Untraceable(f"a pass over arrays of {[domain]}")

    def sum_lines(self, rows: int, width: int) -> int:
        """Return the lines of partial results: blocks of at least 8 rows, or 2 where a row takes a whole block."""
        return max(1, min(-(-rows // (2 if width > WIDE else 8)), LINES))

    def elementwise(self, node: StepNode) -> bool:
        """Tell whether the node is computed element by element inside of a pass."""
        return elementwise(node)

    def fuses(self, node: StepNode) -> bool:
        """Return True for all but products of cuBLASLt's and concatenations."""
        return node.op in ("ufunc", "reduce", "partial", "finish", "dot")

    def fuses_sum(self, node: StepNode) -> bool:
        """Tell whether the node is the first stage of a sum over rows."""
        return node.op == "partial"

    def follows(self, node: StepNode) -> bool:
        """Tell whether the node is a product's operand in bfloat16, which is stored by the pass that computes it."""
        return node.op == "ufunc" and node.info == ROUND

    def joins(self, operand: StepNode, node: StepNode) -> bool:
        """Tell whether `node` reads the numbers of `operand`, or of the array it is a view of, from registers.

        Numbers per row join the rows that they are computed from or used in; so does a reduction over the row.
        """
        producer = operand.base
        by_element = elementwise(producer) or producer.op == "dot"
        if not (by_element or producer.op in ("reduce", "finish")) or operand.offset:
            return False
        source, domain = axes(producer.shape), axes(node.shape)
        if node.op == "partial":
            return in_order(operand) and operand.size == producer.size and producer.op != "finish"
        if node.op == "reduce":
            return len(source) == 2 and by_element and in_order(operand)
        if not elementwise(node):
            return False
        if source == domain and (not source or access(operand, node.shape) == FULL):
            return True
        of_rows = len(domain) == 2 and len(source) == 1 and source[0] == domain[0]
        return of_rows and access(operand, node.shape) == COLUMN

    def at_end(self, node: StepNode) -> bool:
        """Tell whether one warp computes this single number in the last launch."""
        return node.size == 1 and (elementwise(node) or node.op == "finish")

    def early(self, group: FusionGroup) -> bool:
        """Tell whether a pass can run in the head: each of its threads computes the single numbers that it needs itself."""
        if form(group) != "flat" or not all(map(_early, group.nodes)):
            return False
        return all(n.base.op in ("input", "constant") or is_single(n) for n in group.reads)

    def shares(self, groups: Sequence[FusionGroup]) -> bool:
        """Tell whether these groups may be one launch, which only flat ones may."""
        return flat_call(groups)

    def writes_over(self, group: FusionGroup, new: StepNode) -> bool:
        """Tell whether no other thread reads what a thread writes: false for products, and for numbers per row."""
        return group.kind == "pass" and not (form(group) == "rows" and len(axes(new.shape)) < 2)


def _is_short(node: StepNode, inputs: Sequence[StepNode]) -> bool:
    """Tell whether a product has so few terms and elements that a pass computes it in less time than a launch takes."""
    if node.op != "matmul" or len(node.shape) != 2 or node.size == 1 or any(i.base.uniform is not None for i in inputs):
        return False
    terms = inputs[0].shape[1]
    return 0 < terms <= SHORT and node.size * terms <= FEW


def _early(node: StepNode) -> bool:
    """Tell whether a number depends only on the counter, the rate and constants, and not on the step's rows."""
    if node.op == "input":
        return bool(node.info == ("rate",) or node.info[1] == ("counter",))
    return node.op == "constant" or ((elementwise(node) or node.op == "view") and all(map(_early, node.inputs)))
