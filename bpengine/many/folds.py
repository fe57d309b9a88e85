"""Folds: the rows that each fold trains on, and the rows that it holds out."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from bpengine.backend import HostArray
from bpengine.errors import ConfigError, DataError, whole
from bpengine.streams import stream

MOST_FOLDS = 1000  # the most folds


class Fold(NamedTuple):
    """The numbers of the training rows and of the held-out rows, both ascending where they are drawn."""

    train: HostArray
    test: HostArray


def make_folds(folds: object, target: HostArray, kind: str) -> list[Fold]:
    """Return the folds of rows with these targets: a number of drawn folds, or given pairs of row numbers.

    kind: that of the target, as a loss names it; for classes each fold holds out about the same share of each.
    Raises ConfigError for a number of folds that is too low or too high, and DataError for invalid pairs.
    """
    rows = len(target)
    if isinstance(folds, Iterable) and not isinstance(folds, (str, bytes)):
        pairs = list(itertools.islice(folds, MOST_FOLDS + 1))
        if not 0 < len(pairs) <= MOST_FOLDS:
            raise ConfigError(
                f"fit_many requires from 1 to {MOST_FOLDS} folds, got {len(pairs) if pairs else 'an empty list'}."
            )
        return [_checked(pair, number, rows) for number, pair in enumerate(pairs)]
    if hasattr(folds, "split"):
        raise ConfigError(
            f"fit_many requires folds to be a number or pairs of row numbers, got {type(folds).__name__}. Pass what it "
            "yields: folds=splitter.split(x, y)."
        )
    count = whole(folds, "fit_many", "folds", low=2)
    if count > min(rows, MOST_FOLDS):
        raise ConfigError(
            f"fit_many requires at most as many folds as rows, and {MOST_FOLDS}, got {count} of {rows} rows."
        )
    return drawn(count, target, kind)


def drawn(count: int, target: HostArray, kind: str) -> list[Fold]:
    """Return `count` folds that hold out each row once; equal targets always give the same folds."""
    order = stream("folds", 0).permutation(len(target))
    if kind != "values":
        groups = target if target.ndim == 1 else np.argmax(target, axis=1) if kind == "classes" else target[:, 0] > 0.5
        order = order[np.argsort(groups[order], kind="stable")]
    place = np.empty(len(target), np.int64)
    place[order] = np.arange(len(target)) % count
    kind_of = _kind(len(target))
    return [Fold(*(np.flatnonzero(part).astype(kind_of) for part in (place != k, place == k))) for k in range(count)]


def _kind(rows: int) -> type[np.signedinteger[Any]]:
    """Return the dtype of row numbers for this many rows, which is that of an epoch's order."""
    return np.int32 if rows < 2**31 else np.int64


def _checked(pair: object, number: int, rows: int) -> Fold:
    if not isinstance(pair, (tuple, list)) or len(pair) != 2:
        raise ConfigError(f"fit_many requires each fold to be a pair (train, test) of row numbers, got {pair!r}.")
    return Fold(
        *(_rows(part, f"fold {number}, {which}", rows) for part, which in zip(pair, ("train", "test"), strict=True))
    )


def _rows(part: object, which: str, rows: int) -> HostArray:
    """Return row numbers as an array; raise DataError for anything else."""
    numbers = np.asarray(part)
    if numbers.ndim == 1 and numbers.dtype.kind == "b" and len(numbers) == rows:
        numbers = np.flatnonzero(numbers)
    if numbers.ndim != 1 or not numbers.size or numbers.dtype.kind not in "iu":
        raise DataError(f"fit_many, {which}, requires row numbers, or a truth value for each row, got {part!r:.60}.")
    if numbers.min() < 0 or numbers.max() >= rows:
        bad = numbers.min() if numbers.min() < 0 else numbers.max()
        raise DataError(f"fit_many, {which}, requires row numbers from 0 to {rows - 1}, got {bad}.")
    return numbers.astype(_kind(rows))
