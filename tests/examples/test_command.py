"""`examples`: the table of all, one example in full, JSON, and the exit code."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import typer

import bpengine as bp
from bpengine import examples
from bpengine.cli.commands import examples as command
from bpengine.cli.exit_codes import exit_code
from bpengine.examples import Result

QUICK = ("colah_computational_graph", "tf_playground_semantics", "ng_ex4_digits_cost")
Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Run the command in this process, with three quick examples for "all"."""
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setattr(examples, "names", lambda: QUICK)
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command()(command.examples)

    def run(*args: str) -> tuple[int, str, str]:
        code = exit_code(lambda: app(args=list(args), prog_name="bpengine examples", standalone_mode=False))
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every example have a first number that is not one."""
    right = examples.run

    def run(name: str, backend: str) -> Result:
        result = right(name, backend)
        bad = replace(result.rows[0], ours=float("nan"), difference=float("nan"), reproduced="no", note="")
        return replace(result, rows=(bad, *result.rows[1:]))

    monkeypatch.setattr(examples, "run", run)


def test_the_table_counts_what_is_reproduced_and_explained(cli: Cli) -> None:
    code, out, err = cli()
    assert (code, err) == (0, "")
    rows = {line.split()[0]: line.split()[-3:] for line in out.splitlines()[2:6]}
    assert rows["colah_computational_graph"] == ["3", "3", "0"]
    assert rows["ng_ex4_digits_cost"] == ["4", "1", "3"]
    assert rows["all"] == ["7", "4", "3"]
    assert "not reproducible" in out
    assert "prints no numbers" in out


def test_one_example_shows_numbers_notes_and_errata(cli: Cli) -> None:
    code, out, err = cli("xor_221_bias_trick")
    assert (code, err) == (0, "")
    assert "Data Science Academy" in out
    assert "hidden_row1[0] yes 0.899 0.899528804392 5.3e-04" in " ".join(out.split())
    assert "20 quantities that were not published agree" in out
    assert "The text lost minus signs" in out


def test_worst_number_of_a_large_array_is_shown(cli: Cli) -> None:
    assert "adam_m[2, 3] (worst of 20)" in cli("cs231n_optimisers")[1]


def test_numbers_that_cannot_be_computed_are_explained(cli: Cli) -> None:
    out = " ".join(cli("ng_ex4_digits_cost")[1].split())
    assert "J_lambda_0 explained 0.287629 - -" in out
    assert "course material that may not be shipped" in out
    assert "Not reproducible: The book's run draws" in cli("nielsen_mnist_784_30_10")[1]


def test_json_holds_every_number(cli: Cli) -> None:
    code, out, err = cli("rashid_333", "--json")
    record: dict[str, Any] = json.loads(out)
    assert (code, err) == (0, "")
    assert {key: record[key] for key in ("published", "reproduced", "explained", "neither", "backend")} == {
        "published": 4, "reproduced": 4, "explained": 0, "neither": 0, "backend": "numpy",
    }  # fmt: skip
    (example,) = record["examples"]
    assert example["rows"][0]["quantity"] == "x_hidden"
    assert example["rows"][0]["published"] == [1.16, 0.42, 0.62]
    assert len(example["rows"][0]["ours"]) == 3


@pytest.mark.usefixtures("wrong")
def test_a_number_that_differs_is_named_and_the_exit_code_is_1(cli: Cli) -> None:
    code, out, _ = cli()
    assert code == 1
    assert "Neither reproduced nor explained:" in out
    assert "c d e: differs" in out
    code, out, _ = cli("colah_computational_graph")
    assert code == 1
    assert "c d e[0] no 3 - -" in " ".join(out.split())


@pytest.mark.usefixtures("wrong")
def test_non_finite_numbers_are_null_in_json(cli: Cli) -> None:
    code, out, _ = cli("colah_computational_graph", "--json")
    row = json.loads(out)["examples"][0]["rows"][0]
    assert (code, row["ours"], row["difference"], row["reproduced"]) == (1, None, None, "no")


def test_unknown_names_are_refused_with_the_nearest(cli: Cli) -> None:
    for args, text in (
        (("mazur",), "unknown example 'mazur'. Did you mean 'mazur_222'"),
        (("rashid_333", "--backend", "nunpy"), "unknown backend 'nunpy'. Did you mean 'numpy'"),
    ):
        code, out, err = cli(*args)
        assert (code, out) == (2, "")
        assert text in err


def test_an_interrupted_fit_ends_the_command(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bp.Model, "fit", lambda *_, **__: bp.History(stopped_by="interrupted"))
    assert cli("brownlee_212_and_222") == (130, "", "bpengine: interrupted.\n")
