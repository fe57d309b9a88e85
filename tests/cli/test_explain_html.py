"""`bpengine explain --html`: writes one file, or refuses before any work."""

from __future__ import annotations

import base64
import json

import numpy as np
import pytest

import bpengine as bp
from bpengine.explain.page import Page

XOR = ("explain", "2-2-1", "--data", "xor", "--activation", "sigmoid")


def content_of(path):
    return json.loads(path.read_text(encoding="utf-8").split('id="content">')[1].split("</script")[0])


def test_a_page_is_written(cli, tmp_path):
    out = tmp_path / "xor.html"
    args = ("--html", out, "--steps", "7", "--optimizer", "momentum", "--learning-rate", "0.5", "--lang", "pt")
    ended = cli(*XOR, *args)
    assert (ended.code, ended.out.strip()) == (0, f"gravado: {out}")
    page = content_of(out)
    assert (page["title"], page["lang"], page["steps"]) == ("xor", "pt", [1, 2, 3, 4, 5, 6, 7])
    assert (page["about"]["optimizer"], page["about"]["rate"], page["about"]["sizes"]) == ("Momentum", "0.5", "2-2-1")


def test_names_are_those_of_the_data(cli, tmp_path):
    assert cli("explain", "iris", "--layers", "2", "--steps", "1", "--html", tmp_path / "iris.html").code == 0
    data = bp.data.load("iris")
    names = {"inputs": list(data.feature_names), "outputs": list(data.class_names)}
    assert content_of(tmp_path / "iris.html")["names"] == names


def test_a_file_that_exists_is_kept(cli, mistake, tmp_path, monkeypatch):
    out = tmp_path / "xor.html"
    out.write_text("precious")
    with monkeypatch.context() as patch:
        patch.setattr(Page, "save", lambda *_: pytest.fail("written before the check"))
        assert "exists already. Choose another --html, or pass --force" in mistake(*XOR, "--html", out)
    assert out.read_text() == "precious"
    assert cli(*XOR, "--steps", "1", "--html", out, "--force").code == 0
    assert content_of(out)["steps"] == [1]


def test_the_textbook_network_learns(cli, tmp_path):
    out, weights = tmp_path / "xor.html", tmp_path / "weights.json"
    weights.write_text(
        json.dumps({"0.weight": [[3, -2], [3, -2]], "0.bias": [-1, 3], "1.weight": [[3], [3]], "1.bias": [-4]})
    )
    args = (
        "--loss",
        "half_sum_squares",
        "--output-activation",
        "sigmoid",
        "--parameters",
        weights,
        "--learning-rate",
        "2",
    )
    ended = cli(*XOR, *args, "--l2", "0.0001", "--l1", "0.0001", "--html", out)
    assert (ended.code, ended.err) == (0, "")
    page = content_of(out)
    assert page["columns"][2]["kind"] == "Dense, sigmoid"
    assert {kernel for weight in page["weights"] for kernel, _ in weight["penalties"]} == {"l1", "l2"}
    losses = np.frombuffer(base64.b64decode(page["losses"]))
    assert len(losses) == 200
    assert losses[-1] < 0.5 * losses[0]
    start = [np.frombuffer(base64.b64decode(part["text"]), part["kind"]) for part in page["program"]["start"]]
    assert start[0].tolist() == [3, -2, 3, -2]
    assert start[3].tolist() == [-4]


def test_a_run_that_diverges_says_so_and_what_may_help(cli, tmp_path):
    ended = cli(*XOR, "--loss", "half_sum_squares", "--learning-rate", "2", "--html", tmp_path / "xor.html")
    step = content_of(tmp_path / "xor.html")["bad"][0]
    assert ended.code == 0
    assert f"the run diverges: in step {step} a number is not finite. Give a smaller --learning-rate" in ended.err
    assert "--output-activation sigmoid keeps the outputs between them" in ended.err


def test_page_of_a_network_without_biases_shows_none(cli, tmp_path):
    assert cli(*XOR, "--no-bias", "--html", tmp_path / "xor.html", "--steps", "1").code == 0
    assert [weight["name"] for weight in content_of(tmp_path / "xor.html")["weights"] if "bias" in weight["name"]] == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "--parameters requires a JSON file, got 'w.json': No such file or directory"),
        ("{", "--parameters requires a JSON file, got 'w.json': it is no JSON from line 1, column 2 on"),
        ("[1]", "--parameters requires an object of arrays by name"),
        ('{"0.weight": [[1]]}', "parameter '0.weight' requires the shape (2, 2), got (1, 1)"),
        ('{"2.weight": [[1]]}', "unknown parameter '2.weight'"),
    ],
)
def test_unusable_parameter_file_is_refused(mistake, tmp_path, monkeypatch, text, said):
    monkeypatch.chdir(tmp_path)
    if text is not None:
        (tmp_path / "w.json").write_text(text)
    assert said in mistake(*XOR, "--parameters", "w.json", "--html", "x.html")
    assert not (tmp_path / "x.html").exists()


def test_network_options_beside_a_model_file_are_refused(mistake, tmp_path):
    bp.Model(bp.Network(2, bp.Dense(1), "mean_squared_error")).save(tmp_path / "m.safetensors")
    said = mistake("explain", tmp_path / "m.safetensors", "xor", "--no-bias", "--l2", "0.1")
    assert "--no-bias, --l2 requires a network given by its sizes, got the model file" in said


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (
            ["--loss", "sigmoid_cross_entropy", "--output-activation", "sigmoid", "--html", "x.html"],
            "applies 'sigmoid' itself",
        ),
        (
            ["--loss", "binary_cross_entropy", "--output-activation", "tanh", "--html", "x.html"],
            "requires probabilities",
        ),
        (
            ["--htlm", "x.html"],
            "no option '--htlm'. Did you mean '--html' or '--help' or '--terms'? See bpengine explain --help.",
        ),
        (["--html", "missing/x.html"], "there is no folder"),
        (["--html", "x.html", "--sensitivity"], "explain shows one thing at a time"),
        (["--html", "x.html", "--lang", "fr"], "unknown language 'fr'"),
        (["--html", "x.html", "--optimizer", "sdg"], "unknown optimizer 'sdg'. Did you mean 'sgd'"),
    ],
)
def test_invalid_options_of_a_page_are_refused_and_nothing_is_written(mistake, tmp_path, monkeypatch, args, text):
    monkeypatch.chdir(tmp_path)
    assert text in mistake(*XOR, *args)
    assert list(tmp_path.iterdir()) == []
