"""How an estimator's parameters treat columns: their scaling, which are categories, and which rows are usable."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from copy import deepcopy
from numbers import Integral
from typing import TYPE_CHECKING

from bpengine import data
from bpengine.errors import ConfigError, DataError, flag, items
from bpengine.i18n.language import localized
from bpengine.sklearn.table_input import TrainingRows

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator


def unlearned_features(estimator: BaseEstimator, names: Sequence[str] = ()) -> data.Features:
    """Return the Features that an estimator will learn: a copy of the given ones, or those of its parameters.

    names: those of the columns, which `categorical` may also give as numbers from 0.
    Raises: ConfigError for invalid parameters.
    """
    who = type(estimator).__name__
    if estimator.features is None:
        scaled = flag(estimator.standardize, who, "standardize")
        if isinstance(estimator.categorical, str):
            raise ConfigError(
                f"{who} requires categorical to be a list of columns, got the text {estimator.categorical!r}."
            )
        categorical = [_name(one, names, who) for one in items(estimator.categorical, who, "categorical")]
        return data.Features(
            scale="standard" if scaled else "none",
            missing=estimator.missing,
            categorical=categorical,
            scale_target=scaled,
        )
    if not isinstance(estimator.features, data.Features):
        raise ConfigError(f"{who} requires features to be a bp.Features, got {estimator.features!r}.")
    return deepcopy(estimator.features)


def _name(column: object, names: Sequence[str], who: str) -> str:
    """Return the name of a column given by its name or its number from 0."""
    if isinstance(column, str):
        return column
    if isinstance(column, bool) or not isinstance(column, Integral):
        raise ConfigError(f"{who} requires categorical to be names or numbers of columns, got {column!r} among them.")
    place = int(column)
    if not 0 <= place < len(names):
        raise ConfigError(
            f"{who} requires categorical to name or count columns of X, got {place} for {len(names)} columns, counted from 0."
        )
    return names[place]


def with_usable_rows(estimator: object, rows: TrainingRows) -> TrainingRows:
    """Return the rows that can be learned from; a warning says how many are left out for missing cells.

    Raises: DataError where that leaves none.
    """
    table = data.as_table(rows.x)
    usable = unlearned_features(estimator, table.names).usable_rows(table)
    if len(usable) == len(table):
        return rows
    who = type(estimator).__name__
    if len(usable) == 0:
        raise DataError(
            f"{who} requires a row without missing cells, got none of {len(table):,}. missing='fill' fills them."
        )
    count = len(table) - len(usable)
    warnings.warn(
        localized(
            f"{who}: 1 of {len(table):,} rows has missing cells and is left out."
            if count == 1
            else f"{who}: {count:,} of {len(table):,} rows have missing cells and are left out."
        ),
        stacklevel=5,
    )
    return rows.take(usable)
