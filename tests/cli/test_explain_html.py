"""`bpengine explain --html`: writes one file, or refuses before any work."""

from __future__ import annotations

import json

import pytest

import bpengine as bp
from bpengine.explain.page import Page

XOR = ("explain", "2-2-1", "--data", "xor", "--activation", "sigmoid")


def told(path):
    return json.loads(path.read_text(encoding="utf-8").split('id="content">')[1].split("</script")[0])


def test_a_page_is_written(cli, tmp_path):
    out = tmp_path / "xor.html"
    args = ("--html", out, "--steps", "7", "--optimizer", "momentum", "--learning-rate", "0.5", "--lang", "pt")
    ended = cli(*XOR, *args)
    assert (ended.code, ended.out.strip()) == (0, f"written: {out}")
    page = told(out)
    assert (page["title"], page["lang"], page["steps"]) == ("xor", "pt", [1, 2, 3, 4, 5, 6, 7])
    assert (page["about"]["optimizer"], page["about"]["rate"], page["about"]["sizes"]) == ("Momentum", "0.5", "2-2-1")


def test_names_are_those_of_the_data(cli, tmp_path):
    assert cli("explain", "iris", "--layers", "2", "--steps", "1", "--html", tmp_path / "iris.html").code == 0
    data = bp.data.load("iris")
    names = {"inputs": list(data.feature_names), "outputs": list(data.class_names)}
    assert told(tmp_path / "iris.html")["names"] == names


def test_a_file_that_exists_is_kept(cli, mistake, tmp_path, monkeypatch):
    out = tmp_path / "xor.html"
    out.write_text("precious")
    with monkeypatch.context() as patch:
        patch.setattr(Page, "save", lambda *_: pytest.fail("written before the check"))
        assert "exists already. Choose another --html, or pass --force" in mistake(*XOR, "--html", out)
    assert out.read_text() == "precious"
    assert cli(*XOR, "--steps", "1", "--html", out, "--force").code == 0
    assert told(out)["steps"] == [1]


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (["--html", "missing/x.html"], "there is no folder"),
        (["--html", "x.html", "--sensitivity"], "explain shows one thing at a time"),
        (["--html", "x.html", "--lang", "fr"], "unknown language 'fr'"),
        (["--html", "x.html", "--optimizer", "sdg"], "unknown optimizer 'sdg'. Did you mean 'sgd'"),
    ],
)
def test_mistakes(mistake, tmp_path, monkeypatch, args, text):
    monkeypatch.chdir(tmp_path)
    assert text in mistake(*XOR, *args)
    assert list(tmp_path.iterdir()) == []
