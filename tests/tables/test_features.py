"""Features: what columns become, by name, learned from the training rows alone, the same after a file."""

from __future__ import annotations

import doctest
import json
import re
import time
import warnings
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import bpengine as bp
from bpengine.data.features import dates, feature_set
from bpengine.data.table import TableColumn
from bpengine.errors import ConfigError, DataError, ModelFileError, ShapeError
from tests.tolerances import value_rtol

ROWS = 120


def people(seed: int = 0, rows: int = ROWS) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({
        "age": rng.integers(18, 80, rows).astype(float),
        "city": rng.choice(["Oslo", "Rio", "Bonn"], rows),
        "member": rng.random(rows) > 0.5,
        "asked": rng.choice(["yes", "no"], rows),
        "joined": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 900, rows), unit="D"),
        "seen": [f"{d:02d}.{m:02d}.2021" for d, m in zip(rng.integers(1, 29, rows), rng.integers(1, 13, rows), strict=True)],
        "name": [f"n{i}" for i in range(rows)],
    })  # fmt: skip
    frame.loc[::10, "age"] = np.nan
    frame["income"] = np.where((frame.age.fillna(40) > 45) ^ (frame.city == "Oslo"), "high", "low")
    return frame


def network(features: bp.Features, loss: str) -> bp.Network:
    return bp.Network(features.inputs, [bp.Dense(8, "tanh"), bp.Dense(features.outputs)], loss)


@pytest.fixture
def model() -> bp.Model:
    """Give a model of people, trained a little."""
    features = bp.Features().fit(people(), "income")
    fitted = bp.Model(network(features, "softmax_cross_entropy"), features=features)
    fitted.fit(people(), "income", epochs=30, batch_size=20)
    return fitted


def test_docstring_example_runs() -> None:
    assert doctest.run_docstring_examples(bp.Features, {}, optionflags=doctest.NORMALIZE_WHITESPACE) is None
    tried = doctest.DocTestRunner()
    for test in doctest.DocTestFinder().find(feature_set.Features, "Features", globs={}):
        tried.run(test)
    assert tried.failures == 0
    assert tried.tries > 3


def test_kinds_of_columns_are_inferred() -> None:
    features = bp.Features().fit(people(), "income")
    assert [(c.name, c.described()[0]) for c in features.columns] == [
        ("age", "number"), ("city", "category"), ("member", "yes/no"), ("asked", "yes/no"), ("joined", "date"),
        ("seen", "date"), ("name", "left out"),
    ]  # fmt: skip
    assert features.input_names == (
        "age", "age = (missing)", "city = Bonn", "city = Oslo", "city = Rio", "member", "asked", "joined", "seen",
    )  # fmt: skip
    assert (features.classes, features.task, features.outputs) == (("high", "low"), "classification", 2)


def test_numbers_are_those_of_the_training_rows() -> None:
    frame = people()
    x = bp.Features().fit(frame, "income").transform(frame, "float64")
    filled = frame.age.fillna(frame.age.median())
    np.testing.assert_allclose(x[:, 0], (filled - filled.mean()) / filled.std(ddof=0), atol=1e-12)
    np.testing.assert_array_equal(x[:, 1], frame.age.isna())
    np.testing.assert_array_equal(x[:, 2:5], pd.get_dummies(frame.city)[["Bonn", "Oslo", "Rio"]])
    days = (frame.joined - pd.Timestamp("1970-01-01")).dt.days
    np.testing.assert_allclose(x[:, 7], (days - days.mean()) / days.std(ddof=0), atol=1e-9)
    seen = pd.to_datetime(frame.seen, format="%d.%m.%Y")
    assert np.corrcoef(x[:, 8], seen.astype("int64"))[0, 1] > 1 - 1e-12


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"scale": "minmax"}, [0.0, 0.5, 1.0, 0.25]),
        ({"scale": "none"}, [0.0, 2.0, 4.0, 1.0]),
        ({"scale": "robust"}, [-1.5 / 1.75, 0.5 / 1.75, 2.5 / 1.75, -0.5 / 1.75]),
    ],
)
def test_columns_are_scaled(settings: dict[str, Any], expected: list[float]) -> None:
    x = np.array([[0.0], [2.0], [4.0], [1.0]])
    np.testing.assert_allclose(bp.Features(**settings).fit(x).transform(x, "float64")[:, 0], expected, atol=1e-12)


