"""An NVIDIA GPU as a target: what a pass computes, in blocks that run at the same time."""

from __future__ import annotations

from collections.abc import Sequence

from bpengine_steps.access import COLUMN, FULL, access
from bpengine_steps.ir import FusionGroup, RecordedStep, StepGraph, StepNode, Untraceable, axes, in_order
from bpengine_steps.lowering import product_of_one_term

from bpengine_cupy.cuda_target.bfloat16 import ROUND, with_rounded_operands
from bpengine_cupy.cuda_target.epilogues import with_epilogues
from bpengine_cupy.cuda_target.expressions import elementwise, typed
from bpengine_cupy.cuda_target.pass_form import flat_call, form

LINES = 264  # lines of partial results at most: two blocks for each multiprocessor of a Hopper GPU
WIDE = 256  # from this width on a row takes a block of threads


class CudaTarget:
    """See `bpengine_steps.target.Target`. Each stage is a launch, or a product; products may use a second stream."""

    two_stage_sums = True
    resident = True
    reuses_operands = False  # a launch's passes run at the same time
    alignment = 256  # bytes: what cuBLASLt asks for by default
    queues = 2

    def __init__(self, precision: str = "float32", *, epilogues: bool = False) -> None:
        self._rounds = precision == "bfloat16"  # what products read; in the other precisions cuBLASLt rounds, if at all
        self._epilogues = epilogues

    def lower(self, graph: StepGraph, node: StepNode, inputs: Sequence[StepNode]) -> StepNode | None:
        """Do products of one term each in a pass: a launch less."""
        if node.op == "matmul" and len(node.shape) == 2 and inputs[0].shape[1] == 1:
            return product_of_one_term(graph, *inputs)
        if node.op == "plus":  # a pass has room for many shards
            return graph.add("ufunc", inputs, node.shape, node.dtype, "add")
        return None

    def finished(self, step: RecordedStep) -> RecordedStep:
        """In bfloat16, let products read copies of their operands; otherwise take epilogues, where they are wanted."""
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
        domain = axes((node if node.op in ("ufunc", "finish") else node.inputs[0].base).shape)
        if len(domain) > 2:
            raise Untraceable(f"a pass over arrays of {[domain]}")

    def sum_lines(self, rows: int, width: int) -> int:
        """Return the lines of partial results: blocks of at least 8 rows, or 2 where a row takes a whole block."""
        return max(1, min(-(-rows // (2 if width > WIDE else 8)), LINES))

    def elementwise(self, node: StepNode) -> bool:
        """Say whether the node is computed element by element inside of a pass."""
        return elementwise(node)

    def fuses(self, node: StepNode) -> bool:
        """Say that all but products and joinings are parts of a pass."""
        return node.op in ("ufunc", "reduce", "partial", "finish")

    def fuses_sum(self, node: StepNode) -> bool:
        """Say whether the node is the first stage of a sum over rows."""
        return node.op == "partial"

    def follows(self, node: StepNode) -> bool:
        """Say whether the node is a product's operand in bfloat16, which leaves the pass that makes it."""
        return node.op == "ufunc" and node.info == ROUND

    def joins(self, operand: StepNode, node: StepNode) -> bool:
        """Say whether `node` takes the numbers of `operand`, or of the array it is a view of, from registers.

        Numbers of a row join the rows that they come from or go to; so does a reduction over the row.
        """
        producer = operand.base
        if not (elementwise(producer) or producer.op in ("reduce", "finish")) or operand.offset:
            return False
        source, domain = axes(producer.shape), axes(node.shape)
        if node.op == "partial":
            return in_order(operand) and operand.size == producer.size and producer.op != "finish"
        if node.op == "reduce":
            return len(source) == 2 and elementwise(producer) and in_order(operand)
        if not elementwise(node):
            return False
        if source == domain and (not source or access(operand, node.shape) == FULL):
            return True
        of_rows = len(domain) == 2 and len(source) == 1 and source[0] == domain[0]
        return of_rows and access(operand, node.shape) == COLUMN

    def at_end(self, node: StepNode) -> bool:
        """Say whether one warp works out this single number in the last launch."""
        return node.size == 1 and (elementwise(node) or node.op == "finish")

    def early(self, group: FusionGroup) -> bool:
        """Say whether a pass can run in the head: each of its threads works out the single numbers it needs by itself."""
        if form(group) != "flat" or not all(map(_early, group.nodes)):
            return False
        return all(n.base.size == 1 or n.base.op in ("input", "constant") for n in group.reads)

    def shares(self, groups: Sequence[FusionGroup]) -> bool:
        """Say whether these groups may be one launch: flat ones, that is."""
        return flat_call(groups)

    def writes_over(self, group: FusionGroup, new: StepNode) -> bool:
        """Say whether a thread writes what no other reads: not a product, nor a number of a row, read by all its threads."""
        return group.kind == "pass" and not (form(group) == "rows" and len(axes(new.shape)) < 2)


def _early(node: StepNode) -> bool:
    """Say whether a number is known before the step's rows are: from the counter, the rate and constants alone."""
    if node.op == "input":
        return bool(node.info == ("rate",) or node.info[1] == ("counter",))
    return node.op == "constant" or ((elementwise(node) or node.op == "view") and all(map(_early, node.inputs)))
