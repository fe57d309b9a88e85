"""A data set: inputs, targets, and the names that make them readable."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from bpengine.data.table import Array, Table, TableColumn
from bpengine.data.validation.class_names import ClassName
from bpengine.data.validation.nearly_numbers import nearly_numbers
from bpengine.errors import ConfigError, DataError, ShapeError, number, whole
from bpengine.i18n.counted_nouns import count_of
from bpengine.i18n.language import column_head, localized
from bpengine.output.rich_form import RichForm, cell_text, table, title
from bpengine.streams import stream

Task = Literal["classification", "regression"]
TASKS = ("classification", "regression")
SHOWN = 5  # rows shown in a notebook
SHOWN_COLUMNS = 12


def numbered(stem: str, count: int) -> tuple[str, ...]:
    """Return the names stem0, stem1, ... for columns without names."""
    return tuple(f"{stem}{index}" for index in range(count))


@dataclass(frozen=True, eq=False, repr=False)
class Dataset(RichForm):
    """Rows to learn from.

    Shapes: x (rows, features); y (rows,) whole numbers from 0 for classification, (rows, outputs) for regression.
    `class_names` names the classes in the order of their numbers, or is None. `source` says where the rows come from.
    x is a Table where it has columns of text or dates, missing cells, or memory-mapped columns: `bp.Features` turns it into
    numbers. `named` says whether the features' names are those of a file. Arrays are neither copied nor cast: a memory-mapped
    file stays memory-mapped. `reading` holds the options with which the file was read and which similar files need:
    `bp.Features` keeps them.
    Raises: ShapeError when x, y and the names do not fit together; ConfigError for another task.
    """

    name: str
    x: Any  # an array or a Table
    y: Array
    _: KW_ONLY
    feature_names: tuple[str, ...]
    class_names: tuple[ClassName, ...] | None
    task: Task
    source: str
    named: bool = True
    target_names: tuple[str, ...] = ()
    reading: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.task not in TASKS:
            raise ConfigError(f"Dataset requires task 'classification' or 'regression', got {self.task!r}.")
        if self.x.ndim != 2:
            raise ShapeError(f"Dataset {self.name!r} requires x of shape (rows, features), got {self.x.shape}.")
        axes = 1 if self.task == "classification" else 2
        if self.y.ndim != axes or len(self.y) != len(self.x):
            wanted = (self.rows,) if axes == 1 else (self.rows, "outputs")
            raise ShapeError(f"Dataset {self.name!r} requires y of shape {wanted} for {self.task}, got {self.y.shape}.")
        if len(self.feature_names) != self.features:
            got = len(self.feature_names)
            raise ShapeError(f"Dataset {self.name!r} requires {self.features} feature names, got {got}.")

    @property
    def table(self) -> Table:
        """The inputs as a table of named columns, without a copy."""
        return self.x if isinstance(self.x, Table) else Table.of_matrix(self.x, self.feature_names, named=self.named)

    @property
    def labels(self) -> Array:
        """The targets: the classes' names (rows,), or the values (rows, outputs)."""
        if self.class_names is None:
            return self.y
        return np.array(self.class_names, object)[self.y]

    @property
    def rows(self) -> int:
        """Number of rows."""
        return int(self.x.shape[0])

    @property
    def features(self) -> int:
        """Number of input columns."""
        return int(self.x.shape[1])

    @cached_property
    def classes(self) -> int | None:
        """Number of classes: the named ones, else the largest label plus one; None for regression."""
        if self.task == "regression":
            return None
        if self.class_names:
            return len(self.class_names)
        return int(self.y.max()) + 1 if self.rows else 0

    @property
    def outputs(self) -> int:
        """Number of outputs a network for this set needs: the classes, or the columns of y."""
        return int(self.y.shape[1]) if self.classes is None else self.classes

    def split(self, test_fraction: float = 0.2, seed: int = 0) -> tuple[Dataset, Dataset]:
        """Return (training set, test set): disjoint, together all rows, each in the original order.

        The same seed gives the same split. For classification every class gives its own rounded share to the test
        set, so a class of one or two rows may stay whole in the training set. The rows are copied into memory.
        Raises: ConfigError unless 0 < test_fraction < 1; DataError when one side would be empty.
        """
        test_fraction = number(test_fraction, "split", "a test_fraction", low=0, above=True, below=1)
        seed = whole(seed, "split", "seed", low=0)
        groups = np.asarray(self.y) if self.task == "classification" else np.zeros(self.rows, np.int64)
        test = _stratified(groups, test_fraction, seed)
        if not 0 < np.count_nonzero(test) < self.rows:
            raise DataError(
                f"{self.name!r} has too few rows to hold some out: a part of {test_fraction} of {count_of(self.rows, 'row')} "
                f"leaves one of the two parts without rows. "
                f"{self._split_hint()}"
            )
        return self._take(~test, "training"), self._take(test, "test")

    def _split_hint(self) -> str:
        if self.task != "classification" or self.rows < 2:
            return "Give more rows, or hold out another part of them."
        times = np.bincount(self.y)
        names = [str(name) for name in self.class_names or () if isinstance(name, str)]
        nearly = nearly_numbers(dict.fromkeys(names, 1))
        if nearly is not None:
            return f"Its target is taken as text, but most are numbers{nearly.others}: {nearly.cures}."
        if times.max() == 1:
            return "Every class has a single row: is the target a column that names the rows?"
        if 2 * np.count_nonzero(times) > self.rows:
            return "Nearly every row has a class of its own: is the target a column that names the rows?"
        return "Give more rows, or hold out another part of them."

    def _take(self, chosen: npt.NDArray[np.bool_], part: str) -> Dataset:
        names = self.class_names
        if names is None and self.classes is not None:  # a part may lack the last class; the count must not change
            names = tuple(range(self.classes))
        name = f"{self.name} ({part})"
        x = self.x[chosen] if isinstance(self.x, Table) else np.asarray(self.x[chosen])
        return replace(self, name=name, x=x, y=np.asarray(self.y[chosen]), class_names=names)

    def _html_parts(self) -> Iterator[str]:
        yield title(str(self))
        names, first = self.feature_names[:SHOWN_COLUMNS], self.table[:SHOWN]
        columns = [_texts(first[name]) for name in names]
        target = ", ".join(self.target_names) or column_head("target")
        heads = [*names, *(["..."] if len(names) < self.features else []), target]
        labels = self.labels[:SHOWN].tolist()
        cells = [[c[i] for c in columns] + [""] * (len(names) < self.features) for i in range(len(first))]
        yield table(heads, [[*row, label] for row, label in zip(cells, labels, strict=True)])

    def __repr__(self) -> str:
        return self._described(str)

    def __str__(self) -> str:
        return self._described(localized)

    def _described(self, said: Callable[[str], str]) -> str:
        """Return the description of the set, each part of it formatted by `said`."""
        kind = (
            count_of(self.classes or 0, "class") if self.task == "classification" else count_of(self.outputs, "output")
        )
        stored = " memory-mapped" if isinstance(self.x, np.memmap) else ""
        size = f"{said(count_of(self.rows, 'row', ','))} x {said(count_of(self.features, 'feature', ','))}"
        held = "columns of several kinds" if isinstance(self.x, Table) else f"{self.x.dtype}{stored}"
        return f"Dataset({self.name!r}: {size}, {said(held)}; {said(self.task)}, {said(kind)}; {said(self.source)})"


def _stratified(groups: Array, fraction: float, seed: int) -> npt.NDArray[np.bool_]:
    """Choose rows at random, round(fraction * size) from every group; groups (rows,) -> mask (rows,)."""
    order = stream("split", seed).permutation(len(groups))
    _, member, sizes = np.unique(groups[order], return_inverse=True, return_counts=True)
    by_group = np.argsort(member, kind="stable")
    rank = np.arange(len(groups)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    chosen = np.zeros(len(groups), np.bool_)
    chosen[order[by_group]] = rank < np.repeat(np.rint(fraction * sizes), sizes)
    return chosen


def as_targets(y: Array, task: Task) -> Array:
    """Shape y for a Dataset: regression targets (rows,) become (rows, 1)."""
    return y[:, None] if task == "regression" and y.ndim == 1 else y


def column_names(names: Sequence[object] | None, count: int) -> tuple[str, ...]:
    """Return the given names as text, or x0, x1, ... when there are none."""
    return numbered("x", count) if names is None else tuple(map(str, names))


def _texts(column: TableColumn) -> list[str]:
    """Return the cells of a column as text; numbers with six digits."""
    if column.is_number:
        return [cell_text(value) for value in column.values.tolist()]
    return [column.text(i) for i in range(len(column.values))]
