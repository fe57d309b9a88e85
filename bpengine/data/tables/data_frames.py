"""Data frames of any library (pandas, polars, pyarrow) as tables, through narwhals."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from datetime import UTC
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np

from bpengine.data.dataset import Dataset
from bpengine.data.table import NO_VALUE, Table, TableColumn, coded
from bpengine.data.validation.options import optional
from bpengine.data.validation.scans import require_supported
from bpengine.errors import DataError

if TYPE_CHECKING:
    from narwhals.dtypes import DType
    from narwhals.stable.v2 import Series

LIBRARIES = ("pandas", "polars", "pyarrow", "modin", "cudf")


class ArrowArray(Protocol):
    """What is asked of an array of pyarrow, which states no types."""

    type: Any
    nbytes: int
    indices: Any
    dictionary: Any

    def combine_chunks(self) -> ArrowArray:
        """Return the array in one piece."""

    def dictionary_encode(self) -> ArrowArray:
        """Return texts as numbers, and a dictionary that holds each once."""


def is_frame(value: object) -> bool:
    """Return whether a value is a data frame of a loaded library; no library is loaded for this."""
    return _of_library(value) and len(getattr(value, "shape", ())) == 2 and hasattr(value, "columns")


def is_table_like(x: object) -> bool:
    """Return whether rows have named columns: a table, a data set or a data frame."""
    return isinstance(x, (Table, Dataset)) or is_frame(x)


def is_series(value: object) -> bool:
    """Return whether a value is one column of a data frame."""
    return _of_library(value) and not is_frame(value) and hasattr(value, "__len__")


def _of_library(value: object) -> bool:
    library = type(value).__module__.partition(".")[0]
    return library in LIBRARIES and library in sys.modules


def table_of(frame: object) -> Table:
    """Return a data frame as a table; its columns keep their names.

    Raises: ConfigError without narwhals; DataError for a lazy frame, two columns of one name, cells of lists and records.
    """
    narwhals = optional("narwhals.stable.v2", "a data frame", "tables")
    require_supported(frame, "x")
    if type(frame).__name__ == "RecordBatch":
        frame = optional("pyarrow", "a record batch", "tables").Table.from_batches([frame])
    names = names_of(frame)
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"a data frame requires different names, got two columns {twice!r}. Rename one.")
    if type(frame).__module__.startswith("pandas") and hasattr(frame, "set_axis"):
        frame = frame.set_axis(names, axis=1)
    try:
        wide = narwhals.from_native(frame, eager_only=True)
    except TypeError as error:
        raise DataError(f"a data frame is required, got {type(frame).__name__}: {error}") from None
    return Table({name: column_of(wide[name], name) for name in names})


def names_of(frame: object) -> list[str]:
    """Return the names of a data frame's columns."""
    names: Iterable[object] = getattr(frame, "column_names" if _is_arrow(frame) else "columns")
    return list(map(str, names))


def values_of(series: object, name: str = "y") -> TableColumn:
    """Return one column of a data frame (a pandas or polars Series, a pyarrow array)."""
    narwhals = optional("narwhals.stable.v2", "a column of a data frame", "tables")
    if _is_arrow(series) and not hasattr(series, "chunks"):  # narwhals accepts chunked arrays only
        series = optional("pyarrow", "an array of pyarrow", "tables").chunked_array([series])
    wrapped = narwhals.from_native(series, series_only=True, pass_through=True)
    if wrapped is not series:
        return column_of(wrapped, name)
    return _objects(cast(Iterable[object], series), name)


def _is_arrow(frame: object) -> bool:
    return type(frame).__module__.startswith("pyarrow")


def column_of(series: Series[Any], name: str) -> TableColumn:
    """Return a narwhals Series as a column."""
    kind = series.dtype
    if kind.is_numeric():
        return TableColumn(_numbers(series, kind))
    dtype = str(kind)
    if dtype == "Boolean":
        return TableColumn(_numbers(series, kind), yes_no=True)
    if dtype.startswith(("Datetime", "Date")):
        return TableColumn(_dates(series))
    if dtype == "Categorical" and _is_numbered_text(series.to_native()):
        return _numbered(series.to_native())
    if dtype.startswith(("String", "Categorical", "Enum", "Object", "Unknown")):
        return _objects(series.to_list(), name)
    raise DataError(f"numbers, text or dates are required, but column {name!r} holds {dtype}. Leave it out.")


def _numbers(series: Series[Any], kind: DType) -> np.ndarray[Any, Any]:
    if not series.is_null().any() and "128" not in str(kind):  # NumPy has no whole numbers of 128 bits
        array = np.asarray(series.to_numpy())
        return array if array.dtype.kind in "biuf" else array.astype(np.float64)
    narwhals = optional("narwhals.stable.v2", "a column of a data frame", "tables")
    return np.asarray(series.cast(kind if str(kind) == "Float32" else narwhals.Float64).to_numpy())


def _dates(series: Series[Any]) -> np.ndarray[Any, Any]:
    values = [None if is_absent(v) else v for v in series.to_list()]
    plain = [
        v if v is None or getattr(v, "tzinfo", None) is None else v.astimezone(UTC).replace(tzinfo=None) for v in values
    ]
    return np.array(plain, "datetime64[us]")


def _objects(cells: Iterable[Any], name: str) -> TableColumn:
    """Return Python objects as truth values, numbers or text, if all are of that kind; blank text is missing, as in files."""
    values = [None if is_absent(value) or (isinstance(value, str) and not value.strip()) else value for value in cells]
    kinds = {type(value) for value in values if value is not None}
    if kinds and kinds <= {bool, np.bool_}:
        return TableColumn(np.array([np.nan if v is None else float(v) for v in values]), yes_no=True)
    if kinds and all(issubclass(kind, (int, float, np.number)) or kind.__name__ == "Decimal" for kind in kinds):
        return _as_numbers(values)
    nested = [kind for kind in kinds if issubclass(kind, (list, tuple, dict, set, np.ndarray, bytes))]
    if nested:
        raise DataError(f"numbers or text are required, but column {name!r} holds {nested[0].__name__}. Leave it out.")
    return coded(values)


def _is_numbered_text(column: ArrowArray) -> bool:
    return _is_arrow(column) and "string" in str(column.type.value_type)


def _numbered(column: ArrowArray) -> TableColumn:
    """Return dictionary-encoded texts of pyarrow as a column: each distinct text is held once."""
    joined = column.combine_chunks()
    codes = joined.indices.cast("int64").fill_null(NO_VALUE).to_numpy(zero_copy_only=False)
    occurs = np.bincount(codes[codes >= 0], minlength=len(joined.dictionary)) > 0
    texts = (
        text if there and text is not None and text.strip() else None
        for text, there in zip(joined.dictionary.to_pylist(), occurs, strict=True)
    )
    known = coded(texts)
    return known._replace(values=np.append(known.values, np.int32(NO_VALUE))[codes])


def _as_numbers(values: list[Any]) -> TableColumn:
    try:
        return TableColumn(np.array([np.nan if v is None else float(v) for v in values], np.float64))
    except OverflowError:  # whole numbers of hundreds of digits are identifiers, not quantities
        return coded(values)


def is_absent(value: object) -> bool:
    """Return whether a cell is missing: None, NaN, or pandas' NA and NaT."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, float) and value != value
