"""Whole numbers in the text of options: columns, places of layers, units."""

from __future__ import annotations

from typing import Final

from bpengine.errors import ConfigError

DIGITS: Final = 18  # the most digits with which all whole numbers fit 64 bits


def whole(text: str, who: str) -> int:
    """Return a text as a whole number.

    Raises ValueError for any other text, and ConfigError naming the option `who` for a number of more than 18 digits.
    """
    if len(text.strip()) > DIGITS and text.strip().lstrip("+-").isdecimal():
        raise ConfigError(f"{who} requires whole numbers of at most {DIGITS} digits, got one of {len(text.strip())}.")
    return int(text)


def number_or_name(text: str, who: str) -> int | str:
    """Return the whole number that a text is (digits with at most one minus sign), else the text.

    Raises ConfigError as `whole` does.
    """
    return whole(text, who) if text.removeprefix("-").isdecimal() else text
