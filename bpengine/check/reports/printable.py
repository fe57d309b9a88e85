"""The base of both reports: a verdict, findings, a table, notes and JSON, the same in Python and on the command line."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import Any, ClassVar

from bpengine.i18n.language import localized
from bpengine.output.rich_form import lines, table, title
from bpengine.output.tabular import TabularResult
from bpengine.text_table import text_table


class PrintableReport(TabularResult):
    """A report as text and as JSON: `str()` returns all of it as text, `to_dict()` as plain values."""

    heads: ClassVar[tuple[str, ...]]

    @property
    @abstractmethod
    def passed(self) -> bool:
        """True when nothing disagrees."""

    @abstractmethod
    def verdict(self) -> str:
        """Return in a line whether the check passed, and of what, in the language that is set."""

    @abstractmethod
    def rows(self) -> list[tuple[str, ...]]:
        """Return the cells of the table, under `heads`."""

    def findings(self) -> list[str]:
        """Return a sentence for everything that is wrong."""
        return []

    def notes(self) -> list[tuple[str, str]]:
        """Return the notes below the table, by name."""
        return []

    def table(self) -> str:
        """Return the table as plain text, in the language that is set."""
        heads, *rows = self._translated()
        return "\n".join(text_table(heads, rows))

    def _translated(self) -> list[list[str]]:
        """Return the heads and the rows in the language that is set."""
        return [list(map(localized, row)) for row in (self.heads, *self.rows())]

    def to_rows(self) -> list[dict[str, Any]]:
        """Return one dict per row of the table, by its heads."""
        return [dict(zip(self.heads, row, strict=True)) for row in self.rows()]

    def _html_parts(self) -> Iterator[str]:
        yield title(self.verdict())
        yield lines(map(localized, self.findings()))
        heads, *rows = self._translated()
        yield table(heads, rows, most=200)
        yield lines(f"{localized(name)}: {localized(text)}" for name, text in self.notes())

    def __str__(self) -> str:
        notes = [f"{localized(name)}: {localized(text)}" for name, text in self.notes()]
        parts = [[self.verdict()], list(map(localized, self.findings())), [self.table()], notes]
        return "\n\n".join("\n".join(part) for part in parts if part)
