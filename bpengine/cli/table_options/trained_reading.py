"""Files for a trained model are read as its training file was, unless options or the file itself say otherwise."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from bpengine.cli.exit_codes import tell
from bpengine.data import Dataset, Features, Table
from bpengine.data.files.read_arrays import kept_options
from bpengine.data.tables.csv_table import STANDARD_INPUT
from bpengine.data.tables.kept_reading import fits_marks, is_plainly_utf8, option_texts
from bpengine.data.validation.reading import expand_home
from bpengine.errors import ConfigError, DataError

OF_CELLS = ("na_values", "quotechar", "comment")  # which hold for a file of another layout as well
OF_LINES_AND_CELLS = (
    *OF_CELLS,
    "sep",
    "decimal",
    "thousands",
    "encoding",
)  # for one without the lines before the table
Rows = TypeVar("Rows", Table, Dataset)


def read_as_trained(
    features: Features, source: str, options: Mapping[str, Any], read: Callable[[dict[str, Any]], Rows]
) -> Rows:
    """Return what `read(options)` gives, with the options that the model keeps beside those that were given, which win.

    A file that cannot be read so, or has not the model's columns, is read with what is found from its first lines, and with
    what was kept of its cells; a line on stderr says how. Raises what `read` raises.
    """
    kept = {name: v for name, v in kept_options(features.reading, source).items() if name not in options}
    if "encoding" in kept and source != STANDARD_INPUT and _is_other_encoding(source, kept["encoding"]):
        del kept["encoding"]
    if not kept:
        return read(dict(options))
    shown = "standard input" if source == STANDARD_INPUT else source
    rows, trouble = _tried(source, {**kept, **options}, read)
    if rows is not None and fits(features, rows):
        tell(f"{shown} is read as the training file was: {option_texts(kept)}")
        return rows
    for names in (OF_LINES_AND_CELLS, OF_CELLS) if source != STANDARD_INPUT else ():  # which can be read but once
        part = {name: kept[name] for name in names if name in kept}
        own, _ = _tried(source, {**part, **options}, read)
        if own is not None and (names is OF_CELLS or fits(features, own)):
            how = f"it is read with {option_texts(part) or 'none of them'}"
            tell(f"{shown} is not written as the training file was ({option_texts(kept)}): {how}")
            return own
    if trouble is not None:
        raise type(trouble)(f"{trouble} (Read as the training file was: {option_texts(kept)}.)")
    assert rows is not None
    return rows


def _tried(
    source: str, options: dict[str, Any], read: Callable[[dict[str, Any]], Rows]
) -> tuple[Rows, None] | tuple[None, ConfigError | DataError]:
    """Return what was read, or what is wrong with it."""
    try:
        if not fits_marks(expand_home(Path(source)), options):
            return None, DataError(
                f"{source} has numbers in which {options['thousands']!r} does not separate thousands."
            )
        return read(options), None
    except (ConfigError, DataError) as error:
        return None, error


def fits(features: Features, rows: Table | Dataset) -> bool:
    """Return whether rows have the columns that a model takes: by name, or as many where it was trained without names."""
    table = rows.table if isinstance(rows, Dataset) else rows
    needed = [column.name for column in features.columns if column.input_names]
    if features.named:
        return table.named and all(name in table for name in needed)
    return len(table.names) >= len(needed)


def _is_other_encoding(source: str, kept: str) -> bool:
    path = expand_home(Path(source))
    return kept.lower() not in ("utf-8", "utf8") and path.is_file() and is_plainly_utf8(path)
