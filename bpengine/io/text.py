"""JSON of unknown origin: parsed only after its size, depth and numbers have been checked."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any, Final

from bpengine.output.json_values import JsonValue

DEPTH: Final = 160  # objects and lists inside one another: two for each level of nested layers, and some for the rest
DIGITS: Final = 100  # digits of a whole number
_PARTS: Final = re.compile(r'"(?:[^"\\]++|\\.)*+"|[\[{]|[\]}]', re.DOTALL)
_LONG: Final = re.compile(rf"[0-9]{{{DIGITS + 1}}}")
_SURROGATE: Final = re.compile(r"\\u[dD][89abAB]")


def parse(text: str, values: int, depth: int = DEPTH) -> JsonValue:
    """Return the value of a JSON text.

    values: the most values it may have. Raises ValueError, whose message is the end of a sentence, for invalid JSON, more
    values, deeper nesting, whole numbers of more than 100 digits, a name twice in one object, or invalid Unicode.
    """
    if (estimate := sum(map(text.count, ",:[{"))) > values:
        raise ValueError(f"it has about {estimate:,} values, at most {values:,} are read")
    _check_depth(text, depth)
    long = _long_whole if _LONG.search(text) else None
    try:
        value = json.loads(text, object_pairs_hook=_object, parse_int=long)
        if _SURROGATE.search(text):
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise ValueError("it has text that is no Unicode (half of a surrogate pair)") from None
    except RecursionError:
        raise ValueError("it is nested too deep for the calls that are left here") from None
    return value


def one_line(text: str, longest: int = 400) -> str:
    """Return text of unknown origin as one printable line: cut short, control characters escaped."""
    shown = text if len(text) <= longest else f"{text[:longest]} ..."
    return shown if shown.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in shown)


def _check_depth(text: str, depth: int) -> None:
    """Raise ValueError where brackets are nested too deep, before the parser runs, since it recurses for each."""
    inside = 0
    for part in _PARTS.finditer(text):
        bracket = text[part.start()]
        if bracket != '"':
            inside += 1 if bracket in "[{" else -1
            if inside > depth:
                raise ValueError(f"it is nested more than {depth} deep")


def _long_whole(digits: str) -> int:
    if len(digits.lstrip("-")) > DIGITS:
        raise ValueError(f"it has a whole number of {len(digits.lstrip('-')):,} digits, at most {DIGITS} are read")
    return int(digits)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        counted = Counter(name for name, _ in pairs)
        raise ValueError(f"it has {counted.most_common(1)[0][0][:60]!r} twice")
    return values
