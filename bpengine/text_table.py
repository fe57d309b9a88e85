"""A table as plain text: every column as wide as its widest cell, two spaces between columns."""

from __future__ import annotations

from collections.abc import Callable, Sequence

Pad = Callable[[str, int], str]


def text_table(heads: Sequence[str], rows: Sequence[Sequence[str]], pad: Pad = str.ljust) -> list[str]:
    r"""Return the lines of a table, its heads first; cells are at the left, with `pad=str.rjust` at the right.

    >>> print("\n".join(text_table(["array", "error"], [["0.weight", "1e-16"], ["x", "0"]])))
    array     error
    0.weight  1e-16
    x         0
    """
    widths = [max(len(row[i]) for row in [heads, *rows]) for i in range(len(heads))]
    return ["  ".join(pad(c, w) for c, w in zip(row, widths, strict=True)).rstrip() for row in [heads, *rows]]
