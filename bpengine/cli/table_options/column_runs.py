"""Lines about columns: runs of columns whose names differ only in a number and which have the same use share a line."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Final

from bpengine.i18n.counted_nouns import NOUNS, count_of

FEWEST: Final = 4  # columns of a run that share a line
MISSING: Final = "; missing: filled with its own, and an input that says so"
# how a use reads without the numbers of one column
WITHOUT_NUMBERS: Final = (
    (r"standardised: mean [^;]*", "standardised"),
    (r"from \S* to 0\.\.1", "scaled to 0..1"),
    (r"less the median [^;]*", "less its median, by the distance of its quartiles"),
    (r"[\d,]+ values?, an input for each", "an input for each value"),
    (r"; missing: [^;]*, and an input that says so", MISSING),
)


def in_runs(lines: Iterable[Sequence[str]]) -> list[tuple[str, str, str]]:
    """Return the lines (name, kind, use), with one line for each run of columns.

    Text that differs within a run is left out.

    >>> in_runs([(f"pixel_0_{i}", "number", f"standardised: mean {i}, deviation 1") for i in range(8)])
    [('pixel_0_0 .. pixel_0_7', '8 numbers', 'standardised')]
    """
    listed: list[tuple[str, str, str]] = []
    for (_, kind, _), run in groupby(lines, lambda line: (_pattern(line[0]), line[1], _form(line[2]))):
        members = list(run)
        if len(members) < FEWEST or not re.search(r"\d", members[0][0]):
            listed += [(line[0], line[1], line[2]) for line in members]
            continue
        uses = {line[2] for line in members}
        use = uses.pop() if len(uses) == 1 else _form(members[0][2])
        listed.append((f"{members[0][0]} .. {members[-1][0]}", _counted(len(members), kind), use))
    return listed


def _counted(number: int, kind: str) -> str:
    return count_of(number, kind, ",") if kind in NOUNS else f"{number:,} {kind}"


def _pattern(name: str) -> str:
    return re.sub(r"\d+", "#", name)


def _form(use: str) -> str:
    """Return the use of a column without its numbers."""
    for pattern, words in WITHOUT_NUMBERS:
        use = re.sub(pattern, words, use)
    return use