@pytest.mark.parametrize(("fill", "value"), [("median", 2.0), ("mean", 7.0 / 3), (-1, -1.0)])
def test_missing_cells_are_filled(fill: str | float, value: float) -> None:
    x = pd.DataFrame({"a": [1.0, 2.0, 4.0, np.nan]})
    assert bp.Features(scale="none", fill=fill).fit(x).transform(x, "float64")[3].tolist() == [
        pytest.approx(value),
        1.0,
    ]


def test_rare_unknown_and_missing_categories_have_inputs_of_their_own() -> None:
    frame = pd.DataFrame({"c": ["a"] * 9 + ["b"] * 6 + ["x", "y"] + [None] * 3})
    features = bp.Features().fit(frame)
    assert features.input_names == ("c = a", "c = b", "c = (other)", "c = (missing)")
    x = features.transform(pd.DataFrame({"c": ["b", "x", "new", None]}))
    assert x.tolist() == [[0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    plain = bp.Features().fit(pd.DataFrame({"c": ["a", "b"] * 9}))
    with pytest.warns(UserWarning, match="column 'c' has values in 1 row .* read as none of the known ones"):
        assert plain.transform(pd.DataFrame({"c": ["new"]})).tolist() == [[0, 0]]


def test_columns_can_be_declared_categorical_or_dropped() -> None:
    frame = pd.DataFrame({"zip": [10, 20, 10, 20] * 5, "b": range(20)})
    features = bp.Features(categorical=["zip"], drop=["b"]).fit(frame)
    assert features.input_names == ("zip = 10", "zip = 20")
    with pytest.raises(ConfigError, match=r"unknown column 'zap'\. Did you mean 'zip'"):
        bp.Features(categorical=["zap"]).fit(frame)


def test_unnamed_row_number_column_is_left_out_with_a_note() -> None:
    frame = pd.DataFrame({"Unnamed: 0": range(20), "id": range(20), "b": [1.0, 2.0] * 10})
    features = bp.Features().fit(frame)
    assert features.input_names == ("id", "b")
    left_out, used = features.warnings()
    assert left_out == "the column 'Unnamed: 0' is left out: it has no name and counts the rows."
    assert used.startswith("the column 'id' counts the rows, and is used")


def test_infinity_and_missing_cells_name_their_place() -> None:
    frame = pd.DataFrame({"a": [1.0, np.inf, 3.0]})
    with pytest.raises(DataError, match="column 'a' requires finite numbers, got inf in row 1"):
        bp.Features().fit(frame)
    for missing in ("refuse", "drop"):
        with pytest.raises(DataError, match=r"missing value in row 1, column 'a' \(1 in all\)"):
            bp.Features(missing=missing).fit(pd.DataFrame({"a": [1.0, np.nan, 3.0]}))
    later = bp.Features(missing="refuse").fit(pd.DataFrame({"a": [1.0, 2.0, 3.0]}))
    with pytest.raises(DataError, match="missing value in row 0, column 'a'"):
        later.transform(pd.DataFrame({"a": [np.nan]}))


def test_columns_are_taken_by_name(model: bp.Model) -> None:
    frame = people(1)
    expected = model.predict(frame)
    shuffled = frame[["name", "income", "seen", "joined", "asked", "city", "member", "age"]].assign(other=1)
    np.testing.assert_array_equal(model.predict(shuffled), expected)
    np.testing.assert_array_equal(model.predict(pa.Table.from_pandas(frame)), expected)
    with pytest.raises(DataError, match=r"requires columns that are not there: 'age', 'city'. Not known: .*'Age'"):
        model.predict(frame.drop(columns=["city"]).rename(columns={"age": "Age"}))


def test_features_survive_a_round_trip_through_a_model_file(model: bp.Model, tmp_path: Path) -> None:
    model.save(tmp_path / "m.safetensors")
    again = bp.load(tmp_path / "m.safetensors")
    assert again.features.to_json() == model.features.to_json()
    assert again.class_names == ("high", "low")
    np.testing.assert_array_equal(again.predict(people(1)), model.predict(people(1)))
    np.testing.assert_array_equal(again.to("numpy").predict(people(1)), model.predict(people(1)))
    assert json.loads(json.dumps(model.features.to_json())) == json.loads(json.dumps(again.features.to_json()))


@pytest.mark.parametrize(
    "damage",
    [
        {"format": 9}, {"columns": []}, {"columns": [{"kind": "code", "name": "a"}]}, {"columns": 7},
        {"target": {"kind": "classes", "classes": []}},
        {"target": {"kind": "values", "center": [0.0], "scale": [0.0]}}, {"named": 3}, {"missing": "guess"},
        {"columns": [{"kind": "number", "name": "a", "scale": 0.0}]},
        {"columns": [{"kind": "number", "name": "a", "more": 1}]},
    ],
)  # fmt: skip
def test_damaged_features_are_refused(
    model: bp.Model, damage: dict[str, Any], tmp_path: Path, monkeypatch: Any
) -> None:
    damaged = {**model.features.to_json(), **damage}
    with pytest.raises((DataError, ConfigError)):
        bp.Features.from_json(damaged)
    monkeypatch.setattr(bp.Features, "to_json", lambda self: damaged)
    model.save(tmp_path / "m.safetensors")
    with pytest.raises(ModelFileError, match="has features that do not fit"):
        bp.load(tmp_path / "m.safetensors")


def test_values_are_learned_standardised_and_given_back_in_their_unit() -> None:
    frame = people().assign(price=lambda f: f.age.fillna(40) * 1000 + 5e5).drop(columns=["income"])
    features = bp.Features(drop=["name"]).fit(frame, "price")
    model = bp.Model(network(features, "mean_squared_error"), features=features)
    model.fit(frame, "price", epochs=150, batch_size=20, validation=(frame, "price"))
    scores = model.evaluate(frame, "price")
    own = float(np.sqrt(np.mean((model.predict(frame)[:, 0] - frame.price) ** 2)))
    assert scores["rmse"] == pytest.approx(own, rel=1e-3)
    assert scores["rmse"] == pytest.approx(scores["rmse_standardised"] * frame.price.std(ddof=0), rel=1e-3)
    assert scores["loss"] == pytest.approx(scores["rmse_standardised"] ** 2, rel=1e-3)
    assert scores["rmse"] < 0.2 * frame.price.std()


def test_targets_of_any_type_keep_their_names() -> None:
    x = pd.DataFrame({"a": np.arange(20.0)})
    for y, classes in (
        ([True, False] * 10, (False, True)),
        (np.array([2, 4] * 10), (2, 4)),
        (pd.Series(["b", "a"] * 10), ("a", "b")),
        (pd.Categorical(["b", "a"] * 10), ("a", "b")),
        (np.array([0, 1, 2, 3] * 5), (0, 1, 2, 3)),
    ):
        features = bp.Features().fit(x, y)
        assert features.classes == classes
        np.testing.assert_array_equal(features.encode_target(y), np.searchsorted(classes, list(y)))
    with pytest.raises(DataError, match=r"row 1 has the class 'z', which the model does not know\. It knows: a, b"):
        bp.Features().fit(x, ["a", "b"] * 10).encode_target(["a", "z"])


def test_networks_of_another_width_are_refused() -> None:
    features = bp.Features().fit(people(), "income")
    with pytest.raises(ShapeError, match=r"require a network of 9 inputs \(age, .*, got one of 3"):
        bp.Model(bp.Network(3, [bp.Dense(2)], "softmax_cross_entropy"), features=features)
    with pytest.raises(ShapeError, match="have 2 classes, the network has outputs for 5"):
        bp.Model(bp.Network(9, [bp.Dense(5)], "softmax_cross_entropy"), features=features)
    values = bp.Features().fit(np.zeros((4, 2)), [1.0, 2.5, 3.0, 4.0])
    with pytest.raises(ConfigError, match="takes binary, the features standardise values"):
        bp.Model(bp.Network(2, [bp.Dense(1)], "sigmoid_cross_entropy"), features=values)


def test_model_without_features_finds_the_columns_of_a_frame_by_name() -> None:
    frame = pd.DataFrame({"a": [1.0, 2.0, 3.0], "b": [2.0, 1.0, 0.0]})
    model = bp.Model(bp.Network(2, [bp.Dense(1)], "mean_squared_error"))
    plain = bp.Model(bp.Network(2, [bp.Dense(1)], "mean_squared_error"))
    model.fit(frame, [1.0, 2.0, 3.0], epochs=2)
    plain.fit(frame.to_numpy(), [1.0, 2.0, 3.0], epochs=2)
    np.testing.assert_array_equal(model.predict(frame[["b", "a"]]), plain.predict(frame.to_numpy()))


def test_gradients_are_checked_and_explained_on_rows_of_a_table(model: bp.Model) -> None:
    frame = people()[:12]
    assert model.check(frame, "income").passed
    assert "Sensitivity" in bp.sensitivity(model, frame, "income").text("en")
    trace = model.trace(frame, "income")
    encoded = model.trace(
        bp.data.Encoded(model.features.transform(frame)), model.features.encode_target("income", frame)
    )
    assert trace.loss == encoded.loss


def test_explanations_show_the_names_of_features(model: bp.Model) -> None:
    explained = bp.explain(model, people()[:6], "income", layer=0, unit=1)
    text = explained.text("en")
    for name in model.features.input_names:  # type: ignore[union-attr]
        assert sum(line.startswith(f"    {name}  ") for line in text.splitlines()) == 4, (
            name
        )  # a line in each row shown
    assert re.search(r"0\.weight\[\d,1\] \(city = Oslo\): gradient = ", text)
    assert "city = Oslo" in {cell for line in explained.table("en").columns for cell in line.cells}
    last = bp.explain(model, people()[:6], "income", layer=len(model.network.layers) - 1, unit=1)
    assert "city = Oslo" not in last.text("en")


def test_pages_and_figures_show_the_names_of_features(model: bp.Model) -> None:
    from bpengine.explain.page import page

    assert "city = Oslo" in page(model, people()[:6], "income", steps=1).html()


def test_figures_name_the_inputs() -> None:
    from bpengine.explain import figures

    frame = pd.DataFrame({"age": [20.0, 30.0, 50.0, 40.0], "width of the petals (cm)": [1.0, 2.0, 4.0, 3.0]})
    features = bp.Features().fit(frame, ["a", "b", "b", "a"])
    model = bp.Model(bp.Network(2, [bp.Dense(2, "tanh"), bp.Dense(2)], "softmax_cross_entropy"), features=features)
    words = {text.get_text() for text in figures.network(model, frame, ["a", "b", "b", "a"]).axes[0].texts}
    assert {"age", "width of \N{HORIZONTAL ELLIPSIS}etals (cm)"} <= words
    boundary = figures.decision_boundary(model, frame, ["a", "b", "b", "a"]).axes[0]
    assert (boundary.get_xlabel(), boundary.get_ylabel()) == tuple(frame.columns)


@pytest.mark.parametrize("scale", ["standard", "minmax", "robust", "none"])
@pytest.mark.parametrize("fill", ["median", "mean"])
def test_rows_count_by_their_weights(scale: str, fill: str) -> None:
    x = np.array([[1.0, 5.0], [2.0, np.nan], [4.0, 7.0], [90.0, 80.0], [3.0, 1.0]])
    y, weights = np.array([[1.0], [4.0], [2.0], [99.0], [8.0]]), np.array([1, 2, 3, 0, 1])
    repeated = np.repeat(np.arange(5), weights)
    weighted = bp.Features(scale=scale, fill=fill).fit(x, y, task="regression", weights=weights)
    whole = bp.Features(scale=scale, fill=fill).fit(x[repeated], y[repeated], task="regression")
    near = {"rtol": value_rtol("float64")}
    for a, b in zip(weighted.columns, whole.columns, strict=True):
        np.testing.assert_allclose([a.center, a.fill], [b.center, b.fill], **near)
        if scale != "robust":  # quartiles between two numbers: of weighted rows the one below
            np.testing.assert_allclose(a.scale, b.scale, **near)
    np.testing.assert_allclose(weighted.encode_target(y), whole.encode_target(y), **near)
    left_out = bp.Features(scale=scale, fill=fill).fit(x, y, weights=weights > 0)
    assert left_out.to_json() == bp.Features(scale=scale, fill=fill).fit(x[weights > 0], y[weights > 0]).to_json()


def test_dates_with_an_offset_are_taken_in_utc_wherever_the_machine_is(monkeypatch: pytest.MonkeyPatch) -> None:
    moments = pd.date_range("2020-01-01", periods=8, tz="UTC")
    features = bp.Features(scale="none").fit(pd.DataFrame({"when": moments}))
    texts = pd.DataFrame({"when": [moment.isoformat() for moment in moments]})
    monkeypatch.setenv("TZ", "America/Sao_Paulo")
    time.tzset()
    try:
        encoded = features.transform(texts, "float64")
    finally:
        monkeypatch.undo()
        time.tzset()
    np.testing.assert_array_equal(encoded[:, 0], 18262 + np.arange(8.0))


def test_text_that_is_no_date_names_the_expected_format() -> None:
    features = bp.Features().fit(pd.DataFrame({"when": pd.date_range("2020-01-01", periods=8)}))
    with pytest.raises(DataError, match="dates of the format YYYY-MM-DD, got 'soon' in row 0"):
        features.transform(pd.DataFrame({"when": ["soon"]}))


@pytest.mark.parametrize("form", sorted(dates.ISO))
def test_iso_dates_are_what_strptime_reads(form: str) -> None:
    days = ["2020-02-29", "2021-02-29", "0001-01-01", "2020-1-05", "20200105", "2020-01-05 ", "\uff12020-01-05", "NaT"]
    times = ["00:00:00", "23:59:59", "24:00:00", "12:60:00", "12:00:60", "1:02:03", "12:00", "12:00:00Z"]
    for text in [*days, *(f"{days[0]}{mark}{moment}" for mark in " Tt" for moment in times)]:
        try:
            expected = datetime.strptime(text, form)
        except ValueError:
            expected = None
        assert dates._parsed(text, form) == expected, text


def test_a_piece_of_a_column_has_only_its_own_dates_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    column = TableColumn(
        np.array([3, -1, 3, 5]), tuple(str(day) for day in np.arange("2020-01", "2020-03", dtype="M8[D]"))
    )
    parsed: list[str] = []
    monkeypatch.setattr(dates, "_parsed", lambda text, form: parsed.append(text) or datetime.fromisoformat(text))
    np.testing.assert_array_equal(dates.days(column, "%Y-%m-%d", "when"), [18265, np.nan, 18265, 18267])
    assert parsed == ["2020-01-04", "2020-01-06"]


def test_a_target_column_that_is_named_twice_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "twice.csv"
    file.write_text("a,b,c\n1,2,3\n4,5,7\n")
    for target in ("a,a", ["a", "a"]):
        with pytest.raises(ConfigError, match="requires different target columns, got 'a' twice"):
            bp.data.load(file, target=target)


def test_target_that_identifies_rows_is_reported_when_split(tmp_path: Path) -> None:
    file = tmp_path / "names.csv"
    file.write_text("a,b\n" + "".join(f"{row},n{row}\n" for row in range(8)))
    with pytest.raises(DataError, match="Every class has a single row"):
        bp.data.load(file).split()
    file.write_text("a,b\n" + "".join(f"{row},n{row % 30}\n" for row in range(40)))
    with pytest.raises(DataError, match="Nearly every row has a class of its own"):
        bp.data.load(file).split()
    file.write_text("a,b\n" + "".join(f'{row},"1,{row:03d}"\n' for row in range(40)))
    with pytest.raises(DataError, match="Its target is taken as text, but most are numbers: --thousands , reads their"):
        bp.data.load(file).split()
    file.write_text("a,b\n" + "1,x\n1,x\n2,y\n2,y\n")
    with pytest.raises(DataError, match="Give more rows, or hold out another part of them"):
        bp.data.load(file).split()


@pytest.mark.parametrize(("scale", "dtype", "cell"), [("none", "float32", 1e300), ("standard", "float64", 1.7e308)])
def test_numbers_too_large_for_the_inputs_are_refused_by_column(scale: str, dtype: str, cell: float) -> None:
    rows = np.arange(20.0)
    features = bp.Features(scale=scale).fit(pd.DataFrame({"c": ["x", "y"] * 10, "a": rows * 1e-3}))
    assert np.isfinite(features.transform(pd.DataFrame({"c": ["x"], "a": [1e30]}), dtype)).all()
    with pytest.raises(
        DataError, match=f"column 'a' requires numbers that stay below .* as {dtype} has them.* in row 1"
    ):
        features.transform(pd.DataFrame({"c": ["x", "y"], "a": [1.0, cell]}), dtype)


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        (["1", "2.5", "n/d", "3", "n/d", "-4e2"], "4 of 6 cells are numbers, the others are 'n/d'. --na-values n/d "),
        (["1", "2", "3", "4", "a b", "-"], "the others are '-', 'a b'. --na-values '-,a b' "),
        (["1,200", "900", "1,000.5"], "3 of 3 cells are numbers. --thousands , reads their marks"),
        (["1.200,50", "900", "3"], "--decimal , --thousands . reads their marks"),
        (["1,5", "2,25", "x"], "2 of 3 cells are numbers, the others are 'x'. --na-values x "),
        (["1", "2", "3", *"abcdef", *"123456"], "the others are 'a', 'b', 'c', 'd', 'e', ..."),
    ],
)
def test_mostly_numeric_text_is_reported_with_the_cure(cells: list[str], said: str) -> None:
    frame = pd.DataFrame({"size": cells, "n": np.linspace(0.5, 2, len(cells))})
    (warning,) = bp.Features().fit(frame, np.arange(len(cells)) % 2).warnings()
    assert warning.startswith("the column 'size' is taken as text: ")
    assert said in warning
    assert bp.Features(categorical=["size"]).fit(frame, np.arange(len(cells)) % 2).warnings() == []
    (of_target,) = bp.Features().fit(frame, "size").warnings()
    assert of_target == warning


