"""Matrix products as arguments of cuBLASLt.

A row-major D = A B is the column-major transpose D' = B' A': cuBLASLt's A is our right operand, its B the left one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bpengine_steps.ir import StepNode, Untraceable
from bpengine_steps.memory_plan import MemoryPlan

from bpengine_cupy.cuda_target.bfloat16 import BITS
from bpengine_cupy.cuda_target.epilogues import BIAS_GRADIENT, MASK, mask_pitch


@dataclass(frozen=True)
class Operand:
    """A column-major matrix: its offset in bytes, whether it is read transposed, and the distance between its columns."""

    place: int
    transposed: bool
    leading: int


@dataclass(frozen=True, kw_only=True)
class Epilogue:
    """The epilogue of a product (see `epilogues`): the offsets of a bias or its gradient (m,), and of a mask.

    A column of the mask takes `pitch` bits.
    """

    name: str
    vector: int | None = None
    mask: int | None = None
    pitch: int = 0


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
    epilogue: Epilogue | None = None


def product_of(node: StepNode, memory: MemoryPlan, sides: Sequence[StepNode] = ()) -> MatrixProduct:
    """Return a recorded product as arguments of cuBLASLt; raise Untraceable for operands that it cannot read.

    sides: its second results.
    """
    left, right, *further = node.inputs
    (rows, inner), columns = left.shape, right.shape[1]
    if node.dtype.str[1:] not in ("f4", "f8"):
        raise Untraceable(f"a product of {node.dtype} in CUDA")
    a, b = _operand(right, memory), _operand(left, memory)
    return MatrixProduct(
        m=columns, n=rows, k=inner, a=a, b=b, d=memory.at(node), dtype=node.dtype.str[1:], rounded=left.dtype == BITS,
        epilogue=_epilogue(node, [*further, *sides], memory) if node.info else None,
    )  # fmt: skip


def _epilogue(node: StepNode, further: Sequence[StepNode], memory: MemoryPlan) -> Epilogue:
    """Return an epilogue with the offsets of the arrays that it reads or writes: a bias, its gradient, a mask."""
    places = {str(each.info) if each.op == "side" else "bias": memory.at(each) for each in further}
    vector = places.get("bias", places.get(BIAS_GRADIENT))
    pitch = mask_pitch(node.shape[1]) if MASK in places else 0
    return Epilogue(name=str(node.info), vector=vector, mask=places.get(MASK), pitch=pitch)


def _operand(node: StepNode, memory: MemoryPlan) -> Operand:
    (rows, columns), (down, along) = node.shape, node.strides
    if (rows > 1 and down < 1) or (columns > 1 and along < 1):
        raise Untraceable("a product of an array that repeats its elements or runs backwards")
    if along == 1 or columns == 1:
        return Operand(memory.at(node), False, max(down, columns))
    if down == 1 or rows == 1:
        return Operand(memory.at(node), True, max(along, rows))
    raise Untraceable("a product of an array whose elements are apart both ways")
