"""ProductCall: the arguments of `cblas_sgemm` and `cblas_dgemm` for a product of two arrays as they lie in memory."""

from __future__ import annotations

from math import prod
from typing import NamedTuple

PLAIN, TRANSPOSED = 111, 112  # CBLAS's names of how a factor lies; all matrices are row-major
Axes = tuple[int, ...]  # sizes or strides


class ProductCall(NamedTuple):
    """sizes: rows, terms, columns of one product; left, right: how the factors lie; widths: between their lines, in elements.

    >>> ProductCall.of((2, 3), (3, 1), (3, 4), (4, 1))
    ProductCall(sizes=(2, 3, 4), left=111, right=111, widths=(3, 4))
    """

    sizes: tuple[int, int, int]
    left: int
    right: int
    widths: tuple[int, int]

    @classmethod
    def of(cls, left: Axes, left_strides: Axes, right: Axes, right_strides: Axes) -> ProductCall | None:
        """Return the call for factors (m, k) and (k, n), or blocks of such, by shape and strides in elements.

        None where BLAS takes no such product: other shapes, nothing to multiply, neither rows nor columns in one piece. So
        the answer for a product that is recorded is the one for the product that is computed.
        """
        if len(left) != len(right) or len(left) not in (2, 3) or left[:-2] != right[:-2] or left[-1] != right[-2]:
            return None
        if not prod(left) * prod(right):
            return None
        factors = [_lies(*left[-2:], *left_strides[-2:]), _lies(*right[-2:], *right_strides[-2:])]
        if factors[0] is None or factors[1] is None:
            return None
        (how_left, width_left), (how_right, width_right) = factors[0], factors[1]
        return cls((left[-2], left[-1], right[-1]), how_left, how_right, (width_left, width_right))

    @property
    def operations(self) -> int:
        """The multiplications of one product."""
        return prod(self.sizes)


def _lies(rows: int, columns: int, down: int, across: int) -> tuple[int, int] | None:
    """Return how a factor lies and the distance of its lines; strides along an axis of length 1 mean nothing."""
    if columns == 1:
        across = 1
    if rows == 1:
        down = columns if across == 1 else 1
    if across == 1 and down >= columns:
        return PLAIN, down
    if down == 1 and across >= rows:
        return TRANSPOSED, across
    return None
