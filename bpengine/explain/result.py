"""The base of this package's results: one with a text in two languages."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from bpengine.errors import unknown
from bpengine.i18n.language import LANGUAGES, code, current, localized
from bpengine.i18n.translate import Translate, translator
from bpengine.output.rich_form import folded, preformatted, rows_table, title
from bpengine.output.tabular import TabularResult


def language_of(lang: str | None) -> str:
    """Return one of LANGUAGES for "pt", "pt-BR", "en_US", ...; None is the language that is set (`bp.language`).

    Raises: ConfigError for another language.
    """
    if lang is None:
        return current()
    chosen = code(lang) if isinstance(lang, str) else None
    if chosen is None:
        raise unknown("language", lang, LANGUAGES)
    return chosen


def translator_for(lang: str | None, more: Mapping[str, tuple[str, str]] | None = None) -> Translate:
    """Return a translator into a language, with phrases beside the shared ones; raise ConfigError for an unknown language."""
    return translator(language_of(lang), more)


class ExplainResult(TabularResult):
    """A result that can also be printed (`text`, `str()`).

    A notebook shows its title, its table and its text. `_text_first`: the text stands above the table, since it says more.
    """

    _text_first: ClassVar[bool] = False

    @abstractmethod
    def text(self, lang: str | None = None) -> str:
        """Return the result in words, English ("en") or Portuguese ("pt"); by default in the language that is set.

        Raises: ConfigError for another language.
        """

    @abstractmethod
    def to_rows(self) -> list[dict[str, Any]]:
        """Return one dict per line of a table."""

    def to_json(self, *args: Any, **options: Any) -> dict[str, Any]:
        """Return `to_dict(...)`, which had this name before."""
        return self.to_dict(*args, **options)

    def _html_parts(self) -> Iterator[str]:
        head, _, rest = self.text().strip("\n").partition("\n")
        tables = [table for table in self._html_tables() if table]
        yield title(head)
        if self._text_first and rest:
            yield preformatted(rest.strip("\n"))
            yield folded(localized("table"), *tables) if tables else ""
        else:
            yield from tables
            yield folded(localized("text"), preformatted(rest.strip("\n"))) if rest else ""

    def _html_tables(self) -> list[str]:
        """Return the tables that a notebook shows."""
        return [rows_table(self.to_rows())]

    def __str__(self) -> str:
        return self.text()
