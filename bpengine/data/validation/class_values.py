"""Decide which numbers are names of classes, and which are values to predict."""

from __future__ import annotations

import numpy as np

from bpengine.data.mmap.row_file import blocks
from bpengine.data.table import Array

FEW = 10  # up to this many different values may be classes, whatever they are
OFTEN = 5  # least number of rows of each of these on average
LABELS = 1000  # integers of array files below this are labels


def class_values(y: Array, *, table: bool, asked: bool) -> Array | None:
    """Return the values (classes,) that numbers y (rows,) stand for as classes, or None when they are values to predict.

    An empty array stands for class numbers that count from 0 already. table: whether y is a column of a table; integers of
    array files are labels if they are below 1,000. asked: whether classes were requested.
    """
    whole = y.dtype.kind in "biu" or all(bool((block == np.floor(block)).all()) for _, block in blocks(y))
    if not (whole or asked):
        return None
    low, high = float(y.min()), float(y.max())
    integers = y.dtype.kind in "biu"
    if not table and integers and low >= 0 and high < LABELS:
        return np.empty(0, y.dtype)
    values = np.unique(y)
    if not (asked or _look_like_classes(values, len(y), low, high)):
        return None
    counted = low == 0 and high == len(values) - 1 and whole
    return np.empty(0, y.dtype) if counted else values


def _look_like_classes(values: Array, rows: int, low: float, high: float) -> bool:
    if len(values) < 2:
        return False
    counts_up = low in (0.0, 1.0) and high - low + 1 == len(values) and 2 * len(values) <= rows
    return (
        counts_up
        or (len(values) <= FEW and OFTEN * len(values) <= rows)
        or (low == -1 and high == 1 and len(values) == 2)
    )
