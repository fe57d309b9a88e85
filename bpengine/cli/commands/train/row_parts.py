"""The rows of a run for training, validation and test, split from one set or read from separate files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

import bpengine as bp
from bpengine.backend import HostArray
from bpengine.cli.data_options import naming
from bpengine.data import Dataset, Encoded
from bpengine.distributed import Comm
from bpengine.errors import ConfigError, DataError
from bpengine.i18n.counted_nouns import count_of
from bpengine.i18n.language import localized

Load = Callable[[str], Dataset]
VALIDATION = 0.1  # share of all rows used for early stopping where none is named


@dataclass(frozen=True, kw_only=True)
class Part:
    """Some rows, as they were read and encoded for the network. name: "training", "validation" or "test"."""

    name: str
    data: Dataset
    x: Encoded
    y: HostArray

    @property
    def rows(self) -> int:
        """Number of rows."""
        return self.data.rows


@dataclass(frozen=True, kw_only=True)
class RowParts:
    """The parts of a run, and a sentence about how they were made."""

    training: Part
    validation: Part | None
    test: Part | None
    sentence: str

    def __iter__(self) -> Iterator[Part]:
        return (part for part in (self.training, self.validation, self.test) if part is not None)

    @property
    def held_out(self) -> Part | None:
        """The rows that are scored: those of the test, or else those of the validation."""
        return self.test if self.test is not None else self.validation


@dataclass(frozen=True, kw_only=True)
class SplitRows:
    """Rows before they are encoded."""

    training: Dataset
    validation: Dataset | None
    test: Dataset | None
    sentence: str

    def encoded(self, features: bp.Features, dtype: str, comm: Comm) -> RowParts:
        """Return the parts encoded for a network."""
        rows = {"training": self.training, "validation": self.validation, "test": self.test}
        parts: dict[str, Part | None] = {}
        for name, data in rows.items():
            with naming("" if data is None else data.source):
                parts[name] = None if data is None else _part(name, data, features, self.training, (dtype, comm))
        assert parts["training"] is not None
        return RowParts(
            training=parts["training"], validation=parts["validation"], test=parts["test"], sentence=self.sentence
        )


def _part(name: str, data: Dataset, features: bp.Features, training: Dataset, how: tuple[str, Comm]) -> Part:
    x = features.encoded(data.table, *how)
    if data.task == "classification" and data.class_names == training.class_names:
        y = data.y
    else:
        y = features.encode_target(data.labels)
    return Part(name=name, data=data, x=x, y=y)


def fraction_or_file(text: str | None, option: str) -> float | str | None:
    """Return a share of the rows, or the name of a file; None for 0 or nothing."""
    if text is None:
        return None
    try:
        share = float(text)
    except ValueError:
        return text
    if not 0 <= share < 1:
        raise ConfigError(f"{option} requires a share of the rows of at least 0 and below 1, or a file, got {text}.")
    return share or None


def validation_part(text: str | None, *, stopping: bool) -> float | str | None:
    """Return the validation rows, as `fraction_or_file` does; early stopping uses a default share where none is named.

    Test rows are never used to choose the epoch. Raises: ConfigError for early stopping with a share of 0.
    """
    part = fraction_or_file(text, "--validation")
    if stopping and text is not None and part is None:
        raise ConfigError(
            f"--early-stopping requires rows to validate with, got --validation {text}. Drop one of them: without "
            f"--validation a share of {VALIDATION:g} is held out."
        )
    return VALIDATION if stopping and part is None else part


def split_rows(
    whole: Dataset, validation: float | str | None, test: float | str | None, load: Load, seed: int
) -> SplitRows:
    """Return the parts; shares are drawn at random, every class in its share, and files are read with `load`.

    Raises: ConfigError for shares that leave no row to train on, DataError when a side would be empty.
    """
    shares = {"validation": validation, "test": test}
    if sum(share for share in shares.values() if isinstance(share, float)) >= 1:
        raise ConfigError(
            f"--validation {validation} and --test {test} leave no rows to train on. Give smaller shares."
        )
    rest, left = whole, 1.0
    parts: dict[str, Dataset | None] = {}
    for name in ("test", "validation"):
        share = shares[name]
        if isinstance(share, float):
            rest, parts[name] = _split(rest, share / left, seed if name == "test" else seed + 1, name)
            left -= share
        else:
            parts[name] = None if share is None else load(share)
    drawn = {name for name, share in shares.items() if isinstance(share, float)}
    sentence = _sentence(rest, parts, drawn, seed)
    return SplitRows(training=rest, validation=parts["validation"], test=parts["test"], sentence=sentence)


def _split(rows: Dataset, share: float, seed: int, name: str) -> tuple[Dataset, Dataset]:
    try:
        return rows.split(share, seed=seed)
    except DataError as error:
        hint = (
            "--test 0 holds none out."
            if name == "test"
            else "Name other rows with --validation: a share, or a file. Early stopping needs some."
        )
        raise DataError(f"{error} {hint}") from None


def _sentence(training: Dataset, parts: dict[str, Dataset | None], drawn: set[str], seed: int) -> str:
    """Return the number of rows of each part; those from files come after drawn ones."""
    words = {"validation": "to validate", "test": "held out to test"}
    counts = {name: localized(f"{part.rows:,} {words[name]}") for name in words if (part := parts[name]) is not None}
    first = [
        localized(f"{count_of(training.rows, 'row', ',')} to train on"),
        *(counts[name] for name in counts if name in drawn),
    ]
    files = [counts[name] for name in counts if name not in drawn]
    if not drawn:
        return ", ".join([*first, *files])
    how = ", every class in its share" if training.task == "classification" else ""
    return ", ".join([localized(f"{', '.join(first)} (drawn with seed {seed}{how})"), *files])


def balanced_weights(y: HostArray, classes: int) -> HostArray:
    """Return a weight for each row that gives every class the same total: rows / (classes * rows of the class)."""
    counts = np.bincount(np.asarray(y, np.int64).reshape(-1), minlength=classes)
    weights: HostArray = (len(y) / (classes * np.maximum(counts, 1)))[np.asarray(y, np.int64).reshape(-1)]
    return weights
