"""Reads a gettext file of translations (.po): the needed part of the format, without a library.

A separate file: it knows the format alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Sentence:
    """A template, its translation ("" while there is none), and its context: "word" for a word that stands alone.

    plural, of_plural: for a counted noun the template for numbers other than 1, and its translation.
    """

    english: str
    translation: str
    context: str = ""
    plural: str = ""
    of_plural: str = ""


def entries(text: str) -> Iterator[Sentence]:
    r"""Yield the entries of a file; its header, entries marked as uncertain ("fuzzy") and removed ones (#~) are left out.

    >>> from bpengine.i18n.catalogue.po_file import entries
    >>> [entry.translation for entry in entries('msgid "loss"\nmsgstr "perda"')]
    ['perda']
    """
    for block in text.replace("\r\n", "\n").split("\n\n"):
        fields = _fields(block)
        if fields.get("msgid"):
            translation = fields.get("msgstr", fields.get("msgstr[0]", ""))
            plural = fields.get("msgid_plural", ""), fields.get("msgstr[1]", "")
            yield Sentence(fields["msgid"], translation, fields.get("msgctxt", ""), *plural)


def _fields(block: str) -> dict[str, str]:
    """Return the texts of an entry by keyword; a text may be written over several lines."""
    fields: dict[str, str] = {}
    keyword = ""
    for line in block.split("\n"):
        if line.startswith("#,") and "fuzzy" in line:
            return {}
        if line.startswith("#") or not line.strip():
            continue
        start, _, rest = line.partition('"')
        keyword = start.strip() or keyword
        fields[keyword] = fields.get(keyword, "") + json.loads(f'"{rest}')  # the escapes of .po are among those of JSON
    return fields
