"""The container of a model file, safetensors: a header with the position of each array, then the arrays, end to end.

The header is read and validated first: dtypes, shapes, offsets and sizes against the size of the file.
Arrays are read afterwards, once the file is known to hold all of their bytes.
Source: https://github.com/huggingface/safetensors#format
"""

from __future__ import annotations

import json
import math
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import FileIO
from types import MappingProxyType
from typing import Any, Final

import numpy as np

from bpengine.backend import HostArray
from bpengine.errors import ModelFileError
from bpengine.io.text import parse
from bpengine.output.json_values import JsonValue
from bpengine.output.opening import AT_ONCE, opener

VALUES: Final = 250_000  # the most arrays in a header: as Python objects they take about 100 bytes each
HEADER_BYTES: Final = 4 << 20
LENGTH_BYTES: Final = 8  # bytes of the header's length at the beginning; the header ends at a multiple of them
DTYPES: Final = MappingProxyType({"F32": "float32", "F64": "float64"})
AXES: Final = 32


@dataclass(frozen=True)
class Entry:
    """An array of a file: its dtype, its shape, and the range of its bytes, counted from the end of the header."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


@dataclass(frozen=True)
class Container:
    """An open file, its texts by name, and its arrays by name, validated but not yet read."""

    file: FileIO
    start: int
    texts: dict[str, str]
    entries: dict[str, Entry]

    def read(self, name: str) -> HostArray:
        """Return an array; raise ValueError when the file has become shorter."""
        entry = self.entries[name]
        array = np.empty(entry.shape, np.dtype(entry.dtype).newbyteorder("<"))
        self.file.seek(self.start + entry.begin)
        rest = array.reshape(-1).view(np.uint8).data
        while rest:
            if not (count := self.file.readinto(rest)):
                raise ValueError("it became shorter while it was read")
            rest = rest[count:]
        return array.astype(entry.dtype, copy=False)


def header_of(
    arrays: Mapping[str, HostArray], texts: Mapping[str, str], dtypes: Mapping[str, str] = DTYPES
) -> tuple[bytes, list[str]]:
    """Return the beginning of a file, up to its arrays, and the order in which they follow.

    Raises ValueError for names that are not text.
    """
    kinds = {dtype: kind for kind, dtype in dtypes.items()}
    header: dict[str, Any] = {"__metadata__": dict(texts)}
    at, names = 0, sorted(arrays, key=lambda name: (-arrays[name].dtype.itemsize, name))  # so that each is aligned
    for name in names:
        array = arrays[name]
        offsets = [at, at + array.nbytes]
        header[name] = {"dtype": kinds[array.dtype.name], "shape": list(array.shape), "data_offsets": offsets}
        at += array.nbytes
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % LENGTH_BYTES)
    return len(text).to_bytes(LENGTH_BYTES, "little") + text, names


def bytes_of(array: HostArray) -> memoryview:
    """Return an array's bytes as in a file: in C order, little-endian."""
    return np.ascontiguousarray(array, array.dtype.newbyteorder("<")).reshape(-1).view(np.uint8).data


@contextmanager
def opened(path: str | os.PathLike[str], format: str, dtypes: Mapping[str, str] = DTYPES) -> Iterator[Container]:
    """Open a file of this format and read its header; its arrays may be of `dtypes`.

    Raises ModelFileError for a file that does not exist or is not regular, is truncated or damaged, or has another format.
    """
    with _open(path) as file:
        try:
            start, header, size = _header(file)
            texts = header.pop("__metadata__", {})
            if isinstance(texts, dict) and texts.get("format") == format:
                container = Container(file, start, texts, entries(header, size - start, dtypes))
            else:
                format_here = texts.get("format") if isinstance(texts, dict) else texts
                raise ModelFileError(
                    f"{str(path)!r} is not a file of the format {format!r}, got {repr(format_here)[:60]}."
                )
        except ModelFileError:
            raise
        except (ValueError, OSError) as error:
            raise damaged(path, error) from None
        yield container


def damaged(path: str | os.PathLike[str], error: Exception) -> ModelFileError:
    """Return the error for damaged bytes."""
    return ModelFileError(f"the model file {str(path)!r} is corrupt or truncated: {error}. Save the model again.")


