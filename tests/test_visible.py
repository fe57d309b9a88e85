"""What cannot be seen in a text is escaped, everything else stays as it is, and JSON keeps its value."""

from __future__ import annotations

import json
import math
import sys
import unicodedata

import pytest

from bpengine.output.visible import HIDDEN, visible, visible_json

OBEYED = [
    *range(0x20),
    0x7F,
    *range(0x80, 0xA0),
    *range(0x202A, 0x202F),
    *range(0x2066, 0x206A),
    0x200E,
    0x200F,
    0x061C,
]
UNSEEN = [
    0xFDD0,
    0xFFFE,
    0xFFFF,
    0x1FFFE,
    0x200B,
    0x200C,
    0x200D,
    0x2060,
    0xFEFF,
    0x2028,
    0x2029,
    0x00AD,
    0xE0001,
    0xD800,
    0xDCFF,
    0xDFFF,
]
SEEN = "setosa naïve \N{GREEK SMALL LETTER ALPHA}\N{CJK UNIFIED IDEOGRAPH-4E00}\N{COLLISION SYMBOL}\N{NO-BREAK SPACE}|\\x1b"


@pytest.mark.parametrize("code", sorted({*OBEYED, *UNSEEN} - {0x0A, 0x09}), ids=hex)
def test_control_and_invisible_characters_are_escaped(code: int) -> None:
    shown = visible(f"a{chr(code)}b")
    assert ascii(shown) == repr(f"a{chr(code).encode('unicode_escape').decode()}b")
    document = visible_json({chr(code): f"a{chr(code)}b"})
    assert ascii(json.loads(document)) == ascii({chr(code): f"a{chr(code)}b"})
    assert document.isascii(), ascii(document)


def test_no_invisible_character_is_left() -> None:
    every = "".join(map(chr, range(sys.maxunicode + 1)))
    assert {ascii(c) for c in visible(every) if unicodedata.category(c) in HIDDEN} == {"'\\n'", "'\\t'"}
    assert {ascii(c) for c in visible_json(every) if unicodedata.category(c) in HIDDEN} == set()
    whole = "".join(c for c in every if not "\ud800" <= c <= "\udfff")
    assert json.loads(visible_json(whole)) == whole


def test_visible_characters_are_unchanged() -> None:
    assert visible(SEEN) == SEEN
    assert visible("one\ntwo\tthree") == "one\ntwo\tthree"
    assert visible_json(SEEN) == json.dumps(SEEN, ensure_ascii=False)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_json_fits_its_encoding(encoding: str) -> None:
    document = visible_json([SEEN, "\x7f\x9b"], encoding, indent=2)
    assert json.loads(document.encode(encoding)) == [SEEN, "\x7f\x9b"]


def test_json_refuses_non_finite_numbers() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        visible_json(math.nan)
