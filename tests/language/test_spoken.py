"""What is said in Portuguese on the paths of an exercise: commands, their help and their mistakes, errors and reports."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer

import bpengine as bp
from bpengine.cli import main
from bpengine.cli.app import app
from bpengine.i18n import language
from bpengine.i18n.language import code, of_locale
from bpengine.i18n.phrases import PHRASES
from bpengine.i18n.phrases.page import PAGE
from bpengine.training.progress.views import Standing
from tests.language.english_words import english
from tests.language.po_writer import catalogue

COMMANDS = sorted(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
# names, and words that are Portuguese as well
NAMES = frozenset({"value", "values", "in", "or", "error", "errors", "training", "file", "loss", "checkpoint"})


@pytest.fixture(autouse=True)
def before() -> Iterator[None]:
    """Leave the language as it was."""
    yield
    language.choose(None)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a folder with a table, in which commands run."""
    rows = [f"{20 + i % 40},{'ab'[i % 2]},{'hi' if i % 3 else 'lo'}" for i in range(60)]
    (tmp_path / "p.csv").write_text("\n".join(["age,job,pay", *rows]) + "\n")
    days = [f"2020-{1 + i % 12:02}-{1 + i % 28:02},{i},{'ab'[i % 2]},{'hi' if i % 3 else 'lo'}" for i in range(60)]
    (tmp_path / "q.csv").write_text("\n".join(["day,size,job,pay", *days]) + "\n")
    (tmp_path / "two.csv").write_text("a,y\n1,x\n2,z\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def said(capsys: pytest.CaptureFixture[str], *lines: str) -> str:
    """Return what commands print in Portuguese."""
    for line in lines:
        main(["--lang", "pt", *line.split()])
    captured = capsys.readouterr()
    return captured.out + captured.err


SESSIONS = {
    "train": """
        train iris --epochs 5 --out m.safetensors
        predict m.safetensors iris --evaluate --limit 2 --out p.npy
        train p.csv --epochs 3 --validation 0.2 --early-stopping 2 --class-weight balanced --checkpoint run
        checkpoint run""",
    "mistakes": """
        train iris --epochs 2 --out m.safetensors
        train iris --out m.safetensors
        train
        trian
        train iris --epoch 3
        train iris --epochs x
        train iris --epochs 0
        train nofile.csv
        train p.csv --target nope
        train iris --loss msee
        train iris --dropout 2
        train iris --layers a,b
        train iris --test 0 --early-stopping 2
        train iris --optimizer adm
        train p.csv --learning-rate 1e9 --optimizer sgd --epochs 9
        train iris --backend jaxx
        train p.csv --class-weight x
        predict m.safetensors p.csv
        predict nofile iris
        explain 2-3-1
        explain 2-9 --data xor
        explain 2-3-1 --data xor --layer 0
        explain 2-3-1 --data xor --layer 7 --unit 0
        explain 2-3-1 --data xor --weight x
        explain 2-3-1 --data xor --sweep 1.bias
        explain 2-3-1 --data xor --graph x
        check
        check --kernel reluu
        demo --backends x
        examples mazur
        convert nofile big
        compare iris --backends numpy
        export nofile --onnx m.onnx
        doctor --jsn
        launch -n 2 demo""",
    "explain": """
        explain 2-3-1 --data xor
        explain 2-3-1 --data xor --layer 0 --unit 1
        explain 2-3-1 --data xor --sensitivity
        explain 2-3-1 --data xor --weight 0.weight[0,0]
        explain 2-3-1 --data xor --sweep 1.bias=0:3:4
        explain 2-3-1 --data xor --receipt r.jsonl
        explain --verify r.jsonl""",
    "check": """
        check xor --layers 3
        check --kernel relu
        compare xor --backends numpy,jax --layers 3 --steps 2""",
    "examples": """
        examples mazur_222
        examples dsa_221""",
    "columns": """
        train digits --epochs 1 --layers 4 --out d.safetensors
        export d.safetensors --onnx d.onnx
        train q.csv --epochs 1 --layers 4 --out q.safetensors
        predict q.safetensors p.csv
        predict p.csv q.csv
        train two.csv""",
    "seeds": """
        train p.csv --seeds 2 --epochs 2 --validation 0.2 --layers 4
        train p.csv --seeds 2 --epochs 2 --validation 0.2 --layers 4 --monitor accuracy""",
    "doctor": "doctor",
    "demo": "demo --backends numpy --epochs 1",
}


@pytest.mark.parametrize("name", SESSIONS)
def test_no_command_of_an_exercise_prints_english(name: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = said(capsys, *SESSIONS[name].strip().splitlines())
    assert len(text) > 100
    assert english(text, NAMES) == []


def test_names_of_an_exported_file_are_not_translated(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = said(capsys, "train p.csv --epochs 1 --layers 4 --out p.safetensors", "export p.safetensors --onnx p.onnx")
    rows = [line.split() for line in text.splitlines() if line.startswith(("entrada:", "saída:"))]
    assert [row[1] for row in rows] == ["age", "job", "label", "probabilities"]


def test_progress_and_scores_are_named_in_portuguese() -> None:
    bp.language("pt")
    scores = {"loss": 0.5, "accuracy": 0.9}
    standing = Standing(2, 5, epoch=1, epochs=3, loss=0.25, scores=scores)
    assert language.localized(standing.words()) == (
        "época 1 de 3, passo 2 de 5, perda 0.25, validação: perda 0.5000, acurácia 0.9000"
    )
    assert "perda média 0.25" in language.localized(replace(standing, mean=True).words())


@pytest.mark.parametrize("lang", ["en", "pt"])
def test_a_count_of_one_is_in_the_singular(lang: str) -> None:
    model = bp.Model(bp.Network(1, bp.Dense(1), "mean_squared_error"), dtype="float64")
    one, two = ([[1.0]], [[2.0]]), ([[1.0], [2.0]], [[2.0], [1.0]])

    def texts(x: Any, y: Any) -> list[str]:
        explained = bp.explain(model, x, y, layer=0, unit=0).text(lang)
        paths = bp.explain.paths(model, x, y, "0.weight[0,0]", largest=1).text(lang)
        return [
            explained.splitlines()[1],
            bp.explain.graph(model, x, y, lang=lang).title,
            *paths.splitlines()[:1],
            paths,
        ]

    nouns = {
        "en": ("1 row", "2 rows", "the one path", "2 paths"),
        "pt": ("1 amostra", "2 amostras", "o único caminho", "2 caminhos"),
    }[lang]
    for (x, y), row, path in zip((one, two), nouns[:2], nouns[2:], strict=True):
        explained, title, chain, _ = texts(x, y)
        assert re.search(rf"\b{row}\b", explained)
        assert re.search(rf"\b{row}\b", title)
        assert path in chain
    assert re.search({"en": "1 other path:", "pt": "1 outro caminho:"}[lang], texts(*two)[-1])


def test_no_phrase_leaves_the_plural_open() -> None:
    phrases = [text for both in (PHRASES | PAGE).values() for text in both]
    ends = re.compile(r"\w\((?:s|es|a|as|os)\)")  # row(s), todo(a)
    assert [text for text in phrases if ends.search(text)] == []
    assert [entry.translation for entry in catalogue() if ends.search(entry.translation)] == []


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_is_portuguese(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = said(capsys, f"{command} --help")
    assert text.startswith("Uso: bpengine")
    assert "Opções:" in text
    assert "Options" not in text
    assert "--lang" in text
    assert english(text, NAMES) == []


def test_json_is_the_same_in_every_language(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["train", "iris", "--epochs", "2", "--checkpoint", "run"])
    checkpoint = max(
        (path for path in (folder / "run").rglob("*") if path.is_file()), key=lambda path: path.stat().st_size
    )
    checkpoint.write_bytes(checkpoint.read_bytes()[:-3])  # the list says why it is not whole
    capsys.readouterr()
    outputs: dict[str, list[object]] = {"en": [], "pt": []}
    for name, printed in outputs.items():
        for line in (
            "explain 2-3-1 --data xor --sensitivity",
            "check xor --layers 3",
            "examples mazur_222",
            "checkpoint run",
        ):
            main([*line.split(), "--json", "--lang", name])
            printed.append(json.loads(capsys.readouterr().out))
    assert outputs["en"] == outputs["pt"]
    assert "damaged" in str(outputs["pt"][-1])


def two_inputs() -> bp.Model:
    return bp.Model(bp.Network(2, bp.Dense(1), "mean_squared_error"))


MISTAKES: list[Callable[[], object]] = [
    lambda: bp.Dense(0),
    lambda: bp.Dense(2, "rellu"),
    lambda: bp.Dropout(2),
    lambda: bp.Network(2, [bp.Dense(1)], "mse loss"),
    lambda: bp.Network(2, [], "mean_squared_error"),
    lambda: bp.Network(2, [bp.Dense(3, "sigmoid")], "softmax_cross_entropy"),
    lambda: two_inputs().predict([[1.0, 2.0, 3.0]]),
    lambda: two_inputs().predict([[1.0, float("nan")]]),
    lambda: two_inputs().fit([[1.0, 2.0]], [[1.0]]),
    lambda: two_inputs().fit([[1.0, 2.0]], [[1.0], [2.0]], epochs=1),
    lambda: two_inputs().fit([[1.0, 2.0]], [["a"]], epochs=1),
    lambda: bp.Model(bp.Network(2, bp.Dense(2), "softmax_cross_entropy")).fit([[1.0, 2.0]], [2], epochs=1),
    lambda: bp.Model(bp.Network(1, bp.Dense(1), "mean_squared_error")).fit(
        [[1e3]], [[1.0]], optimizer=bp.SGD(1e9), steps=100
    ),
    lambda: bp.Model(bp.Network(2, bp.Dense(1), "mean_squared_error"), backend="numpi"),
    lambda: bp.data.load("irris"),
    lambda: bp.load("nofile.safetensors"),
    lambda: bp.SGD(-1),
    lambda: bp.language("fr"),
    lambda: bp.check_gradients(3),
    lambda: bp.explain(two_inputs(), [[1.0, 2.0]], [[1.0]], layer=3, unit=0),
]


@pytest.mark.parametrize("mistake", MISTAKES, ids=range(len(MISTAKES)))
def test_errors_are_portuguese(mistake: Callable[[], object]) -> None:
    bp.language("pt")
    with pytest.raises(bp.BpError) as caught:
        mistake()
    assert english(str(caught.value), NAMES) == []
    assert english(caught.value.english()) != [] or "unknown" in caught.value.english()


def test_reports_are_portuguese() -> None:
    bp.language("pt-BR")
    text = str(bp.check_gradients("sigmoid", [[0.5]]))
    assert text.startswith("passou: gradientes (kernel sigmoid)")
    assert english(text, NAMES) == []


class Gain(bp.Layer):
    """A layer whose backward lacks a factor, which shows at the perturbed point only."""

    def init(self, rng: Any, inputs: int) -> dict[str, Any]:
        return {"gain": np.ones(inputs)}

    def forward(self, ops: Any, params: Any, running: Any, x: Any, run: Any) -> tuple[Any, Any, Any]:
        return x * params["gain"], x, running

    def backward(self, ops: Any, residual: Any, dy: Any, *, need_dx: bool = True) -> tuple[Any, Any]:
        return dy, {"gain": ops.xp.sum(dy * residual, axis=0)}


def test_a_failed_check_of_ones_own_layer_is_portuguese() -> None:
    bp.language("pt")
    xor = bp.data.load("xor")
    network = bp.Network(2, [bp.Dense(3, "tanh"), Gain(), bp.Dense(1)], "sigmoid_cross_entropy")
    report = bp.Model(network, dtype="float64", seed=1).check(xor.x, xor.y)
    text = str(report)
    assert text.startswith("FALHOU só no ponto perturbado: gradientes (rede 2-3-3-1")
    assert "culpado: Gain.backward (camada 1), gradiente de x no ponto perturbado: " in text
    assert "falta o fator `gain`" in text
    assert "NÃO" in text
    assert english(text, NAMES) == []
    page = bp.explain.page(bp.Model(network), xor.x, xor.y, steps=1)
    assert str(page).endswith('uma página interativa; save("page.html") a grava')


def test_warnings_are_portuguese(folder: Path) -> None:
    bp.language("pt")
    model = bp.Model(bp.Network(1, bp.Dense(1), "mean_squared_error"))
    with pytest.warns(UserWarning, match="é mais que 2 linhas: treinando com o lote inteiro"):
        model.fit([[1.0], [2.0]], [[1.0], [2.0]], batch_size=5, epochs=1)


def test_explanations_are_in_the_language_that_is_set() -> None:
    xor = bp.data.load("xor")
    model = bp.Model(bp.Network(2, [bp.Dense(2, "sigmoid"), bp.Dense(1)], "half_sum_squares"))
    explained = bp.explain(model, xor.x, xor.y, layer=0, unit=0)
    assert str(explained) == explained.text("en") == explained.text("en_US")
    bp.language("pt")
    assert str(explained) == explained.text("pt") == explained.text("pt-BR") == explained.text("pt_BR")


@pytest.mark.parametrize("name", ["pt", "pt-BR", "pt_BR", "PT", "pt_BR.UTF-8"])
def test_a_language_has_many_names(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bp.language(name) == "pt"
    language.choose(None)
    assert main([f"--lang={name}", "trian"]) == 2
    assert main(["explain", "2-3", "--lang", name]) == 2
    monkeypatch.setenv("BPENGINE_LANG", name)
    assert main(["trian"]) == 2
    assert capsys.readouterr().err.count("erro: ") == 3
    assert bp.language() == "pt"
    assert main(["trian", "--lang", "en"]) == 2
    assert "error: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, "en"),
        ({"LANG": "pt_BR.UTF-8"}, "pt"),
        ({"LANG": "pt_BR.UTF-8", "LC_ALL": "C"}, "en"),
        ({"LANG": "en_US.UTF-8", "LC_MESSAGES": "pt_PT"}, "pt"),
        ({"LANG": "pt_BR.UTF-8", "LANGUAGE": "fr:en"}, "en"),
        ({"LANG": "C.UTF-8", "LANGUAGE": "pt"}, "en"),
        ({"LANG": "de_DE.UTF-8"}, "en"),
    ],
)
def test_language_is_taken_from_the_locale(variables: dict[str, str], expected: str) -> None:
    assert of_locale(variables) == expected


def test_api_ignores_the_locale() -> None:
    run = {**{k: v for k, v in os.environ.items() if k != "BPENGINE_LANG"}, "LC_ALL": "pt_BR.UTF-8"}
    line = subprocess.run(
        [sys.executable, "-m", "bpengine", "trian"], capture_output=True, text=True, env=run, check=False
    )
    assert (line.returncode, line.stderr[:21]) == (2, "bpengine: erro: não e")
    script = "import bpengine as bp\ntry: bp.Dense(0)\nexcept bp.BpError as error: print(error)"
    api = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=run, check=True)
    assert "requires" in api.stdout


def test_an_unknown_language_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--lang", "fr", "doctor"]) == 2
    assert capsys.readouterr().err == "bpengine: error: unknown language 'fr'. Known: en, pt.\n"
    assert code("portuguese") is None


def test_the_language_of_a_command_ends_with_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trian", "--lang", "pt"]) == 2
    assert bp.language() == "en"
    bp.language("pt")
    assert main(["trian"]) == 2
    assert capsys.readouterr().err.count("erro: ") == 2
