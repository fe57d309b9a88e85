"""`predict`: what was trained comes back, with its classes' names, in every form."""

import csv
import io
import re

import numpy as np
import pytest

import bpengine as bp
from tests.tolerances import agreement_rtol


def table(text):
    return list(csv.reader(io.StringIO(text)))


@pytest.fixture
def iris(cli, tmp_path):
    """Train on irises; return the model file."""
    path = tmp_path / "iris.safetensors"
    assert cli("train", "iris", "--epochs", "100", "--learning-rate", "0.01", "--out", path).code == 0
    return path


@pytest.mark.parametrize("backend", ["numpy", "jax"])
def test_probabilities_are_those_of_the_model(cli, iris, backend):
    ended = cli("predict", iris, "iris", "--backend", backend)
    head, *rows = table(ended.out)
    assert (ended.code, ended.err) == (0, "")
    assert head == ["row", "class", "p(setosa)", "p(versicolor)", "p(virginica)"]
    expected = bp.load(iris).predict(bp.data.load("iris", standardize=False).x)
    np.testing.assert_allclose(
        np.array([row[2:] for row in rows], float), expected, atol=agreement_rtol(np.float32, 64)
    )
    assert [row[0] for row in rows] == [str(i) for i in range(150)]
    assert [row[1] for row in rows] == [head[2 + i][2:-1] for i in expected.argmax(axis=1)]


def test_evaluate_prints_scores_beside_the_table(cli, iris):
    ended = cli("predict", iris, "iris", "--evaluate", "--limit", "40")
    assert len(table(ended.out)) == 41
    assert "\nloss with penalty " in ended.err
    assert float(ended.err.split("accuracy ")[1]) > 0.9


def test_predictions_in_files_equal_the_printed_ones(cli, iris, tmp_path):
    printed = cli("predict", iris, "iris").out
    assert cli("predict", iris, "iris", "--out", tmp_path / "p.csv") == (0, "", "")
    assert (tmp_path / "p.csv").read_text() == printed
    assert cli("predict", iris, "iris", "--out", tmp_path / "p.npy") == (0, "", "")
    stored = np.load(tmp_path / "p.npy")
    np.testing.assert_array_equal(stored, np.array([row[2:] for row in table(printed)[1:]], np.float32))


def test_predict_takes_tables_and_arrays_without_targets(cli, mistake, iris, tmp_path):
    x = bp.data.load("iris", standardize=False).x
    path = tmp_path / "new.csv"
    np.savetxt(path, x, delimiter=",")
    assert cli("predict", iris, path, "--no-target").out == cli("predict", iris, "iris").out
    np.savetxt(path, x[:, :3], delimiter=",")
    assert "requires 4 columns, got 3" in mistake("predict", iris, path)
    np.save(tmp_path / "x.npy", x)
    assert (
        cli("predict", iris, tmp_path / "x.npy", "--limit", "3").out == cli("predict", iris, "iris", "--limit", "3").out
    )


def test_classes_are_matched_by_name(cli, mistake, tmp_path):
    rows = [f"{i % 3},{i % 3 * 2},{'abc'[i % 3]}" for i in range(60)]
    whole, part, strange = (tmp_path / name for name in ("whole.csv", "part.csv", "strange.csv"))
    whole.write_text("\n".join(["p,q,kind", *rows]))
    part.write_text("\n".join(["p,q,kind", *(row for row in rows if not row.endswith("a"))]))
    strange.write_text("p,q,kind\n1,2,z\n2,3,b\n")
    model = tmp_path / "m.safetensors"
    assert cli("train", whole, "--epochs", "300", "--learning-rate", "0.01", "--out", model).code == 0
    assert cli("predict", model, part, "--evaluate").err.endswith("accuracy 1.0000\n")
    assert "has the class 'z', which the model does not know" in mistake("predict", model, strange, "--evaluate")


