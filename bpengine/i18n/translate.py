"""Words and numbers for reading: the room's phrases in English and Brazilian Portuguese, the field's own terms in each."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence

from bpengine.errors import unknown
from bpengine.i18n.phrases import PHRASES
from bpengine.i18n.phrases.causes import RULES
from bpengine.text_table import text_table

LANGUAGES = ("en", "pt")
Words = Callable[..., str]


def translator(lang: str) -> Words:
    """Return translate(key, **values) for a language, "en" or "pt"; raise ConfigError for another."""
    if lang not in LANGUAGES:
        raise unknown("language", lang, LANGUAGES)
    number = LANGUAGES.index(lang)

    def say(key: str, **values: object) -> str:
        return PHRASES[key][number].format(**values)

    return say


def rule_words(stopped_by: str, say: Words) -> str:
    """Return in a language what `History.stopped_by` says in English; a rule that is not known here stays as it is."""
    for key, (english, _) in RULES.items():
        if match := re.fullmatch(re.escape(english).replace(r"\{value\}", "(?P<value>.+)"), stopped_by):
            return say(key, **match.groupdict())
    return stopped_by


def shown(value: float, digits: int = 10) -> str:
    """Return a number for reading; one that is not finite is marked."""
    return f"{value + 0.0:.{digits}g}" if math.isfinite(value) else f"{value} (!)"


def factor(value: float, digits: int = 10) -> str:
    """Return a number as the second factor of a product: in brackets when it has a sign."""
    text = shown(value, digits)
    return f"({text})" if text.startswith("-") else text


def indented_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table of numbers, as they stand in a text."""
    return [f"  {line}" for line in text_table(heads, rows, str.rjust)]
