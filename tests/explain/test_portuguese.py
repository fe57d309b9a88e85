"""Portuguese is Portuguese throughout: no text, table, figure, graph or page of the room has an English word left in it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cache
from io import StringIO
from typing import Any

import numpy as np
import pytest
from rich.console import Console

import bpengine as bp
from bpengine.explain import figures, forward, graph, paths
from bpengine.explain.page import page
from tests.explain.networks import dosage, xor
from tests.explain.portuguese import COGNATES, DRAWN, LOANS, TABLES, TERMS, english, spelled
from tests.explain.test_figures import texts
from tests.not_finite import put


@cache
def networks() -> dict[str, tuple[bp.Model, Any, Any]]:
    """Return models of every kind, with rows."""
    rng = np.random.default_rng(0)
    x, classes = rng.normal(size=(5, 3)), rng.integers(0, 3, 5)
    inner = [bp.Dense(3, "tanh"), bp.BatchNorm()]
    layers = [
        bp.Dense(4, "relu"),
        bp.LayerNorm(),
        bp.Dropout(0.4),
        bp.Dense(3, "gelu"),
        bp.Residual(inner),
        bp.Dense(3),
    ]
    many = bp.Network(3, layers, "softmax_cross_entropy", [bp.L1(0.01), bp.L2(0.1)])
    softmax = bp.Network(3, [bp.Dense(6, "sigmoid"), bp.Dense(3, "softmax")], "categorical_cross_entropy")
    dead = bp.Network(3, [bp.Dense(2, "relu", bias_init=[-99.0, 0.0]), bp.Dense(1, "tanh", bias_init=[5.0])], "huber")
    sick = bp.Model(bp.Network(3, [bp.Dense(2, bias=False), bp.Dense(1)], "half_sum_squares"), dtype="float64")
    sick.parameters = {"0.weight": np.full((3, 2), 1e200), "1.weight": np.full((2, 1), 1e200)}
    broken = bp.Model(softmax, dtype="float64")
    put(broken, {"0.weight": np.full((3, 6), np.nan)})
    deep = bp.Network(3, [*(bp.Dense(2, "sigmoid") for _ in range(9)), bp.Dense(1)], "sigmoid_cross_entropy")
    return {
        "xor": xor(), "many kinds": (bp.Model(many, dtype="float64"), x, classes),
        "softmax": (bp.Model(softmax, dtype="float64"), x, classes), "overflow": (sick, x, x[:, :1]),
        "nan": (broken, x, classes), "dead": (bp.Model(dead, dtype="float64"), x, x[:, :1]),
        "vanishing": (bp.Model(deep, dtype="float64"), x, (x[:, :1] > 0).astype(float)),
    }  # fmt: skip


def seen(table: Any) -> str:
    console = Console(width=300, record=True, file=StringIO())
    console.print(table)
    return console.export_text()


def explanations(model: bp.Model, x: Any, y: Any, lang: str) -> Iterator[str]:
    """Yield every text that bpengine.explain writes about a step."""
    traced = model.trace(x, y)
    for place, layer in traced.layers.items():
        for unit, optimizer, sample in ((0, "sgd", None), (layer.units - 1, "adam", 1)):
            explained = bp.explain(model, x, y, layer=place, unit=unit, optimizer=optimizer, sample=sample)
            yield explained.text(lang, 2)
            yield seen(explained.table(lang, 2))
    for name, value in model.parameters.items():
        yield paths(model, x, y, f"{name}[{','.join('0' * value.ndim)}]", largest=3).text(lang)
    yield forward(model, x, y).text(lang, 2)
    yield bp.sensitivity(model, x, y).text(lang)
    yield bp.sweep(model, x, y, f"{name}[{','.join('0' * value.ndim)}]", [0.0, 1e308]).text(lang)
    content = page(model, x, y, steps=3, lang=lang).content
    yield " ".join([*content["labels"][lang], content["bad"][1][lang] if content["bad"] else ""])


def written(model: bp.Model, x: Any, y: Any, lang: str) -> str:
    """Return what is written in the graph of a step."""
    drawn = graph(model, x, y, update=True, lang=lang)
    picture = re.sub(r"<[^>]*>", " ", re.sub(r"<style>.*?</style>", "", drawn.svg()))
    return " ".join([picture, drawn.dot().split("rankdir")[0].removeprefix("digraph step"), drawn.title])


@pytest.mark.thorough(keep=1)
@pytest.mark.parametrize("kind", list(networks()))
def test_no_english_word_is_left(kind: str) -> None:
    model, x, y = networks()[kind]
    for text in explanations(model, x, y, "pt"):
        assert not english(text), text
    assert not english(written(model, x, y, "pt"), DRAWN | {"label"})


def test_check_finds_english_words() -> None:
    model, x, y = networks()["nan"]
    for text in explanations(model, x, y, "en"):
        assert english(text), text
    assert english(written(model, x, y, "en"), DRAWN | {"label"})


def descents() -> dict[str, Callable[[bp.Model, Any, Any], bp.History]]:
    fixed: dict[str, Any] = {"optimizer": bp.SGD(0.1), "only": "1.bias"}
    return {
        "step size": lambda m, x, y: m.fit(x, y, steps=99, stop=bp.StepSizeBelow(1e-3), **fixed),
        "loss": lambda m, x, y: m.fit(x, y, steps=99, stop=bp.LossBelow(1.0), **fixed),
        "no improvement": lambda m, x, y: m.fit(
            x, y, epochs=99, stop=bp.NoImprovement(1, restore_best=False), validation=(x, -y), **fixed
        ),
        "steps": lambda m, x, y: m.fit(x, y, steps=3, **fixed),
        "epochs": lambda m, x, y: m.fit(x, y, epochs=3, **fixed),
        "callback": lambda m, x, y: m.fit(x, y, epochs=9, callbacks=lambda model, epoch: epoch.number == 2, **fixed),
    }


@pytest.mark.parametrize("rule", list(descents()))
def test_reason_why_a_descent_stopped_is_portuguese(rule: str) -> None:
    model, x, y = dosage()
    history = descents()[rule](model, x, y)
    swept = bp.sweep(model, x, y, "1.bias", [0.0, 1.0, 3.0], history=history)
    drawn = [figures.sweep(swept, lang="pt"), figures.loss_curve(history, lang="pt")]
    for text in [swept.text("pt"), *(written for figure in drawn for written in texts(figure))]:
        assert not english(text), text
    assert f"parou por: {history.stopped_by}" not in swept.text("pt")


@pytest.mark.thorough(keep=1)
@pytest.mark.parametrize("kind", ["xor", "nan", "dead"])
def test_no_figure_has_an_english_word_left(kind: str) -> None:
    model, x, y = networks()[kind]
    drawn = [figures.gradient_histograms(bp.sensitivity(model, x, y), lang="pt")]
    drawn += [figures.network(model, x, y, layer=0, unit=0, lang="pt")]
    drawn += [figures.draw("boundary", model, x, y, lang="pt")] if kind == "xor" else []
    if kind == "dead":
        drawn += [figures.sweep(bp.sweep(model, x, y, ["1.bias", "0.bias[1]"], [[0.0, 1.0], [0.0, 1.0]]), lang="pt")]
        drawn += [figures.fitted_curve(*dosage(), lang="pt")]
    for figure in drawn:
        for text in texts(figure):
            assert not english(text), text


@pytest.mark.parametrize("key", list(TABLES))
def test_a_phrase_keeps_an_english_word_only_in_brackets_beside_its_translation(key: str) -> None:
    english, translated = TABLES[key]
    placeholders = [sorted(re.findall(r"\{(\w+)", text)) for text in (english, translated)]
    assert placeholders[0] == placeholders[1]
    outside = spelled(re.sub(r"\([^()]*\)", " ", translated))
    assert outside & spelled(english) <= LOANS | COGNATES
    assert not outside & TERMS
