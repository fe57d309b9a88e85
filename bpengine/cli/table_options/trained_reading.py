"""Files for a trained model are read with its training file's options, unless given options or the file contradict them."""

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

OF_CELLS = ("na_values", "quotechar", "comment")  # options that apply to a file of another layout as well
# for a file without the lines before the table
OF_LINES_AND_CELLS = (
    *OF_CELLS,
    "sep",
    "decimal",
    "thousands",
    "encoding",
)
Rows = TypeVar("Rows", Table, Dataset)


def read_as_trained(
    features: Features, source: str, options: Mapping[str, Any], read: Callable[[dict[str, Any]], Rows]
) -> Rows:
    """Return the result of `read(options)` with the options kept in the model and the given ones, which take precedence.

    A file that cannot be read so, or lacks the model's columns, is read with the layout inferred from its first lines and the
    kept options about cells; a line on stderr says so. Raises what `read` raises.
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
    for names in (OF_LINES_AND_CELLS, OF_CELLS) if source != STANDARD_INPUT else ():  # which can be read only once
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
    """Return the rows, or the error."""
    try:
        if not fits_marks(expand_home(Path(source)), options):
            return None, DataError(
                f"{source} has numbers in which {options['thousands']!r} does not separate thousands."
            )
        return read(options), None
    except (ConfigError, DataError) as error:
        return None, error


def fits(features: Features, rows: Table | Dataset) -> bool:
    """Return whether rows have the model's columns: by name, or by their number where it was trained without names."""
    table = rows.table if isinstance(rows, Dataset) else rows
    needed = [column.name for column in features.columns if column.input_names]
    if features.named:
        return table.named and all(name in table for name in needed)
    return len(table.names) >= len(needed)


def _is_other_encoding(source: str, kept: str) -> bool:
    path = expand_home(Path(source))
    return kept.lower() not in ("utf-8", "utf8") and path.is_file() and is_plainly_utf8(path)
