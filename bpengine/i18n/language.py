"""The language that is set, and `localized`: a sentence in that language.

Sentences in the sources are English. Where one is shown to a person (an error's `str`, a warning, a report, the command
line), `localized` translates it. Nothing is loaded while the language is English.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

LANGUAGES = ("en", "pt")
VARIABLE = "BPENGINE_LANG"
_chosen: list[str] = []  # the language that was set; empty before that


def code(text: str) -> str | None:
    """Return the language that a text names, None where it is none of LANGUAGES: "pt", "pt-BR", "pt_BR.UTF-8", "EN".

    >>> from bpengine.i18n.language import code
    >>> code("pt-BR"), code("pt_BR.UTF-8"), code("fr")
    ('pt', 'pt', None)
    """
    short = text.strip().lower().replace("-", "_").partition(".")[0].partition("@")[0].partition("_")[0]
    return short if short in LANGUAGES else None


def current() -> str:
    """Return the language that is set: the chosen one, else that of BPENGINE_LANG, else English."""
    return _chosen[0] if _chosen else code(os.environ.get(VARIABLE, "")) or LANGUAGES[0]


def chosen() -> str | None:
    """Return the language that was set in this process, None where none was."""
    return _chosen[0] if _chosen else None


def choose(one: str | None) -> None:
    """Set one of LANGUAGES; None forgets what was set."""
    _chosen[:] = [] if one is None else [one]


def of_locale(environment: Mapping[str, str]) -> str:
    """Return the language of a process's locale, as gettext finds it: LC_ALL, LC_MESSAGES, LANG; LANGUAGE before them.

    LANGUAGE is a list, and is ignored where the locale is "C". For other languages, and where nothing is set: English.
    """
    locale = next((environment[name] for name in ("LC_ALL", "LC_MESSAGES", "LANG") if environment.get(name)), "C")
    plain = locale.partition(".")[0] in ("C", "POSIX")
    listed = [] if plain else environment.get("LANGUAGE", "").split(":")
    return next(filter(None, map(code, [*listed, locale])), LANGUAGES[0])


def localized(text: str) -> str:
    """Return an English sentence of the engine in the language that is set; other text unchanged."""
    if not text or current() == LANGUAGES[0]:
        return text
    from bpengine.i18n.catalogue.catalogue import catalogue

    return catalogue(current()).translated(text)


def in_each_language(text: str) -> dict[str, str]:
    """Return an English sentence of the engine in every language, for what is read in another language later.

    >>> from bpengine.i18n.language import in_each_language
    >>> in_each_language("a value read as a Python number")["pt"]
    'um valor lido como número do Python'
    """
    from bpengine.i18n.catalogue.catalogue import catalogue

    return {LANGUAGES[0]: text} | {language: catalogue(language).translated(text) for language in LANGUAGES[1:]}


def whole_sentence(text: str) -> str | None:
    """Return the translation of a text that is one sentence of the catalogue; None for any other text."""
    if current() == LANGUAGES[0]:
        return text
    from bpengine.i18n.catalogue.catalogue import catalogue

    return catalogue(current()).known(text)


def column_head(name: str) -> str:
    """Return the head of a table's column in the language that is set; for an unknown name, the name itself.

    >>> from bpengine.i18n.language import column_head
    >>> column_head("learning_rate")
    'learning_rate'
    """
    if current() == LANGUAGES[0]:
        return name
    from bpengine.i18n.phrases.column_heads import COLUMNS, STARTS

    number = LANGUAGES.index(current())
    for start, both in STARTS.items():
        if name.startswith(start):
            return both[number].format(column_head(name.removeprefix(start)))
    return COLUMNS[name][number] if name in COLUMNS else name
