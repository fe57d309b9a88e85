"""Learning: the kind of each column and its parameters, from the training rows alone."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from bpengine.data.features.dates import date_format, days
from bpengine.data.features.learned_columns import CategoryColumn, LearnedColumn, LeftOutColumn, NumberColumn
from bpengine.data.features.target_kinds import moments
from bpengine.data.table import Array, TableColumn
from bpengine.data.validation.class_names import name_text
from bpengine.errors import DataError

PAIRS = (("no", "yes"), ("n", "y"), ("false", "true"), ("f", "t"))
UNNAMED = re.compile(r"column \d+|Unnamed: \d+|index|__index_level_\d+__|")
IDENTIFIER = re.compile(r"(?i:(?:^|[ _.-])(?:id|index|idx|nr|no|row|rownames|key))$|[a-z]I[dD]$")
FREE_TEXT = 20  # number of different texts from which on a column may hold names or sentences


@dataclass(frozen=True, kw_only=True)
class LearningRules:
    """The settings of Features that determine the kind of a column."""

    scale: str
    missing: str
    fill: str | float
    categorical: tuple[str, ...]
    drop: tuple[str, ...]
    rare: int
    most: int


def learn_column(
    name: str, column: TableColumn, rules: LearningRules, weights: Array | None, *, alone: bool, pixels: bool
) -> LearnedColumn:
    """Return the learned form of a column.

    weights: (rows,), above 0, how often each row counts; None counts each once.
    alone: whether it is the only column. pixels: whether the table is an array of bytes, which are divided by 255.
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
    if column.is_number:
        return _numeric(name, column, rules, weights, alone=alone, pixels=pixels)
    return _other(name, column, rules, weights)


def _numeric(
    name: str, column: TableColumn, rules: LearningRules, weights: Array | None, *, alone: bool, pixels: bool
) -> LearnedColumn:
    values = column.values
    if name in rules.categorical:
        return _category(name, [name_text(v.item()) for v in values[~column.missing]], column, rules)
    if column.yes_no or values.dtype.kind == "b":
        return _number(name, "yes/no", values.astype(np.float64), rules, weights)
    if not alone and UNNAMED.fullmatch(name) and _counts(values):
        return LeftOutColumn(name=name, why="it has no name and counts the rows", warn=True)
    if pixels and rules.scale == "standard":
        return NumberColumn(name=name, scale=255.0, how="divided by 255")
    return _number(name, "number", values.astype(np.float64), rules, weights)


def text_counts(column: TableColumn) -> dict[str, int]:
    """Return how often each text of a column occurs; none for numbers and dates."""
    if column.categories is None:
        return {}
    used, counts = np.unique(column.values[column.values >= 0], return_counts=True)
    return {column.categories[int(code)]: int(count) for code, count in zip(used, counts, strict=True)}


def names_rows(name: str, column: TableColumn) -> bool:
    """Return whether a column has the name of an identifier and counts the rows."""
    named = bool(IDENTIFIER.search(name))
    return named and column.is_number and not column.missing.any() and _counts(column.values)


def _counts(values: Array) -> bool:
    """Return whether numbers count the rows: whole numbers from 0 or 1 on, each larger than the one before."""
    if len(values) < 3 or values[0] < 0 or values[0] > len(values):
        return False
    steps = np.diff(values)
    return bool((values == np.floor(values)).all() and (steps > 0).all() and np.median(steps) <= 2)


def _other(name: str, column: TableColumn, rules: LearningRules, weights: Array | None) -> LearnedColumn:
    if column.categories is None:
        return _number(name, "date", days(column, None, name), rules, weights)
    used, counts = np.unique(column.values[column.values >= 0], return_counts=True)
    texts = tuple(column.categories[int(i)] for i in used)
    if name not in rules.categorical:
        pair = next((pair for pair in PAIRS if len(texts) == 2 and {t.lower() for t in texts} == set(pair)), None)
        if pair:
            flags = NumberColumn(name=name, role="yes/no", yes=pair)
            return _number(name, "yes/no", flags.numbers(column), rules, weights, yes=pair)
        if form := date_format(texts):
            return _number(name, "date", days(column, form, name), rules, weights, date_format=form)
        if len(texts) > FREE_TEXT and 2 * len(texts) > counts.sum():
            return LeftOutColumn(name=name, why=f"text: {len(texts):,} different values in {int(counts.sum()):,} rows")
    return _category(name, np.repeat(texts, counts).tolist(), column, rules)


def _number(
    name: str, role: str, values: Array, rules: LearningRules, weights: Array | None, **more: Any
) -> NumberColumn:
    missing = np.isnan(values)
    there = values[~missing]
    if not np.isfinite(there).all():
        row = int(np.argmax(np.isinf(values)))
        raise DataError(
            f"column {name!r} requires finite numbers, got {values[row]} in row {row}. Fill or drop that row."
        )
    fill = None
    if rules.missing == "fill":
        fill = _fill(rules.fill, there, None if weights is None else weights[~missing])
    kept = values if fill is None else np.where(missing, fill, values)
    center, scale, how = _scaling(rules.scale, kept, weights)
    return NumberColumn(
        name=name,
        role=role,
        center=center,
        scale=scale,
        fill=fill,
        indicator=bool(missing.any()),
        how=f"days since 1970, {how}" if role == "date" else how,
        spread=float(moments(kept, weights)[1]),
        **more,
    )


def _fill(fill: str | float, values: Array, weights: Array | None) -> float:
    """Return the number that replaces a missing one."""
    if not isinstance(fill, str):
        return float(fill)
    if fill == "mean":
        return float(moments(values, weights)[0])
    return float(np.median(values)) if weights is None else _quantiles(values, (0.5,), weights)[0]


def _quantiles(values: Array, shares: tuple[float, ...], weights: Array | None) -> list[float]:
    if weights is None:
        return [float(v) for v in np.quantile(values, shares)]
    return [float(v) for v in np.quantile(values, shares, weights=weights, method="inverted_cdf")]


def _scaling(scale: str, values: Array, weights: Array | None) -> tuple[float, float, str]:
    """Return center and scale of numbers, and their description; a constant column has the scale 1."""
    if scale == "none":
        return 0.0, 1.0, "as it is"
    if scale == "minmax":
        low, high = float(values.min()), float(values.max())
        return low, (high - low) or 1.0, f"from {low:.4g}..{high:.4g} to 0..1"
    if scale == "robust":
        low, center, high = _quantiles(values, (0.25, 0.5, 0.75), weights)
        return center, (high - low) or 1.0, f"less the median {center:.4g}, by the quartiles' distance {high - low:.4g}"
    center, spread = map(float, moments(values, weights))
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
