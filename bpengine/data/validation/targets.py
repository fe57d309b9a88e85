"""Checks of targets by the kind of loss: class numbers, finite numbers, or numbers from 0 to 1."""

from __future__ import annotations

import numpy as np

from bpengine.data.mmap.row_file import blocks
from bpengine.data.table import Array
from bpengine.data.validation.scans import finite_range, first_row, real_array, require_finite
from bpengine.errors import DataError, ShapeError
from bpengine.i18n.counted_nouns import count_of

ROUNDED = 1e-6  # tolerance for a sum of probabilities that were rounded to float32
NAMES_HINT = "Class names become numbers with: names, y = np.unique(y, return_inverse=True)"


def check_class_labels(y: object, classes: int) -> Array:
    """Return y as class numbers (rows,), whole numbers from 0 to classes - 1; or soft labels unchanged (rows, classes).

    Accepts (rows,) or (rows, 1) whole numbers, floats with whole values too, one-hot rows (rows, classes), and rows of
    probabilities (rows, classes): not negative, and with the sum 1, up to rounding.
    Integers keep their dtype and are not copied; everything else becomes int64.
    Raises: ShapeError; DataError naming the first bad row, its value and the allowed range.
    """
    array = real_array(y, "y", NAMES_HINT)
    if array.size == 0:
        raise DataError(f"y requires at least one row, got shape {array.shape}.")
    if array.ndim == 2 and array.shape[1] == classes and classes > 1:
        require_finite(array, "y")
        return _from_one_hot(array) if _one_hot(array) else _soft(array)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        hint = f"Give one class number per row, or one-hot rows of {classes}."
        raise ShapeError(f"y requires shape (rows,) or (rows, {classes}), got {array.shape}. {hint}")
    ends = finite_range(array, "y")
    _require_whole(array)
    _require_range(array, classes, *ends)
    return array if array.dtype.kind in "iu" else array.astype(np.int64)


def _require_whole(y: Array) -> None:
    if y.dtype.kind in "biu":
        return

    def broken(block: Array) -> Array:
        return np.asarray(block != np.floor(block))

    if any(broken(block).any() for _, block in blocks(y)):
        row, value = first_row(y, broken)
        hint = "For a number to predict use a regression loss."
        raise DataError(f"y requires whole class numbers, got {value} in row {row}. {hint}")


def _require_range(y: Array, classes: int, low: float, high: float) -> None:
    low, high = int(low), int(high)
    if low >= 0 and high < classes:
        return
    row, value = first_row(y, lambda block: (block < 0) | (block >= classes))
    if low == 1 and high == classes:
        hint = "The labels start at 1; use y - 1."
    elif low < 0:
        hint = "Labels -1 and 1 become 0 and 1 with (y + 1) // 2." if _signs(y) else "Count from 0."
    else:
        hint = f"The network has {count_of(classes, 'output')}; these labels need {high + 1}."
    raise DataError(f"y requires class numbers 0 to {classes - 1}, got {int(value)} in row {row}. {hint}")


def _signs(y: Array) -> bool:
    return all(bool((np.abs(block) == 1).all()) for _, block in blocks(y))


def _one_hot(y: Array) -> bool:
    return all(
        bool(((block == 0) | (block == 1)).all() and (np.count_nonzero(block, axis=1) == 1).all())
        for _, block in blocks(y)
    )


def _from_one_hot(y: Array) -> Array:
    """Turn one-hot rows (rows, classes) into class numbers (rows,)."""
    labels = np.empty(len(y), np.int64)
    for start, block in blocks(y):
        labels[start : start + len(block)] = block.argmax(axis=1)
    return labels


def _soft(y: Array) -> Array:
    """Return rows of probabilities (rows, classes) unchanged; raise DataError naming the first row that is not one."""
    eps = float(np.finfo(y.dtype).eps) if y.dtype.kind == "f" else 0.0
    near = max(ROUNDED, y.shape[1] * eps)
    for start, block in blocks(y):
        wide = np.asarray(block, dtype=np.float64)
        good = (wide >= 0).all(axis=1) & (np.abs(wide.sum(axis=1) - 1.0) <= near)
        if not good.all():
            row = int(np.argmin(good))
            got = np.array2string(np.asarray(block[row]), threshold=8, separator=", ")
            why = "a negative number" if (wide[row] < 0).any() else f"the sum {wide[row].sum():.6g}"
            hint = "" if (wide[row] < 0).any() else " Divide each row by its sum: y / y.sum(axis=1, keepdims=True)."
            raise DataError(
                f"y requires one-hot rows (one 1, otherwise 0), or rows of probabilities that sum to 1, got {got} in row "
                f"{start + row}, with {why}.{hint}"
            )
    return y


def check_targets(y: object, outputs: int, *, dtype: str | None = None) -> Array:
    """Return y as an array (rows, outputs) of finite real numbers; (rows,) is accepted for one output and reshaped.

    Nothing is copied or cast. `dtype` is that of the computation.
    Raises: ShapeError for another shape; DataError for text, no rows, NaN, infinity, and numbers that are infinite in
    `dtype`.
    """
    array = _targets(y, outputs)
    require_finite(array, "y", dtype)
    return array


def _targets(y: object, outputs: int) -> Array:
    array = real_array(y, "y")
    if array.ndim == 1 and outputs == 1:
        array = array[:, None]
    if array.ndim != 2 or array.shape[1] != outputs:
        hint = f"The network has {count_of(outputs, 'output')}."
        if array.ndim == 1:
            hint += " Class numbers need a cross-entropy loss or one-hot rows."
        raise ShapeError(f"y requires shape (rows, {outputs}), got {array.shape}. {hint}")
    if len(array) == 0:
        raise DataError(f"y requires at least one row, got shape {array.shape}.")
    return array


def check_binary_targets(y: object, outputs: int) -> Array:
    """Return y as `check_targets` does, every value from 0 to 1 (a probability, or 0 and 1 for no and yes).

    Raises: ShapeError; DataError naming the first row and value outside.
    """
    array = _targets(y, outputs)
    low, high = finite_range(array, "y")
    if low < 0 or high > 1:
        row, value = first_row(array, lambda block: (block < 0) | (block > 1))
        hint = "Targets -1 and 1 become 0 and 1 with (y + 1) / 2." if _signs(array) else ""
        raise DataError(f"y requires numbers from 0 to 1, got {value} in row {row}. {hint}".rstrip())
    return array
