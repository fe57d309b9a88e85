"""The perturbed point: every parameter and input moved by its own size, away from 0, 1 and equal numbers.

At the start of training biases are 0 and gains 1, so a backward that omits them gives the right gradient there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from bpengine.backend import HostArray
from bpengine.check.problems.problem import Problem, step_sizes
from bpengine.check.tolerance.stochastic_rounding import StochasticRoundingOps
from bpengine.kernels._kernel import Array
from bpengine.ops import Ops
from bpengine.streams import stream
from bpengine.system.quiet import Quiet

AMOUNTS = (1.0, 0.5, 0.25, 0.0625, 0.00390625)  # parts of an element's size, until the function is finite

WELL = 1e-12  # relative to the scalar: the largest rounding error at a point that counts as good
RUNS = 3  # runs with random rounding, which measure that error
EPS, FLOOR = float(np.finfo(np.float64).eps), float(np.finfo(np.float64).tiny)
INSIDE = 0.05  # a probability of 0 or 1 is moved to this distance before it is perturbed


def perturb(
    problems: Sequence[Problem], domains: Mapping[str, str], seed: int, dtype: str = "float64"
) -> tuple[Problem | None, str]:
    """Return the first problem that is finite at a perturbed point, at that point, and a note of how far it was moved.

    An element moves by half to twice its own size, or its array's usual size, which is 1 for zeros. Where the function is not
    finite there, or is mostly rounding error, as behind a saturated softmax, moves that keep every sign are tried, then
    smaller moves; of several bad points the one with the least rounding error is used. Arguments stay in their domains.
    The numbers are rounded to `dtype`. The problem is None where no point is finite, and the note says so.
    """
    tried, least = 0, np.inf
    best: tuple[Problem | None, str] = None, ""
    for problem in problems:
        # large moves with new signs come first, since they reveal most; each later way changes less
        for amount, keep_signs in _ways():
            rng = stream("check perturbed", seed, tried)
            arrays = {n: _moved(a, domains.get(n, "real"), amount, rng, keep_signs) for n, a in problem.at.items()}
            moved = replace(problem, at={n: a.astype(dtype).astype(np.float64) for n, a in arrays.items()})
            tried += 1
            # A point where the scalar is mostly rounding would widen every tolerance, so the cleanest point is
            # remembered.
            if (lost := _rounding(moved)) < least:
                least, best = lost, (moved, f"everything moved by {_size(amount)} its own size, seed {seed}")
            if least <= WELL:
                return best
    if best[0]:
        return best
    return None, f"none: the function is finite at none of {tried} points around, so the point given was checked alone"


def _ways() -> Iterator[tuple[float, bool]]:
    return ((amount, keep_signs) for amount in AMOUNTS for keep_signs in (False, True))


def _size(amount: float) -> str:
    return "half to twice" if amount == 1.0 else f"{amount / 2:.2g} to {2 * amount:.2g} of"


def _moved(array: HostArray, domain: str, amount: float, rng: np.random.Generator, keep_signs: bool) -> Array:
    """Return an array at the perturbed point, still in its domain: probabilities move on the scale of their logits."""
    # sometimes by more than its size, so that positive values become negative
    step = amount * rng.choice([-1.0, 1.0], array.shape) * rng.uniform(0.5, 2.0, array.shape)
    with Quiet():
        # A step on the logit keeps a probability inside (0, 1), however large the step is.
        if domain == "probability":
            return 1.0 / (1.0 + (1.0 / np.clip(array, INSIDE, 1.0 - INSIDE) - 1.0) * np.exp(step))
        if domain == "distribution":
            shares = np.maximum(array, INSIDE) * np.exp(step)
            return shares / np.sum(shares, axis=-1, keepdims=True)
        if domain in ("positive", "nonzero") or (keep_signs and np.any(array)):
            return array * np.exp(step)
    return array + (np.abs(step) if keep_signs else step * step_sizes(array))


def _rounding(problem: Problem) -> float:
    """Return the relative rounding error of the scalar at a problem's point; infinity where it is not finite."""
    try:
        value = problem.value(Ops(np), problem.at)
        runs = [StochasticRoundingOps(Ops(np), EPS, draw) for draw in range(RUNS)]
        others = [problem.value(ops, ops.rounded_arrays(problem.at)) for ops in runs]
    except Exception:  # a custom layer or kernel may raise an error for values that it cannot compute
        if problem.foreign is None:
            raise
        return np.inf
    # A rounded run that overflows shows that the point is at the edge of what the function can compute.
    if not np.all(np.isfinite([value, *others])):
        return np.inf
    return float(np.max(np.abs(np.subtract(others, value)))) / max(abs(float(value)), FLOOR)