def _open(path: str | os.PathLike[str]) -> FileIO:
    """Open a regular file; refuse any other kind before opening it, since opening a pipe waits for its other end."""
    shown, mode = repr(str(path)), 0
    try:
        if "\0" not in str(path):
            mode = os.stat(path).st_mode
        if stat.S_ISREG(mode):
            return open(path, "rb", buffering=0, opener=opener(AT_ONCE))
    except FileNotFoundError:
        raise ModelFileError(f"there is no model file {shown}.") from None
    except OSError as error:
        raise ModelFileError(f"the model file {shown} cannot be read: {error.strerror or error}.") from None
    what = "a folder" if stat.S_ISDIR(mode) else "no regular file"
    raise ModelFileError(
        f"the model file {shown} cannot be read: it is {what}. Give the name of a file that was saved."
    )


def _header(file: FileIO) -> tuple[int, dict[str, Any], int]:
    """Return where the arrays begin, the header, and the size of the file."""
    size = os.fstat(file.fileno()).st_size
    length = int.from_bytes(first, "little") if len(first := file.read(LENGTH_BYTES)) == LENGTH_BYTES else -1
    if size > LENGTH_BYTES and file.read(1) != b"{":
        raise ValueError("it does not begin as one that train --out or Model.save wrote")
    file.seek(LENGTH_BYTES)
    if not 0 <= length <= size - LENGTH_BYTES:
        raise ValueError("it ends in its header")
    if length > HEADER_BYTES:
        raise ValueError(f"its header is of {length:,} bytes, at most {HEADER_BYTES:,} are read")
    if len(content := file.read(length)) != length:
        raise ValueError("it ends in its header")
    header = judged_header(content)
    return LENGTH_BYTES + length, header, size


def judged_header(content: bytes) -> dict[str, Any]:
    """Parse a header; raise ValueError for bytes that are not a header."""
    try:
        header = parse(content.decode(), VALUES)
    except UnicodeDecodeError:
        raise ValueError("its header is no text") from None
    except ValueError as error:
        raise ValueError(f"its header cannot be read: {error}") from None
    if not isinstance(header, dict):
        raise ValueError("its header is no JSON object")
    return header


def entries(header: Mapping[str, Any], size: int, dtypes: Mapping[str, str] = DTYPES) -> dict[str, Entry]:
    """Return the arrays that a header names; raise ValueError unless they fill `size` bytes end to end."""
    entries_by_name = {name: _entry(name, value, dtypes) for name, value in header.items()}
    at = 0
    for name, entry in sorted(entries_by_name.items(), key=lambda pair: (pair[1].begin, pair[1].end)):
        if entry.begin != at:
            what = "overlaps another" if entry.begin < at else "leaves bytes unused before it"
            raise ValueError(f"the array {name[:60]!r} {what}")
        at = entry.end
    if at != size:
        raise ValueError(f"its arrays take {at:,} bytes, there are {size:,}")
    return entries_by_name


def _entry(name: str, value: object, dtypes: Mapping[str, str]) -> Entry:
    who = f"the array {name[:60]!r}"
    if not isinstance(value, dict) or value.keys() != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"{who} requires dtype, shape and data_offsets")
    shape, offsets = value["shape"], value["data_offsets"]
    if not (isinstance(value["dtype"], str) and value["dtype"] in dtypes):
        raise ValueError(f"{who} requires the dtype {' or '.join(dtypes)}, got {str(value['dtype'])[:30]!r}")
    if not (_whole(shape) and _whole(offsets) and len(offsets) == 2 and len(shape) <= AXES):
        raise ValueError(f"{who} requires whole numbers as shape and data_offsets")
    dtype, (begin, end) = dtypes[value["dtype"]], offsets
    if end - begin != math.prod(shape) * np.dtype(dtype).itemsize:
        raise ValueError(
            f"{who} of shape {_shown(shape)} and dtype {dtype} does not take the {str(end - begin)[:30]} bytes that it has"
        )
    return Entry(dtype, tuple(shape), begin, end)


def _whole(values: object) -> bool:
    return isinstance(values, list) and all(type(n) is int and n >= 0 for n in values)


def _shown(shape: list[int]) -> str:
    return str(shape)[:60]


def read_json(texts: Mapping[str, Any], name: str) -> JsonValue:
    """Return a JSON text of a file's header by its name; raise ValueError if it is missing or damaged."""
    text = texts.get(name)
    if not isinstance(text, str):
        raise ValueError(f"it has no {name!r}")
    try:
        return parse(text, VALUES)
    except ValueError as error:
        raise ValueError(f"{name!r} cannot be read: {error}") from None
