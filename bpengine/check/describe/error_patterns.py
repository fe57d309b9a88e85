"""Describe what is wrong with a gradient: common mistakes leave patterns in its numbers, such as a constant ratio of 2."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from bpengine.backend import HostArray

ALIKE = 1e-5  # relative tolerance for recognising a known ratio


def error_pattern(
    hand: HostArray,
    reference: HostArray,
    index: tuple[int, ...],
    counts: Mapping[str, int],
    name: str = "",
    at: Mapping[str, Any] | None = None,
) -> str:
    """Return what is wrong with a gradient, as far as its numbers show.

    hand, reference: the whole gradient, or as much of it as was compared; index: the worst element; counts: numbers that
    appear as a factor where a mean is missing; name, at: the array it is the gradient of, and the values of all such arrays.
    """
    if not np.all(np.isfinite(hand)):
        return "it is not finite"
    ratio = _ratio(hand, reference)
    if ratio is not None:
        pattern = _factor(ratio, counts) or _argument(hand, reference, at or {})
        return pattern or f"{'the sign and ' if ratio < 0 else ''}a constant factor is wrong"
    if hand.ndim == 2 and hand.shape[0] == hand.shape[1] > 1 and _alike(hand.T, reference):
        return "it is transposed"
    if _alike(np.abs(hand), np.abs(reference)):
        return "the sign is wrong, in some elements"
    if name_of_matrix := _untransposed(hand, reference, at or {}):
        return f"it would be right if {name_of_matrix} were transposed in it"
    return (
        _argument(hand, reference, at or {})
        or _proportional(hand, reference, {n: p for n, p in (at or {}).items() if n != name})
        or _sum(hand, reference)
        or _term(hand, reference, index, (at or {}).get(name))
        or _one_element(hand, reference, index, counts)
    )


def _untransposed(hand: HostArray, reference: HostArray, at: Mapping[str, Any]) -> str | None:
    """Return the name of the square matrix w with hand = d w where the reference is d w^T, for some d."""
    if hand.ndim != 2:
        return None
    for name, w in at.items():
        square = w.ndim == 2 and w.shape[0] == w.shape[1] == hand.shape[1] > 1
        if square and np.linalg.cond(w) < 1e8 and _alike(np.linalg.solve(w, reference.T).T @ w, hand):
            return name
    return None


def _argument(hand: HostArray, reference: HostArray, at: Mapping[str, Any]) -> str | None:
    """Return which argument is missing as a factor or is a superfluous factor, in all or some elements."""
    right = np.abs(hand - reference) <= ALIKE * float(np.max(np.abs(reference), initial=0.0))
    for name, p in fitting(hand.shape, at):
        missing, extra = f"the factor `{name}` is missing", f"the factor `{name}` is too many"
        for lacking, whole, mistake in ((hand, reference, missing), (reference, hand, extra)):
            size = float(np.max(np.abs(whole), initial=0.0))
            alike = np.abs(lacking * p - whole) <= ALIKE * size
            if size > 0 and not np.all(alike & right) and bool(np.all(alike | right)) and np.any(alike & ~right):
                return f"{mistake}, in some elements" if not np.all(alike) else mistake
    return None


def _proportional(hand: HostArray, reference: HostArray, at: Mapping[str, Any]) -> str | None:
    """Return which argument is missing as a term or is a superfluous term, up to a constant."""
    for name, p in fitting(hand.shape, at):
        if np.ptp(p) > 0 and hand.size >= 3 and (ratio := _ratio(reference - hand, p)) is not None:
            return f"a term proportional to `{name}` is {'missing' if ratio > 0 else 'too many'}"
    return None


def fitting(shape: tuple[int, ...], at: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the arrays that can be broadcast to a gradient of that shape, with their names."""
    for name, p in at.items():
        if p.ndim <= len(shape) and all(a in (1, b) for a, b in zip(p.shape[::-1], shape[::-1], strict=False)):
            yield name, np.broadcast_to(p, shape)


def _sum(hand: HostArray, reference: HostArray) -> str | None:
    if hand.ndim != 2:
        return None
    missing = reference - hand
    for axis, (over, same) in enumerate((("rows", "row"), ("columns", "column"))):
        if hand.shape[axis] > 1:
            if _alike(hand, np.broadcast_to(np.sum(reference, axis=axis, keepdims=True), hand.shape)):
                return f"it is summed over the {over}"
            if _alike(missing, np.broadcast_to(missing.take([0], axis), hand.shape)):
                return (
                    f"a term that is the same in every {same}, as a sum or mean over the {over}, is missing or too many"
                )
    return None


def _term(hand: HostArray, reference: HostArray, index: tuple[int, ...], at: HostArray | None) -> str | None:
    if hand[index] == 0:
        return "a term is missing"
    if at is None or at.shape != hand.shape or hand.size < 3:
        return None
    for like, what in ((at, "itself, as of an L2 penalty"), (np.sign(at), "its signs, as of an L1 penalty")):
        if (ratio := _ratio(reference - hand, like)) is not None:
            return f"a term proportional to {what}, is {'missing' if ratio > 0 else 'too many'}"
    return None


def _one_element(hand: HostArray, reference: HostArray, index: tuple[int, ...], counts: Mapping[str, int]) -> str:
    one = float(hand[index] / reference[index]) if reference[index] else np.inf
    if np.isfinite(one) and (named := _factor(one, counts)):
        return f"{named}, in this element"
    return "no constant factor: a term is missing, too many or of the wrong sign, or a sum runs over the wrong axis"


def _alike(a: HostArray, b: HostArray) -> bool:
    largest = float(np.max(np.abs(b), initial=0.0))
    return largest > 0 and bool(np.all(np.abs(a - b) <= ALIKE * largest))


def _ratio(hand: HostArray, reference: HostArray) -> float | None:
    """Return hand / reference where it is one number over the whole array, else None."""
    square = float(np.sum(reference * reference))
    if square == 0:
        return None
    ratio = float(np.sum(hand * reference)) / square
    rest = float(np.max(np.abs(hand - ratio * reference)))
    return ratio if rest <= ALIKE * max(abs(ratio), ALIKE) * float(np.max(np.abs(reference))) else None


def _factor(ratio: float, counts: Mapping[str, int]) -> str | None:
    """Return the mistake that multiplies a gradient by this ratio, or None when none is known."""
    size = abs(ratio)
    if size <= ALIKE**2:
        return "the whole gradient is missing"
    mistakes = ["the sign is wrong"] if _near(ratio, -1.0) else []
    for factor in (2, 4):
        mistakes += [f"a factor {factor} too many"] * _near(size, factor)
        mistakes += [f"a factor {factor} is missing"] * _near(size, 1 / factor)
    for name, number in counts.items():
        if number > 1:
            mistakes += [f"the {name}, {number}, is missing as a divisor"] * _near(size, number)
            mistakes += [f"divided once too often by the {name}, {number}"] * _near(size, 1 / number)
    sign = "the sign is wrong, and " if ratio < 0 and not _near(size, 1.0) else ""
    return f"{sign}{' or '.join(mistakes)}" if mistakes else None


def _near(a: float, b: float) -> bool:
    return bool(np.isclose(a, b, rtol=ALIKE, atol=0))
