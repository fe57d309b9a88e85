"""Scans for values that are not finite real numbers, and the errors that name the row, the column and the value."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, SupportsInt, cast

import numpy as np

from bpengine.backend import ArrayLike, as_host
from bpengine.data.mmap.row_file import blocks
from bpengine.data.table import Array
from bpengine.errors import DataError
from bpengine.system.quiet import Quiet

FLOATS_HINT = "Convert the array with astype('float32')."
TEXT_HINT = "Encode text as numbers, or leave the column out."


def real_array(values: object, what: str, text_hint: str = TEXT_HINT) -> Array:
    """Return `values` as an array of real numbers; an array that is one already is returned itself.

    Accepts arrays, lists, tables (through np.asarray) and DLPack producers; those on a GPU are copied to the host.
    Raises: DataError naming the column and a value for text, missing values or objects; rows of different lengths.
    """
    plain = type(values) in (np.ndarray, np.memmap)
    array = cast(Array, values) if plain else _converted(values, what)
    if array.dtype.kind in "biuf" or array.dtype.name.startswith(("bfloat", "float8")):
        return array
    if array.dtype.kind in "OSUT":
        raise _text_error(array, what, text_hint)
    raise DataError(f"{what} requires real numbers, got dtype {array.dtype}.")


def _converted(values: object, what: str) -> Array:
    if np.ma.isMaskedArray(values) and np.ma.is_masked(values):
        at = np.argwhere(np.ma.getmaskarray(values))[0]
        raise DataError(f"{what} requires a value in every cell, got a masked one in {_place(at)}. Fill or drop it.")
    require_supported(values, what)
    try:
        array = as_host(cast(ArrayLike, values))
    except (TypeError, ValueError, RuntimeError, BufferError) as error:
        hint = "Rows must have equal lengths; arrays on another device must be copied to the host first."
        raise DataError(f"{what} requires an array of numbers, got {type(values).__name__}: {error}. {hint}") from error
    if array.dtype.kind == "U" and isinstance(values, (list, tuple)):
        return np.asarray(values, dtype=object)  # np.asarray turned the numbers into text as well
    return array


def require_supported(values: object, what: str) -> None:
    """Raise DataError for values of unsupported kinds: sparse matrices, lazy frames, generators."""
    if type(values).__module__.startswith("scipy.sparse"):
        hint = f"Give {what}.toarray(), if it fits into memory; else write it in pieces to a .npy file and memory-map that."
        raise DataError(
            f"{what} requires an array, got a sparse matrix ({type(values).__name__}), which is not supported. {hint}"
        )
    if type(values).__name__ == "LazyFrame":
        raise DataError(f"{what} requires a data frame in memory, got a LazyFrame. Give {what}.collect().")
    if hasattr(values, "__next__") or type(values).__name__ in ("map", "zip", "filter"):
        hint = f"Give np.stack(list({what})), if it fits into memory; else write it to a .npy file and memory-map that."
        raise DataError(
            f"{what} requires an array, got a {type(values).__name__}, which is read only once and not supported. {hint}"
        )


def _text_error(array: Array, what: str, text_hint: str) -> DataError:
    """Name the first cell that is not a number; if all cells are numbers written as text, name the first cell."""
    cells = np.asarray(np.frompyfunc(_is_number, 1, 1)(array), np.bool_)
    text = np.argwhere(~cells)
    if array.size == 0 or (len(text) == 0 and array.dtype.kind == "O"):
        return DataError(f"{what} requires numbers, got an array of Python objects (dtype object). {FLOATS_HINT}")
    at = tuple(int(i) for i in (text[0] if len(text) else np.zeros(array.ndim)))
    value = array[at]
    if isinstance(value, (str, bytes)):
        hint = FLOATS_HINT if _parses(value) else text_hint
        return DataError(f"{what} requires numbers, got the text {str(value)!r} in {_place(at)}. {hint}")
    return DataError(f"{what} requires numbers, got {value!r} in {_place(at)}. Fill or drop missing values.")


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float, np.number, np.bool_))


def _parses(text: str | bytes) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _place(at: Sequence[SupportsInt] | Array) -> str:
    """Describe a position: "row 3, column 1", or "row 3" for one axis, counted from 0."""
    names = ("row", "column") + ("axis",) * max(0, len(at) - 2)
    return ", ".join(f"{name} {int(index)}" for name, index in zip(names, at, strict=False)) or "row 0"


def require_finite(array: Array, what: str, dtype: str | None = None, part: tuple[int, int] = (0, 1)) -> None:
    """Require numbers without NaN and infinity that stay finite in `dtype`, that of the computation.

    part: (k, n) scans only the k-th of n parts of the rows; an error counts the bad values of all rows.
    Raises: DataError with the number of bad values and the place of the first.
    """
    k, n = part
    rows = slice(len(array) * k // n, len(array) * (k + 1) // n)
    if array.dtype.kind not in "biu" and rows.start < rows.stop:  # whole numbers are below 2^64 and fit every float
        finite_range(array, what, dtype, rows)


def finite_range(array: Array, what: str, dtype: str | None = None, rows: slice = slice(None)) -> tuple[float, float]:
    """Return the smallest and the largest value in these rows, in one pass block by block; there must be some.

    Raises: DataError as `require_finite` does.
    """
    limit, ends = _limit(array.dtype, dtype), []
    with Quiet():
        for _, block in blocks(array[rows]):
            low, high = block.min(), block.max()
            if not (-limit < low and high < limit):  # a NaN fails as well
                raise _not_finite(array, what, limit, dtype)
            ends.append((low, high))
    return min(low for low, _ in ends), max(high for _, high in ends)


def _limit(stored: np.dtype[Any], used: str | None) -> float:
    """Return the smallest number of `stored` that rounds to infinity in `used`."""
    if used is None or stored.kind != "f" or stored.itemsize <= np.dtype(used).itemsize:
        return math.inf
    info, kind = np.finfo(used), stored.type
    # the largest number plus half a unit in the last place: halfway cases round to even, here upwards
    beyond: float = kind(info.max) + kind(2) ** (info.maxexp - info.nmant - 2)
    return beyond


def _not_finite(array: Array, what: str, limit: object, dtype: str | None) -> DataError:
    """Count the values that are not finite or, where there are none, those that `dtype` cannot hold; locate the first."""
    bad, first = _count(array, lambda block: ~np.isfinite(block))
    if bad:
        hint = "Fill or drop such rows before training."
        return DataError(f"{what} requires finite numbers, got {first} ({bad:,} such values in all). {hint}")
    bad, first = _count(array, lambda block: np.abs(block) >= limit)
    most = f"{dtype}, up to {np.finfo(str(dtype)).max:.3g} in size"
    hint = f"Scale {what}" + (', or make the model with dtype="float64".' if dtype == "float32" else ".")
    return DataError(f"{what} requires numbers of {most}, got {first} ({bad:,} such values in all). {hint}")


def _count(array: Array, bad: Callable[[Array], Array]) -> tuple[int, str]:
    """Return how many values are bad, and the first of them with its position."""
    count, first = 0, ""
    for start, block in blocks(array):
        wrong = bad(block)
        if wrong.any():
            at = np.unravel_index(int(np.argmax(wrong)), wrong.shape)
            first = first or f"{block[at]!s} in {_place((start + at[0], *at[1:]))}"
            count += int(np.count_nonzero(wrong))
    return count, first


def first_row(array: Array, bad: Callable[[Array], Array]) -> tuple[int, Any]:
    """Return (row, value) of the first element for which `bad(block)` is true; there must be one."""
    for start, block in blocks(array):
        wrong = bad(block)
        if wrong.any():
            at = np.unravel_index(int(np.argmax(wrong)), wrong.shape)
            return start + int(at[0]), block[at].item()
    raise AssertionError("first_row found nothing; the caller had seen a bad value")