def test_columns_with_the_same_cure_share_a_warning() -> None:
    marks = ["1", "2", "3", "n/d"]
    frame = pd.DataFrame({f"c{i}": marks for i in range(7)} | {"other": ["1", "2", "3", "-"], "n": [0.5, 1.5, 2, 3]})
    many, one = bp.Features().fit(frame, [0, 1, 0, 1]).warnings()
    assert many.startswith(
        "7 columns are taken as text ('c0', 'c1', 'c2', 'c3', 'c4', ...): most of their cells are numbers, the others are "
        "'n/d'. --na-values n/d (na_values=) reads them as missing"
    )
    assert one.startswith("the column 'other' is taken as text: 3 of 4 cells are numbers, the others are '-'. ")


def test_recognising_dates_raises_no_warning() -> None:
    for form in ("%d/%m/%Y", "%d-%m-%Y", "%m/%d/%Y"):
        texts = [day.strftime(form) for day in pd.date_range("2020-01-20", periods=40)]
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            features = bp.Features(scale="none").fit(pd.DataFrame({"when": texts}))
        np.testing.assert_array_equal(
            features.transform(pd.DataFrame({"when": texts}), "float64")[:, 0], 18281 + np.arange(40)
        )


@pytest.mark.parametrize(
    "cells", [["1", "2", "03", "4"], ["a", "b", "1", "2"], ["x", "1", "z", "a"], [1.0, 2.0, 3.0, 4.0]]
)
def test_other_text_is_not_reported(cells: list[Any]) -> None:
    frame = pd.DataFrame({"size": cells, "n": [0.5, 1, 2, 3]})
    assert bp.Features().fit(frame, [0, 1, 0, 1]).warnings() == []


