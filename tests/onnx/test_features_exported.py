"""Features on a server: columns of every kind go in as they are, and what comes out is what `predict` gives."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pandas as pd
import pytest
from onnx.reference import ReferenceEvaluator

import bpengine as bp
from bpengine.sklearn import BackpropClassifier, BackpropRegressor
from tests.onnx.served import assert_same, exported, outputs

ROWS = 80


def people(seed: int = 0, rows: int = ROWS) -> pd.DataFrame:
    """Return a table with every kind of column; of another seed also with values that the first has not."""
    rng = np.random.default_rng(seed)
    cities = ["Oslo", "Bonn", "Rio", "Lima", "Kyoto"] + ["Atlantis", "other"] * (seed > 0)
    share = [0.4, 0.3, 0.25, 0.03, 0.02] if seed == 0 else [1 / 7] * 7
    frame = pd.DataFrame({
        "label": rng.normal(1e5, 3.0, rows),  # as an output is called
        "city": rng.choice(cities, rows, p=share),
        "paid": rng.choice(["Yes", "no"] if seed == 0 else ["yes", "YES", "No", "nO"], rows),
        "since": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 5000, rows), unit="h"),
        "born": (np.datetime64("1980-01-01") + rng.integers(0, 9000, rows)).astype(str),
        "0.weight": rng.normal(0, 1e-3, rows),  # as a parameter is called
        "code": rng.integers(0, 3, rows).astype(float),
        "member": rng.random(rows) < 0.5,
        "same": np.ones(rows),
        "": rng.normal(size=rows),
    })  # fmt: skip
    for column in ("label", "city", "paid", "since", "code"):
        frame.loc[rng.random(rows) < 0.15, column] = None
    return frame


def fed(features: bp.Features, frame: pd.DataFrame) -> dict[str, Any]:
    """Return a frame as a server takes it, by the rules that the documentation states, without the engine's code."""
    feeds = {}
    for column in features.columns:
        if not column.input_names:
            continue
        cells = frame[column.name]
        if column.name in ("city", "paid"):
            numbers = cells.fillna("").to_numpy(object)
        elif column.name == "code" and column.kind == "category":
            numbers = np.array(["" if np.isnan(v) else str(int(v)) for v in cells], object)
        elif column.name in ("since", "born"):
            numbers = ((pd.to_datetime(cells) - pd.Timestamp("1970-01-01")) / pd.Timedelta(days=1)).to_numpy(float)
        else:
            numbers = cells.to_numpy(float)
        feeds[column.name or "unnamed"] = numbers[:, None]
    return feeds


def trained(
    features: bp.Features, target: Any, dtype: str = "float32", loss: str = "softmax_cross_entropy"
) -> bp.Model:
    features.fit(people(), target)
    network = bp.Network(features.inputs, [bp.Dense(4, "tanh"), bp.Dense(features.outputs)], loss)
    return bp.Model(network, dtype=dtype, features=features)


def classes(rows: int = ROWS) -> Any:
    return np.random.default_rng(5).choice(["low", "middle", "high"], rows)


def predicted(model: bp.Model, rows: Any) -> Any:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "column .* has values in")  # that are not known: they are meant to be
        return model.predict(rows)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"scale": "minmax", "fill": "mean", "rare": 1},
        {"scale": "robust", "fill": -2.5, "most": 2, "categorical": ["code"]},
        {"scale": "none", "drop": ["city", "since"], "categorical": ["code"], "rare": 40},
    ],
    ids=str,
)
def test_columns_of_every_kind_are_encoded_as_features_do(settings: dict[str, Any], dtype: str, tmp_path: Path) -> None:
    features = bp.Features(**settings)
    model = trained(features, classes(), dtype)
    running = exported(model, tmp_path)
    for frame in (people(), people(1), people(2, 1), people(3, 5)):
        served = outputs(running, fed(features, frame))
        wanted = predicted(model, frame)
        (label, chosen), (_, probabilities) = served.items()
        assert label == "label_1"
        assert_same(probabilities, wanted)
        assert chosen.tolist() == [features.classes[k] for k in wanted.argmax(axis=1)]  # type: ignore[index]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_values_come_back_in_their_own_unit(dtype: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    targets = pd.DataFrame({"price": rng.normal(3e5, 1e4, ROWS), "area": rng.normal(5, 2, ROWS)})
    features = bp.Features().fit(pd.concat([people(), targets], axis=1), list(targets))
    network = bp.Network(features.inputs, [bp.Dense(4, "tanh"), bp.Dense(2)], "mean_squared_error")
    model = bp.Model(network, dtype=dtype, features=features)
    served = outputs(exported(model, tmp_path), fed(features, people(1)))
    assert list(served) == ["prediction"]
    for column in (0, 1):
        assert_same(served["prediction"][:, column], predicted(model, people(1))[:, column])
    about = {entry.key: json.loads(entry.value) for entry in onnx.load(tmp_path / "model.onnx").metadata_props}
    assert about["target_names"] == ["price", "area"]
    assert about["feature_names"] == list(features.input_names)
    assert "days since 1970" in about["inputs"]["since"]
    assert "'Oslo'" in about["inputs"]["city"]
    assert "no or yes" in about["inputs"]["paid"]


