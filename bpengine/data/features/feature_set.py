"""Features: the kind and encoding of each column of a table, learned from the training rows, and kept in a model."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias, cast

import numpy as np

from bpengine.backend import ArrayLike
from bpengine.data.dataset import TASKS, Dataset, Task
from bpengine.data.features import learned_columns, target_kinds
from bpengine.data.features.encoding import Encoded, encode, require_matching
from bpengine.data.features.learned_columns import LearnedColumn, LeftOutColumn, NumberColumn
from bpengine.data.features.learning import LearningRules, learn_column, names_rows, text_counts
from bpengine.data.features.target_kinds import ClassTarget, LearnedTarget, ValueTarget, learn_values
from bpengine.data.mmap.row_file import drop_pages
from bpengine.data.table import Array, Table, TableColumn, one_line
from bpengine.data.tables import kept_reading
from bpengine.data.tables.data_frames import is_frame, is_series, is_table_like, names_of, table_of, values_of
from bpengine.data.validation.class_names import ClassName
from bpengine.data.validation.class_values import class_values
from bpengine.data.validation.features import check_weights
from bpengine.data.validation.nearly_numbers import NearlyNumbers, grouped_warnings, nearly_numbers
from bpengine.data.validation.scans import real_array
from bpengine.distributed.comm import Comm
from bpengine.errors import ConfigError, DataError, ShapeError, flag, number, unknown, whole
from bpengine.i18n.counted_nouns import count_of
from bpengine.i18n.language import localized
from bpengine.output.rich_form import RichForm, table, title, words

SCALES = ("standard", "minmax", "robust", "none")
MISSING = ("fill", "drop", "refuse")
FILLS = ("median", "mean")
FORMAT = 1


Rows: TypeAlias = ArrayLike | Dataset | Table  # a data frame is one of the first


class Features(RichForm):
    """The kind of each column of a table, learned from the training rows alone, and its encoding as inputs of a network.

    Numbers are scaled; missing ones are filled, and a second input indicates that they were missing. A category has an input
    for each value ("city = Oslo"): values that occur fewer than `rare` times, and those beyond the `most` frequent ones,
    share one, "city = (other)", which unknown values set, too; where no value was rare, an unknown value sets no input.
    Missing categories have a separate input; blank text is missing. Truth values are 0 and 1, dates are days since
    1970, both scaled like numbers. Free text, columns without values and unnamed columns that count the rows are left out.
    Targets that are values are standardised, and predictions are returned in their own unit; classes keep their names.

    scale: "standard" (mean 0, standard deviation 1), "minmax" (0 to 1), "robust" (median and quartiles) or "none".
    missing: "fill"; "drop" leaves such rows out, "refuse" raises. fill: "median", "mean" or a number. categorical: columns
    to be taken as categories, numbers or not. drop: columns to leave out. scale_target: whether values are standardised. A
    model that has Features (`model.features = features`) takes data frames and tables in every method, columns by name in
    any order, and keeps them in its file.
    Raises: ConfigError for another setting.

    >>> import numpy as np
    >>> import bpengine as bp
    >>> table = bp.data.Table({"age": bp.data.TableColumn(np.array([20.0, 40.0, np.nan]))})
    >>> features = bp.Features().fit(table, ["no", "yes", "yes"])
    >>> features.input_names
    ('age', 'age = (missing)')
    >>> features.transform(table).tolist()
    [[-1.2247449159622192, 0.0], [1.2247449159622192, 0.0], [0.0, 1.0]]
    >>> features.classes
    ('no', 'yes')
    """

    def __init__(
        self,
        *,
        scale: str = "standard",
        missing: str = "fill",
        fill: str | float = "median",
        categorical: Iterable[str] = (),
        drop: Iterable[str] = (),
        rare: int = 5,
        most: int = 100,
        scale_target: bool = True,
    ) -> None:
        for name, value, known in (("scale", scale, SCALES), ("missing", missing, MISSING)):
            if value not in known:
                raise unknown(f"{name} of Features:", value, known)
        if isinstance(fill, str) and fill not in FILLS:
            raise unknown("fill of Features:", fill, FILLS)
        if not isinstance(fill, str):
            fill = number(fill, "Features", "fill")
        if isinstance(categorical, str) or isinstance(drop, str):
            raise ConfigError("Features requires categorical and drop to be lists of columns' names, got a text.")
        self._rules = LearningRules(
            scale=scale, missing=missing, fill=fill, categorical=tuple(map(str, categorical)), drop=tuple(map(str, drop)),
            rare=whole(rare, "Features", "rare"), most=whole(most, "Features", "most"),
        )  # fmt: skip
        self._scale_target = flag(scale_target, "Features", "scale_target")
        self._columns: tuple[LearnedColumn, ...] = ()
        self._target: LearnedTarget | None = None
        self._named = True
        self._reading: dict[str, Any] = {}
        self._nearly: dict[str, NearlyNumbers] = {}
        self._notes: list[str] = []

    def fit(
        self, x: Rows, y: ArrayLike | None = None, *, task: Task | None = None, weights: ArrayLike | None = None
    ) -> Features:
        """Learn from training rows and return these Features.

        x: a data frame, Table, Dataset, or numbers (rows, columns). y: the targets, or the names of their columns in x, or
        None for inputs alone. task: "classification" or "regression", by default inferred from the targets.
        weights: (rows,), as for `Model.fit`: a row of weight 0 is ignored, one of weight 2 counts twice in means, deviations,
        medians and quartiles.
        Raises: ConfigError for a column that does not exist; DataError for cells that cannot be learned from.
        """
        if task is not None and task not in TASKS:
            raise unknown("task", task, TASKS)
        table, target, names = self._divided(x, y)
        for name in (*self._rules.categorical, *self._rules.drop):
            if name not in table:
                raise unknown("column", name, table.names)
        if len(table) == 0:
            raise DataError("Features requires at least one row, got none.")
        rows: Array | slice = slice(None)
        if weights is not None:
            weights = np.asarray(check_weights(weights, len(table), dtype="float64"), np.float64)
            rows = np.flatnonzero(weights)
            table, weights = table[rows], None if np.ptp(weights[rows]) == 0 else weights[rows]
        self._nearly, self._notes = {}, []
        pixels = not table.named and all(table.whole(name).dtype == np.uint8 for name in table)
        alone = len(table.names) == 1
        self._columns = tuple(self._learned(name, table, weights, alone=alone, pixels=pixels) for name in table)
        self._named = table.named
        self._reading = dict(x.reading) if isinstance(x, Dataset) else {}
        if not self.input_names:
            raise DataError(
                f"Features requires a column to learn from, got none: {self._reasons()}. Keep another column."
            )
        if isinstance(x, Dataset) and y is None:
            self._target = self._of_dataset(x, rows, weights)
        elif target is not None:
            self._target = self._learned_target(plain_targets(target)[rows], names, task, weights)
        else:
            self._target = None
        return self

    def _learned(self, name: str, table: Table, weights: Array | None, *, alone: bool, pixels: bool) -> LearnedColumn:
        """Learn one column, then drop the memory pages of its file."""
        cells = table[name]
        column = learn_column(name, cells, self._rules, weights, alone=alone, pixels=pixels)
        drop_pages(table.whole(name))
        if not isinstance(column, NumberColumn) and name not in (*self._rules.categorical, *self._rules.drop):
            self._note_numbers(name, text_counts(cells))
        if isinstance(column, NumberColumn) and not alone and names_rows(name, cells):
            self._notes.append(
                f"the column {name!r} counts the rows, and is used as a number. --drop (drop=) leaves it out."
            )
        return column

    def _note_numbers(self, name: str, counts: Mapping[str, int]) -> None:
        """Record a warning where most cells of a column of text are numbers."""
        if (nearly := nearly_numbers(counts)) is not None:
            self._nearly[name] = nearly

    def _divided(self, x: object, y: object) -> tuple[Table, object, tuple[str, ...]]:
        """Return the inputs, the targets, and the targets' names."""
        if isinstance(x, Dataset):
            return x.table, x.y if y is None else y, x.target_names
        table = as_table(x)
        if is_names(y, table):
            names = _as_tuple(y)
            return table.without(names), [table[name] for name in names], names
        return table, y, _own_names(y)

    def _of_dataset(self, data: Dataset, rows: Array | slice, weights: Array | None) -> LearnedTarget:
        if data.task == "regression":
            return learn_values(data.y[rows], data.target_names, weights, scale=self._scale_target)
        self._note_classes(data.target_names, data.class_names, data.y[rows])
        return ClassTarget(columns=data.target_names, classes=data.class_names or tuple(range(data.classes or 0)))

    def _note_classes(self, columns: tuple[str, ...], names: tuple[ClassName, ...] | None, y: Array) -> None:
        """Record the same warning for a target of text."""
        if names and all(isinstance(name, str) for name in names):
            times = np.bincount(y, minlength=len(names)).tolist()
            self._note_numbers(columns[0] if columns else "the target", dict(zip(map(str, names), times, strict=True)))

    def _learned_target(
        self, cells: Array, names: tuple[str, ...], task: Task | None, weights: Array | None
    ) -> LearnedTarget:
        if cells.ndim == 2 and cells.shape[1] == 1:
            cells = cells[:, 0]
        if cells.dtype.kind in "OUSb":
            if task == "regression":
                raise ConfigError("task='regression' requires a target of numbers, got text. Choose another target.")
            classes = _names_of(cells)
            if all(isinstance(name, str) for name in classes):
                self._note_numbers(names[0] if names else "the target", Counter(cells.ravel().tolist()))
            return ClassTarget(columns=names, classes=classes)
        if cells.ndim == 1 and task != "regression":
            values = class_values(cells, table=True, asked=task == "classification")
            if values is not None:
                counted = np.arange(int(cells.max()) + 1) if len(values) == 0 else values
                return ClassTarget(columns=names, classes=_names_of(counted))
        return learn_values(cells, names, weights, scale=self._scale_target)

    @property
    def columns(self) -> tuple[LearnedColumn, ...]:
        """The learned columns, including those that are left out."""
        return self._columns

    @property
    def named(self) -> bool:
        """Whether the columns have names in the training data; columns without names are in the order of training."""
        return self._named

    @property
    def reading(self) -> Mapping[str, Any]:
        """The options with which the training file was read; for similar files: bp.data.load(path, **reading)."""
        return dict(self._reading)

    @property
    def input_names(self) -> tuple[str, ...]:
        """The names of the network's inputs, in their order: "age", "city = Oslo"."""
        return tuple(one_line(name) for column in self._columns for name in column.input_names)

    @property
    def inputs(self) -> int:
        """The number of the network's inputs."""
        return len(self.input_names)

    @property
    def outputs(self) -> int:
        """The number of outputs that a network for the targets needs: the classes, or the values."""
        if self._target is None:
            raise ConfigError("Features requires targets for a number of outputs, got none: fit(x, y).")
        return len(self._target.classes) if isinstance(self._target, ClassTarget) else len(self._target.center)

    @property
    def target(self) -> LearnedTarget | None:
        """The learned target; None where Features were fitted without targets."""
        return self._target

    @property
    def classes(self) -> tuple[ClassName, ...] | None:
        """The names of the classes in the order of their numbers; None for values."""
        return self._target.classes if isinstance(self._target, ClassTarget) else None

    @property
    def task(self) -> Task | None:
        """The task of the targets: "classification" or "regression"; None without targets."""
        if self._target is None:
            return None
        return "classification" if isinstance(self._target, ClassTarget) else "regression"

    def transform(self, x: Rows, dtype: str = "float32", comm: Comm | None = None) -> Array:
        """Return the network's inputs (rows, inputs) for a data frame, a Table, or numbers (rows, columns).

        Columns are taken by name, in any order; further ones are ignored. Plain arrays have their columns in the order of
        training. A result larger than 512 MiB lies in a memory-mapped temporary file; processes of `comm` that are on one
        machine share it, and each encodes a part of the rows.
        Raises: DataError naming the columns that are missing, or a cell that cannot be encoded.
        """
        if not self._columns:
            raise ConfigError("Features require fit(x, y) before transform.")
        table = as_table(x)
        return encode(table, self._columns, self._matched(table), dtype, comm)

    def _matched(self, table: Table) -> list[str]:
        """Return the table's name of each column."""
        wanted, there = [column.name for column in self._columns], table.names
        needed = [c.name for c in self._columns if c.input_names]
        missing = [name for name in needed if name not in table]
        if not missing and (table.named or self._named is table.named):
            return [name if name in table else there[0] for name in wanted]
        if not (self._named and table.named):
            if len(there) == len(wanted):
                return list(there)
            raise ShapeError(
                f"the model requires {count_of(len(wanted), 'column')}, got {len(there)}. Without names they "
                f"are taken in the order of "
                f"the training: {', '.join(wanted[:8])}{', ...' * (len(wanted) > 8)}."
            )
        require_matching(missing, [name for name in there if name not in wanted])
        return wanted

    @property
    def missing(self) -> str:
        """The rule for missing cells: "fill", "drop" or "refuse"."""
        return self._rules.missing

    def usable_rows(self, x: Rows) -> Array:
        """Return the numbers of the rows that can be learned from: with missing="drop" those without a missing cell, else all.

        Cells of columns that are dropped, and of columns without any value, do not count.

        >>> import numpy as np
        >>> import bpengine as bp
        >>> bp.Features(missing="drop").usable_rows(np.array([[1.0, 2.0], [np.nan, 3.0], [4.0, 5.0]])).tolist()
        [0, 2]
        """
        table = as_table(x)
        gaps = np.zeros(len(table), np.bool_)
        for name in table if self.missing == "drop" else ():
            absent = table[name].missing
            gaps |= absent if name not in self._rules.drop and not absent.all() else False
        return np.flatnonzero(~gaps)

    def encode_target(self, y: ArrayLike | None, x: Rows | None = None) -> Array:
        """Return targets as the network learns them: class numbers (rows,), or values (rows, outputs) on their scale.

        y: the classes' names, or values; or the name of its column in x.
        Raises: DataError naming the row of a class that was not learned.
        """
        if is_names(y, x):
            table = as_table(x)
            return self._encoded_target([table[name] for name in _as_tuple(y)])
        return self._encoded_target(y)

    def _encoded_target(self, y: object) -> Array:
        if self._target is None:
            return y if isinstance(y, np.ndarray) else plain_targets(y)
        if isinstance(self._target, ValueTarget) and not is_series(y) and not is_frame(y) and not isinstance(y, list):
            return self._target.encode(real_array(y, "y"))
        cells = plain_targets(y)
        return self._target.encode(cells if isinstance(self._target, ClassTarget) else real_array(cells, "y"))

    def decode(self, y: Array) -> Array:
        """Return outputs (rows, outputs) in the targets' own unit; probabilities unchanged."""
        return self._target.decode(y) if isinstance(self._target, ValueTarget) else y

    def encoded(self, x: Rows, dtype: str = "float32", comm: Comm | None = None) -> Encoded:
        """Return rows encoded once for several calls of a model with these Features, see `transform`."""
        return Encoded(self.transform(x, dtype, comm))

    def summary(self) -> list[tuple[str, str, str]]:
        """Return one line per column, the target last: its name, its kind, its use."""
        lines = [(column.name, *column.described()) for column in self._columns]
        if self._target is None:
            return lines
        return [*lines, (", ".join(self._target.columns) or "the target", *self._target.described())]

    def warnings(self) -> list[str]:
        """Return warnings: columns that are left out without a request, and after `fit` text that is mostly numbers."""
        left_out = (column for column in self._columns if isinstance(column, LeftOutColumn) and column.warn)
        said = (f"the column {column.name!r} is left out: {column.why}." for column in left_out)
        return [*said, *grouped_warnings(self._nearly), *self._notes]

    def _reasons(self) -> str:
        return "; ".join(f"{column.name!r}: {column.described()[1]}" for column in self._columns[:4])

    def _html_parts(self) -> list[str]:
        rows = [(name, *map(localized, described)) for name, *described in self.summary()]
        if self._target is not None and not self._target.columns:
            rows[-1] = tuple(map(localized, rows[-1]))
        return [title(localized(repr(self))), table(words(["column", "is", "use"]), rows)]

    def __repr__(self) -> str:
        if not self._columns:
            return "Features(not fitted)"
        return (
            f"Features({count_of(len(self._columns), 'column')}, {count_of(self.inputs, 'input')}, "
            f"{self.task or 'no target'})"
        )

    def to_json(self) -> dict[str, Any]:
        """Return the learned columns and target as JSON values; `from_json` reads them."""
        reading = {"reading": self._reading} if self._reading else {}
        return {
            "format": FORMAT, "named": self._named, "missing": self._rules.missing,
            "columns": [learned_columns.to_json(column) for column in self._columns],
            "target": target_kinds.target_to_json(self._target), **reading,
        }  # fmt: skip

    @classmethod
    def from_json(cls, description: object) -> Features:
        """Return the Features that JSON values describe. Nothing in them is executed.

        Raises: DataError for values that `to_json` does not return.
        """
        try:
            if (
                not isinstance(description, Mapping)
                or description.get("format") != FORMAT
                or not description.get("columns")
            ):
                raise DataError(f"features require the format {FORMAT} and columns, got {repr(description)[:80]}.")
            features = cls(missing=description["missing"])
            features._columns = tuple(map(learned_columns.from_json, description["columns"]))
            features._named = flag(description["named"], "features", "named")
            features._target = target_kinds.target_from_json(description["target"])
            features._reading = kept_reading.checked(description.get("reading", {}))
        except (TypeError, LookupError, AttributeError, OverflowError) as error:
            raise DataError(f"features are damaged: {error}.") from None
        names = [column.name for column in features._columns]
        if len(set(names)) < len(names) or not features.inputs:
            raise DataError("features require different names, and a column that is used.")
        return features


