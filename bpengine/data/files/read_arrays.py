"""`read_arrays`: a data file of any format. No file's contents are executed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bpengine.data.files.idx import read_idx
from bpengine.data.files.npy import Arrays, numeric, pair, read_npz, read_values
from bpengine.data.files.pair_stamps import one_pair
from bpengine.data.files.table_files import ColumnTarget, is_table, read_csv, read_folder, read_parquet
from bpengine.data.table import Array
from bpengine.data.tables import kept_reading
from bpengine.data.tables.csv_table import STANDARD_INPUT
from bpengine.data.tables.layout import TextOptions
from bpengine.data.tables.parquet_table import is_parquet, read_parquet_table
from bpengine.data.validation.options import check_options
from bpengine.data.validation.reading import IDX_NAME, existing, expand_home, is_array_file
from bpengine.errors import ConfigError, DataError

Target = ColumnTarget | os.PathLike[str]


def read_arrays(
    path: str | os.PathLike[str], target: Target = None, *, drop_empty: bool = False, **options: Any
) -> Arrays:
    """Read x, y and the names in a file.

    - .npy and IDX hold one array: `target` is the path of a second such file, which may hold text, or None for no
      targets (y is None). Samples of several axes are flattened. Options: `mmap=True` (.npy), `scale=False` (True: whole
      numbers become float32, divided by the largest number of their type, 255 for pixels; a copy in memory), `max_bytes`.
    - .npz: `keys=("x", "y")`, or one key for no targets; `max_bytes`.
    - Every other file is a table: Parquet, or text (CSV and its relatives; compressed with gzip, bz2, xz or zst, or not).
      "-" is standard input, and a folder one that `convert` has written. `target` is a column's name or number (default:
      the last), or several names, False for no targets. Further options are those of `read_csv`: sep, header, decimal,
      thousands, encoding, comment, skiprows, quotechar, na_values, max_bytes; of Parquet na_values and max_bytes.
      drop_empty: whether rows with an empty target are left out, with a warning; else they are refused.

    Raises: DataError naming the file, ConfigError for an option the format does not have.
    """
    file = Path(path) if is_table(Path(path)) else existing(path)
    ending = file.name.lower()
    if ending.endswith(".npy") or IDX_NAME.search(ending):
        return _pair(file, target, options)
    if ending.endswith(".npz"):
        check_options(str(file), read_npz, options)
        if target not in (None, False):
            raise ConfigError(
                f"{file} names its arrays inside. Choose them with --keys x,y (keys=(x, y)) instead of a target."
            )
        return read_npz(file, **options)
    return _table(file, target, options, drop_empty=drop_empty)


def kept_options(kept: Mapping[str, Any], source: str | os.PathLike[str]) -> dict[str, Any]:
    """Return those of a model's kept options that apply to the format of a file."""
    file = expand_home(Path(source))
    if file.name.lower().endswith(".npz"):
        names: tuple[str, ...] = kept_reading.OF_ARCHIVES
    elif is_array_file(file):
        names = kept_reading.OF_ARRAYS
    else:
        text = str(file) == STANDARD_INPUT or (file.is_file() and not is_parquet(file))
        names = kept_reading.OF_TEXT if text else kept_reading.OF_PARQUET if file.is_file() else ()
    return {name: value for name, value in kept.items() if name in names}


def _table(file: Path, target: Target, options: dict[str, Any], *, drop_empty: bool) -> Arrays:
    if isinstance(target, os.PathLike):
        raise ConfigError(f"{file} is a table; its target is a column's name or number, got the path {target}.")
    if file.is_dir():
        check_options(str(file), lambda path: None, options)
        return read_folder(file, target, drop_empty=drop_empty)
    if str(file) != STANDARD_INPUT and is_parquet(file):
        check_options(str(file), read_parquet_table, options)
        return read_parquet(file, target, drop_empty=drop_empty, **options)
    check_options(str(file), TextOptions, options)
    return read_csv(file, target, drop_empty=drop_empty, **options)


def _pair(file: Path, target: Target, options: dict[str, Any]) -> Arrays:
    """Read inputs from one file and targets from another."""
    check_options(str(file), _single, options)
    if target is None or target is False:
        return pair(file, _single(file, **options))
    if not isinstance(target, (str, os.PathLike)):
        raise ConfigError(f"{file} holds one array; its target is the path of another file, got {target!r}.")
    other = existing(target)
    if not (other.name.lower().endswith(".npy") or IDX_NAME.search(other.name.lower())):
        raise DataError(f"{other} is no array file, as {file} is one. Give a .npy or IDX file of targets.")
    with one_pair(file, other):
        x, y = _single(file, **options), _values(other, mmap=options.get("mmap", True))
    return pair(file, x, y, other)


def _single(path: Path, mmap: bool = True, scale: bool = False, max_bytes: int | None = None) -> Array:
    """Read the one array of numbers of a .npy or IDX file."""
    array = numeric(_values(path, mmap, max_bytes), path)
    if scale and array.dtype.kind in "iu":
        return array.astype(np.float32) / np.float32(np.iinfo(array.dtype).max)
    return array


def _values(path: Path, mmap: bool = True, max_bytes: int | None = None) -> Array:
    """Read the one array of a .npy file, which may hold text, or IDX file."""
    return read_values(path, mmap) if path.name.lower().endswith(".npy") else read_idx(path, max_bytes)
