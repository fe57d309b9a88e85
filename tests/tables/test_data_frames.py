"""Data frames of several libraries are one table: what they hold, what is learned of it, columns by name, what is refused."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import bpengine as bp
from bpengine.errors import DataError

ROWS = 60
CITIES = ("Oslo", "Rio", None, "Rome")
DAYS = [None if i % 31 == 0 else dt.date(2020, 1, 1) + dt.timedelta(days=i) for i in range(ROWS)]
TIMES = [dt.datetime(2020, 1, 1, 3, tzinfo=dt.UTC) + dt.timedelta(hours=i) for i in range(ROWS)]
CELLS: dict[str, list[Any]] = {
    "age": [None if i % 17 == 0 else 20.5 + i % 11 for i in range(ROWS)],
    "count": [None if i % 23 == 0 else i % 9 for i in range(ROWS)],
    "city": [CITIES[i % 4] for i in range(ROWS)],
    "kind": [CITIES[i % 2] for i in range(ROWS)],
    "flag": [i % 3 == 0 for i in range(ROWS)],
    "known": [(True, False, None)[i % 3] for i in range(ROWS)],
    "day": DAYS,
    "at": TIMES,
}
ANSWERS = ["yes" if i % 11 > 5 else "no" for i in range(ROWS)]


@dataclass(frozen=True)
class Library:
    """How a library makes frames and columns, and puts a frame's columns in another order."""

    frame: Callable[[dict[str, list[Any]]], Any]
    column: Callable[[list[Any]], Any]
    ordered: Callable[[Any, list[str]], Any]


def _pandas() -> Library:
    def frame(cells: dict[str, list[Any]]) -> pd.DataFrame:
        frame = pd.DataFrame({name: pd.Series(values) for name, values in cells.items()})
        return (
            frame.astype({"kind": "category", "count": "Int64", "known": "boolean", "day": "datetime64[us]"})
            if "kind" in cells
            else frame
        )

    return Library(frame, pd.Series, lambda x, names: x[names])


def _pyarrow() -> Library:
    def frame(cells: dict[str, list[Any]]) -> pa.Table:
        coded = {name: pa.array(v).dictionary_encode() if name == "kind" else pa.array(v) for name, v in cells.items()}
        return pa.table(coded)

    return Library(frame, pa.array, lambda x, names: x.select(names))


def _polars() -> Library:
    polars = import_module("polars")

    def frame(cells: dict[str, list[Any]]) -> Any:
        kinds = {"kind": polars.Categorical, "city": polars.Enum(["Oslo", "Rio", "Rome"])}
        return polars.DataFrame(cells, schema_overrides={name: kinds[name] for name in kinds if name in cells})

    return Library(frame, polars.Series, lambda x, names: x.select(names))


@pytest.fixture(params=["pandas", "pyarrow", "polars"])
def library(request: pytest.FixtureRequest) -> Library:
    """Give a library; where polars is not installed, skip, or fail if it is required."""
    if find_spec(request.param) is None:
        required = request.param in request.config.getoption("--require-peer")
        (pytest.fail if required else pytest.skip)(f"{request.param} is not installed")
    return {"pandas": _pandas, "pyarrow": _pyarrow, "polars": _polars}[request.param]()


def test_every_frame_library_gives_the_same_features(library: Library) -> None:
    x, expected = library.frame(CELLS), bp.Features().fit(_pandas().frame(CELLS), pd.Series(ANSWERS))
    features = bp.Features().fit(x, library.column(ANSWERS))
    assert features.to_json()["columns"] == expected.to_json()["columns"]
    assert [column.described()[0] for column in features.columns] == [
        *("number", "number", "category", "category", "yes/no", "yes/no", "date", "date"),
    ]
    np.testing.assert_array_equal(features.transform(x), expected.transform(_pandas().frame(CELLS)))
    assert features.classes == ("no", "yes")


def test_models_take_frames_by_name(library: Library) -> None:
    x, y = library.frame(CELLS), library.column(ANSWERS)
    model = bp.Model(bp.Network(16, [bp.Dense(8, "tanh"), bp.Dense(2)], "softmax_cross_entropy"))
    model.features = bp.Features().fit(x, y)
    model.fit(x, y, epochs=60, optimizer=bp.Adam(0.05))
    assert model.evaluate(x, y)["accuracy"] > 0.9
    turned = library.ordered(x, list(CELLS)[::-1])
    np.testing.assert_array_equal(model.predict(x), model.predict(turned))
    with pytest.raises(DataError, match="requires columns that are not there: 'age'"):
        model.predict(library.ordered(x, list(CELLS)[1:]))


