"""The names of elements, and what a wrong gradient looks like, in words."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bpengine.check.describe.elements import element_name
from bpengine.check.describe.error_patterns import error_pattern

WEIGHT = np.array([[0.5, -1.0, 0.3], [0.2, 0.7, -0.4], [1.1, 0.1, 0.9]])
REFERENCE = np.arange(1.0, 10.0).reshape(3, 3)
COUNTS = {"batch size": 7, "number of outputs": 5}
ROW, COLUMN = np.array([1.0, 2.0, 3.0]), np.array([[1.0], [2.0], [3.0]])
NO_FACTOR = "no constant factor: a term is missing, too many or of the wrong sign, or a sum runs over the wrong axis"
SAME = "a term that is the same in every {0}, as a sum or mean over the {0}s, is missing or too many"


@pytest.mark.parametrize(
    ("array", "index", "row", "expected"),
    [
        ("1.weight", (3, 0), None, "layer 1, weight from unit 3 to unit 0"),
        ("0.weight", (4, 1), "last", "layer 0, bias of unit 1 (a row of the weight)"),
        ("0.weight", (0, 1), "first", "layer 0, bias of unit 1 (a row of the weight)"),
        ("0.weight", (2, 1), "first", "layer 0, weight from unit 1 to unit 1"),
        ("2.0.bias", (7,), None, "layer 2.0, bias of unit 7"),
        ("x", (2, 1), None, "input, row 2, feature 1"),
        ("y", (2, 1), None, "y, row 2, column 1"),
        ("loss", (), None, "loss"),
    ],
)
def test_elements_have_names(array: str, index: Any, row: Any, expected: str) -> None:
    assert element_name(array, index, (5, 3), row) == expected


@pytest.mark.parametrize(
    ("hand", "expected"),
    [
        (lambda d: d / 2, "a factor 2 is missing"),
        (lambda d: 2 * d, "a factor 2 too many"),
        (lambda d: d / 4, "a factor 4 is missing"),
        (lambda d: -d, "the sign is wrong"),
        (lambda d: -2 * d, "the sign is wrong, and a factor 2 too many"),
        (lambda d: 0 * d, "the whole gradient is missing"),
        (lambda d: 7 * d, "the batch size, 7, is missing as a divisor"),
        (lambda d: d / 5, "divided once too often by the number of outputs, 5"),
        (lambda d: 1.7 * d, "a constant factor is wrong"),
        (lambda d: -1.7 * d, "the sign and a constant factor is wrong"),
        (lambda d: d * np.nan, "it is not finite"),
        (lambda d: d.T, "it is transposed"),
        (lambda d: d * [1, -1, 1], "the sign is wrong, in some elements"),
        (lambda d: np.linalg.solve(WEIGHT, d.T).T @ WEIGHT, "it would be right if w were transposed in it"),
        (lambda d: d + ROW, SAME.format("row")),
        (lambda d: d + COLUMN, SAME.format("column")),
        (lambda d: np.broadcast_to(d.sum(0), (3, 3)), "it is summed over the rows"),
        (lambda d: np.broadcast_to(d.sum(1, keepdims=True), (3, 3)), "it is summed over the columns"),
        (lambda d: d - 0.1 * WEIGHT, "a term proportional to itself, as of an L2 penalty, is missing"),
        (lambda d: d + 0.1 * np.sign(WEIGHT), "a term proportional to its signs, as of an L1 penalty, is too many"),
        (lambda d: d * (1 - np.eye(3)), "a term is missing"),
        (lambda d: d * (1 + np.eye(3)), "a factor 2 too many, in this element"),
        (lambda d: d + np.eye(3), NO_FACTOR),
    ],
)  # fmt: skip
def test_error_patterns_are_named(hand: Any, expected: str) -> None:
    pattern = error_pattern(hand(REFERENCE), REFERENCE, (2, 2), COUNTS, "w", {"w": WEIGHT})
    assert pattern == expected


GAIN, SHIFT = np.array([0.5, 1.5, -2.0]), np.array([0.3, -0.7, 1.1])


@pytest.mark.parametrize(
    ("hand", "expected"),
    [
        (lambda d: d / GAIN, "the factor `gain` is missing"),
        (lambda d: d * GAIN, "the factor `gain` is too many"),
        (lambda d: np.where(WEIGHT > 0, d, d / GAIN), "the factor `gain` is missing, in some elements"),
        (lambda d: d / 1.7, "the factor `rate` is missing"),
        (lambda d: d - 0.25 * SHIFT, "a term proportional to `shift` is missing"),
        (lambda d: d + 0.25 * SHIFT, "a term proportional to `shift` is too many"),
    ],
)
def test_an_argument_that_is_forgotten_is_named(hand: Any, expected: str) -> None:
    at = {"x": WEIGHT, "gain": GAIN, "shift": SHIFT, "rate": np.array([1.7]), "other": np.ones((2, 5))}
    assert error_pattern(hand(REFERENCE), REFERENCE, (2, 2), COUNTS, "x", at) == expected


def test_argument_equal_to_1_is_not_named_as_forgotten() -> None:
    assert error_pattern(1.7 * REFERENCE, REFERENCE, (2, 2), COUNTS, "x", {"gain": np.ones(3)}) == (
        "a constant factor is wrong"
    )
