"""PathSums: how many paths lead from one weight to each element of an array, and the sum of their products."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from bpengine.backend import HostArray
from bpengine.kernels._kernel import LocalDerivative


@dataclass(frozen=True)
class PathSums:
    """The paths from a weight to every element of an array (rows, units).

    total: the sum over all paths, which is the element's derivative with respect to the weight; magnitude: the sum of their
    absolute values; count: their number.
    """

    total: HostArray
    magnitude: HostArray
    count: HostArray

    def __add__(self, other: PathSums) -> PathSums:
        return PathSums(self.total + other.total, self.magnitude + other.magnitude, self.count + other.count)

    def through(self, slopes: Sequence[LocalDerivative]) -> PathSums:
        """Return the sums for the output of a kernel call, over all of its routes."""
        steps = [
            PathSums(_sent(self.total, s, _same), _sent(self.magnitude, s, np.abs), _sent(self.count, s, _nonzero))
            for s in slopes
        ]
        return sum(steps[1:], steps[0])


def start(inputs: HostArray, rows: Sequence[int], unit: int, shape: tuple[int, ...]) -> PathSums:
    """Return the sums for the first call's output: in each row the weight's unit, whose derivative is the weight's input."""
    total = np.zeros(shape)
    total[rows, unit] = inputs[rows]
    return PathSums(total, np.abs(total), _nonzero(total))


def _sent(values: HostArray, s: LocalDerivative, of: Callable[[HostArray], HostArray]) -> HostArray:
    """Send values (rows, inputs) forward through slopes, or through a function of them."""
    if s.kind == "units":
        return np.asarray(values @ of(s.p))
    if s.q is None:
        return np.asarray(values * of(s.p))
    # dy/dx = p q^T along a row or a column: an outer product, so sum first and spread afterwards.
    axis = 1 if s.kind == "row" else 0
    return np.asarray(np.sum(values * of(s.p), axis=axis, keepdims=True) * of(s.q))


def _same(a: HostArray) -> HostArray:
    return a


def _nonzero(a: HostArray) -> HostArray:
    return np.asarray(a != 0, dtype=float)
