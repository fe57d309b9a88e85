"""Columns of text in which most cells are numbers: unknown texts for missing cells, or unknown marks within numbers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

NUMBER: Final = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
GROUPED: Final = {  # marks between thousands, with the options that read them
    re.compile(r"[+-]?\d{1,3}(,\d{3})+(\.\d+)?"): "--thousands ,",
    re.compile(r"[+-]?\d{1,3}(\.\d{3})+,\d+"): "--decimal , --thousands .",
    re.compile(r"[+-]?\d{1,3}([ \u00a0\u202f]\d{3})+([.,]\d+)?"): "--thousands ' '",
    re.compile(r"[+-]?\d+,\d+"): "--decimal ,",
}
SHOWN: Final = 5  # different texts that may mean missing cells
MISSING: Final = "reads them as missing; in Parquet and data frames write numbers, and null in their place"
LONGEST: Final = 30  # characters of a text that is shown


class NearlyNumbers(NamedTuple):
    """A column of text whose cells are mostly numbers: how many are, of how many, the others, and the options that read it."""

    numbers: int
    cells: int
    others: str
    cures: str


def nearly_numbers(counts: Mapping[str, int]) -> NearlyNumbers | None:
    """Return the other cells of a column of mostly numbers, and the cure; None for any other column.

    counts: how often each text occurs. A column that is all numbers written as text needs no cure.

    >>> people = nearly_numbers({"1.5": 3, "2": 4, "n/d": 2})
    >>> people.numbers, people.cells, people.cures.partition(" (")[0]
    (7, 9, '--na-values n/d')
    """
    numbers, odd, marks = _sorted(counts)
    every, count = sum(counts.values()), sum(numbers.values())
    if 2 * count <= every or (not odd and not marks):
        return None
    cures, others = [f"{mark} reads their marks" for mark in marks], ""
    if odd:
        shown = ", ".join(repr(text[:LONGEST]) for text in odd[:SHOWN]) + ", ..." * (len(odd) > SHOWN)
        others = f", the others are {shown}"
        cures.insert(0, f"--na-values {_listed(odd[:SHOWN])} (na_values=) {MISSING}")
    return NearlyNumbers(count, every, others, "; ".join(cures))


def grouped_warnings(columns: Mapping[str, NearlyNumbers]) -> Iterator[str]:
    """Yield a warning for each column that is nearly one of numbers; those with the same cure share one."""
    alike: dict[tuple[str, str], list[str]] = {}
    for name, nearly in columns.items():
        alike.setdefault((nearly.others, nearly.cures), []).append(name)
    for (others, cures), names in alike.items():
        if len(names) == 1:
            nearly = columns[names[0]]
            said = f"{nearly.numbers:,} of {nearly.cells:,} cells are numbers"
            yield f"the column {names[0]!r} is taken as text: {said}{others}. {cures}."
        else:
            shown = ", ".join(map(repr, names[:SHOWN])) + ", ..." * (len(names) > SHOWN)
            yield (
                f"{len(names):,} columns are taken as text ({shown}): most of their cells are numbers{others}. {cures}."
            )


def hint_for(text: str) -> str:
    """Return the option that reads a text found in place of a number."""
    if (option := next((o for form, o in GROUPED.items() if form.fullmatch(text)), None)) is not None:
        return f"{option} reads it as a number."
    return "If it means a missing cell, --na-values (na_values=) names it."


def _sorted(counts: Mapping[str, int]) -> tuple[dict[str, int], list[str], list[str]]:
    """Return the texts that are numbers, the others by their frequency, and the options that read the marks in numbers."""
    numbers: dict[str, int] = {}
    odd: dict[str, int] = {}
    marks: list[str] = []
    for text, count in counts.items():
        if NUMBER.fullmatch(text):
            numbers[text] = count
        elif (option := next((o for form, o in GROUPED.items() if form.fullmatch(text)), None)) is not None:
            numbers[text] = count
            marks.append(option)
        else:
            odd[text] = count
    return numbers, sorted(odd, key=lambda text: (-odd[text], text)), list(dict.fromkeys(marks))


def _listed(texts: list[str]) -> str:
    shown = ",".join(texts)
    return shown if re.fullmatch(r"[\w./,-]+", shown) and not shown.startswith("-") else repr(shown)
