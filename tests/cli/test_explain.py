"""`bpengine explain` as a user types it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import bpengine as bp

XOR = ("2-3-1", "--data", "xor", "--activation", "sigmoid", "--loss", "half_sum_squares")


def test_unit_is_explained_in_words_and_as_json(cli: Callable[..., Any]) -> None:
    ended = cli("explain", *XOR, "--layer", 0, "--unit", 2, "--sample", 1, "--lang", "pt")
    assert ended.code == 0
    assert ended.out.startswith("Unidade 2 da camada 0 (Dense, sigmoid), camada oculta")
    assert "taxa de aprendizado (learning rate)" in ended.out
    printed = json.loads(cli("explain", *XOR, "--layer", 0, "--unit", 2, "--json").out)
    assert printed["adds_up"] is True
    assert printed["rows"] == [0, 1, 2, 3]
    model = bp.Model(bp.Network(2, [bp.Dense(3, "sigmoid"), bp.Dense(1)], "half_sum_squares"), dtype="float64")
    data = bp.data.load("xor")
    explained = model.explain(data.x, data.y, layer=0, unit=2, optimizer=bp.SGD(0.1))
    assert printed["dz"] == explained.dz.tolist()


def test_explain_without_a_view_prints_the_forward_pass(cli: Callable[..., Any]) -> None:
    ended = cli("explain", *XOR)
    assert ended.code == 0
    assert ended.out.count("observed - predicted = residual") == 4


@pytest.mark.parametrize("view", [(), ("--sensitivity",), ("--weight", "0.weight[1,2]"), ("--verify", "receipt.jsonl")])
def test_an_optimizer_that_is_not_used_is_checked_as_well(cli: Callable[..., Any], view: tuple[str, ...]) -> None:
    ended = cli("explain", *XOR, *view, "--learning-rate", "-1")
    assert (ended.code, ended.out) == (2, "")
    assert "requires a learning rate of at least 0, got -1.0" in ended.err
    assert "unknown optimizer 'adm'" in cli("explain", *XOR, *view, "--optimizer", "adm").err


def test_weight_option_prints_the_chain_rule_of_a_weight(cli: Callable[..., Any]) -> None:
    ended = cli("explain", *XOR, "--weight", "0.weight[1,2]", "--terms", 1)
    assert "Chain rule of 0.weight[1,2]: the sum over 2 paths" in ended.out
    assert "1 other path" in ended.out
    assert "they agree" in ended.out


def test_sweep_option_takes_one_or_two_parameters(cli: Callable[..., Any]) -> None:
    printed = json.loads(cli("explain", *XOR, "--sweep", "1.bias=-1:1:3", "--json").out)
    assert printed["values"] == [[-1.0, 0.0, 1.0]]
    two = ("--sweep", "1.bias=0,1", "--sweep", "0.weight[0,0]=0:1:3")
    printed = json.loads(cli("explain", *XOR, *two, "--json").out)
    assert (len(printed["loss"]), len(printed["loss"][0])) == (2, 3)


def test_sensitivity_option_ranks_the_partial_derivatives(cli: Callable[..., Any]) -> None:
    ended = cli("explain", *XOR, "--sensitivity", "--terms", 3)
    assert "The largest partial derivatives" in ended.out
    assert len(json.loads(cli("explain", *XOR, "--sensitivity", "--json").out)["parameters"]) == 13


@pytest.mark.parametrize(("kind", "start"), [("dot", "digraph"), ("mermaid", "flowchart LR"), ("svg", "<svg")])
def test_a_graph_is_printed_as_it_is_or_written(cli: Callable[..., Any], tmp_path: Path, kind: str, start: str) -> None:
    printed = cli("explain", *XOR, "--graph", kind).out
    assert printed.startswith(start)
    file = tmp_path / "step.txt"
    assert cli("explain", *XOR, "--graph", kind, "--out", file).code == 0
    assert file.read_text(encoding="utf-8") == printed


def test_graph_is_labelled_in_portuguese(cli: Callable[..., Any]) -> None:
    assert "amostras, função de perda" in cli("explain", *XOR, "--graph", "dot", "--lang", "pt").out


def test_a_receipt_is_written_verified_and_a_changed_one_found(cli: Callable[..., Any], tmp_path: Path) -> None:
    file = tmp_path / "step.jsonl"
    assert cli("explain", *XOR, "--receipt", file, "--optimizer", "adam").code == 0
    ended = cli("explain", "--verify", file)
    assert ended.code == 0
    assert ended.out.startswith("every line follows")
    lines = file.read_text(encoding="utf-8").splitlines()
    number = next(i for i, line in enumerate(lines) if "sigmoid_bwd" in line)
    entry = json.loads(lines[number])
    entry["outputs"]["dx"]["values"][0] *= 1.000001
    file.write_text("\n".join([*lines[:number], json.dumps(entry), *lines[number + 1 :]]), encoding="utf-8")
    ended = cli("explain", "--verify", file)
    assert ended.code == 1
    assert ended.out.startswith(f"line {number + 1} does not follow: dx of sigmoid_bwd in layer 0")
    assert json.loads(cli("explain", "--verify", file, "--json").out)["line"] == number + 1


def test_model_file_with_class_names_is_explained(cli: Callable[..., Any], tmp_path: Path) -> None:
    file = tmp_path / "iris.safetensors"
    assert cli("train", "iris", "--layers", "4", "--epochs", 1, "--out", file).code == 0
    ended = cli("explain", file, "iris", "--rows", 5, "--layer", 1, "--unit", 0)
    assert ended.code == 0
    assert "softmax_cross_entropy (mean) over 5 rows" in ended.out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--layer", 7, "--unit", 0), "requires layer to be 0 to 1, got 7"),
        (("--layer", 0, "--unit", 9), "layer 0 has the units 0 to 2, got unit 9"),
        (("--layer", 0), "--layer and --unit go together"),
        (("--weight", "0.wieght[0,0]"), "Did you mean '0.weight'"),
        (("--sensitivity", "--graph", "dot"), "one thing at a time, got sensitivity, graph"),
        (("--graph", "dto"), "unknown kind of graph 'dto'. Did you mean 'dot'"),
        (("--sweep", "1.bias"), "--sweep requires NAME=VALUES"),
        (("--sweep", "1.bias=0:1"), "FROM:TO:COUNT"),
        (("--sweep", "1.bias=0:1:0"), "COUNT of at least 1"),
        (("--lang", "fr"), "unknown language 'fr'"),
    ],
)
def test_mistakes_are_one_line(mistake: Callable[..., str], options: tuple[Any, ...], words: str) -> None:
    assert words in mistake("explain", *XOR, *options)


def test_invalid_arguments_of_explain_are_refused(mistake: Callable[..., str], tmp_path: Path) -> None:
    assert "requires the sizes 2-2-1, got 2-2-5" in mistake("explain", "2-2-5", "--data", "xor")
    assert "got 0 names" in mistake("explain")
    assert "got 3 names" in mistake("explain", "a", "b", "c")
    assert "cannot read the receipt" in mistake("explain", "--verify", tmp_path / "nothing")
    there = tmp_path / "there.jsonl"
    there.touch()
    assert "pass --force to overwrite it" in mistake("explain", *XOR, "--receipt", there)
    assert "pass --force to overwrite it" in mistake("explain", *XOR, "--graph", "svg", "--out", there)
    assert there.read_text(encoding="utf-8") == ""