def test_row_that_predict_refuses_gives_nan(tmp_path: Path) -> None:
    frame = people().fillna(
        {"label": 0.0, "city": "Oslo", "paid": "no", "since": pd.Timestamp("2020-01-01"), "code": 0.0}
    )
    features = bp.Features(missing="refuse").fit(frame, classes())
    network = bp.Network(features.inputs, [bp.Dense(4, "step"), bp.Dense(3)], "softmax_cross_entropy")
    model = bp.Model(network, features=features)
    running, rows = exported(model, tmp_path), frame[:6]
    wrong = {"label": np.inf, "0.weight": np.nan, "same": 1e300, "paid": "perhaps", "since": np.nan}
    for at, (name, cell) in enumerate(wrong.items()):
        feeds = fed(features, rows)
        feeds[name] = feeds[name].copy()
        feeds[name][at] = cell
        damaged = rows.astype({name: object})
        damaged.iloc[at, damaged.columns.get_loc(name)] = cell
        with pytest.raises(bp.DataError), np.errstate(over="ignore"):
            predicted(model, damaged.infer_objects())
        label, probabilities = outputs(running, feeds).values()
        assert np.isnan(probabilities[at]).all()
        assert label[at] == ""
        assert_same(np.delete(probabilities, at, axis=0), np.delete(model.predict(rows), at, axis=0))


