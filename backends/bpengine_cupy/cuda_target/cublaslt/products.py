"""Matrix products in cuBLASLt's terms.

A row-major D = A B is the column-major transposed D' = B' A': cuBLASLt's A is our right operand, its B the left one.
"""

from __future__ import annotations

from dataclasses import dataclass

from bpengine_steps.ir import StepNode, Untraceable
from bpengine_steps.memory_plan import MemoryPlan

from bpengine_cupy.cuda_target.bfloat16 import BITS


@dataclass(frozen=True)
class Operand:
    """A column-major matrix: its place in bytes, whether it is read transposed, and the distance between its columns."""

    place: int
    transposed: bool
    leading: int


@dataclass(frozen=True, kw_only=True)
class MatrixProduct:
    """D (m, n) = A (m, k) B (k, n), column-major; `dtype` is "f4" or "f8". `rounded`: A and B are bfloat16."""

    m: int
    n: int
    k: int
    a: Operand
    b: Operand
    d: int
    dtype: str
    rounded: bool = False


def product_of(node: StepNode, memory: MemoryPlan) -> MatrixProduct:
    """Return a recorded product in cuBLASLt's terms; raise Untraceable for operands that it cannot read."""
    left, right = node.inputs
    (rows, inner), columns = left.shape, right.shape[1]
    if node.dtype.str[1:] not in ("f4", "f8"):
        raise Untraceable(f"a product of {node.dtype} in CUDA")
    a, b = _operand(right, memory), _operand(left, memory)
    return MatrixProduct(
        m=columns, n=rows, k=inner, a=a, b=b, d=memory.at(node), dtype=node.dtype.str[1:], rounded=left.dtype == BITS
    )


def _operand(node: StepNode, memory: MemoryPlan) -> Operand:
    (rows, columns), (down, along) = node.shape, node.strides
    if (rows > 1 and down < 1) or (columns > 1 and along < 1):
        raise Untraceable("a product of an array that repeats its elements or runs backwards")
    if along == 1 or columns == 1:
        return Operand(memory.at(node), False, max(down, columns))
    if down == 1 or rows == 1:
        return Operand(memory.at(node), True, max(along, rows))
    raise Untraceable("a product of an array whose elements are apart both ways")
