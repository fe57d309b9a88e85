"""Array files of NumPy, .npy (memory-mapped) and .npz, and what every reader of a file shares: `Arrays`, paths, errors."""

from __future__ import annotations

import csv
import math
import os
import zipfile
import zlib
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from tokenize import TokenError
from typing import NamedTuple, ParamSpec, TypeVar

import numpy as np

from bpengine.data.dataset import Array
from bpengine.errors import BpError, DataError

AnyPath = str | os.PathLike[str]
UNREADABLE = (  # what other libraries raise for damaged bytes; NumPy parses a header as code, hence SyntaxError
    *(ValueError, TypeError, AttributeError, LookupError, ArithmeticError, RuntimeError, MemoryError),
    *(OSError, EOFError, SyntaxError, TokenError, zipfile.BadZipFile, zlib.error, csv.Error),
)
Given = ParamSpec("Given")
Returned = TypeVar("Returned")


class Arrays(NamedTuple):
    """Inputs x (rows, features), targets y or None, and the names in the file, None where it has none."""

    x: Array
    y: Array | None
    feature_names: tuple[str, ...] | None = None
    class_names: tuple[str, ...] | None = None


def as_data_error(form: str) -> Callable[[Callable[Given, Returned]], Callable[Given, Returned]]:
    """Decorate a reader of one file: whatever the libraries it calls raise becomes a DataError that names the file."""

    def wrapped(read: Callable[Given, Returned]) -> Callable[Given, Returned]:
        @wraps(read)
        def run(*args: Given.args, **options: Given.kwargs) -> Returned:
            try:
                return read(*args, **options)
            except BpError:
                raise
            except UNREADABLE as error:
                path = args[0] if args else options["path"]
                raise DataError(f"{path} cannot be read as {form}: {error or type(error).__name__}") from error

        return run

    return wrapped


def existing(path: AnyPath) -> Path:
    """Return the path, with "~" expanded.

    Raises: DataError when there is no such file.
    """
    file = expand_home(Path(path))
    if file.is_file():
        return file
    kind = "is a folder" if file.is_dir() else "is no regular file" if file.exists() else "does not exist"
    raise DataError(f"the data file {str(path)!r} {kind}. Paths are relative to {Path.cwd()}.")


def expand_home(path: Path) -> Path:
    """Return the path with "~" and "~user" replaced by the folder they stand for.

    Raises: DataError when there is no such user, or the user's home folder is not known.
    """
    try:
        return path.expanduser()
    except RuntimeError as error:
        hint = f"Write ./{path} for a file of that name." if not path.is_absolute() else ""
        raise DataError(f"{str(path)!r} begins with the home folder of a user who is not known here. {hint}") from error


@as_data_error(".npy")
def read_npy(path: AnyPath, mmap: bool = True) -> Array:
    """Read one .npy file: memory-mapped and read-only, or into memory with `mmap=False`.

    Raises: DataError naming the file when it is corrupt, truncated, or holds Python objects (never unpickled).
    """
    path = existing(path)
    if mmap:
        return numeric(np.lib.format.open_memmap(path, mode="r"), path)
    with path.open("rb") as file:
        return numeric(np.lib.format.read_array(file, allow_pickle=False), path)


@as_data_error(".npz")
def read_npz(path: AnyPath, keys: Sequence[str] = ("x", "y")) -> Arrays:
    """Read a .npz archive: the first of `keys` names the inputs, the second, if there is one, the targets.

    Raises: DataError naming the file and the arrays it holds.
    """
    path = existing(path)
    with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
        missing = [key for key in keys if key not in archive.files]
        if missing:
            names = ", ".join(archive.files) or "none"
            raise DataError(f"{path} requires an array {missing[0]!r}, got {names}. Name yours with keys=(x, y).")
        arrays = [numeric(np.asarray(archive[key]), path) for key in keys]
    return pair(path, *arrays)


def pair(path: Path, x: Array, y: Array | None = None) -> Arrays:
    """Return inputs as (rows, features) with their targets.

    Raises: DataError when there are no rows, or x and y have different numbers of them.
    """
    if len(np.atleast_1d(x)) == 0:
        raise DataError(f"{path} requires at least one row, got shape {x.shape}.")
    rows = rows_of(x, path)
    if y is not None and (y.ndim == 0 or len(y) != len(rows)):
        raise DataError(f"{path} requires as many targets as inputs, got x {x.shape} and y {y.shape}.")
    return Arrays(rows, y)


def numeric(array: Array, path: Path) -> Array:
    """Return the array in this machine's byte order (a copy only when it has the other).

    Raises: DataError for text, records and other things that are not real numbers.
    """
    if array.dtype.kind not in "biuf":
        raise DataError(f"{path} requires real numbers, got dtype {array.dtype}.")
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def rows_of(array: Array, path: Path) -> Array:
    """Return inputs as (rows, features): images and other samples of several axes are flattened, without a copy.

    Raises: DataError for fewer than two axes.
    """
    if array.ndim < 2:
        hint = "A single feature is x[:, None]."
        raise DataError(f"{path} requires inputs of shape (rows, features), got {array.shape}. {hint}")
    return array if array.ndim == 2 else array.reshape(len(array), math.prod(array.shape[1:]))
