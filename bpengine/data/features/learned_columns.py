"""Learned columns: each encodes its cells as inputs of a network, and holds plain values only."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np

from bpengine.data.features.dates import days
from bpengine.data.table import Array, TableColumn
from bpengine.data.validation.class_names import name_text
from bpengine.data.validation.nearly_numbers import hint_for
from bpengine.errors import DataError
from bpengine.i18n.counted_nouns import count_of

OTHER, MISSING = "(other)", "(missing)"


@dataclass(frozen=True, kw_only=True)
class NumberColumn:
    """A number, a truth value, or a date as days since 1970, encoded as (value - center) / scale, then 1 if it is missing.

    role: "number", "yes/no", "date". fill: replaces a missing cell, None where none may be missing. indicator: whether a
    second input indicates missing cells. date_format: of dates that are text. yes: the texts that mean true.
    """

    kind: ClassVar[str] = "number"
    name: str
    role: str = "number"
    center: float = 0.0
    scale: float = 1.0
    fill: float | None = None
    indicator: bool = False
    date_format: str | None = None
    yes: tuple[str, str] | None = None
    how: str = ""
    spread: float = 0.0

    def __post_init__(self) -> None:
        numbers = (self.center, self.scale, 0.0 if self.fill is None else self.fill)
        if not all(isinstance(n, (int, float)) and math.isfinite(n) for n in numbers) or self.scale == 0:
            raise DataError(f"column {self.name!r} requires finite numbers and a scale that is not 0, got {numbers}.")

    @property
    def input_names(self) -> tuple[str, ...]:
        """The names of its inputs."""
        return (self.name, f"{self.name} = {MISSING}") if self.indicator else (self.name,)

    def encode(self, column: TableColumn, out: Array, start: int) -> int:
        """Write its inputs into out (rows, inputs) and return the number of unknown values: 0.

        Raises: DataError naming the row, counted from `start`, of text, of infinity, of a missing cell where none may be.
        """
        values = self.numbers(column, start)
        missing = np.isnan(values)
        if missing.any():
            if self.fill is None:
                row = start + int(np.argmax(missing))
                raise DataError(
                    f"there is a missing value in row {row}, column {self.name!r}. The model has no rule for it: train with "
                    "--missing fill (missing='fill')."
                )
            values = np.where(missing, self.fill, values)
        if not np.isfinite(values).all():
            at = int(np.argmin(np.isfinite(values)))
            raise DataError(f"column {self.name!r} requires finite numbers, got {values[at]} in row {start + at}.")
        out[:, 0] = (values - self.center) / self.scale
        if self.indicator:
            out[:, 1] = missing
        return 0

    def numbers(self, column: TableColumn, start: int = 0) -> Array:
        """Return its cells as float64, NaN where they are missing. start: the number of the first row, for messages.

        Raises: DataError for cells of another kind.
        """
        if self.role == "date":
            return days(column, self.date_format, self.name, start)
        if column.categories is None:
            if column.is_number:
                return column.values.astype(np.float64)
            raise DataError(f"column {self.name!r} requires numbers, got dates. Give rows like those of the training.")
        known = [self._of_text(text) for text in column.categories]
        table = np.array([*(np.nan if v is None else v for v in known), np.nan], np.float64)
        used = np.unique(column.values)
        wrong = next((column.categories[int(i)] for i in used if i >= 0 and known[int(i)] is None), None)
        if wrong is not None:
            row = int(np.argmax(column.values == column.categories.index(wrong)))
            hint = f" {hint_for(wrong)}" if self.role == "number" else ""
            raise DataError(
                f"column {self.name!r} requires {self.role} values, got the text {wrong!r} in row {start + row}.{hint}"
            )
        return table[column.values]

    def _of_text(self, text: str) -> float | None:
        if self.role == "yes/no":
            lowered = text.lower()
            pair = self.yes or ("false", "true")
            return float(pair.index(lowered)) if lowered in pair else None
        try:
            return float(text)
        except ValueError:
            return None

    def described(self) -> tuple[str, str]:
        """Return what it is, and how it is used."""
        gap = f"; missing: {self.fill:.4g}, and an input that says so" if self.indicator else ""
        return self.role, f"{self.how}{gap}"


@dataclass(frozen=True, kw_only=True)
class CategoryColumn:
    """A category: one input for each value, 1 where the cell has it. Rare and unknown values share one, if there is one."""

    kind: ClassVar[str] = "category"
    name: str
    values: tuple[str, ...]
    other: bool = False
    missing: bool = False

    def __post_init__(self) -> None:
        if not self.values and not self.other:
            raise DataError(f"column {self.name!r} requires at least one value.")
        if len(set(self.values)) < len(self.values) or not all(isinstance(value, str) for value in self.values):
            raise DataError(f"column {self.name!r} requires different texts as values, got {list(self.values)[:8]}.")

    @property
    def input_names(self) -> tuple[str, ...]:
        """The names of its inputs: "city = Oslo"."""
        more = [OTHER] * self.other + [MISSING] * self.missing
        return tuple(f"{self.name} = {value}" for value in (*self.values, *more))

    def encode(self, column: TableColumn, out: Array, start: int) -> int:
        """Write its inputs into out (rows, inputs) and return the number of cells with an unknown value."""
        codes, unknown = self._codes(column)
        out[:] = 0
        rows = np.flatnonzero(codes >= 0)
        out[rows, codes[rows]] = 1
        return unknown

    def _codes(self, column: TableColumn) -> tuple[Array, int]:
        """Return for each cell the number of the input that is 1, -1 for none; and how many values are unknown."""
        place = {value: at for at, value in enumerate(self.values)}
        beyond = len(self.values) if self.other else -1
        gap = len(self.values) + self.other if self.missing else -1
        if column.categories is None:
            texts, codes = np.unique(column.values, return_inverse=True)
            names = [None if value != value else name_text(value.item()) for value in texts]
        else:
            names, codes = (
                [*column.categories, None],
                np.where(column.values < 0, len(column.categories), column.values),
            )
        table = np.array([gap if name is None else place.get(name, beyond) for name in names], np.int64)
        strange = np.array([name is not None and name not in place for name in names])
        return table[codes], int(np.count_nonzero(strange[codes]))

    def described(self) -> tuple[str, str]:
        """Return what it is, and how it is used."""
        count = f"{count_of(len(self.values), 'value', ',')}, an input for each"
        return (
            "category",
            count + "; rare and unknown ones share one" * self.other + "; missing has its own" * self.missing,
        )


@dataclass(frozen=True, kw_only=True)
class LeftOutColumn:
    """A column that is not used, and why."""

    kind: ClassVar[str] = "left out"
    name: str
    why: str
    warn: bool = False

    @property
    def input_names(self) -> tuple[str, ...]:
        """No inputs."""
        return ()

    def encode(self, column: TableColumn, out: Array, start: int) -> int:
        """Write nothing."""
        return 0

    def described(self) -> tuple[str, str]:
        """Return that it is left out, and why."""
        return "left out", self.why


LearnedColumn = NumberColumn | CategoryColumn | LeftOutColumn
KINDS: dict[str, type[NumberColumn] | type[CategoryColumn] | type[LeftOutColumn]] = {
    kind.kind: kind for kind in (NumberColumn, CategoryColumn, LeftOutColumn)
}


def to_json(column: LearnedColumn) -> dict[str, Any]:
    """Return a column as JSON values."""
    return {"kind": column.kind, **asdict(column)}


def from_json(description: object) -> LearnedColumn:
    """Return the column that JSON values describe; raise DataError, TypeError or ValueError for invalid ones."""
    if (
        not isinstance(description, dict)
        or description.get("kind") not in KINDS
        or not isinstance(description.get("name"), str)
    ):
        raise DataError(f"a column requires a kind and a name, got {repr(description)[:80]}.")
    fields: dict[str, Any] = {
        name: tuple(v) if isinstance(v, list) else v for name, v in description.items() if name != "kind"
    }
    return KINDS[description["kind"]](**fields)
