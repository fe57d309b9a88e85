"""Whether a text that should be Portuguese has English in it: words that no Portuguese sentence has."""

from __future__ import annotations

import re

WORDS = """
    after all an and are at be been before between by checkpoint column columns did each error every failed
    file folder found from give got has have here in is it its known least loss mean
     more most must need   not number numbers of on only or passed require requires row
    rows same saved see    test than that the there these this to training unknown value
    values was  were what when where which whose with without written yes you
    """
ENGLISH = frozenset(WORDS.split())
# the same in every language: names in quotes and backticks, options, files, calls, names of the programming interface
KEPT = re.compile(
    r"""'[^'\n]*'|"[^"\n]*"|`[^`\n]*`|--?[a-z][\w-]*(?:[= ]\w+(?:,\w+)+)?"""
    r"""|\S*[\\/_.=()\[\]<>:]\w\S*|\b[a-z]+(?:_[a-z0-9]+)+\b"""
)
WORD = re.compile(r"[A-Za-zÀ-ÿ]+(?:'s)?")


def english(text: str, names: frozenset[str] = frozenset()) -> list[str]:
    """Return the lines that have English words in them, after the words; names are words that are names there."""
    lines = []
    for line in text.splitlines():
        words = [word for word in WORD.findall(KEPT.sub(" ", line)) if word.lower() in ENGLISH - names]
        if words:
            lines.append(f"{', '.join(words)}: {line.strip()}")
    return lines
