r"""Visible text: control characters, direction marks and lone surrogates are written as escapes.

A name in a file may hold characters that a terminal executes: escape sequences that move the cursor or hide the text that
follows, marks that change the direction of writing. For people they are shown as in Python, `\x1b` and `\u202e`; in JSON as
JSON's escapes, so that a document still represents the same text.

These are Unicode's general categories controls (Cc), format characters (Cf), surrogates (Cs), separators
of lines and of paragraphs (Zl, Zp). Source: Unicode Standard Annex 44, "Unicode Character Database", table 12. The 66
noncharacters are escaped as well, since XML does not allow all of them. Source: The Unicode Standard, section 23.7.
"""

from __future__ import annotations

import json
import re
import unicodedata
from typing import Any, Final

HIDDEN: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
NEVER: Final = range(0xFDD0, 0xFDF0)  # noncharacters, in addition to the last two codes of each plane
NOT_PLAIN: Final = re.compile(r"[^ -~\n\t]")  # most texts hold none of these and are returned as they are


class _Visible(dict[int, int | str]):
    """A table for `str.translate` that is filled as characters occur."""

    def __missing__(self, code: int) -> int | str:
        visible: int | str = code
        if _is_hidden(code):
            visible = chr(code).encode("unicode_escape").decode("ascii")
        self[code] = visible
        return visible


class _InJson(dict[int, int | str]):
    """The same table for a JSON document, in which a character beyond 16 bits is written as two surrogates."""

    def __missing__(self, code: int) -> int | str:
        visible: int | str = code
        if _is_hidden(code):
            visible = json.dumps(chr(code))[1:-1] if code != 0x7F else "\\u007f"
        self[code] = visible
        return visible


def _is_hidden(code: int) -> bool:
    return unicodedata.category(chr(code)) in HIDDEN or code in NEVER or code & 0xFFFE == 0xFFFE


_VISIBLE: Final = _Visible({ord(kept): kept for kept in "\n\t"})
_IN_JSON: Final = _InJson({ord(kept): kept for kept in "\n\t"})


def visible(text: str) -> str:
    r"""Return text for people: invisible characters are written as Python escapes them; newlines and tabs stay.

    >>> print(visible("setosa\x1b[8m \u202egnp.exe"))
    setosa\x1b[8m \u202egnp.exe
    """
    return text.translate(_VISIBLE) if NOT_PLAIN.search(text) else text


def visible_json(
    value: object, encoding: str = "utf-8", *, indent: int | None = None, separators: tuple[str, str] | None = None
) -> str:
    r"""Return a value as JSON without invisible characters, which parses to the same value.

    In an encoding that lacks some of its characters, all but ASCII is escaped.
    Raises ValueError for a number that is not finite.

    >>> print(visible_json({"name": "\x9b8m \u202egnp"}))
    {"name": "\u009b8m \u202egnp"}
    """
    settings: dict[str, Any] = {"indent": indent, "separators": separators, "allow_nan": False}
    document = json.dumps(value, ensure_ascii=False, **settings).translate(_IN_JSON)
    try:
        document.encode(encoding)
    except UnicodeEncodeError:
        document = json.dumps(value, **settings).translate(_IN_JSON)
    return document