def as_table(x: object) -> Table:
    """Return rows as a table: a data frame, a Dataset, or numbers (rows, columns), whose names are x0, x1, ...

    Raises: ShapeError for numbers of another shape, DataError for anything else.
    """
    if isinstance(x, Table):
        return x
    if isinstance(x, Dataset):
        return x.table
    if is_frame(x):
        return table_of(x)
    array = real_array(x, "x")
    if array.ndim != 2:
        raise ShapeError(f"x requires shape (rows, columns), got {array.shape}. A single row is x[None, :].")
    return Table.of_matrix(array, [f"x{at}" for at in range(array.shape[1])], named=False)


def _as_tuple(names: object) -> tuple[str, ...]:
    """Return one name, or a list of them, as a tuple."""
    return tuple(map(str, names)) if isinstance(names, (list, tuple)) else (str(names),)


def is_names(y: object, x: object) -> bool:
    """Return whether y is the names of columns of x, and not the target itself."""
    if isinstance(y, str):
        return True
    if not (isinstance(y, (list, tuple)) and y and all(isinstance(name, str) for name in y) and is_table_like(x)):
        return False
    return all(name in as_names(x) for name in y)


def as_names(x: object) -> tuple[str, ...]:
    """Return the names of the columns of a table or data frame."""
    if isinstance(x, Table):
        return x.names
    if isinstance(x, Dataset):
        return x.feature_names
    return tuple(names_of(x)) if is_frame(x) else ()


