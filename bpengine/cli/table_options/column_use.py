"""Options for the use of a table's columns."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import typer

import bpengine as bp
from bpengine.data import Dataset, Table
from bpengine.data.dataset import TASKS
from bpengine.distributed import Comm
from bpengine.distributed.alike import said_by_first
from bpengine.errors import ConfigError, unknown
from bpengine.i18n.language import localized

MISSING = ("fill", "drop", "refuse")


@dataclass(frozen=True, kw_only=True)
class ColumnUse:
    """Which columns are used, and how."""

    features: Annotated[
        str | None, typer.Option(metavar="A,B", help="The columns to learn from.  [default: all but the target]")
    ] = None
    drop: Annotated[str | None, typer.Option(metavar="C,D", help="Columns to leave out.  [default: none]")] = None
    categorical: Annotated[
        str | None,
        typer.Option(metavar="K", help="Columns of numbers that are categories, separated by commas.  [default: none]"),
    ] = None
    task: Annotated[
        str | None,
        typer.Option(metavar="KIND", help="classification or regression.  [default: what the target looks like]"),
    ] = None
    standardize: Annotated[
        bool,
        typer.Option("--standardize/--no-standardize", help="Scale numbers and targets to mean 0 and deviation 1."),
    ] = True
    missing: Annotated[
        str,
        typer.Option(
            metavar="RULE", help="Missing cells: fill (and say so in a further input), drop the row, or refuse."
        ),
    ] = "fill"

    def check(self) -> None:
        """Raise ConfigError, before any work, for invalid values."""
        if self.task is not None and self.task not in TASKS:
            raise unknown("task", self.task, TASKS)
        if self.missing not in MISSING:
            raise unknown("rule for missing cells", self.missing, MISSING)
        if self.features is not None and self.drop is not None:
            raise ConfigError("--features and --drop both say which columns are used. Give one of them.")

    def used(self, data: Dataset) -> Dataset:
        """Return the data with the used columns, as a table; without rows that have missing cells, if requested.

        Raises: ConfigError with the nearest names for an unknown column.
        """
        from dataclasses import replace

        table = data.table
        if self.features is not None:
            table = table.select(split_names(self.features, table, "--features"))
        if self.drop is not None:
            dropped = split_names(self.drop, table, "--drop")
            table.select(dropped)
            table = table.without(dropped)
        if not table.names:
            raise ConfigError("training requires at least one column to learn from, got none. Drop fewer.")
        data = replace(data, x=table, feature_names=table.names)
        return _without_missing(data) if self.missing == "drop" else data

    def fitted(self, data: Dataset, *, scale_target: bool, comm: Comm) -> bp.Features:
        """Return Features learned from training rows, which only process 0 reads."""
        categorical = self._categories(data.table)
        scale = "standard" if self.standardize else "none"
        features = bp.Features(
            scale=scale, missing=self.missing, categorical=categorical, scale_target=scale_target and self.standardize
        )
        if comm.size == 1:
            return features.fit(data)
        learned = said_by_first(comm, lambda: json.dumps(features.fit(data).to_json()))
        return features if comm.rank == 0 else bp.Features.from_json(json.loads(learned))

    def _categories(self, table: Table) -> list[str]:
        return [] if self.categorical is None else split_names(self.categorical, table, "--categorical")


def split_names(text: str, table: Table, option: str) -> list[str]:
    """Return columns' names from "a,b"; a name may contain a comma if a column has that name.

    Raises: ConfigError naming the option for an empty name.
    """
    names = [text] if text in table else [part if part in table else part.strip() for part in text.split(",")]
    if any(not name and name not in table for name in names):
        raise ConfigError(f"{option} requires names of columns, separated by commas, got {text!r}.")
    return names


def _without_missing(data: Dataset) -> Dataset:
    from dataclasses import replace

    kept = bp.Features(missing="drop").usable_rows(data.table)
    if len(kept) == 0:
        raise bp.errors.DataError(f"{data.name} has a missing cell in every row: --missing drop leaves none.")
    if len(kept) < data.rows:
        import warnings

        count = data.rows - len(kept)
        left_out = (
            f"1 of {data.rows:,} rows has missing cells and is left out."
            if count == 1
            else f"{count:,} of {data.rows:,} rows have missing cells and are left out."
        )
        warnings.warn(localized(left_out), stacklevel=2)
    return replace(data, x=data.table[kept], y=np.asarray(data.y[kept]))
