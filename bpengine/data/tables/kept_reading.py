"""Reading options that a model keeps: those with which the file of its training rows was read, as plain values."""

from __future__ import annotations

import codecs
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from bpengine.data.tables.byte_streams import opened
from bpengine.data.tables.decoding import opened_text
from bpengine.data.tables.layout import BLANKS, TextOptions, badly_grouped
from bpengine.data.validation.reading import PIECE
from bpengine.errors import ConfigError, DataError

OF_TEXT: Final = (
    *("sep", "header", "decimal", "thousands", "encoding", "comment", "skiprows", "quotechar", "na_values"),
)
OF_ARCHIVES, OF_ARRAYS, OF_PARQUET = ("keys",), ("scale",), ("na_values",)
LONGEST: Final = 200  # characters of a text that is kept
MOST: Final = 1_000  # texts of missing cells
SEPARATOR: Final = 20  # characters
QUANTIFIERS: Final = re.compile(r"(?<!\\)[*+?]")


def kept_of(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of `load` that are kept: values of plain types, but not max_bytes and mmap, which depend on a file.

    A separator that is a regular expression with groups is not kept: matching it may take unlimited time.
    """
    values = {("sep" if name == "delimiter" else name): value for name, value in options.items()}
    kept: dict[str, Any] = {}
    for name in (*OF_TEXT, *OF_ARCHIVES, *OF_ARRAYS):
        value = values.get(name)
        if value is None or (name in OF_TEXT and value == getattr(TextOptions(), name)):
            continue
        if name in ("na_values", "keys"):
            value = [value] if isinstance(value, str) else list(value)
        if name != "sep" or _is_simple(value):
            kept[name] = value
    return kept


def checked(description: object) -> dict[str, Any]:
    """Return kept options from the JSON values of a file.

    Raises: DataError for values that `kept_of` does not return.
    """
    if not isinstance(description, dict):
        raise DataError(f"kept reading options require names, got {repr(description)[:80]}.")
    for name, value in description.items():
        texts = value if isinstance(value, list) else [value] if isinstance(value, str) else []
        if name not in (*OF_TEXT, *OF_ARCHIVES, *OF_ARRAYS) or (name == "sep" and not _is_simple(value)):
            raise DataError(f"kept reading options do not have {name!r} as {repr(value)[:80]}.")
        if len(texts) > MOST or not all(isinstance(text, str) and len(text) <= LONGEST for text in texts):
            raise DataError(f"the kept reading option {name!r} requires short texts, got {repr(value)[:80]}.")
    if not isinstance(description.get("scale", False), bool) or not _is_pair(description.get("keys", ["x"])):
        raise DataError("kept reading options require keys to be one or two names, and scale true or false.")
    try:
        TextOptions(**{name: value for name, value in description.items() if name in OF_TEXT})
    except (ConfigError, TypeError) as error:
        raise DataError(str(error)) from None
    return dict(description)


def _is_pair(keys: object) -> bool:
    return isinstance(keys, list) and 1 <= len(keys) <= 2


def _is_simple(sep: object) -> bool:
    """Return whether a separator can be matched in a time bounded by the length of the line."""
    if not isinstance(sep, str) or len(sep) > SEPARATOR:
        return False
    return len(sep) == 1 or sep == BLANKS or (not re.search(r"[(){}]", sep) and len(QUANTIFIERS.findall(sep)) <= 1)


def is_plainly_utf8(path: Path, max_bytes: int | None = None) -> bool:
    """Return whether a text file is certainly in UTF-8: it has bytes beyond ASCII, and they decode."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    beyond = False
    # encodings in which NUL bytes are valid
    with opened(path, str(path), encoding="utf-16", max_bytes=max_bytes) as stream:
        try:
            while piece := stream.read(PIECE):
                beyond = beyond or not piece.isascii()
                decoder.decode(piece)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return False
    return beyond


def fits_marks(path: Path, options: Mapping[str, Any]) -> bool:
    """Return whether a file's numbers can be read with the thousands mark of the options; True for no mark."""
    text = {name: value for name, value in options.items() if name in (*OF_TEXT, "delimiter", "max_bytes")}
    if "thousands" not in text or not path.is_file():
        return True
    settings = TextOptions(**text)
    with opened_text(path, str(path), settings) as stream:
        return badly_grouped(stream, settings) is None


def option_texts(kept: Mapping[str, Any]) -> str:
    """Return kept options as arguments of the command line."""
    return " ".join(f"--{name.replace('_', '-')} {_text(value)}" for name, value in kept.items())


def _text(value: object) -> str:
    shown = ",".join(map(str, value)) if isinstance(value, Sequence) and not isinstance(value, str) else str(value)
    return repr(shown) if not re.fullmatch(r"[\w.,/-]+", shown) else shown
