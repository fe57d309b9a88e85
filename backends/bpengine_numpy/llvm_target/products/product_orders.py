"""The order in which NumPy's BLAS sums a tiny product, determined by a test for each shape.

A library may sum in any order, and in another order for another shape. So code is generated only where one of the known
orders gave NumPy's bits in every trial; otherwise NumPy's loop is called. The result of the test is kept on disk, with the
fingerprint of NumPy, BLAS and processor.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import cache
from typing import Generic, NamedTuple, Protocol, TypeVar

import numpy as np
from bpengine_steps.ir import DType, HostArray, StepNode

from bpengine.system.quiet import Quiet
from bpengine_numpy.llvm_target.self_test.verdicts import is_kept, verdict

Term = TypeVar("Term")
# number of trial products of random numbers, including zeros of both signs: fewer where each has many terms
TRIALS, NUMBERS = 24, 512
_SHIFTS = 16  # start offsets of a factor: a library could depend on the alignment
MOST = 256  # terms, of all numbers together, of a product that is tested in exact arithmetic


class ProductForm(NamedTuple):
    """The properties that an order may depend on: dtype, sizes (rows, terms, columns), and the strides of both factors."""

    dtype: str
    sizes: tuple[int, int, int]
    left: tuple[int, int]
    right: tuple[int, int]

    @classmethod
    def of(cls, node: StepNode) -> ProductForm | None:
        """Return the form of a product, None for one too large to be tested, of another dtype or by a chosen library."""
        left, right = node.inputs
        if node.info is not None or len(node.shape) != 2 or node.dtype.kind != "f" or node.dtype.itemsize not in (4, 8):
            return None
        sizes = (left.shape[0], left.shape[1], right.shape[1])
        one = (left.strides[0], left.strides[1]), (right.strides[0], right.strides[1])
        few = np.prod(sizes) <= MOST or node.dtype.itemsize == 4  # products of float32 numbers are exact in float64
        return cls(node.dtype.str, sizes, *one) if few and all(sizes) else None


class Arithmetic(NamedTuple, Generic[Term]):
    """Operations on the terms of a product: numbers here, instructions in `step_text`."""

    multiply: Callable[[Term, Term], Term]
    add: Callable[[Term, Term], Term]
    fused: Callable[[Term, Term, Term], Term]  # a * b + c, rounded once


class Order(Protocol):
    """One order of summing the products of terms."""

    def __call__(self, arithmetic: Arithmetic[Term], a: Sequence[Term], b: Sequence[Term], zero: Term) -> Term:
        """Return the sum of a[k] * b[k]."""


def _chain(arithmetic: Arithmetic[Term], a: Sequence[Term], b: Sequence[Term], zero: Term) -> Term:
    """Add one term after another to 0 by fused multiply-add."""
    total = zero
    for x, y in zip(a, b, strict=True):
        total = arithmetic.fused(x, y, total)
    return total


def _plain(arithmetic: Arithmetic[Term], a: Sequence[Term], b: Sequence[Term], zero: Term) -> Term:
    """Add rounded terms one after another to 0."""
    total = zero
    for x, y in zip(a, b, strict=True):
        total = arithmetic.add(total, arithmetic.multiply(x, y))
    return total


def _fours(arithmetic: Arithmetic[Term], a: Sequence[Term], b: Sequence[Term], zero: Term) -> Term:
    """Add four terms at a time, in two pairs; the remaining terms in a pair and one by one."""
    total, k = zero, 0

    def pair(at: int) -> Term:
        return arithmetic.fused(a[at], b[at], arithmetic.multiply(a[at + 1], b[at + 1]))

    while k + 4 <= len(a):
        total, k = arithmetic.add(total, arithmetic.add(pair(k), pair(k + 2))), k + 4
    if k + 2 <= len(a):
        total, k = arithmetic.add(total, pair(k)), k + 2
    return total if k == len(a) else arithmetic.fused(a[k], b[k], total)


ORDERS: dict[str, Order] = {"chain": _chain, "plain": _plain, "fours": _fours}


def is_known(form: ProductForm) -> bool:
    """Tell whether a product was tested on this machine."""
    return is_kept(_subject(form))


@cache
def order_of(form: ProductForm) -> str:
    """Return the name of the order that gives NumPy's bits, "" where none does."""
    return verdict(_subject(form), ("", *ORDERS), lambda: tested(form))


def _subject(form: ProductForm) -> str:
    return f"product {json.dumps(form)}"


def tested(form: ProductForm) -> str:
    """Return the name of the first order whose products have NumPy's bits, "" where there is none."""
    draw = np.random.default_rng(form.sizes)
    count = min(TRIALS, max(2, NUMBERS // (form.sizes[0] * form.sizes[2])))
    trials = [_factors(form, draw) for _ in range(count)]
    with Quiet():
        expected = [np.matmul(a, b).tobytes() for a, b in trials]
        for name in ORDERS:
            if all(_product(name, a, b).tobytes() == bits for (a, b), bits in zip(trials, expected, strict=True)):
                return name
    return ""


def _factors(form: ProductForm, draw: np.random.Generator) -> tuple[HostArray, HostArray]:
    (rows, terms, columns), dtype = form.sizes, np.dtype(form.dtype)
    return _factor((rows, terms), form.left, dtype, draw), _factor((terms, columns), form.right, dtype, draw)


def _factor(shape: tuple[int, int], strides: tuple[int, int], dtype: DType, draw: np.random.Generator) -> HostArray:
    """Return random numbers of very different sizes with the memory layout of a factor."""
    room = sum((n - 1) * abs(step) for n, step in zip(shape, strides, strict=True)) + 1
    room += _SHIFTS
    memory = (draw.normal(size=room) * 2.0 ** draw.integers(-6, 7, room)).astype(dtype)
    memory[draw.random(room) < 0.1] *= 0.0
    memory, item = memory[int(draw.integers(_SHIFTS)) :], memory.itemsize
    return np.lib.stride_tricks.as_strided(memory, shape, [step * item for step in strides])


def _product(name: str, a: HostArray, b: HostArray) -> HostArray:
    """Return a product in one of the orders, all of its numbers at once."""
    zero = np.zeros((len(a), b.shape[1]), a.dtype)
    left, right = [column[:, None] for column in a.T], [row[None, :] for row in b]
    return ORDERS[name](_NUMBERS[a.dtype.itemsize], left, right, zero)


def _fused4(a: HostArray, b: HostArray, c: HostArray) -> HostArray:
    return (a.astype(np.float64) * b.astype(np.float64) + c.astype(np.float64)).astype(np.float32)


def _fused8(a: HostArray, b: HostArray, c: HostArray) -> HostArray:
    def one(x: float, y: float, z: float) -> float:
        exact = Fraction(x) * Fraction(y) + Fraction(z)
        return float(exact) if exact else x * y + z

    total: HostArray = np.vectorize(one, otypes=[np.float64])(a, b, c)
    return total


_NUMBERS: dict[int, Arithmetic[HostArray]] = {
    4: Arithmetic(lambda a, b: a * b, lambda a, b: a + b, _fused4),
    8: Arithmetic(lambda a, b: a * b, lambda a, b: a + b, _fused8),
}
