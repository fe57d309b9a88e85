"""A template: a sentence with values in braces, and the test whether a text matches it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

SLOT = re.compile(r"\{([a-z_]\w*)((?:![rs])?)((?::[^{}]*)?)\}")
NUMBER = re.compile(r" *(?:\S*\d\S*|\S*nan|\S*inf|\W+) *")
BEGINNING = re.compile(r"[-+]?[\d,]*\.?\d+(?:e[-+]?\d+)?%?|nan|-?inf")  # a number before another value
# the beginning of a value that is written as code
CODE = re.compile(r"['\"(\[{<\-\d]|None|True|False|b'|[A-Za-z_.]+\(")
QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")
BETWEEN_QUOTES = re.compile(r"(?:[\W\d_]|\b(?:and|or)\b)*")  # punctuation, "and", "or" between quoted names
FEW_LETTERS = 6  # the fewest letters of a template that is specific by itself


def letters(text: str) -> int:
    """Return how many letters a text has."""
    return sum(map(str.isalpha, text))


@dataclass(frozen=True)
class Slot:
    """A value's name, and whether it is a phrase, which is translated, a number, or a name in quotes."""

    name: str
    phrase: bool
    number: bool

    def fits(self, value: str) -> bool:
        """Return whether a text may be this value: a number is one word, and several words of code begin like code."""
        if self.number:
            return NUMBER.fullmatch(value) is not None
        if self.phrase or " " not in value:
            return True
        if value[0] in "'\"":
            return BETWEEN_QUOTES.fullmatch(QUOTED.sub("", value)) is not None
        return CODE.match(value) is not None

    def after(self, text: str, literal: str, place: int, end: int) -> int:
        """Return the position of the literal before this value: before a text that looks like such a value, if any."""
        at = first = text.find(literal, place, end)
        while at >= 0 and not self.phrase and not (BEGINNING if self.number else CODE).match(text, at + len(literal)):
            at = text.find(literal, at + 1, end)
        return at if at >= 0 else first

    def beginning(self, text: str, place: int) -> int:
        """Return the end of the value that begins at `place`, with another value directly after it."""
        start = (BEGINNING if self.number else QUOTED).match(text, place) if not self.phrase else None
        return start.end() if start else place


@dataclass(frozen=True)
class Template:
    """An English template and its translation."""

    english: str
    translation: str

    @cached_property
    def literals(self) -> list[str]:
        """The text before, between and after the values."""
        return SLOT.split(self.english)[::4]

    @cached_property
    def slots(self) -> list[Slot]:
        """The values, in English order."""
        return [
            Slot(name=match[1], phrase=not match[2] and not match[3], number=bool(match[3]))
            for match in SLOT.finditer(self.english)
        ]

    @cached_property
    def anchor(self) -> str:
        """The longest literal: a text without it does not match."""
        return max(self.literals, key=len)

    @cached_property
    def weight(self) -> int:
        """The number of letters of the literals; of two matching templates, the one with more is more specific."""
        return sum(map(letters, self.literals))

    @cached_property
    def numbers(self) -> int:
        """The number of slots that only numbers fit."""
        return sum(slot.number for slot in self.slots)

    @property
    def weak(self) -> bool:
        """Whether the template is unspecific: "{compared} of {predictor}" is, "error: {text}" and "One of {list}." are not."""
        first, *_, last = self.literals
        sentence = first[:1].isupper() and last == "."
        return self.weight < FEW_LETTERS and not first.endswith(": ") and not sentence

    def values(self, text: str) -> list[str] | None:
        """Return the values with which the template gives the text, None where it does not match.

        Each value is the shortest that fits; the time is linear in the length of the text.
        """
        first, *between, last = self.literals
        if not text.startswith(first) or len(text) < len(first) + len(last) or not text.endswith(last):
            return None
        end = len(text) - len(last)
        place, values = len(first), []
        for number, literal in enumerate(between):
            slot, following = self.slots[number : number + 2]
            at = following.after(text, literal, place, end) if literal else slot.beginning(text, place)
            if at < 0:
                return None
            values.append(text[place:at])
            place = at + len(literal)
        values.append(text[place:end])
        return values if all(slot.fits(value) for slot, value in zip(self.slots, values, strict=True)) else None

    def filled(self, values: list[str]) -> str:
        """Return the translation with values, which are in English order."""
        by_name = dict(zip((slot.name for slot in self.slots), values, strict=True))
        return SLOT.sub(lambda match: by_name.get(match[1], match[0]), self.translation)
