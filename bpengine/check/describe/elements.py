"""The names of elements in words, and the elements whose values hide a mistake.

A number that is exactly 0 or 1, or equal to all others of its array, hides a missing term or factor.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from bpengine.backend import HostArray

SHOWN = 3  # rows, or columns, that are named by number


def of_inputs(array: str, shape: Sequence[int], names: Sequence[str]) -> Sequence[str]:
    """Return the names of a network's inputs where an array has a row or column for each: x, the first layer's weight.

    >>> of_inputs("0.weight", (2, 5), ["age", "city = Oslo"])
    ['age', 'city = Oslo']
    """
    axis = {"x": 1, "0.weight": 0}.get(array)
    return names if axis is not None and len(shape) == 2 and shape[axis] == len(names) else ()


def element_name(
    array: str, index: tuple[int, ...], shape: tuple[int, ...], bias_row: str | None = None, names: Sequence[str] = ()
) -> str:
    """Return an element's name: "layer 1, weight from unit 3 to unit 0", "input, row 2, feature 1".

    names: what the network's inputs are called, for an array that has a row or column for each.
    """
    place, _, name = array.rpartition(".")
    start = f"layer {place}, " if place else ""
    if name == "weight" and len(index) == 2:
        row, column = index
        if bias_row and row == (shape[0] - 1 if bias_row == "last" else 0):
            return f"{start}bias of unit {column} (a row of the weight)"
        if names:
            return f"{start}weight from {names[row]!r} to unit {column}"
        return f"{start}weight from unit {row - (bias_row == 'first')} to unit {column}"
    if len(index) == 1:
        return f"{start}{name} of unit {index[0]}"
    if len(index) == 2:
        if names:
            return f"{start}input, row {index[0]}, {names[index[1]]!r}"
        named, words = ("input", ("row", "feature")) if array == "x" else (name, ("row", "column"))
        return f"{start}{named}, {words[0]} {index[0]}, {words[1]} {index[1]}"
    return f"{start}{name}{list(index)}" if index else f"{start}{name}"


def special_values(
    arrays: Mapping[str, Any], options: Mapping[str, Any] | None = None, input_names: Sequence[str] = ()
) -> tuple[str, ...]:
    """Return a sentence for every array, or part of one, that is all 0, all 1 or all equal; and for such options.

    For an array: the whole, or else its rows and columns, or else its single elements. input_names: of a network's inputs.
    """
    sentences = [s for name, array in arrays.items() for s in _of_array(name, np.asarray(array), input_names)]
    plain = {n: v for n, v in (options or {}).items() if isinstance(v, float)}
    return (*sentences, *(f"{name} is {value:g}" for name, value in plain.items() if value in (0.0, 1.0)))


def _of_array(name: str, array: HostArray, input_names: Sequence[str]) -> list[str]:
    if array.size == 1:
        return [f"{name} is {array.item():g}"] if array.item() in (0.0, 1.0) else []
    if array.size and np.all(array == array.flat[0]):
        return [f"{name} is all {array.flat[0]:.6g}"]
    return list(_parts(name, array, of_inputs(name, array.shape, input_names))) or [
        f"{number} of {array.size} elements of {name} are {value}"
        for value in (0, 1)
        if (number := int(np.sum(array == value)))
    ]


def _parts(name: str, array: HostArray, input_names: Sequence[str]) -> Iterator[str]:
    """Yield the rows and columns of a matrix that are all one number."""
    named = "column" if name == "x" else "row"  # whose numbers are those of the inputs
    for axis, part in ((1, "row"), (0, "column")):
        if array.ndim != 2 or array.shape[axis] < 2:
            continue
        first = np.take(array, 0, axis=axis)
        equal = np.all(array == np.expand_dims(first, axis), axis=axis)
        names = input_names if part == named else ()
        for value in (0.0, 1.0):
            yield from _numbered(part, name, np.flatnonzero(equal & (first == value)), value, names)
        yield from _numbered(part, name, np.flatnonzero(equal & (first != 0.0) & (first != 1.0)), None, names)


def _numbered(part: str, name: str, numbers: HostArray, value: float | None, names: Sequence[str]) -> Iterator[str]:
    """Yield the rows or columns that are all `value`, or, for None, all one number; by `names`, if any."""
    shown = [repr(names[number]) if names else str(number) for number in numbers[:SHOWN]]
    if len(numbers) == 1:
        one = f"row {shown[0]} of {name}" if part == "row" else f"column {shown[0]} of {name}"
        yield f"{one} is all equal" if value is None else f"{one} is all {value:g}"
    elif len(numbers):
        listed = ", ".join(shown)
        more = f" and {len(numbers) - SHOWN} more" if len(numbers) > SHOWN else ""
        several = f"rows {listed}{more} of {name}" if part == "row" else f"columns {listed}{more} of {name}"
        yield f"{several} are all equal" if value is None else f"{several} are all {value:g}"
