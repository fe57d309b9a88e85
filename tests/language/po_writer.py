"""Writes `pt.po`: the entries in the order of the sources, with the files that each stands in, for translators' editors."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from bpengine.i18n.catalogue.catalogue import CELL
from bpengine.i18n.catalogue.po_file import Sentence, entries
from bpengine.i18n.counted_nouns import NOUNS
from tests.language.sources import ROOT, SLOT, constants, sentences

PO = ROOT / "bpengine/i18n/catalogue/pt.po"
OTHER = Path(__file__).with_name("not_for_people.txt")
WORDS = ("word", CELL)  # single words of the sources; a cell is translated where it stands alone, and a name elsewhere
COUNTED = {f"{{n:,}} {noun}": f"{{n:,}} {plural}" for noun, plural in NOUNS.items()}
BESIDE = (*WORDS, "typer", "system")  # also: said by the library of the command line, by the system
HEADER = """\
# What bpengine says, in Brazilian Portuguese.
#
# For translators: each entry is a sentence of the program. A name in braces, such as {rows}, is a value that the program
# puts in; the translation has the same names, in the order that its grammar wants. What follows the name ({rows:,}, {name!r})
# is how the value is written; keep it. Entries of the contexts "word" and "cell" are words and labels that stand alone.
# Numbers keep the decimal point. Commands, options (--out) and names of the programming interface (fit, batch_size) are not
# translated. `python -m tests.language --update` adds what is new in the sources, and removes what is gone.
msgid ""
msgstr ""
"Language: pt_BR\\n"
"MIME-Version: 1.0\\n"
"Content-Type: text/plain; charset=UTF-8\\n"
"Content-Transfer-Encoding: 8bit\\n"
"Plural-Forms: nplurals=2; plural=(n > 1);\\n"
"""


def catalogue() -> list[Sentence]:
    """Return the entries of the file."""
    return list(entries(PO.read_text("utf-8")))


def not_for_people() -> set[str]:
    """Return the texts in the sources that no person reads: code, regular expressions, names of random streams, references."""
    lines = OTHER.read_text("utf-8").splitlines()
    return {json.loads(f'"{line}"') for line in lines if line and not line.startswith("# ")}


def missing() -> dict[str, list[str]]:
    """Return the sentences without a translation, with the files that they stand in."""
    known = {entry.english for entry in catalogue() if entry.translation} | not_for_people()
    nouns = {e.english for e in catalogue() if e.translation and e.of_plural and COUNTED.get(e.english) == e.plural}
    lacking = {text: ["bpengine/i18n/counted_nouns.py"] for text in COUNTED if text not in nouns}
    return {text: files for text, files in sentences().items() if text not in known} | lacking


def stale() -> list[str]:
    """Return the entries, and lines of the other list, that stand nowhere in the sources."""
    there, texts = sentences(), {word for text in constants() for word in text.split()}
    there |= {text: [] for text in COUNTED}
    gone = [e.english for e in catalogue() if e.english not in there and not _beside(e, texts)]
    return [*gone, *sorted(not_for_people() - there.keys())]


def _beside(entry: Sentence, texts: set[str]) -> bool:
    """Return whether an entry that is no template of the sources is made of their words; those of others are not checked."""
    if entry.context in WORDS:
        return set(SLOT.sub(" ", entry.english).split()) <= texts
    return entry.context in BESIDE


def wrong_slots() -> list[str]:
    """Return the entries whose translation has other values than the sentence."""
    return [e.english for e in catalogue() if e.translation and not _same_slots(e)]


def _same_slots(entry: Sentence) -> bool:
    wanted, there = (set(SLOT.findall(text)) for text in (entry.english, entry.translation))
    return there <= wanted if "value" in entry.english else there == wanted


def write(known: Iterable[Sentence]) -> None:
    """Write the file: words, then the sentences of the sources, empty where no translation is known."""
    by_text = {entry.english: entry for entry in known}
    words = [entry for entry in by_text.values() if entry.context in BESIDE]
    other = not_for_people()
    blocks = [HEADER, *(_block(entry, []) for entry in words)]
    blocks += [_counted_block(by_text.get(text, Sentence(text, "")), plural) for text, plural in COUNTED.items()]
    for text, files in sentences().items():
        if text not in other and (entry := by_text.get(text, Sentence(text, ""))).context not in BESIDE:
            blocks.append(_block(entry, files))
    PO.write_text("\n".join(blocks), "utf-8")


def _block(entry: Sentence, files: list[str]) -> str:
    lines = [f"#: {' '.join(files)}"] if files else []
    lines += ["#, python-brace-format"] if SLOT.search(entry.english) else []
    lines += [f"msgctxt {_quoted(entry.context)}"] if entry.context else []
    return "\n".join([*lines, f"msgid {_quoted(entry.english)}", f"msgstr {_quoted(entry.translation)}", ""])


def _counted_block(entry: Sentence, plural: str) -> str:
    lines = ["#, python-brace-format", f"msgid {_quoted(entry.english)}", f"msgid_plural {_quoted(plural)}"]
    return "\n".join([*lines, f"msgstr[0] {_quoted(entry.translation)}", f"msgstr[1] {_quoted(entry.of_plural)}", ""])


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
