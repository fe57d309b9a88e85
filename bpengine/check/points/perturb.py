"""The perturbed point: every parameter and input moved by its own size, away from 0, 1 and equal numbers.

At the point where training starts, biases are 0 and gains 1, and a backward that forgets them is right there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from bpengine.check.kinks.kinks import Counts
from bpengine.check.kinks.nearby import sizes
from bpengine.check.problems.problem import Problem
from bpengine.check.tolerance import stochastic_rounding as rounding
from bpengine.ops import Ops
from bpengine.streams import stream

AMOUNTS = (1.0, 0.5, 0.25, 0.0625, 0.00390625)  # parts of an element's size, until the function is finite

WELL = 1e-12  # of the scalar: no more than this is lost to rounding at a good point
LOOKS = 3  # runs with random rounding that tell
EPS, FLOOR = float(np.finfo(np.float64).eps), float(np.finfo(np.float64).tiny)
INSIDE = 0.05  # a probability of 0 or 1 is moved from here


@dataclass(frozen=True)
class Perturbed:
    """What was found at the perturbed point, as far as it is no verdict.

    judged: whether there is such a point; value: of the scalar there; kinks: those around it; note: how it was chosen, or why
    there is none.
    """

    judged: bool = False
    value: float = float("nan")
    kinks: Counts = field(default_factory=Counts)
    note: str = "not asked for"

    def __str__(self) -> str:
        if not self.judged:
            return self.note
        near = f"; kinks: {self.kinks}" if self.kinks.exact or self.kinks.near or self.kinks.left_out else ""
        return f"{self.note}; value {self.value:.6g}{near}"


NOT_ASKED_FOR = Perturbed()


def perturb(
    problems: Sequence[Problem], domains: Mapping[str, str], seed: int, dtype: str = "float64"
) -> tuple[Problem | None, str]:
    """Return the first of the problems that is finite at a perturbed point, there, and a note of how far it was moved.

    An element moves by half to twice its own size, or its array's usual size, which is 1 for zeros. Where the function is not
    finite, or is mostly rounding, as behind a saturated softmax, every element keeps its sign, then smaller moves are tried;
    of several bad points the one with the least rounding is taken. Arguments stay in their domains.
    `dtype` is what the numbers are rounded to. The problem is None where no point was found, and the note says so.
    """
    tried, best = 0, np.inf
    found: tuple[Problem | None, str] = None, ""
    for problem in problems:
        for amount, keep_signs in _ways():
            rng = stream("check perturbed", seed, tried)
            moved = {n: _moved(a, domains.get(n, "real"), amount, rng, keep_signs) for n, a in problem.at.items()}
            there = replace(problem, at={n: a.astype(dtype).astype(np.float64) for n, a in moved.items()})
            tried += 1
            if (lost := _rounding(there)) < best:
                best, found = lost, (there, f"everything moved by {_size(amount)} its own size, seed {seed}")
            if best <= WELL:
                return found
    if found[0]:
        return found
    return None, f"none: the function is finite at none of {tried} points around, so the point given was judged alone"


def moved_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return a kernel's options with every number made smaller, and a 0 made a quarter."""
    return {n: (0.7 * v if v else 0.25) if isinstance(v, float) else v for n, v in options.items()}


def _ways() -> Iterator[tuple[float, bool]]:
    return ((amount, keep_signs) for amount in AMOUNTS for keep_signs in (False, True))


def _size(amount: float) -> str:
    return "half to twice" if amount == 1.0 else f"{amount / 2:.2g} to {2 * amount:.2g} of"


def _moved(array: Any, domain: str, amount: float, rng: np.random.Generator, keep_signs: bool) -> Any:
    # by more than its size at times, so that what is positive turns negative
    away = amount * rng.choice([-1.0, 1.0], array.shape) * rng.uniform(0.5, 2.0, array.shape)
    with np.errstate(all="ignore"):
        if domain == "probability":
            return 1.0 / (1.0 + (1.0 / np.clip(array, INSIDE, 1.0 - INSIDE) - 1.0) * np.exp(away))
        if domain == "distribution":
            shares = np.maximum(array, INSIDE) * np.exp(away)
            return shares / np.sum(shares, axis=-1, keepdims=True)
        if domain in ("positive", "nonzero") or (keep_signs and np.any(array)):
            return array * np.exp(away)
    return array + (np.abs(away) if keep_signs else away * sizes(array))


def _rounding(problem: Problem) -> float:
    """Return what part of the scalar is rounding at a problem's point; infinity where it is not finite."""
    try:
        value = problem.value(Ops(np), problem.at)
        ops = [rounding.RoundedOps(Ops(np), EPS, draw) for draw in range(LOOKS)]
        others = [problem.value(o, {n: o.rounded(a) for n, a in problem.at.items()}) for o in ops]
    except Exception:  # code of one's own may refuse what it cannot compute
        if problem.foreign is None:
            raise
        return np.inf
    if not np.all(np.isfinite([value, *others])):
        return np.inf
    return float(np.max(np.abs(np.subtract(others, value)))) / max(abs(float(value)), FLOOR)
