"""`read_arrays`: a data file of any format; the ending of its name chooses the reader. No file's contents are executed."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import numpy as np

from bpengine.data.dataset import Array
from bpengine.data.files.csv_file import read_csv
from bpengine.data.files.idx import read_idx
from bpengine.data.files.npy import Arrays, existing, pair, read_npy, read_npz
from bpengine.data.files.pair_stamps import one_pair
from bpengine.data.files.table_columns import read_parquet
from bpengine.data.validation.options import check_options
from bpengine.errors import ConfigError, DataError

IDX_NAME = re.compile(r"(\.idx|idx\d+([-.]\w+)?|-ubyte)(\.gz)?$")
CSV_NAME = re.compile(r"\.(csv|tsv|txt)(\.gz)?$")
ENDINGS = ".npy, .npz, .csv, .tsv, .txt, .parquet, .idx, idx3-ubyte (and .gz of CSV and IDX)"
Target = str | int | bool | os.PathLike[str] | None


def read_arrays(path: str | os.PathLike[str], target: Target = None, **options: Any) -> Arrays:
    """Read x, y and the names a file gives.

    - .npy and IDX hold one array: `target` is the path of a second such file, or None for no targets (y is None).
      Samples of several axes are flattened. Options: `mmap=True` (.npy), `scale=False` (True: whole numbers become
      float32, divided by the largest number of their type, 255 for pixels; a copy in memory).
    - .npz: `keys=("x", "y")`, or one key for no targets.
    - CSV and Parquet: `target` is a column's name or number (default: the last), False for no targets. Further
      options are those of `read_csv`: `header`, `delimiter`.

    Raises: DataError naming the file, ConfigError for an option the format does not have.
    """
    file = existing(path)
    ending = file.name.lower()
    if CSV_NAME.search(ending) or ending.endswith((".parquet", ".pq")):
        reader = read_parquet if ending.endswith((".parquet", ".pq")) else read_csv
        check_options(str(file), reader, options)
        return reader(file, _column_of(file, target), **options)
    if ending.endswith(".npz"):
        check_options(str(file), read_npz, options)
        if target not in (None, False):
            raise ConfigError(f"{file} names its arrays inside. Choose them with keys=(x, y) instead of target=.")
        return read_npz(file, **options)
    return _pair(file, target, options)


def _column_of(file: Path, target: Target) -> str | int | bool | None:
    if isinstance(target, os.PathLike):
        raise ConfigError(f"{file} is a table; its target is a column's name or number, got the path {target}.")
    return target


def _pair(file: Path, target: Target, options: dict[str, Any]) -> Arrays:
    """Read inputs from one file and targets from another."""
    check_options(str(file), _single, options)
    if target is None or target is False:
        return pair(file, _single(file, **options))
    if not isinstance(target, (str, os.PathLike)):
        raise ConfigError(f"{file} holds one array; its target is the path of another file, got {target!r}.")
    other = existing(target)
    with one_pair(file, other):
        x, y = _single(file, **options), _single(other, mmap=options.get("mmap", True))
    return pair(file, x, y)


def _single(path: Path, mmap: bool = True, scale: bool = False) -> Array:
    """Read the one array of a .npy or IDX file."""
    ending = path.name.lower()
    if not (ending.endswith(".npy") or IDX_NAME.search(ending)):
        raise DataError(f"{path} has an ending that no reader knows. Known: {ENDINGS}.")
    array = read_npy(path, mmap) if ending.endswith(".npy") else read_idx(path)
    if scale and array.dtype.kind in "iu":
        return array.astype(np.float32) / np.float32(np.iinfo(array.dtype).max)
    return array
