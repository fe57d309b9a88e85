"""Checks of inputs and row weights before training. Nothing is copied, cast or changed.

Memory-mapped arrays are read block by block, so arrays larger than memory can be checked.
"""

from __future__ import annotations

from collections.abc import Sized

import numpy as np

from bpengine.data.table import Array
from bpengine.data.validation.scans import finite_range, first_row, real_array, require_finite
from bpengine.errors import DataError, ShapeError
from bpengine.i18n.counted_nouns import count_of


def check_features(
    x: object, features: int, *, what: str = "x", dtype: str | None = None, part: tuple[int, int] = (0, 1)
) -> Array:
    """Return x as an array (rows, features) of finite real numbers; an array is returned itself, memory-mapped or not.

    Accepts lists, tables and DLPack producers as well; `what` is x's name in messages; `dtype` is "float32"
    or "float64", the dtype of the computation, by default that of x. part: (k, n) reads only the k-th of n parts of the rows;
    each of n processes reads one.
    Raises: ShapeError for another number of axes or columns; DataError for text, no rows, NaN, infinity, and numbers that
    are infinite in `dtype`.
    """
    array = real_array(x, what)
    if array.ndim == 1:
        hint = "A single sample is x[None, :]; a single feature is x[:, None]."
        raise ShapeError(f"{what} requires shape (rows, {features}), got {array.shape}. {hint}")
    if array.ndim != 2:
        hint = "Flatten every sample with x.reshape(len(x), -1)." if array.ndim > 2 else "Give a table of rows."
        raise ShapeError(f"{what} requires shape (rows, {features}), got {array.shape}. {hint}")
    if array.shape[1] != features:
        swapped = "It looks transposed: x.T would fit." if array.shape[0] == features else ""
        hint = (
            swapped
            or f"The network has {count_of(features, 'input')}; the data have {count_of(array.shape[1], 'column')}."
        )
        raise ShapeError(f"{what} requires shape (rows, {features}), got {array.shape}. {hint}")
    if len(array) == 0:
        raise DataError(f"{what} requires at least one row, got shape {array.shape}.")
    require_finite(array, what, dtype, part)
    return array


def check_same_length(x: Sized, y: Sized) -> None:
    """Compare the number of rows.

    Raises: ShapeError naming both shapes when x and y have different lengths.
    """
    if len(x) != len(y):
        shapes = f"x {getattr(x, 'shape', (len(x),))} and y {getattr(y, 'shape', (len(y),))}"
        raise ShapeError(f"x and y require the same number of rows, got {shapes}. Row i of y is the target of row i.")


def check_weights(w: object, rows: int, *, dtype: str | None = None, outputs: int = 1) -> Array:
    """Return the row weights as an array (rows,): finite, not negative, not all 0.

    With `dtype`, that of the computation, they must not underflow or overflow there: the largest is at least the smallest
    normal number, and rows x outputs times the largest is finite, so that a sum of losses can be divided by it.
    Raises: ShapeError for another shape; DataError naming the row and the value.
    """
    array = real_array(w, "weights")
    if array.shape != (rows,):
        raise ShapeError(f"weights require shape ({rows},), got {array.shape}. One number for every row.")
    low, high = finite_range(array, "weights", dtype) if rows else (0.0, 0.0)
    if low < 0:
        row, value = first_row(array, lambda block: block < 0)
        raise DataError(f"weights require numbers of at least 0, got {value} in row {row}.")
    if high == 0:
        raise DataError("weights require at least one number above 0, got only zeros. Nothing would be learned.")
    if dtype:
        _require_scale(array, float(high), dtype, rows * outputs)
    return array


def _require_scale(weights: Array, high: float, dtype: str, count: int) -> None:
    """Raise DataError for weights that underflow in `dtype`, or whose sum may overflow there."""
    info = np.finfo(dtype)
    least, most = float(info.smallest_normal), float(info.max) / count
    if not least <= high <= most:
        row, _ = first_row(weights, lambda block: block == weights.dtype.type(high))
        raise DataError(
            f"weights require a largest number from {least:.3g} to {most:.3g} in {dtype}, got {high:.3g} in row {row}. "
            "Divide them by their mean: only their ratios count in a mean loss."
        )
