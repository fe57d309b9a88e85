"""Options for the format of a text file, under pandas' names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from bpengine.cli.whole_numbers import number_or_name
from bpengine.data.tables.conversion import is_converted
from bpengine.data.tables.layout import NO_HEADER
from bpengine.errors import ConfigError

FOUND = "[default: found from the first lines]"


@dataclass(frozen=True, kw_only=True)
class TextFormat:
    """The format of a text table, and the arrays to read from an archive."""

    sep: Annotated[
        str | None,
        typer.Option(
            "--sep",
            "--delimiter",
            metavar="TEXT",
            help=f"What separates the fields; '\\s+' for runs of blanks.  {FOUND}",
        ),
    ] = None
    header: Annotated[
        str | None,
        typer.Option(metavar="LINE", help=f"Number of the line with the names, from 0, or none.  {FOUND}"),
    ] = None
    decimal: Annotated[str | None, typer.Option(metavar="CHAR", help=f"The decimal mark.  {FOUND}")] = None
    thousands: Annotated[
        str | None, typer.Option(metavar="CHAR", help="The mark between thousands.  [default: none]")
    ] = None
    encoding: Annotated[str, typer.Option(metavar="NAME", help="Of the text: latin-1, utf-16, ...")] = "utf-8"
    comment: Annotated[str | None, typer.Option(metavar="CHAR", help="What begins a comment.  [default: nothing]")] = (
        None
    )
    skiprows: Annotated[int, typer.Option(min=0, metavar="N", help="Lines to skip before the table.")] = 0
    quotechar: Annotated[str, typer.Option(metavar="CHAR", help="What encloses a field.")] = '"'
    na_values: Annotated[
        str | None,
        typer.Option(metavar="TEXTS", help="Texts of missing cells, a,b, beside '', NA, ?.  [default: none]"),
    ] = None
    keys: Annotated[
        str | None, typer.Option(metavar="X,Y", help="Names of the two arrays in a .npz archive.  [default: x,y]")
    ] = None
    max_bytes: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Most bytes to read, decompressed.  [default: 64 MiB and fifty times the file's size where it is "
            "compressed or Parquet, else no limit]",
        ),
    ] = None

    def text_options(self) -> dict[str, Any]:
        """Return the given options of a text table."""
        values = {name: getattr(self, name) for name in ("sep", "decimal", "thousands", "comment", "max_bytes")}
        options = {name: value for name, value in values.items() if value is not None}
        if self.header is not None:
            options["header"] = self.header if self.header == NO_HEADER else number_or_name(self.header, "--header")
        for name, value, usual in (
            ("encoding", self.encoding, "utf-8"),
            ("skiprows", self.skiprows, 0),
            ("quotechar", self.quotechar, '"'),
        ):
            if value != usual:
                options[name] = value
        if self.na_values is not None:
            options["na_values"] = tuple(self.na_values.split(","))
        return options

    def options_for(self, source: str) -> dict[str, Any]:
        """Return the options that apply to a file; raise ConfigError for --keys with a file that has no keys."""
        options = self.text_options()
        if self.keys is None:
            return options
        if not source.lower().endswith(".npz") or is_converted(Path(source)):
            raise ConfigError(f"--keys names arrays of a .npz archive, got the file {source!r}. Drop it.")
        return {**options, "keys": tuple(name.strip() for name in self.keys.split(","))}
