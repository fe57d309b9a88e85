"""`load`: a data set by its name, or from a file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from bpengine.data.dataset import TASKS, Dataset, Task, as_targets, column_names
from bpengine.data.files.npy import Arrays
from bpengine.data.files.read_arrays import Target, read_arrays
from bpengine.data.files.table_files import is_table
from bpengine.data.named.real import REAL
from bpengine.data.named.textbook import TEXTBOOK
from bpengine.data.synthetic.generate import SYNTHETIC, generate
from bpengine.data.table import Array
from bpengine.data.tables.kept_reading import kept_of
from bpengine.data.validation.class_names import ClassName
from bpengine.data.validation.class_values import class_values
from bpengine.data.validation.options import check_options
from bpengine.errors import ConfigError, DataError, check_path, unknown

DEFAULT_ROWS = 1000


def names() -> tuple[str, ...]:
    """Return the names `load` knows: textbook, real and synthetic sets."""
    return (*TEXTBOOK, *REAL, *SYNTHETIC)


def load(name_or_path: str | os.PathLike[str], **options: Any) -> Dataset:
    """Return a data set by name, or read one from a file.

    Options of named sets: `standardize` for the real tables; for synthetic sets `rows` (default 1,000), `seed` and
    the options of `generate`. Options of files: `target` and those of `read_arrays`, and `task`, "classification" or
    "regression". Without `task` the targets are classes when they are text or truth values, and when they are whole numbers
    that look like classes: 0..k or 1..k without gaps, each twice on average, or at most 10 values, each five times on
    average; in array files any whole numbers below 1,000 of an integer type. Classes that are not numbered from 0 are numbered
    in sorted order and keep their value as name (integers of array files stay unchanged).

        load("iris"); load("spirals", rows=500, noise=0.1); load("people.csv", target="income", task="regression")
        load("train-images-idx3-ubyte", target="train-labels-idx1-ubyte", scale=True); load("x.npy", target="y.npy")

    Raises: ConfigError for an unknown name or option, with the nearest names; DataError naming the file.
    """
    check_path(name_or_path, "data.load")
    name = os.fspath(name_or_path)
    if isinstance(name_or_path, str) and name in SYNTHETIC:
        return generate(name, **{"rows": DEFAULT_ROWS, **options})
    for sets in (TEXTBOOK, REAL):
        if isinstance(name_or_path, str) and name in sets:
            check_options(f"data set {name!r}", sets[name], options)
            return sets[name](**options)
    if isinstance(name_or_path, str) and not _looks_like_path(name):
        raise unknown("data set", name, names())
    return _from_file(name_or_path, **options)


def _looks_like_path(name: str) -> bool:
    return (
        is_table(Path(name))
        or Path(name).exists()
        or bool(Path(name).suffix)
        or "/" in name
        or os.sep in name
        or name.endswith("-ubyte")
    )


def _from_file(
    path: str | os.PathLike[str], target: Target = None, task: Task | None = None, **options: Any
) -> Dataset:
    if task is not None and task not in TASKS:
        raise unknown("task", task, TASKS)
    arrays = read_arrays(path, target, **options)
    if arrays.y is None:
        hint = "Give them with --target (target=): the file y.npy, or a column. Without targets use read_arrays."
        raise DataError(f"load requires targets, got only inputs from {os.fspath(path)}. {hint}")
    y, class_names, task = _targets(arrays, task)
    features = column_names(arrays.feature_names, arrays.x.shape[1])
    return Dataset(
        name=Path(path).name, x=arrays.x, y=as_targets(y, task), feature_names=features, class_names=class_names,
        task=task, source=os.fspath(path), named=arrays.named, target_names=arrays.target_names, reading=kept_of(options),
    )  # fmt: skip


def _targets(arrays: Arrays, task: Task | None) -> tuple[Array, tuple[ClassName, ...] | None, Task]:
    """Decide the task; number the classes from 0 where they are not."""
    y = arrays.y
    assert y is not None
    if arrays.class_names:
        if task == "regression":
            raise ConfigError("task='regression' requires a target of numbers, got text. Choose another target column.")
        return y, arrays.class_names, "classification"
    flat = y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y
    if task == "regression" or flat.ndim != 1:
        return y, None, task or "regression"
    values = class_values(flat, table=arrays.feature_names is not None, asked=task == "classification")
    if values is None:
        return y, None, "regression"
    if len(values) == 0:
        return flat if flat.dtype.kind in "iu" else flat.astype(np.int64), None, "classification"
    codes = np.searchsorted(values, flat)
    return codes.astype(np.int64), tuple(_plain(value) for value in values), "classification"


def _plain(value: np.generic) -> ClassName:
    """Return a number as the name of a class: a whole number as an int, also where a file writes it with a decimal point."""
    number: ClassName = value.item()
    return int(number) if isinstance(number, float) and number.is_integer() else number
