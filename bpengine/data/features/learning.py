"""Which kind each column is, and its numbers, from the training rows alone."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from bpengine.data.features.dates import date_format, days
from bpengine.data.features.learned_columns import CategoryColumn, LearnedColumn, LeftOutColumn, NumberColumn
from bpengine.data.table import Array, TableColumn
from bpengine.data.validation.class_names import name_text
from bpengine.errors import DataError

PAIRS = (("no", "yes"), ("n", "y"), ("false", "true"), ("f", "t"))
UNNAMED = re.compile(r"column \d+|Unnamed: \d+|index|__index_level_\d+__|")
FREE_TEXT = 20  # different texts from which a column may be names or sentences


@dataclass(frozen=True, kw_only=True)
class LearningRules:
    """The settings of Features that decide what becomes of a column."""

    scale: str
    missing: str
    fill: str | float
    categorical: tuple[str, ...]
    drop: tuple[str, ...]
    rare: int
    most: int


def learn_column(name: str, column: TableColumn, rules: LearningRules, *, alone: bool, pixels: bool) -> LearnedColumn:
    """Return what a column is.

    alone: whether it is the only one. pixels: whether the table is an array of bytes, which are divided by 255.
    Raises: DataError for a missing cell where none may be, and for infinity.
    """
    if name in rules.drop:
        return LeftOutColumn(name=name, why="as you said")
    missing = column.missing
    if missing.all():
        return LeftOutColumn(name=name, why="it has no values, or too many different texts", warn=True)
    if missing.any() and rules.missing != "fill":
        row = int(np.argmax(missing))
        raise DataError(
            f"there is a missing value in row {row}, column {name!r} ({np.count_nonzero(missing):,} in all). --missing fill "
            "(missing='fill') fills them, --missing drop leaves such rows out."
        )
    return _numeric(name, column, rules, alone, pixels) if column.is_number else _other(name, column, rules)


def _numeric(name: str, column: TableColumn, rules: LearningRules, alone: bool, pixels: bool) -> LearnedColumn:
    values = column.values
    if name in rules.categorical:
        return _category(name, [name_text(v.item()) for v in values[~column.missing]], column, rules)
    if column.yes_no or values.dtype.kind == "b":
        return _number(name, "yes/no", values.astype(np.float64), rules)
    if not alone and UNNAMED.fullmatch(name) and _counts(values):
        return LeftOutColumn(name=name, why="it has no name and counts the rows", warn=True)
    if pixels and rules.scale == "standard":
        return NumberColumn(name=name, scale=255.0, how="divided by 255")
    return _number(name, "number", values.astype(np.float64), rules)


def _counts(values: Array) -> bool:
    """Return whether numbers count: whole numbers from 0 or 1 on, each larger than the one before."""
    if len(values) < 3 or values[0] < 0 or values[0] > len(values):
        return False
    steps = np.diff(values)
    return bool((values == np.floor(values)).all() and (steps > 0).all() and np.median(steps) <= 2)


def _other(name: str, column: TableColumn, rules: LearningRules) -> LearnedColumn:
    if column.categories is None:
        return _number(name, "date", days(column, None, name), rules)
    used, counts = np.unique(column.values[column.values >= 0], return_counts=True)
    texts = tuple(column.categories[int(i)] for i in used)
    if name not in rules.categorical:
        pair = next((pair for pair in PAIRS if len(texts) == 2 and {t.lower() for t in texts} == set(pair)), None)
        if pair:
            flags = NumberColumn(name=name, role="yes/no", yes=pair)
            return _number(name, "yes/no", flags.numbers(column), rules, yes=pair)
        if form := date_format(texts):
            return _number(name, "date", days(column, form, name), rules, date_format=form)
        if len(texts) > FREE_TEXT and 2 * len(texts) > counts.sum():
            return LeftOutColumn(name=name, why=f"text: {len(texts):,} different values in {int(counts.sum()):,} rows")
    return _category(name, np.repeat(texts, counts).tolist(), column, rules)


def _number(name: str, role: str, values: Array, rules: LearningRules, **more: Any) -> NumberColumn:
    missing = np.isnan(values)
    there = values[~missing]
    if not np.isfinite(there).all():
        row = int(np.argmax(np.isinf(values)))
        raise DataError(
            f"column {name!r} requires finite numbers, got {values[row]} in row {row}. Fill or drop that row."
        )
    fill = None
    if rules.missing == "fill":
        by_name = np.median(there) if rules.fill == "median" else np.mean(there)
        fill = float(by_name if isinstance(rules.fill, str) else rules.fill)
    kept = values if fill is None else np.where(missing, fill, values)
    center, scale, how = _scaling(rules.scale, kept)
    day = "days since 1970, " if role == "date" else ""
    return NumberColumn(
        name=name,
        role=role,
        center=center,
        scale=scale,
        fill=fill,
        indicator=bool(missing.any()),
        how=day + how,
        spread=float(np.std(kept)),
        **more,
    )


def _scaling(scale: str, values: Array) -> tuple[float, float, str]:
    """Return center and scale of numbers, and what is said of them; a constant column has the scale 1."""
    if scale == "none":
        return 0.0, 1.0, "as it is"
    if scale == "minmax":
        low, high = float(values.min()), float(values.max())
        return low, (high - low) or 1.0, f"from {low:.4g}..{high:.4g} to 0..1"
    if scale == "robust":
        low, center, high = (float(v) for v in np.percentile(values, (25, 50, 75)))
        return center, (high - low) or 1.0, f"less the median {center:.4g}, by the quartiles' distance {high - low:.4g}"
    center, spread = float(values.mean()), float(values.std())
    constant = spread <= 1e-12 * max(1.0, abs(center))
    return center, 1.0 if constant else spread, f"standardised: mean {center:.4g}, deviation {spread:.4g}"


def _category(name: str, cells: list[str], column: TableColumn, rules: LearningRules) -> LearnedColumn:
    """Learn the values that are frequent enough; the others share an input."""
    texts, counts = np.unique(np.array(cells, object).astype(str), return_counts=True)
    if len(texts) == 1 and not column.missing.any():
        return LeftOutColumn(name=name, why=f"it has one value only, {str(texts[0])!r}")
    kept = counts >= min(rules.rare, counts.max())
    if np.count_nonzero(kept) > rules.most:
        kept &= counts >= np.sort(counts)[-rules.most]
    values = tuple(str(text) for text, keep in zip(texts, kept, strict=True) if keep)[: rules.most]
    other = len(values) < len(texts)
    return CategoryColumn(name=name, values=values, other=other, missing=bool(column.missing.any()))