def _own_names(y: object) -> tuple[str, ...]:
    """Return the names of targets that are a data frame, or a column of one."""
    names = as_names(y) if is_table_like(y) else (getattr(y, "name", None),)
    return tuple(name for name in names if isinstance(name, str))


def plain_targets(y: object) -> Array:
    """Return targets as numbers, or as an array of the classes' names.

    Raises: DataError for a missing target.
    """
    if isinstance(y, list) and y and all(isinstance(column, TableColumn) for column in y):
        return np.stack([_cells(column) for column in y], axis=1) if len(y) > 1 else _cells(y[0])
    if is_series(y):
        return _cells(values_of(y))
    if is_frame(y) or isinstance(y, Table):
        table = as_table(y)
        return plain_targets([table[name] for name in table])
    if isinstance(y, np.ndarray):
        return y
    cells = list(cast(Iterable[object], y))
    if cells and all(isinstance(cell, (str, bool, np.bool_)) for cell in cells):
        return np.array(cells, object)
    return real_array(y, "y")


def _cells(column: TableColumn) -> Array:
    missing = column.missing
    if missing.any():
        raise DataError(f"y requires a target in every row, got a missing one in row {int(np.argmax(missing))}.")
    if column.categories is not None:
        return np.array([*column.categories, None], object)[column.values]
    if column.yes_no:
        return np.array(column.values.astype(bool).tolist(), object)
    return np.asarray(column.values)


def _names_of(cells: Array) -> tuple[ClassName, ...]:
    """Return the classes that occur, sorted, as plain values; whole numbers as such."""
    plain = {v.item() if isinstance(v, np.generic) else v for v in np.unique(cells).tolist()} if len(cells) else set()
    kinds = {type(value) for value in plain}
    ordered = sorted(plain) if len(kinds) == 1 or kinds <= {int, float} else sorted(plain, key=str)
    return tuple(int(v) if isinstance(v, float) and math.isfinite(v) and v.is_integer() else v for v in ordered)