def test_texts_of_missing_cells_are_reported_once(tmp_path: Path) -> None:
    rows = "".join(f"{i % 7 if i % 5 else 'n/d'},{i % 3 * 1.5},{'yes' if i % 2 else 'no'}\n" for i in range(60))
    (tmp_path / "t.csv").write_text("a,b,y\n" + rows)
    people = bp.data.load(tmp_path / "t.csv")
    (warning,) = bp.Features().fit(people).warnings()
    assert warning.startswith("the column 'a' is taken as text: 48 of 60 cells are numbers, the others are 'n/d'.")
    cured = bp.Features().fit(bp.data.load(tmp_path / "t.csv", na_values=["n/d"]))
    assert cured.warnings() == []
    assert cured.columns[0].described()[0] == "number"
    with pytest.raises(DataError, match=r"the text 'n/d' in row 0\. If it means a missing cell, --na-values"):
        cured.transform(people.table)
    with pytest.raises(DataError, match=r"the text 'n/d' in row 55"):
        cured.columns[0].encode(people.table["a"].take(slice(55, 60)), np.empty((5, 2)), 55)


@pytest.mark.parametrize(
    ("name", "cells", "warned"),
    [
        ("Id", range(1, 31), True), ("PassengerId", range(30), True), ("row_nr", range(1, 31), True),
        ("Id", [i * i for i in range(30)], False), ("year", range(1, 31), False), ("humid", range(1, 31), False),
    ],
)  # fmt: skip
def test_named_row_number_column_is_reported(name: str, cells: Any, warned: bool) -> None:
    frame = pd.DataFrame({name: list(cells), "n": np.arange(30) % 7 / 2})
    warnings = bp.Features().fit(frame, np.arange(30) % 2).warnings()
    expected = [f"the column {name!r} counts the rows, and is used as a number. --drop (drop=) leaves it out."]
    assert warnings == expected * warned
    assert bp.Features(drop=[name]).fit(frame, np.arange(30) % 2).warnings() == []
