"""The language of a run of the command line: from --lang, BPENGINE_LANG, `bp.language`, the locale, or else English."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Final

from bpengine.errors import unknown
from bpengine.i18n import language

OPTION: Final = "--lang"


def without_option(args: Sequence[str]) -> list[str]:
    """Return the arguments from the command on, without a --lang before it."""
    rest = list(args)
    while rest and _is_option(rest[0]):
        del rest[: 1 if "=" in rest[0] else 2]
    return rest


def asked_for(args: Sequence[str]) -> str | None:
    """Return the language that --lang names, before the command or after it, None without one.

    Raises: ConfigError for an unknown language.
    """
    for place, arg in enumerate(args):
        if arg == "--":
            break
        if _is_option(arg):
            value = arg.partition("=")[2] if "=" in arg else "".join(args[place + 1 : place + 2])
            return _known(value) if value else None
    return None


@contextmanager
def spoken(args: Sequence[str]) -> Iterator[None]:
    """Set the language of a run in a `with` block; afterwards the previous language is restored.

    An unknown language is refused later, by `asked_for`, where errors are caught.
    """
    before = language.chosen()
    language.choose(_first(args) or before or language.of_locale(os.environ))
    try:
        yield
    finally:
        language.choose(before)


def _first(args: Sequence[str]) -> str | None:
    """Return the language of the option or the environment variable, None where neither names one."""
    named = [arg.partition("=")[2] for arg in args if arg.startswith(f"{OPTION}=")]
    named += [value for arg, value in pairwise(args) if arg == OPTION]
    texts = [*named, os.environ.get(language.VARIABLE, "")]
    return next(filter(None, map(language.code, texts)), None)


def _known(text: str) -> str:
    if (chosen := language.code(text)) is None:
        raise unknown("language", text, language.LANGUAGES)
    return chosen


def _is_option(arg: str) -> bool:
    return arg == OPTION or arg.startswith(f"{OPTION}=")
