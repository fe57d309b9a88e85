"""Extrapolated central differences of a function of one number, with an estimate of their error.

Used only for custom code that has no complex step. Central differences over steps h, h/2, h/4 ... have errors
in even powers of h, which Neville's scheme removes one after the other. The entry of its table that differs least from its
neighbours is returned, with that difference as its error estimate.
Source: Ridders, "Accurate computation of F'(x) and F'(x) F''(x)", Advances in Engineering Software 4, 1982.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from bpengine.backend import HostArray

FIRST, RUNGS = 2.0**-4, 16  # the largest step, halved 15 times: down to 2e-6
EPS = float(np.finfo(np.float64).eps)


def extrapolated(function: Callable[[float], HostArray]) -> tuple[HostArray, float]:
    """Return the derivative of a function of t at t = 0, and its estimated error, absolute, of the largest element.

    The function must vary on the scale of t = 1.
    """
    best, error = function(0.0) * np.nan, np.inf
    previous: list[HostArray] = []
    for rung in range(RUNGS):
        h = FIRST / 2.0**rung
        ahead, behind = function(h), function(-h)
        noise = EPS * max(_largest(ahead), _largest(behind)) / h
        row = [(ahead - behind) / (2.0 * h)]
        for k, earlier in enumerate(previous):
            # Halving h divides the error term in h^(2k+2) by 4^(k+1); the difference of two rows cancels it.
            factor = 4.0 ** (k + 1)
            row.append((factor * row[k] - earlier) / (factor - 1.0))
            # The estimate is the distance to both neighbours in the table, plus the rounding of a difference over h.
            estimate = max(_largest(row[k + 1] - row[k]), _largest(row[k + 1] - earlier)) + noise
            if estimate < error:
                best, error = row[k + 1], estimate
        previous = row
    return best, error


def _largest(values: HostArray) -> float:
    return float(np.max(np.abs(values), initial=0.0))
