"""Rich forms: how results show themselves in notebooks (Jupyter, VS Code, Colab).

HTML without scripts. Its colours are those of the page around it: text takes the page's colour, lines and stripes are
half-transparent grey, so dark and light pages use the same style. All text is escaped, and its invisible characters are
written as escapes; a frontend that drops the style shows plain tables.
"""

from __future__ import annotations

import base64
import html
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Protocol

from bpengine.i18n.language import column_head, localized
from bpengine.output.visible import visible

MOST_ROWS: Final = 40  # rows of a table in a notebook; the number of further ones is shown
UNIT: Final = re.compile("%$| ([KMG]i)?B$")
PRETTY: Final = "_repr_pretty_"  # the name of the method that IPython calls
LONGEST: Final = 200  # characters of a cell
SENTENCE: Final = 40  # characters of a cell that may be broken into lines; shorter ones are names and numbers
# Every rule names the class twice: Jupyter's rules for tables have precedence over a single class.
STYLE: Final = """
.bpengine{color:inherit;font-size:13px;line-height:1.5;max-width:100%;overflow-x:auto}
.bpengine.bpengine p{margin:.3em 0;color:inherit}
.bpengine.bpengine .title{font-weight:600}
.bpengine.bpengine table{border-collapse:collapse;border:0;margin:.4em 0;background:transparent;color:inherit;
 table-layout:auto;font-variant-numeric:tabular-nums}
.bpengine.bpengine th,.bpengine.bpengine td{border:0;border-bottom:1px solid rgba(128,128,128,.35);padding:.2em .8em;
 background:transparent;color:inherit;text-align:left;vertical-align:top;white-space:nowrap;max-width:60em}
.bpengine.bpengine th{border-bottom:2px solid rgba(128,128,128,.6);font-weight:600}
.bpengine.bpengine td.n,.bpengine.bpengine th.n{text-align:right}
.bpengine.bpengine td.s{white-space:normal;min-width:24em}
.bpengine.bpengine tbody tr:nth-child(n){background:transparent}
.bpengine.bpengine tbody tr:nth-child(even) td{background:rgba(128,128,128,.08)}
.bpengine.bpengine pre{margin:.4em 0;padding:0;background:transparent;color:inherit;border:0;font-size:12px;
 line-height:1.45;overflow-x:auto;white-space:pre}
.bpengine.bpengine summary{cursor:pointer;opacity:.8}
.bpengine.bpengine svg{max-width:100%;height:auto}
.bpengine.bpengine .paper{max-width:100%;overflow-x:auto}
.bpengine.bpengine .paper img{max-width:100%;border-radius:4px}
.bpengine.bpengine .paper.wide img{max-width:none}
.bpengine.bpengine iframe{border:1px solid rgba(128,128,128,.35);border-radius:4px;width:100%;box-sizing:border-box}
"""


class RichForm(ABC):
    """A result that notebooks show as `to_html()`, and IPython in a terminal as `str()`.

    A class returns the content of its form from `_html_parts`: fragments of HTML, made by the functions of this module.
    """

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        # IPython prefers a class's own __repr__, as dataclasses have, to an inherited _repr_pretty_
        setattr(cls, PRETTY, RichForm._repr_pretty_)

    @abstractmethod
    def _html_parts(self) -> Iterable[str]:
        """Return the fragments of the form."""

    def to_html(self) -> str:
        """Return the result as a fragment of HTML, without scripts, in the colours of the page that it stands on."""
        return block(*self._html_parts())

    def _repr_html_(self) -> str:
        return self.to_html()

    def __str__(self) -> str:
        return localized(repr(self))

    def _repr_pretty_(self, printer: Printer, cycle: bool) -> None:
        printer.text(str(self))


class Printer(Protocol):
    """What IPython prints with in a terminal."""

    def text(self, text: str) -> None:
        """Print text as it is."""
        ...


def block(*parts: str) -> str:
    """Return fragments as one, with their style."""
    return f'<div class="bpengine"><style>{STYLE}</style>{"".join(parts)}</div>'


def escaped(text: str) -> str:
    r"""Return text for HTML, in attributes as well.

    >>> escaped("a < b\x1b")
    'a &lt; b\\x1b'
    """
    return html.escape(visible(text))


def title(text: str) -> str:
    """Return the line that names a result."""
    return f'<p class="title">{escaped(text)}</p>'


def lines(texts: Iterable[str]) -> str:
    """Return sentences, a line each."""
    return "".join(f"<p>{escaped(text)}</p>" for text in texts)


def preformatted(text: str) -> str:
    """Return preformatted text, with aligned columns."""
    return f"<pre>{escaped(text)}</pre>"


