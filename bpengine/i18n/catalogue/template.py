"""A template: a sentence with values in braces, and whether a text is such a sentence."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

SLOT = re.compile(r"\{([a-z_]\w*)((?:![rs])?)((?::[^{}]*)?)\}")
NUMBER = re.compile(r" *(?:\S*\d\S*|\S*nan|\S*inf|\W+) *")
BEGINNING = re.compile(r"[-+]?[\d,]*\.?\d+(?:e[-+]?\d+)?%?|nan|-?inf")  # a number in front of another value
CODE = re.compile(r"['\"(\[{<\-\d]|None|True|False|b'|[A-Za-z_.]+\(")  # how a value begins that is written as code
QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")
BETWEEN_QUOTES = re.compile(
    r"(?:[\W\d_]|\b(?:and|or)\b)*"
)  # what stands beside names in quotes where nothing is said of them
FEW_LETTERS = 6  # a template of fewer letters says little by itself


def letters(text: str) -> int:
    """Return how many letters a text has."""
    return sum(map(str.isalpha, text))


@dataclass(frozen=True)
class Slot:
    """A value's name; whether it is a phrase, which is translated itself, a number, or a name in quotes."""

    name: str
    phrase: bool
    number: bool

    def fits(self, value: str) -> bool:
        """Return whether a value may be this one: a number is one word, and code that is several words begins as code does."""
        if self.number:
            return NUMBER.fullmatch(value) is not None
        if self.phrase or " " not in value:
            return True
        if value[0] in "'\"":
            return BETWEEN_QUOTES.fullmatch(QUOTED.sub("", value)) is not None
        return CODE.match(value) is not None

    def after(self, text: str, literal: str, place: int, end: int) -> int:
        """Return where the literal in front of this value stands: before what looks like such a value, if anything does."""
        at = first = text.find(literal, place, end)
        while at >= 0 and not self.phrase and not (BEGINNING if self.number else CODE).match(text, at + len(literal)):
            at = text.find(literal, at + 1, end)
        return at if at >= 0 else first

    def beginning(self, text: str, place: int) -> int:
        """Return where the value ends that begins at `place`, with another value right behind it."""
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
        """The longest literal: a text without it is no such sentence."""
        return max(self.literals, key=len)

    @cached_property
    def weight(self) -> int:
        """How many letters the literals have; of two templates that match, the one with more says more."""
        return sum(map(letters, self.literals))

    @property
    def weak(self) -> bool:
        """Whether the template says little, as "{compared} of {predictor}" does and "error: {text}" does not."""
        return self.weight < FEW_LETTERS and not self.literals[0].endswith(": ")

    def values(self, text: str) -> list[str] | None:
        """Return the values with which the template gives the text, None where it does not.

        Each value is the shortest that fits; linear in the length of the text.
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
