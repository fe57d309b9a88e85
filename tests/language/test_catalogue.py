"""Every sentence of the sources has a translation; a text is translated by its template, with the values where they belong."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise

import pytest

from bpengine.i18n import language
from bpengine.i18n.catalogue.catalogue import Catalogue
from bpengine.i18n.catalogue.catalogue import catalogue as language_catalogue
from bpengine.i18n.catalogue.po_file import Sentence, entries
from bpengine.i18n.catalogue.template import SLOT
from bpengine.i18n.counted_nouns import NOUNS, count_of
from tests.language.po_writer import catalogue, missing, stale, wrong_slots
from tests.language.sources import parts, reads_like_words, sentences, single_words

CURE = (
    "Write the translations into bpengine/i18n/catalogue/pt.po (`python -m tests.language --update` adds the entries)"
)

ENDS_A_TEXT = ("column {self!r} requires {rows:,} rows, got {filled:,}.",)  # nothing follows it
SPOKEN = 300  # letters of what is said in one piece; longer ones are texts of a help page, which nothing follows


@pytest.fixture
def portuguese() -> Iterator[None]:
    """Set Portuguese for a test."""
    language.choose("pt")
    yield
    language.choose(None)


def test_every_sentence_has_a_translation() -> None:
    assert missing() == {}, f"{CURE}, or a text that no person reads into tests/language/not_for_people.txt."


def test_every_translation_belongs_to_a_sentence_of_the_sources() -> None:
    assert stale() == [], "`python -m tests.language --update` removes the entries of sentences that are gone."


def test_a_translation_has_the_values_of_its_sentence() -> None:
    assert wrong_slots() == []


def test_a_note_behind_the_help_of_an_option_is_translated() -> None:
    assert [entry.english for entry in catalogue() if "[default" in entry.translation] == []


def test_a_sentence_has_one_entry() -> None:
    texts = sorted(entry.english for entry in catalogue())
    assert [text for text, following in pairwise(texts) if text == following] == []


def filled(template: str) -> str:
    """Return a template with values that no other sentence has."""

    def value(match: re.Match[str]) -> str:
        name = f"Zq{match[1].replace('_', '').capitalize()}"
        return "7" if match[3] else repr(name) if match[2] else name

    return SLOT.sub(value, template)


def english_left(text: str, sentence: str, expected: str) -> set[str]:
    """Return the words of an English sentence that are left in its translation, less those that it keeps on purpose."""
    words = [set(re.findall(r"[a-z]{2,}", one.lower())) for one in (text, sentence, expected)]
    return (words[0] & words[1]) - words[2]


@pytest.mark.parametrize(
    ("behind", "expected"), [("", ""), (" Install it with: pip install x", " Instale com: pip install x")]
)
def test_every_sentence_is_translated_alone_and_before_another(behind: str, expected: str) -> None:
    words = language_catalogue("pt")
    left = {}
    for entry in catalogue():
        sentence, wanted = filled(entry.english) + behind, filled(entry.translation) + expected
        if entry.english in ENDS_A_TEXT and behind:
            continue
        if entry.context == "cell" or "\n" in sentence or (behind and not 12 < len(entry.english) < SPOKEN):
            continue
        if (not behind or entry.english.endswith(".")) and (
            more := english_left(words.translated(sentence), sentence, wanted)
        ):
            left[sentence] = more
    assert left == {}


PAIRS = [
    ("unknown {kind} {name!r}. {nearest}", "não existe: {kind} {name!r}. {nearest}"),
    ("Did you mean {list}?", "Você quis dizer {list}?"),
    (
        "{who} requires {what} of {count:,} rows, got {got}. {hint}",
        "{who} exige {what} de {count:,} linhas, mas tem {got}. {hint}",
    ),
    ("{who} requires {what}", "{who} exige {what}"),
    ("{a} of {b}", "{a} de {b}"),
    ("One of {list}.", "Um destes: {list}."),
    ("it: {a}", "ele: {a}"),
    ("always saying {name}", "prever sempre {name}"),
    ("{text}; value {value:.3g}{near}", "{text}; valor {value:.3g}{near}"),
    ("; kinks: {kinks}", "; bicos: {kinks}"),
    ("Give other rows.", "Dê outras linhas."),
    ("every element", "todo elemento"),
]


@pytest.mark.parametrize(
    ("english", "expected"),
    [
        ("unknown data set 'x y'. Did you mean 'a' or 'b'?", "não existe: data set 'x y'. Você quis dizer 'a' ou 'b'?"),
        (
            "A requires x of 1,000 rows, got 3. Give other rows.",
            "A exige x de 1,000 linhas, mas tem 3. Dê outras linhas.",
        ),
        ("A requires x of 1,000 rows, got 3.", "A exige x de 1,000 linhas, mas tem 3."),
        ("A requires every element", "A exige todo elemento"),
        ("accuracy of always saying yes", "accuracy de prever sempre yes"),
        ("the end of all things to come", "the end of all things to come"),  # "{a} of {b}" says too little
        (
            "One of numpy, cupy, jax.",
            "Um destes: numpy, cupy, jax.",
        ),  # few letters, but a sentence with its own beginning
        ("every element; value 0.5; kinks: 3", "todo elemento; valor 0.5; bicos: 3"),
        ("Give other rows. Then wait.", "Dê outras linhas. Then wait."),
        ("  Give other rows.\n\nevery element", "  Dê outras linhas.\n\ntodo elemento"),
        ("'Give other rows.'", "'Give other rows.'"),  # a name
        ("", ""),
    ],
)
def test_a_text_is_translated_by_its_templates(english: str, expected: str) -> None:
    assert Catalogue(Sentence(*pair) for pair in PAIRS).translated(english) == expected


def test_translated_part_of_a_text_is_not_translated_again() -> None:
    pairs = [
        ("Please give {what}.", "Por favor, dê {what}."),
        ("{a} as {b}", "{a} como {b}"),
        ("because: {a} Enough.", "porque: {a} Basta."),
    ]
    words = Catalogue(Sentence(*pair) for pair in pairs)
    said = words.translated("Please give as linhas.")
    assert words.translated(f"because: {said} Enough.") == "porque: Por favor, dê as linhas. Basta."


@pytest.mark.parametrize(
    ("english", "translation"),
    [
        ("1 row to train on", "1 linha para treinar"),
        ("1,200 rows to train on", "1,200 linhas para treinar"),
        ("1 epoch, 1 step of 3 rows", "1 época, 1 passo de 3 linhas"),
        ("2 epochs, 4 steps of 1 row", "2 épocas, 4 passos de 1 linha"),
        (
            "the model requires 1 input column, got 2 from a.npy.",
            "o modelo exige 1 coluna de entrada, mas recebeu 2 de a.npy.",
        ),
    ],
)
def test_counted_nouns_have_a_singular_in_both_languages(english: str, translation: str, portuguese: None) -> None:
    assert language.localized(english) == translation


def test_plurals_of_the_catalogue_are_those_of_the_counted_nouns() -> None:
    pairs = {entry.english: entry.plural for entry in catalogue() if entry.plural}
    assert pairs == {f"{{n:,}} {noun}": f"{{n:,}} {plural}" for noun, plural in NOUNS.items()}
    assert [count_of(n, noun) for n, noun in ((1, "class"), (0, "row"), (2, "process"))] == [
        "1 class",
        "0 rows",
        "2 processes",
    ]


def test_a_cell_is_translated_where_it_stands_alone() -> None:
    words = Catalogue([Sentence("drop", "tirar", "cell"), Sentence("Known: {list}.", "Conhecidos: {list}.")])
    assert [words.translated(text) for text in ("drop", "Known: drop, fill.")] == ["tirar", "Conhecidos: drop, fill."]


@pytest.mark.parametrize(
    "text", ["word " * 3000, ": ".join("abc" for _ in range(500)), "a, b and " * 300, "requires, got " * 200]
)
def test_the_work_for_a_text_is_bounded(text: str, portuguese: None, monkeypatch: pytest.MonkeyPatch) -> None:
    searched = []
    search = Catalogue._by_template
    monkeypatch.setattr(Catalogue, "_by_template", lambda self, text: searched.append(text) or search(self, text))
    language.localized(text)
    assert len(searched) <= 500


PO = r"""
msgid ""
msgstr "Language: pt"

