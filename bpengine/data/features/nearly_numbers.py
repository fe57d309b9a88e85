"""Columns of text in which most cells are numbers: unknown texts for missing cells, or unknown marks within numbers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

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


def cure_of(counts: Mapping[str, int]) -> str | None:
    """Return what the other cells of a column of mostly numbers are, and the cure; None for any other column.

    counts: how often each text occurs. A column of nothing but numbers written as text needs no cure.

    >>> cure_of({"1.5": 3, "2": 4, "n/d": 2}).partition(" (")[0]
    "7 of 9 cells are numbers, the others are 'n/d'. --na-values n/d"
    """
    numbers, odd, marks = _sorted(counts)
    every, count = sum(counts.values()), sum(numbers.values())
    if 2 * count <= every or (not odd and not marks):
        return None
    said = f"{count:,} of {every:,} cells are numbers"
    cures = [f"{mark} reads their marks" for mark in marks]
    if odd:
        shown = ", ".join(repr(text[:LONGEST]) for text in odd[:SHOWN]) + ", ..." * (len(odd) > SHOWN)
        said += f", the others are {shown}"
        cures.insert(0, f"--na-values {_listed(odd[:SHOWN])} (na_values=) {MISSING}")
    return f"{said}. {'; '.join(cures)}"


def hint_for(text: str) -> str:
    """Return the option that reads a text found in place of a number."""
    if (option := next((o for form, o in GROUPED.items() if form.fullmatch(text)), None)) is not None:
        return f"{option} reads it as a number."
    return "If it means a missing cell, --na-values (na_values=) names it."


def _sorted(counts: Mapping[str, int]) -> tuple[dict[str, int], list[str], list[str]]:
    """Return the texts that are numbers, the others by their frequency, and the options that numbers' marks ask for."""
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