def test_rows_of_numbers_without_names_are_one_input(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(5, 3, (40, 3))
    x[::7, 1] = np.nan
    x = np.concatenate([x[:, :1], np.full((40, 1), np.nan), x[:, 1:]], axis=1)  # one column is left out
    features = bp.Features().fit(x, np.arange(40) % 2)
    model = bp.Model(bp.Network(features.inputs, bp.Dense(2), "softmax_cross_entropy"), features=features)
    served = outputs(exported(model, tmp_path), {"x": x})
    assert_same(served["probabilities"], model.predict(x))
    images = rng.integers(0, 255, (20, 6)).astype(np.uint8)
    features = bp.Features().fit(images, np.arange(20) % 2)
    model = bp.Model(bp.Network(6, bp.Dense(2), "softmax_cross_entropy"), features=features)
    assert_same(outputs(exported(model, tmp_path), {"x": images.astype(float)})["probabilities"], model.predict(images))
    coded = bp.Features(categorical=["x1"], rare=1).fit(np.stack([x[:, 0], np.arange(40) % 3], axis=1))
    model = bp.Model(bp.Network(coded.inputs, bp.Dense(1), "mean_squared_error"), features=coded)
    rows = np.array([[1.5, 2.0], [2.5, 7.0]])
    with pytest.warns(UserWarning, match="did not have"):
        wanted = model.predict(rows)
    feeds = {"x0": rows[:, :1], "x1": np.array([["2"], ["7"]], object)}
    assert_same(outputs(exported(model, tmp_path), feeds)["prediction"], wanted)


def test_single_yes_or_no_output_is_exported_with_its_label(tmp_path: Path) -> None:
    features = bp.Features().fit(people(), np.random.default_rng(5).choice([True, False], ROWS))
    model = bp.Model(bp.Network(features.inputs, bp.Dense(1), "sigmoid_cross_entropy"), features=features)
    label, probabilities = outputs(exported(model, tmp_path), fed(features, people(1))).values()
    assert_same(probabilities, predicted(model, people(1)))
    assert label.tolist() == [str(bool(p)) for p in predicted(model, people(1))[:, 0] > 0.5]


def test_model_of_categories_alone_takes_also_no_rows(tmp_path: Path) -> None:
    frame = people()[["city", "paid"]]
    features = bp.Features(categorical=["paid"], rare=1).fit(frame, classes())
    model = bp.Model(bp.Network(features.inputs, bp.Dense(3), "softmax_cross_entropy"), features=features)
    running, feeds = exported(model, tmp_path), fed(features, frame)
    assert_same(outputs(running, feeds)["probabilities"], model.predict(frame))
    empty = outputs(running, {name: cells[:0] for name, cells in feeds.items()})
    assert {name: end.shape for name, end in empty.items()} == {"label": (0,), "probabilities": (0, 3)}


def test_inputs_of_one_name_are_kept_apart(tmp_path: Path) -> None:
    frame = people()[["city", "code"]].assign(
        **{"code = (missing)": np.arange(ROWS), "city = Oslo": np.arange(ROWS) ** 2}
    )
    features = bp.Features().fit(frame[["city", "city = Oslo", "code", "code = (missing)"]])
    model = bp.Model(bp.Network(features.inputs, bp.Dense(2), "mean_squared_error"), features=features)
    feeds = {**fed(features, frame), "code": frame[["code"]].to_numpy(float)}
    assert_same(outputs(exported(model, tmp_path), feeds)["prediction"], model.predict(frame))


def test_a_model_that_came_out_of_a_file_is_exported_alike(tmp_path: Path) -> None:
    model = trained(bp.Features(), classes())
    model.save(tmp_path / "model.safetensors")
    bp.load(tmp_path / "model.safetensors").export_onnx(tmp_path / "again.onnx")
    model.export_onnx(tmp_path / "model.onnx")
    assert (tmp_path / "model.onnx").read_bytes() == (tmp_path / "again.onnx").read_bytes()


def test_names_that_are_no_unicode_are_refused(tmp_path: Path) -> None:
    table = bp.data.Table({"m\ud800": bp.data.TableColumn(np.arange(4.0))})
    model = bp.Model(bp.Network(1, bp.Dense(1), "mean_squared_error"), features=bp.Features().fit(table))
    with pytest.raises(bp.ConfigError) as refusal:
        model.export_onnx(tmp_path / "model.onnx")
    assert str(refusal.value).endswith("values and classes in Unicode, got 'm\\ud800'. Rename it.")


def test_onnx_runtime_agrees_on_features(tmp_path: Path) -> None:
    model = trained(bp.Features(rare=30), classes(), "float64")
    model.export_onnx(tmp_path / "model.onnx")
    other = ReferenceEvaluator(str(tmp_path / "model.onnx"))
    with np.errstate(all="ignore"):
        label, probabilities = other.run(None, fed(model.features, people(1)))
    wanted = predicted(model, people(1))
    assert_same(probabilities, wanted)
    assert label.tolist() == [model.class_names[k] for k in wanted.argmax(axis=1)]


@pytest.mark.parametrize("kind", ["classes", "labels", "values"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.filterwarnings("ignore:column .* has values in")  # that are not known: they are meant to be
def test_a_fitted_estimator_is_served_with_its_columns(kind: str, dtype: str, tmp_path: Path) -> None:
    how: dict[str, Any] = {"hidden_layer_sizes": (6,), "epochs": 3, "precision": dtype, "categorical": ["code"]}
    frame, rng = people(), np.random.default_rng(6)
    targets: dict[str, Any] = {
        "classes": classes(),
        "labels": rng.integers(0, 2, (ROWS, 3)),
        "values": rng.normal(250.0, 40.0, (ROWS, 2)),
    }
    estimator = BackpropRegressor(**how) if kind == "values" else BackpropClassifier(**how)
    fitted = estimator.fit(frame, targets[kind])
    running = exported(fitted.model_, tmp_path)
    assert fitted.model_.features.columns[6].kind == "category"
    for rows in (frame, people(1)):
        served = outputs(running, fed(fitted.model_.features, rows))
        assert_same(list(served.values())[-1], fitted.predict(rows) if kind == "values" else fitted.predict_proba(rows))
        if kind == "classes":
            assert next(iter(served.values())).tolist() == fitted.predict(rows).tolist()