def test_binary_outputs_are_classes(cli, tmp_path):
    model = tmp_path / "m.safetensors"
    cli("train", "breast_cancer", "--loss", "sigmoid_cross_entropy", "--epochs", "20", "--out", model)
    head, *rows = table(cli("predict", model, "breast_cancer").out)
    assert head == ["row", "class", "p(benign)"]
    assert all((row[1] == "benign") == (float(row[2]) > 0.5) for row in rows)


def test_regression_predictions_are_values(cli, tmp_path):
    one, three = tmp_path / "one.safetensors", tmp_path / "three.safetensors"
    assert cli("train", "diabetes", "--epochs", "1", "--out", one).code == 0
    assert cli("train", "linnerud", "--epochs", "1", "--out", three).code == 0
    assert table(cli("predict", one, "diabetes", "--limit", "1").out)[0] == ["row", "value"]
    assert table(cli("predict", three, "linnerud").out)[0] == ["row", "value_0", "value_1", "value_2"]
    scores = cli("predict", one, "diabetes", "--evaluate").err
    assert re.fullmatch(r"loss with penalty \(standardised\) \S+, rmse \S+, rmse \(standardised\) \S+\n", scores)


def test_float64_keeps_its_digits(cli, tmp_path):
    model = tmp_path / "m.safetensors"
    assert cli("train", "iris", "--dtype", "float64", "--backend", "jax", "--epochs", "1", "--out", model).code == 0
    printed = np.array([row[2:] for row in table(cli("predict", model, "iris").out)[1:]], float)
    np.testing.assert_array_equal(printed, bp.load(model).predict(bp.data.load("iris", standardize=False).x))


def test_a_model_without_names_has_class_numbers(cli, tmp_path):
    net = bp.Network(4, bp.Dense(3), "softmax_cross_entropy")
    bp.Model(net).save(tmp_path / "m.safetensors")
    assert table(cli("predict", tmp_path / "m.safetensors", "iris").out)[0][2:] == ["p(0)", "p(1)", "p(2)"]


def test_invalid_arguments_of_predict_are_refused(mistake, iris, tmp_path):
    assert "there is no model file 'nope'" in mistake("predict", "nope", "iris")
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(iris.read_bytes()[:300])
    assert "corrupt or truncated" in mistake("predict", broken, "iris")
    (tmp_path / "table.csv").write_text("a,b,y\n1,2,3\n")
    assert "begin as one that train --out or Model.save wrote" in mistake("predict", tmp_path / "table.csv", "iris")
    assert "digits: the model requires columns that are not there: 'sepal length (cm)'" in mistake(
        "predict", iris, "digits"
    )
    assert "unknown data set 'irs'" in mistake("predict", iris, "irs")
    assert "ends in .csv or .npy" in mistake("predict", iris, "iris", "--out", tmp_path / "p.txt")
    (tmp_path / "p.csv").write_text("precious")
    assert "exists already" in mistake("predict", iris, "iris", "--out", tmp_path / "p.csv")
    assert "--no-target" in mistake("predict", iris, "iris", "--no-target", "--evaluate")
    assert "'--limit'" in mistake("predict", iris, "iris", "--limit", "0")
    assert (tmp_path / "p.csv").read_text() == "precious"


def test_names_of_numbers_are_printed_and_data_matched_by_them(cli, tmp_path, rng):
    network = bp.Network(2, [bp.Dense(3)], "softmax_cross_entropy")
    model, path = bp.Model(network), tmp_path / "m.safetensors"
    model.class_names = [3, 5.5, 7.0]
    model.save(path)
    x = rng.normal(size=(12, 2))
    chosen = [("3", "5.5", "7")[i] for i in model.predict(x).argmax(axis=1)]
    lines = ["a,b,label", *(f"{a},{b},{name}" for (a, b), name in zip(x.tolist(), chosen, strict=True))]
    (tmp_path / "rows.csv").write_text("\n".join(lines))
    ended = cli("predict", path, tmp_path / "rows.csv", "--target", "label", "--evaluate")
    assert ended.code == 0, ended.err
    head, *rows = ended.out.splitlines()
    assert head == "row,class,p(3),p(5.5),p(7)"
    assert [row.split(",")[1] for row in rows] == chosen
    assert "accuracy 1.0000" in ended.err
