"""The names of elements, in words."""

from __future__ import annotations


def element(array: str, index: tuple[int, ...], shape: tuple[int, ...], bias_row: str | None = None) -> str:
    """Return an element's name: "layer 1, weight from unit 3 to unit 0", "input, row 2, feature 1"."""
    place, _, name = array.rpartition(".")
    start = f"layer {place}, " if place else ""
    if name == "weight" and len(index) == 2:
        row, column = index
        if bias_row and row == (shape[0] - 1 if bias_row == "last" else 0):
            return f"{start}bias of unit {column} (a row of the weight)"
        return f"{start}weight from unit {row - (bias_row == 'first')} to unit {column}"
    if len(index) == 1:
        return f"{start}{name} of unit {index[0]}"
    if len(index) == 2:
        named, words = ("input", ("row", "feature")) if array == "x" else (name, ("row", "column"))
        return f"{start}{named}, {words[0]} {index[0]}, {words[1]} {index[1]}"
    return f"{start}{name}{list(index)}" if index else f"{start}{name}"
