"""Rows and targets as scikit-learn checks them: arrays of numbers, or data frames with columns of every kind, by name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple, cast

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_array, check_consistent_length, validate_data

from bpengine import data
from bpengine.backend import ArrayLike, HostArray
from bpengine.data.tables.data_frames import is_absent
from bpengine.data.validation.scans import require_supported
from bpengine.errors import DataError

FLOATS = [np.float64, np.float32]  # kept dtypes; all others become the first


class TrainingRows(NamedTuple):
    """Rows as an array or a Table, targets in the form of the loss, weights (rows,) or None, groups (rows,) to split by."""

    x: HostArray | data.Table
    y: HostArray
    weights: HostArray | None
    groups: HostArray | None

    def take(self, rows: HostArray) -> TrainingRows:
        """Return some of the rows."""
        return TrainingRows._make(None if part is None else part[rows] for part in self)


def training_rows(
    estimator: BaseEstimator, x: ArrayLike, y: ArrayLike | None, *, reset: bool, numeric: bool
) -> tuple[HostArray | data.Table, HostArray]:
    """Return rows to train on, an array (rows, columns) or a Table, and their targets; the estimator learns their names.

    reset: whether the names and the number of columns are learned again, or must equal the earlier ones. numeric: whether
    targets are numbers. Raises ValueError for data that scikit-learn refuses, DataError for frames that cannot be read.
    """
    if y is None:
        raise DataError(
            f"{type(estimator).__name__} requires y to be passed, but the target y is None. Call fit(X, y)."
        )
    _require_targets(y)
    _require_rows(x)
    if not data.is_frame(x):
        rows, targets = validate_data(
            estimator,
            x,
            y,
            reset=reset,
            dtype=FLOATS,
            ensure_all_finite="allow-nan",
            multi_output=True,
            y_numeric=numeric,
        )
        return rows, targets
    table = data.as_table(x) if reset else rows_to_predict(estimator, x)
    if reset:
        validate_data(estimator, x, y, reset=True, skip_check_array=True)
    targets = check_array(y, ensure_2d=False, dtype=np.float64 if numeric else None, input_name="y")
    check_consistent_length(x, targets)
    return table, targets


def _require_rows(x: object) -> None:
    """Raise DataError, with the remedy, for rows that can be read only once; scikit-learn refuses sparse ones."""
    if isinstance(x, Iterator):
        require_supported(x, "X")


def _require_targets(y: object) -> None:
    """Raise DataError for a missing class name; scikit-learn checks numbers."""
    dtype = getattr(y, "dtype", None)
    named = not isinstance(dtype, np.dtype) or dtype.kind == "O"
    listed = isinstance(y, (list, tuple, np.ndarray)) or data.is_series(y)
    cells = cast(Iterable[object], y) if named and listed else ()
    for row, cell in enumerate(cells):
        if is_absent(cell) and not isinstance(cell, float):
            raise DataError(f"y requires a target in every row, got a missing one in row {row}. Leave such rows out.")


def rows_to_predict(estimator: BaseEstimator, x: ArrayLike) -> HostArray | data.Table:
    """Return rows with the known columns, an array or a Table; columns of a frame are found by name, in any order.

    Raises ValueError for columns that are missing, or another number of them.
    """
    _require_rows(x)
    if not data.is_frame(x):
        rows: HostArray = validate_data(estimator, x, reset=False, dtype=FLOATS, ensure_all_finite="allow-nan")
        return rows
    table, names = data.as_table(x), getattr(estimator, "feature_names_in_", None)
    if names is None or not set(names) <= set(table.names):
        validate_data(estimator, x, reset=False, skip_check_array=True)  # raises the error that names what is missing
        return table
    return table.select(names)


def dtype_of(x: HostArray | data.Table) -> str:
    """Return "float32" for rows that are all float32, else "float64"."""
    kinds = {x.whole(name).dtype for name in x} if isinstance(x, data.Table) else {x.dtype}
    return "float32" if kinds == {np.dtype(np.float32)} else "float64"
