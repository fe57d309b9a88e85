"""Array files of NumPy, .npy (memory-mapped) and .npz, and the common parts of all readers: `Arrays`, errors."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import IO, Any, Final, NamedTuple, ParamSpec, TypeVar

import numpy as np

from bpengine.data.files.pair_stamps import STAMP_BYTES, stamp_of
from bpengine.data.table import Array
from bpengine.data.validation.class_names import ClassName
from bpengine.data.validation.reading import FREE, PIECE, RATIO, UNREADABLE, AnyPath, existing, reason
from bpengine.errors import BpError, ConfigError, DataError

AXES: Final = 32
ENCRYPTED: Final = 1  # a flag of an entry of a ZIP archive
Given = ParamSpec("Given")
Returned = TypeVar("Returned")


class Arrays(NamedTuple):
    """Inputs x (rows, features), targets y or None, and the names in the file, None where it has none.

    x is a Table where it holds more than numbers, or has missing cells. named: whether the names are the file's own.
    """

    x: Any
    y: Array | None
    feature_names: tuple[str, ...] | None = None
    class_names: tuple[ClassName, ...] | None = None
    named: bool = False
    target_names: tuple[str, ...] = ()


def as_data_error(form: str) -> Callable[[Callable[Given, Returned]], Callable[Given, Returned]]:
    """Decorate a reader of one file: exceptions of the libraries that it calls become a DataError that names the file."""

    def wrapped(read: Callable[Given, Returned]) -> Callable[Given, Returned]:
        @wraps(read)
        def run(*args: Given.args, **options: Given.kwargs) -> Returned:
            try:
                return read(*args, **options)
            except BpError:
                raise
            except UNREADABLE as error:
                path = args[0] if args else options["path"]
                raise DataError(f"{path} cannot be read as {form}: {reason(error)}") from error

        return run

    return wrapped


def read_npy(path: AnyPath, mmap: bool = True) -> Array:
    """Read a .npy file of numbers, by default memory-mapped and read-only.

    Raises: DataError naming the file when it is corrupt, truncated or longer than its header says, or holds text or Python
    objects (never unpickled).
    """
    return numeric(read_values(path, mmap), existing(path))


@as_data_error(".npy")
def read_values(path: AnyPath, mmap: bool = True) -> Array:
    """Read a .npy file, which may hold text, by default memory-mapped and read-only.

    Raises: DataError as `read_npy` does.
    """
    path = existing(path)
    with path.open("rb") as file:
        header = _header(file)
        end = path.stat().st_size - header.offset
        if end != header.payload and not (end == header.payload + STAMP_BYTES and stamp_of(path)):
            raise _wrong_size(f"{path}", header, end)
        if mmap and header.payload:
            order: Any = "F" if header.fortran else "C"
            return np.memmap(path, header.dtype, "r", header.offset, header.shape, order)
        return _read(file, header, str(path))


class ArrayHeader(NamedTuple):
    """The header of an array file, and where its values begin (bytes)."""

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[Any]
    offset: int

    @property
    def payload(self) -> int:
        """Number of bytes of all values."""
        return math.prod(self.shape) * self.dtype.itemsize


def _header(file: IO[bytes]) -> ArrayHeader:
    """Read and validate the header of an array file; raise ValueError for an invalid one."""
    try:
        version = np.lib.format.read_magic(file)
    except ValueError:
        raise ValueError("it does not begin as a file of that format does") from None
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in readers:
        raise ValueError(f"its header is of version {version[0]}.{version[1]}, known are 1.0 and 2.0")
    try:
        shape, fortran, dtype = readers[version](file)
    except UNREADABLE:  # NumPy parses a header as Python code, and raises Python's errors
        raise ValueError("its header is damaged and says neither shape nor type") from None
    if dtype.hasobject:
        raise ValueError(
            "it holds Python objects, which are never unpickled. Save text as text: np.save(file, y.astype(str))"
        )
    if len(shape) > AXES or not all(type(length) is int and length >= 0 for length in shape):
        raise ValueError(f"its header says the shape {str(shape)[:80]}, which no array has")
    return ArrayHeader(shape, fortran, dtype, file.tell())


def _wrong_size(what: str, header: ArrayHeader, size: int) -> DataError:
    state = "is truncated" if size < header.payload else "is longer than its header says"
    return DataError(
        f"{what} cannot be read as .npy: it {state}: expected {header.payload:,} bytes of values for shape {header.shape}, "
        f"found {size:,}."
    )


def _read(file: IO[bytes], header: ArrayHeader, what: str) -> Array:
    """Read the values that follow a header, piece by piece: an archive may hold fewer than the header says."""
    values = bytearray()
    while len(values) < header.payload:
        piece = file.read(min(PIECE, header.payload - len(values)))
        if not piece:
            raise _wrong_size(what, header, len(values))
        values += piece
    array = np.frombuffer(values, header.dtype)
    return array.reshape(header.shape, order="F" if header.fortran else "C")


@as_data_error(".npz")
def read_npz(path: AnyPath, keys: Sequence[str] = ("x", "y"), max_bytes: int | None = None) -> Arrays:
    """Read a .npz archive: the first of `keys` names the inputs, the second, if there is one, the targets.

    max_bytes: most bytes of an array, decompressed; by default 64 MiB plus fifty times its compressed size.
    Raises: DataError naming the file and the arrays it holds; ConfigError for no keys or more than two.
    """
    path = existing(path)
    if not 1 <= len(keys) <= 2:
        raise ConfigError(f"{path} requires keys for inputs and targets, or inputs alone, got {len(keys)} of them.")
    with zipfile.ZipFile(path) as archive:
        entries = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
        missing = [key for key in keys if key not in entries]
        if missing:
            names = ", ".join(entries) or "none"
            raise DataError(
                f"{path} requires an array {missing[0]!r}, got {names}. Name yours with --keys x,y (keys=(x, y))."
            )
        arrays = [_entry(archive, entries[key], path, max_bytes) for key in keys]
    numeric(arrays[0], path)
    return pair(path, arrays[0], arrays[1] if len(arrays) > 1 else None)


def _entry(archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path, max_bytes: int | None) -> Array:
    """Read one array of an archive, after comparing its size with its header."""
    what = f"the array {info.filename!r} of {path}"
    limit = FREE + RATIO * info.compress_size if max_bytes is None else max_bytes
    if info.file_size > limit:
        raise DataError(
            f"{what} declares {info.file_size:,} bytes, more than {limit:,}. Allow more with --max-bytes (max_bytes=), if "
            "you trust the file."
        )
    if info.flag_bits & ENCRYPTED:
        raise DataError(f"{what} is encrypted. Save it without a password.")
    with archive.open(info) as file:
        header = _header(file)
        if header.payload != info.file_size - header.offset:
            raise _wrong_size(what, header, info.file_size - header.offset)
        array = _read(file, header, what)
        file.read(1)  # reading to the end makes zipfile compare the checksum
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def pair(path: Path, x: Array, y: Array | None = None, y_path: Path | None = None) -> Arrays:
    """Return inputs as (rows, features) with their targets; text and truth values become class numbers with their names.

    y_path: the file of the targets, where it is another one.
    Raises: DataError when there are no rows, x and y have different numbers of them, or a text is empty.
    """
    if x.ndim and len(x) == 0:
        raise DataError(f"{path} requires at least one row, got shape {x.shape}.")
    rows = rows_of(x, path)
    if y is not None and (y.ndim == 0 or len(y) != len(rows)):
        raise DataError(f"{path} requires as many targets as inputs, got x {x.shape} and y {y.shape}.")
    if y is None or y.dtype.kind not in "USb" or y.size != len(y):
        return Arrays(rows, y if y is None else numeric(y, y_path or path))
    return Arrays(rows, *_classes(y.reshape(-1), y_path or path))


def _classes(y: Array, path: Path) -> tuple[Array, None, tuple[ClassName, ...]]:
    """Return the numbers of classes (rows,), no names of features, and the names of the classes in sorted order."""
    values, labels = np.unique(y, return_inverse=True)
    names = tuple(_class_name(value.item(), path) for value in values)
    if "" in names:
        at = int(np.argmax(labels == names.index("")))
        raise DataError(
            f"{path} requires a class in every row, got an empty text in row {at}. Fill it or drop the row."
        )
    return labels.astype(np.int64), None, names


def _class_name(value: ClassName | bytes, path: Path) -> ClassName:
    """Return a value as the name of a class; NumPy's byte strings are decoded as UTF-8."""
    if not isinstance(value, bytes):
        return value
    try:
        return value.decode()
    except UnicodeDecodeError:
        hint = "Save it as text of Python: y.astype(str)."
        raise DataError(f"{path} requires classes as text in UTF-8, got the bytes {value[:80]!r}. {hint}") from None


def numeric(array: Array, path: Path) -> Array:
    """Return the array in this machine's byte order (a copy only when it has the other).

    Raises: DataError for text, records and all else that is not real numbers.
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
