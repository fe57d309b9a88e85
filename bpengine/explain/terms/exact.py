"""Exact sums, rounded once: a difference from the engine's sum then shows the engine's rounding alone."""

from __future__ import annotations

import math

import numpy as np

from bpengine.backend import HostArray


def exact_sum(values: HostArray) -> float:
    """Return the sum with a single rounding; nan where there is one, or infinities that cancel."""
    try:
        return math.fsum(values)
    except (ValueError, OverflowError):
        with np.errstate(all="ignore"):
            return float(np.sum(values))


def exact_sums(terms: HostArray) -> HostArray:
    """Return the sums of the rows of terms (R, n), n at least 1, as if added up in twice the precision and rounded once.

    Halves are added until one column is left; what each addition rounds away is known exactly and added up beside them.
    Source: Ogita, Rump, Oishi, "Accurate sum and dot product", SIAM Journal on Scientific Computing 26, 2005.
    """
    total, lost = terms, np.zeros(len(terms))
    with np.errstate(all="ignore"):
        while (n := total.shape[1]) > 1:
            if n % 2:
                total = np.hstack([total, np.zeros((len(total), 1))])
            a, b = np.hsplit(total, 2)
            total = a + b
            back = total - a
            lost += np.sum((a - (total - back)) + (b - back), axis=1)
        finite = np.isfinite(total[:, 0])
        return np.where(finite, total[:, 0] + np.where(finite, lost, 0.0), np.sum(terms, axis=1))
