"""`bpengine convert`: a large table once into a folder of memory-mapped columns."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bpengine import data
from bpengine.cli.output import show
from bpengine.cli.table_options.groups import grouped
from bpengine.cli.table_options.text_format import TextFormat
from bpengine.errors import ConfigError
from bpengine.i18n.counted_nouns import count_of

HELP = """\
Convert a large CSV or Parquet file into a folder that is read without being loaded.

The file is read in pieces, so that it may be larger than memory. The folder holds one .npy file for each column, and is
given to train and predict in place of the file. Tables above 256 MiB are converted by themselves, into a folder beside them.

\b
Examples:
  bpengine convert big.csv big/
  bpengine train big/ --target price
"""


@grouped
def convert(
    source: Annotated[
        str, typer.Argument(metavar="FILE", help="A table of text, compressed or not, or Parquet; - is stdin.")
    ],
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="The folder to write.")],
    written: TextFormat,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the folder.")] = False,
) -> None:
    """Convert and say what was written."""
    if written.keys is not None:
        raise ConfigError("--keys names arrays of a .npz archive, which need no conversion. Drop it.")
    path = data.convert(source, folder, force=force, **written.text_options())
    table = data.read_arrays(path, False).x
    show(f"written: {path}: {count_of(len(table), 'row', ',')} x {count_of(len(table.names), 'column', ',')}")