#: a.py
#, python-brace-format
msgctxt "word"
msgid ""
"two "
"\"lines\"\n"
msgstr "duas"

#, fuzzy
msgid "a"
msgstr "b"

#~ msgid "c"
#~ msgstr "d"
"""


def test_po_files_are_read_as_editors_write_them() -> None:
    assert list(entries(PO)) == [Sentence('two "lines"\n', "duas", "word")]


def test_multi_line_text_is_translated_line_by_line() -> None:
    assert parts("One\ntext.\n\n\b\nExamples:\n  bpengine demo\n") == ["One text.", "Examples:", "bpengine demo"]
    texts = ["x", "{a}: {b}", "{n} rows", "two words", "bpengine demo iris"]
    assert list(filter(reads_like_words, texts)) == ["{n} rows", "two words"]


def test_single_words_that_are_translated_are_sentences_too() -> None:
    call = ast.parse("localized('yes' if value else 'no')", mode="eval").body
    assert isinstance(call, ast.Call)
    assert list(single_words(call.args[0])) == ["yes", "no"]
    assert {"training", "yes", "no", "Figure"} <= sentences().keys()


def test_english_loads_no_catalogue() -> None:
    code = """
import sys, bpengine as bp
try: bp.Dense(0)
except bp.BpError as error: assert "requires" in str(error)
print([name for name in sys.modules if "i18n.cat" in name])
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n"
