"""Output: tables without colour codes outside a terminal, JSON, and the check of output files before the work.

Texts are escaped before a table is laid out: an escape is wider than the character that it stands for.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Container, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bpengine.cli.visible_streams import Guard
from bpengine.errors import ConfigError, WriteError
from bpengine.i18n.language import localized
from bpengine.output.long_work import terminal_bar
from bpengine.output.visible import visible, visible_json
from bpengine.output.writing import check_target

WIDEST: Final = 1000  # characters of a table's line in a file or pipe


def show(*parts: Table | Text | str) -> None:
    """Print tables and text, in the language that is set, on stdout; to a file or pipe without colours and trailing blanks."""
    console = Console(highlight=False, markup=False, emoji=False)
    usual = console.width
    with console.capture() as captured:
        for part in parts:
            whole = isinstance(part, str) and not console.is_terminal  # a path must not be broken across lines
            console.width = _needed(console, part, usual)
            console.print(_translated(part), soft_wrap=whole)
    text = captured.get()
    if not console.is_terminal:
        text = "\n".join(line.rstrip() for line in text.split("\n"))
    stream: Any = sys.stdout.own if isinstance(sys.stdout, Guard) else sys.stdout
    typer.echo(text, file=stream, nl=False, color=True)


def _needed(console: Console, part: Table | Text | str, usual: int) -> int:
    """Return the width for a part: a table with a head is not cut in a file or pipe, unless COLUMNS says how wide that is."""
    if console.is_terminal or "COLUMNS" in os.environ or not isinstance(part, Table) or part.box is None:
        return usual
    return max(usual, console.measure(part, options=console.options.update(max_width=WIDEST)).maximum)


def _translated(part: Table | Text | str) -> Table | Text | str:
    """Return text in the language that is set; the cells of a table were translated when it was created."""
    if isinstance(part, str):
        return visible(localized(part))
    return Text(localized(part.plain), style=part.style) if isinstance(part, Text) else part


def say(text: str, *, err: bool = False) -> None:
    """Print a sentence, in the language that is set, on stdout or stderr."""
    put(localized(text), err=err)


def put(text: str, *, err: bool = False) -> None:
    """Print text and a newline on stdout or stderr, untranslated."""
    print(text, file=sys.stderr if err else sys.stdout, flush=True)


@contextmanager
def logged_lines() -> Iterator[None]:
    """Write the engine's log records to stderr, a line each, where stderr is a file or a pipe: a terminal has bars."""
    if sys.stderr.isatty():
        with terminal_bar():
            yield
        return
    logger, lines = logging.getLogger("bpengine"), logging.StreamHandler()
    lines.setFormatter(logging.Formatter("bpengine: %(message)s"))
    before = logger.level
    logger.addHandler(lines)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.setLevel(before)
        logger.removeHandler(lines)


def columns(heads: Sequence[str], rows: Iterable[Sequence[str]], *, left: int = 2, names: int = 0) -> Table:
    """Return a table with a head; all but the first `left` columns hold numbers.

    Heads and cells are translated, except for the cells of the first `names` columns, which are names.
    """
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for number, head in enumerate(heads):
        table.add_column(visible(localized(head)), justify="left" if number < left else "right", header_style="bold")
    for row in rows:
        table.add_row(*map(visible, [*row[:names], *map(localized, row[names:])]))
    return table


def key_value_table(rows: Iterable[Sequence[str]], *, names: Container[int] = ()) -> Table:
    """Return a table without a head, in the language that is set, except for the columns of these numbers, which are names."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for row in rows:
        table.add_row(*(visible(cell if at in names else localized(cell)) for at, cell in enumerate(row)))
    for column in table.columns[:-1]:
        column.no_wrap = True
    if table.columns:
        table.columns[0].style = "bold"
        table.columns[-1].overflow = "fold"
    return table


def print_json(value: object) -> None:
    """Print one JSON object; nothing else goes to stdout."""
    put(visible_json(value, sys.stdout.encoding or "utf-8", indent=2))


def require_writable(path: Path, *, force: bool, option: str = "--out") -> None:
    """Check, before any work, that an output file can be written and does not exist already, unless `force` is given.

    Raises ConfigError that says what to do instead.
    """
    if path.is_dir():
        raise ConfigError(f"{option} requires a file name, got the folder {str(path)!r}.")
    try:
        check_target(path)
    except WriteError as error:
        raise ConfigError(f"{error} Choose another {option}.") from None
    if path.exists() and not force:
        raise ConfigError(f"{str(path)!r} exists already. Choose another {option}, or pass --force to overwrite it.")
