"""`load`: a data set by its name, or from a file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from bpengine.data.dataset import TASKS, Array, Dataset, Task, as_targets, column_names
from bpengine.data.files.npy import Arrays
from bpengine.data.files.read_arrays import Target, read_arrays
from bpengine.data.named.real import REAL
from bpengine.data.named.textbook import TEXTBOOK
from bpengine.data.synthetic.generate import SYNTHETIC, generate
from bpengine.data.validation.options import check_options
from bpengine.errors import ConfigError, DataError, check_path, unknown

DEFAULT_ROWS = 1000


def names() -> tuple[str, ...]:
    """Return the names `load` knows: textbook, real and synthetic sets."""
    return (*TEXTBOOK, *REAL, *SYNTHETIC)


def load(name_or_path: str | os.PathLike[str], **options: Any) -> Dataset:
    """Return a data set by name, or read one from a file.

    Options of named sets: `standardize` for the real tables; for synthetic sets `rows` (default 1,000), `seed` and
    whatever `generate` takes. Options of files: `target` and those of `read_arrays`, and `task`, "classification" or
    "regression". Without `task` the targets are classes when they are text; in array files, when they are one column
    of an integer type; in tables, when they are the whole numbers 0..k or 1..k, none left out, each twice on average.
    Classes that do not count from 0 are numbered in sorted order and keep their value as name (integers of array
    files stay as they are).

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
    return Path(name).exists() or bool(Path(name).suffix) or "/" in name or os.sep in name or name.endswith("-ubyte")


def _from_file(
    path: str | os.PathLike[str], target: Target = None, task: Task | None = None, **options: Any
) -> Dataset:
    if task is not None and task not in TASKS:
        raise unknown("task", task, TASKS)
    arrays = read_arrays(path, target, **options)
    if arrays.y is None:
        hint = 'Give the targets: target="y.npy", or a column. Without targets use read_arrays.'
        raise DataError(f"load requires targets, got only inputs from {os.fspath(path)}. {hint}")
    flat = arrays.y[:, 0] if arrays.y.ndim == 2 and arrays.y.shape[1] == 1 and task == "classification" else arrays.y
    y, class_names, task = _targets(arrays, flat, task)
    features = column_names(arrays.feature_names, arrays.x.shape[1])
    return Dataset(
        name=Path(path).name, x=arrays.x, y=as_targets(y, task), feature_names=features, class_names=class_names,
        task=task, source=os.fspath(path),
    )  # fmt: skip


def _targets(arrays: Arrays, y: Array, task: Task | None) -> tuple[Array, tuple[str, ...] | None, Task]:
    """Decide the task; number the classes from 0 where they are not."""
    if arrays.class_names:
        if task == "regression":
            raise ConfigError("task='regression' requires a target of numbers, got text. Choose another target column.")
        return y, arrays.class_names, "classification"
    if task is None:
        labels = _are_labels(y) if arrays.feature_names else y.dtype.kind in "biu"
        task = "classification" if labels and y.ndim == 1 else "regression"
    if task == "regression" or y.ndim != 1:
        return y, None, task
    return *_numbered(y), task


def _numbered(y: Array) -> tuple[Array, tuple[str, ...] | None]:
    """Return class numbers, and the values they stand for when these were not class numbers themselves."""
    if y.dtype.kind in "iu" and y.min() >= 0:
        return y, None  # a file of labels may lack some classes; it stays as it is, memory-mapped or not
    if y.min() == 0 and bool((y == np.floor(y)).all()):
        return y.astype(np.int64), None
    values, codes = np.unique(y, return_inverse=True)
    names = tuple(f"{value:g}" for value in values)
    if len(set(names)) < len(names):
        names = tuple(map(str, values.tolist()))
    return codes.astype(np.int64), names


def _are_labels(y: Array) -> bool:
    """Return whether y (rows,) looks like class numbers: 0..k or 1..k without gaps, each twice on average."""
    low, high = float(y.min()), float(y.max())
    if low not in (0.0, 1.0) or high - low < 1 or 2 * (high - low + 1) > len(y):
        return False
    values = np.unique(y)
    return len(values) == high - low + 1 and bool((values == np.arange(low, high + 1)).all())
