"""NumberTable: every number of a recorded run once, as columns over the steps, packed for the page."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from bpengine.backend import HostArray
from bpengine.kernels._trees import Tree
from bpengine.system.quiet import Quiet


class NumberRef(int):
    """The position of a number in a table; in a page's JSON it becomes the position of its column."""


class NumberTable:
    """The numbers of one step, in the order in which they were added."""

    def __init__(self) -> None:
        self.values: list[float] = []

    def put(self, value: float) -> NumberRef:
        """Add a number and return its position."""
        self.values.append(float(value))
        return NumberRef(len(self.values) - 1)

    def put_all(self, values: Iterable[float]) -> list[NumberRef]:
        """Add several numbers and return their positions."""
        return [self.put(value) for value in values]


def distinct(sheet: NumberTable) -> int:
    """Return how many different numbers a table holds: about the number of columns it will need."""
    return len({np.float64(value).tobytes() for value in sheet.values})


def packed(sheets: Sequence[NumberTable]) -> tuple[dict[str, str], list[int]]:
    """Return the columns of several steps, packed, and the number of the column of each position of a table.

    Equal columns are stored once. `constants` come first, one number each; then `singles`, columns that float32 holds
    exactly; then `doubles`. Little-endian, base64; a column's numbers, one per step, are consecutive.
    """
    table = np.array([sheet.values for sheet in sheets], dtype="<f8").reshape(len(sheets), -1).T
    kinds: list[dict[bytes, HostArray]] = [{}, {}, {}]
    places = []
    # Columns are compared by their bytes, so that -0.0 and 0.0, and different NaN, stay apart.
    for column in table:
        kind, key = _kind(column), column.tobytes()
        kinds[kind].setdefault(key, column)
        places.append((kind, key))
    order = {(kind, key): None for kind, columns in enumerate(kinds) for key in columns}
    numbers = {place: number for number, place in enumerate(order)}
    refs = [numbers[place] for place in places]
    constants, singles, doubles = (list(columns.values()) for columns in kinds)
    with Quiet():
        texts = {
            "constants": _text(np.array([column[0] for column in constants], dtype="<f8")),
            "singles": _text(np.array(singles, dtype="<f4")),
            "doubles": _text(np.array(doubles, dtype="<f8")),
        }
    return texts, refs


def _kind(column: HostArray) -> int:
    bits = column.view(np.uint64)
    if bool(np.all(bits == bits[0])):
        return 0
    with Quiet():
        return 1 if np.array_equal(column.astype("<f4").astype("<f8"), column, equal_nan=True) else 2


def array_text(array: HostArray) -> dict[str, Any]:
    """Return an array as {"kind": "<f8", "<f4", "<i4" or "<u4", "text": base64}: in float32 where that is exact.

    For an array of equal numbers, such as moments before the first step, that number and "count", their number.
    """
    if array.dtype.kind == "f":
        with Quiet():
            single = array.astype("<f4")
        array = single if np.array_equal(single.astype("<f8"), array, equal_nan=True) else array.astype("<f8")
    else:
        array = array.astype("<u4" if array.dtype.kind == "u" else "<i4")
    if array.size > 1 and array.tobytes() == array.ravel()[:1].tobytes() * array.size:
        return {"kind": array.dtype.str, "text": _text(array.ravel()[:1]), "count": array.size}
    return {"kind": array.dtype.str, "text": _text(array)}


def text(values: npt.ArrayLike) -> str:
    """Return numbers as base64 of little-endian float64."""
    return _text(np.asarray(values, dtype="<f8"))


def _text(array: HostArray) -> str:
    return base64.b64encode(array.tobytes()).decode("ascii")


def replaced(value: Tree, refs: Sequence[int]) -> Tree:
    """Return a structure in which each NumberRef is the number of its column."""
    if isinstance(value, NumberRef):
        return refs[value]
    if isinstance(value, dict):
        return {name: replaced(part, refs) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [replaced(part, refs) for part in value]
    return value
