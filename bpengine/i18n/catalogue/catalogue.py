"""The catalogue of a language: finds the template of an English text, and fills its translation.

A text is one sentence of the catalogue, a list of sentences, or several in sequence. If more than one template matches a text,
the one that leaves the fewest letters in English is used; among equals the one with more letters of its own, then the one with
more numbers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from typing import Final, NamedTuple

from bpengine.i18n.catalogue.po_file import Sentence, entries
from bpengine.i18n.catalogue.template import SLOT, Template, letters

KEPT: Final = 4096  # the most translations that are cached
TRIED: Final = 4  # the most templates of a text that are compared
WORK: Final = 200  # the most searches for a line and the values in it, which bounds the time for any text
ENDS: Final = re.compile(r"(?<=[.?!:;,)])[ ]|: |; |, | - ")  # where a sentence or a part of one may end
JOINTS: Final = re.compile(r", (?:and |or )?| and | or ")
JOINED: Final = {" and ": " e ", " or ": " ou ", ", and ": ", e ", ", or ": ", ou ", ", ": ", "}
NOTHING: Final = re.compile(r"[\W\d_]*|'[^']*'|\"[^\"]*\"|[\w.]*\d[\w.]*")  # no words: numbers, a name in quotes
# two values in a row, whose boundary cannot be determined
TWO_PHRASES: Final = re.compile(r"\{([a-z_]\w*)\} \{[a-z_]\w*\}")
COMMAND: Final = re.compile(r" *(?:pip install|bpengine) ")
# the context of entries that are translated only where they stand alone, and are names inside of sentences
CELL: Final = "cell"


class Rendering(NamedTuple):
    """A translation, and the number of its letters that are still English."""

    text: str
    left: int


class Catalogue:
    """Translates texts by templates."""

    def __init__(self, every: Iterable[Sentence]) -> None:
        known = [entry for entry in every if entry.translation]
        self._cells = {entry.english: entry.translation for entry in known if entry.context == CELL}
        pairs = [pair for entry in known if entry.context != CELL for pair in _variants(entry)]
        self._exact = {english: translation for english, translation in pairs if not SLOT.search(english)}
        templates = (Template(*pair) for pair in pairs if SLOT.search(pair[0]))
        self._templates = sorted(templates, key=lambda template: (-template.weight, -template.numbers))
        self._memory: dict[str, Rendering | None] = {}
        self._work = 0
        self._said: set[str] = set()  # returned translations, which may come back inside of other texts

    def translated(self, text: str) -> str:
        """Return a text in the language; lines are translated one by one, and unknown text stays unchanged."""
        if len(self._memory) >= KEPT:
            self._memory.clear()
            self._said.clear()
        translation = self._exact.get(text) or "\n".join(map(self._line, text.split("\n")))
        self._said.add(translation.strip())
        return translation

    def known(self, text: str) -> str | None:
        """Return the translation of a text that is one sentence of the catalogue; None for any other text."""
        self._work = WORK
        rendering = self._whole(text)
        return None if rendering is None or rendering.left else rendering.text

    def _line(self, line: str) -> str:
        bare, self._work = line.strip(), WORK
        return line.replace(bare, self._cells.get(bare) or self._rendered(bare).text, 1) if bare else line

    def _rendered(self, text: str) -> Rendering:
        """Return the translation of a text, or of a value inside of one, as far as possible."""
        bare = text.strip()
        rendering = self._whole(bare)
        if rendering is None or rendering.left:
            others = (rendering, self._listed(bare), self._by_parts(bare))
            rendering = min((other for other in others if other is not None), key=lambda other: other.left)
        return Rendering(text.replace(bare, rendering.text, 1), rendering.left) if bare else Rendering(text, 0)

    def _whole(self, text: str) -> Rendering | None:
        """Return the translation of one sentence; None where no template matches."""
        if text in self._said or NOTHING.fullmatch(text):
            return Rendering(text, 0)
        if text in self._exact:
            return Rendering(self._exact[text], 0)
        if text not in self._memory:
            if self._work <= 0:
                return None
            self._work -= 1
            self._memory[text] = None  # while the search runs
            self._memory[text] = self._by_template(text)
        return self._memory[text]

    def _by_template(self, text: str) -> Rendering | None:
        best, tried = None, 0
        for template in self._templates:
            if template.anchor in text and (values := template.values(text)) is not None:
                rendering = self._filled(template, values)
                certain = not template.weak or (rendering.left == 0 and not any(map(_is_composed, values)))
                if certain and (best is None or rendering.left < best.left):
                    best = rendering
                tried += 1
                if rendering.left == 0 or tried == TRIED:
                    break
        return best

    def _filled(self, template: Template, values: list[str]) -> Rendering:
        pairs = zip(template.slots, values, strict=True)
        rendering = [self._rendered(value) if slot.phrase else Rendering(value, 0) for slot, value in pairs]
        return Rendering(template.filled([value.text for value in rendering]), sum(value.left for value in rendering))

    def _listed(self, text: str) -> Rendering | None:
        """Return a list, "a, b and c", translated item by item; None for other text. A single word in it is a name."""
        joints, items = JOINTS.findall(text), JOINTS.split(text)
        words = [Rendering(item, 0) if " " not in item else self._whole(item) for item in items]
        if not joints or any(word is None for word in words):
            return None
        parts = [word.text for word in words if word is not None]
        joined = "".join(
            f"{part}{joint}" for part, joint in zip(parts, [*(JOINED[j] for j in joints), ""], strict=True)
        )
        return Rendering(joined, sum(word.left for word in words if word is not None))

    def _by_parts(self, text: str) -> Rendering:
        """Return a text of several sentences: the longest known sentence at its start, or the whole text, then the rest."""
        ends = list(ENDS.finditer(text)) if self._work > 0 else []
        in_part = None
        for end in reversed(ends):
            if (head := self._whole(text[: end.start()])) is not None:
                if head.left == 0:
                    return _joined(head, end[0], self._rendered(text[end.end() :]))
                in_part = in_part or (head, end)
        if in_part is not None:
            head, end = in_part
            return _joined(head, end[0], self._rendered(text[end.end() :]))
        if ends:
            head = Rendering(text[: ends[0].start()], _left(text[: ends[0].start()]))
            return _joined(head, ends[0][0], self._rendered(text[ends[0].end() :]))
        return Rendering(text, _left(text))


def _is_composed(value: str) -> bool:
    """Return whether a value consists of several parts that are words."""
    return ENDS.search(value) is not None and not NOTHING.fullmatch(value)


def _left(text: str) -> int:
    """Return the number of letters of an unknown text, without single words, which are names, and commands."""
    return 0 if " " not in text.strip() or COMMAND.match(text) else letters(text)


def _joined(head: Rendering, between: str, rest: Rendering) -> Rendering:
    return Rendering(f"{head.text}{between}{rest.text}", head.left + rest.left)


def _variants(entry: Sentence) -> list[tuple[str, str]]:
    """Return an entry's texts: with and without the comma before it (", on {device}"), with and without a hint after it.

    For two phrases separated only by a space there is also a text that treats both as one ("{detail} {cure}"). Messages of
    the system also occur in the middle of a sentence, in lower case.
    """
    english, translation = entry.english, entry.translation
    variants = [(english, translation)]
    if entry.plural and entry.of_plural:
        variants.append((entry.plural, entry.of_plural))
    if english[0] in ",;" and translation[0] == english[0]:
        variants.append((english[1:].strip(), translation[1:].strip()))
    hint = english.rpartition(" ")[2]
    if SLOT.fullmatch(hint) and english.endswith(f". {hint}") and translation.endswith(f". {hint}"):
        variants.append((english.removesuffix(f" {hint}"), translation.removesuffix(f" {hint}")))
    if (pair := TWO_PHRASES.search(english)) and pair[0] in translation:
        one = f"{{{pair[1]}}}"
        variants.append((english.replace(pair[0], one), translation.replace(pair[0], one)))
    if entry.context == "system":
        variants.append((english[0].lower() + english[1:], translation))
    return variants


@cache
def catalogue(language: str) -> Catalogue:
    """Return the catalogue of a language, which is read once."""
    text = files("bpengine.i18n.catalogue").joinpath(f"{language}.po").read_text(encoding="utf-8")
    return Catalogue(entries(text))
