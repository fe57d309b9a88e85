"""Texts in English and Brazilian Portuguese, by key, and numbers formatted for texts."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence

from bpengine.i18n.language import LANGUAGES
from bpengine.i18n.phrases import PHRASES
from bpengine.i18n.phrases.causes import RULES
from bpengine.text_table import text_table

Translate = Callable[..., str]


def translator(lang: str, more: Mapping[str, tuple[str, str]] | None = None) -> Translate:
    """Return translate(key, **values) for one of LANGUAGES; raise ValueError for another.

    more: phrases that come before those of PHRASES.

    >>> translator("pt")("bias")
    'viés (bias)'
    """
    number, phrases = LANGUAGES.index(lang), {**PHRASES, **(more or {})}

    def translate(key: str, **values: object) -> str:
        one = f"{key}_one"  # the phrase for a single thing
        key = one if values.get("count") == 1 and one in phrases else key
        return phrases[key][number].format(**values)

    return translate


def translated_rule(stopped_by: str, translate: Translate) -> str:
    """Return the text of `History.stopped_by` in a language; an unknown rule stays unchanged."""
    for key, (english, _) in RULES.items():
        pattern = re.sub(r"\\{(\w+)\\}", r"(?P<\1>.+)", re.escape(english))
        if match := re.fullmatch(pattern, stopped_by):
            return translate(key, **match.groupdict())
    return stopped_by


def format_number(value: float, digits: int = 10) -> str:
    """Return a number for reading; one that is not finite is marked."""
    return f"{value + 0.0:.{digits}g}" if math.isfinite(value) else f"{value} (!)"


def format_factor(value: float, digits: int = 10) -> str:
    """Return a number as the second factor of a product: in brackets if it has a sign."""
    text = format_number(value, digits)
    return f"({text})" if text.startswith("-") else text


def indented_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table of numbers, indented for a text."""
    return [f"  {line}" for line in text_table(heads, rows, str.rjust)]