def test_targets_of_every_kind_are_taken_from_every_frame_library(library: Library) -> None:
    x = library.frame({"a": list(range(ROWS))})
    values = [i * 0.25 for i in range(ROWS)]
    learned = bp.Features().fit(x, library.column(values)).to_json()["target"]
    assert list(learned["center"]) == [np.mean(values)]
    both = bp.Features().fit(x, library.frame({"v": values, "w": values[::-1]}))
    assert both.target is not None
    assert both.target.columns == ("v", "w")
    assert bp.Features().fit(x, library.column([i % 2 == 0 for i in range(ROWS)])).classes == (False, True)
    assert bp.Features().fit(x, library.column([i % 3 for i in range(ROWS)])).classes == (0, 1, 2)
    with pytest.raises(DataError, match="y requires a target in every row, got a missing one in row 1"):
        bp.Features().fit(x, library.column(["a", None, *["b"] * (ROWS - 2)]))


def test_numbers_go_into_a_model_without_features(library: Library) -> None:
    x, y = library.frame({"a": [0.5, 1.5], "b": [1.0, -1.0]}), library.column([1.0, 2.0])
    one, other = (bp.Model(bp.Network(2, [bp.Dense(1)], "mean_squared_error")) for _ in range(2))
    one.fit(x, y, epochs=2)
    other.fit(np.array([[0.5, 1.0], [1.5, -1.0]]), np.array([1.0, 2.0]), epochs=2)
    np.testing.assert_array_equal(one.predict(x), other.predict(np.array([[0.5, 1.0], [1.5, -1.0]])))


def test_record_batches_are_frames() -> None:
    batch = pa.RecordBatch.from_pydict({"a": [1.5, None], "b": ["x", "y"]})
    table = bp.data.table_of(batch)
    assert (table.names, table["b"].categories) == (("a", "b"), ("x", "y"))


class LazyFrame:
    """One as polars has it."""

    __module__ = "polars.lazyframe.frame"


@pytest.mark.parametrize(
    "take", [bp.data.table_of, bp.Features().fit, bp.Model(bp.Network(2, [bp.Dense(1)], "mean_squared_error")).predict]
)
def test_lazy_frames_are_to_be_collected(take: Callable[[Any], Any]) -> None:
    with pytest.raises(DataError, match=r"requires a data frame in memory, got a LazyFrame. Give x.collect\(\)"):
        take(LazyFrame())


@pytest.mark.parametrize("library", ["polars"], indirect=True)
def test_integers_without_a_numpy_dtype_are_read(library: Library) -> None:
    polars = import_module("polars")
    frame = polars.DataFrame({"a": polars.Series([1, None, 3], dtype=polars.Int128)})
    np.testing.assert_array_equal(bp.data.table_of(frame)["a"].values, [1, np.nan, 3])
    lazy = library.frame({"a": [1.0]}).lazy()
    with pytest.raises(DataError, match=r"got a LazyFrame. Give x.collect\(\)"):
        bp.Features().fit(lazy)


def test_blank_text_is_a_missing_cell(library: Library) -> None:
    days, cities = ["2020-01-01", "2020-02-03", "2020-05-05"], ["Oslo", "Rio", "Rome"]
    whole = {"date": days * 10, "town": cities * 10, "size": [1.5, 2.5, 3.5] * 10}
    blank: dict[str, list[Any]] = {name: [*cells[:28], "", " "] for name, cells in whole.items() if name != "size"}
    none: dict[str, list[Any]] = {name: [*cells[:28], None, None] for name, cells in blank.items()}
    blank, none = ({**cells, "size": whole["size"]} for cells in (blank, none))
    learned = bp.Features().fit(library.frame(blank), ANSWERS[:30])
    assert learned.summary() == bp.Features().fit(library.frame(none), ANSWERS[:30]).summary()
    np.testing.assert_array_equal(learned.transform(library.frame(blank)), learned.transform(library.frame(none)))
    without = bp.Features().fit(library.frame(whole), ANSWERS[:30])  # no rule for a missing day was asked for
    assert np.isfinite(without.transform(library.frame(blank))).all()