def folded(summary: str, *parts: str, unfolded: bool = False) -> str:
    """Return fragments that a click on the summary shows and hides."""
    return f"<details{' open' * unfolded}><summary>{escaped(summary)}</summary>{''.join(parts)}</details>"


def on_paper(svg: str, name: str, *, wide: bool = False) -> str:
    """Return a picture that paints its own background; as an image, so that its style rules stay separate.

    wide: it is not made narrower to fit, which would make its letters too small to be read, but can be moved sideways.
    """
    data = base64.b64encode(svg.encode()).decode("ascii")
    image = f'<img alt="{escaped(name)}" src="data:image/svg+xml;base64,{data}">'
    focus = f' tabindex="0" role="region" aria-label="{escaped(name)}"' if wide else ""  # the keyboard can move it, too
    return f'<div class="paper{" wide" * wide}"{focus}>{image}</div>'


def frame_of(document: str, name: str, height: int) -> str:
    """Return a whole HTML document in a frame of its own, `height` pixels high, which cannot reach the page around it."""
    return (
        f'<iframe title="{escaped(name)}" sandbox="allow-scripts allow-downloads" height="{height}" '
        f'srcdoc="{html.escape(document)}"></iframe>'
    )


def table(heads: Sequence[str], rows: Sequence[Sequence[Any]], most: int = MOST_ROWS) -> str:
    """Return a table; a column whose cells are all numbers is aligned at the right.

    Of more than `most` rows the first and the last are shown, with the number of rows between them. The heads are not
    translated: `words` translates those of the engine.

    >>> table(["loss"], [[0.5]])
    '<table><thead><tr><th class="n">loss</th></tr></thead><tbody><tr><td class="n">0.5</td></tr></tbody></table>'
    """
    left = len(rows) - most
    shown = [*rows[: most - most // 4], *rows[len(rows) - most // 4 :]] if left > 0 else list(rows)
    cells = [[cell_text(value) for value in row] for row in shown]
    kinds = [_kind(column) for column in zip(*cells, strict=True)] or [""] * len(heads)
    head = "".join(f"<th{kind}>{escaped(name)}</th>" for name, kind in zip(heads, kinds, strict=True))
    body = [_row(row, kinds) for row in cells]
    if left > 0:
        more = localized(f"... {left:,} more rows ...")
        between = f'<tr><td colspan="{len(heads)}">{escaped(more)}</td></tr>'
        body.insert(most - most // 4, between)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>"


def rows_table(rows: Sequence[Mapping[str, Any]], most: int = MOST_ROWS) -> str:
    """Return dicts, as `to_rows()` gives them, as a table; a row that lacks a value has a dash there."""
    heads = list(dict.fromkeys(name for row in rows for name in row))
    return table(words(heads), [[row.get(name) for name in heads] for row in rows], most) if rows else ""


def words(names: Iterable[str]) -> list[str]:
    """Return the heads of columns in the language that is set, by the names that the columns have in `to_rows()`."""
    return [column_head(name) for name in names]


def _row(cells: Sequence[str], kinds: Sequence[str]) -> str:
    return f"<tr>{''.join(f'<td{kind}>{escaped(cell)}</td>' for cell, kind in zip(cells, kinds, strict=True))}</tr>"


def cell_text(value: object) -> str:
    """Return a value as the text of a table cell: numbers with six digits, a dash for None.

    >>> [cell_text(value) for value in (None, True, 0.123456789, 1200, (1.0, 2.5), "text")]
    ['-', 'yes', '0.123457', '1200', '1, 2.5', 'text']
    """
    if value is None:
        return "-"
    if isinstance(value, bool):
        return localized("yes" if value else "no")
    if isinstance(value, str):
        return value if len(value) <= LONGEST else f"{value[:LONGEST]} ..."
    if isinstance(value, float):
        return f"{value + 0.0:.6g}" if math.isfinite(value) else str(float(value))
    if isinstance(value, (list, tuple)):
        return cell_text(", ".join(cell_text(part) for part in value[:LONGEST]))
    return cell_text(value.tolist()) if hasattr(value, "tolist") else cell_text(str(value))


def _kind(column: Sequence[str]) -> str:
    """Return the attribute of a column's cells: n for numbers, s for sentences."""
    if _all_numbers(column):
        return ' class="n"'
    return ' class="s"' if max(map(len, column), default=0) > SENTENCE else ""


def _all_numbers(cells: Iterable[str]) -> bool:
    """Say whether every cell is a number or a dash, and not all are dashes."""
    shown = [cell for cell in cells if cell != "-"]
    return bool(shown) and all(map(_is_number, shown))


def _is_number(cell: str) -> bool:
    try:
        float(UNIT.sub("", cell).replace(",", ""))
    except ValueError:
        return False
    return True
