"""What a report says in words: the name of an element, and what a wrong gradient looks like."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

ALIKE = 1e-5  # a ratio is recognised when it is this near


def element(array: str, index: tuple[int, ...], shape: tuple[int, ...], bias_row: str | None = None) -> str:
    """Return an element's name: "layer 1, weight from unit 3 to unit 0", "x, row 2, unit 1"."""
    place, _, name = array.rpartition(".")
    start = f"layer {place}, " if place else ""
    if name == "weight" and len(index) == 2:
        row, column = index
        if bias_row and row == (shape[0] - 1 if bias_row == "last" else 0):
            return f"{start}bias of unit {column} (a row of the weight)"
        return f"{start}weight from unit {row - (bias_row == 'first')} to unit {column}"
    if len(index) == 1:
        return f"{start}{name} of unit {index[0]}"
    words = ("row", "unit") if name == "x" else ("row", "column")
    if len(index) == 2:
        return f"{start}{name}, {words[0]} {index[0]}, {words[1]} {index[1]}"
    return f"{start}{name}{list(index)}" if index else f"{start}{name}"


def cause(hand: Any, reference: Any, index: tuple[int, ...], counts: Mapping[str, int]) -> str:
    """Say what is wrong with a whole gradient, as far as its numbers tell."""
    ratio = _ratio(hand, reference)
    if ratio is not None:
        return _factor(ratio, counts)
    if hand.ndim == 2 and hand.shape[0] == hand.shape[1] > 1 and np.allclose(hand.T, reference, rtol=ALIKE, atol=0):
        return "it is transposed"
    if hand[index] == 0:
        return "a term is missing"
    one = float(hand[index] / reference[index]) if reference[index] else np.inf
    if np.isfinite(one) and (named := _factor(one, counts)) != _UNKNOWN:
        return f"{named}, in this element"
    return "no constant factor: a term is missing or too many, or a sum runs over the wrong axis"


_UNKNOWN = "a constant factor is wrong"


def _ratio(hand: Any, reference: Any) -> float | None:
    """Return hand / reference where it is one number over the whole array, else None."""
    square = float(np.sum(reference * reference))
    if square == 0 or not np.all(np.isfinite(hand)):
        return None
    ratio = float(np.sum(hand * reference)) / square
    rest = float(np.max(np.abs(hand - ratio * reference)))
    return ratio if rest <= ALIKE * max(abs(ratio), ALIKE) * float(np.max(np.abs(reference))) else None


def _factor(ratio: float, counts: Mapping[str, int]) -> str:
    found = []
    if ratio == 0:
        return "the whole gradient is missing"
    if np.isclose(ratio, -1.0, rtol=ALIKE):
        return "the sign is wrong"
    for factor in (2, 4):
        found += [f"a factor {factor} too many"] * bool(np.isclose(ratio, factor, rtol=ALIKE))
        found += [f"a factor {factor} is missing"] * bool(np.isclose(ratio, 1 / factor, rtol=ALIKE))
    for name, number in counts.items():
        if number > 1:
            found += [f"the {name}, {number}, is missing as a divisor"] * bool(np.isclose(ratio, number, rtol=ALIKE))
            found += [f"divided once too often by the {name}, {number}"] * bool(
                np.isclose(ratio, 1 / number, rtol=ALIKE)
            )
    return " or ".join(found) or _UNKNOWN
