"""The page: its numbers are the engine's, its file holds everything and nothing that can do harm."""

from __future__ import annotations

import base64
import json
import math
import re
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bpengine as bp
from bpengine.cli import main
from bpengine.cli.commands.explain import HELP
from bpengine.errors import ConfigError
from bpengine.explain.network_columns import FEWER
from bpengine.explain.page import Page, page
from bpengine.explain.page.document import SCRIPTS, page_phrases
from bpengine.explain.page.record_run import spread
from bpengine.explain.trace.steps import trace_steps
from bpengine.i18n.phrases.page import PAGE, SHARED
from bpengine.output.visible import visible

ROOT = Path(__file__).parents[2]
X = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], float)
Y = np.array([[0], [1], [1], [0]], float)
NASTY = "</script><script>window.hacked = 1</script><!-- \"'&\u2028"


def xor(dtype: str = "float64") -> bp.Model:
    layers = [bp.Dense(2, "sigmoid"), bp.Dense(1, "sigmoid")]
    return bp.Model(bp.Network(2, layers, "half_sum_squares"), "numpy", dtype, seed=3)


def content(document: Page) -> Any:
    """Read the page's JSON back out of its HTML, as a browser does: up to the first end tag."""
    return json.loads(document.html().split('id="content">')[1].split("</script")[0])


class Numbers:
    """The page's columns, read as its script reads them."""

    def __init__(self, shown: Any) -> None:
        self.steps = len(shown["steps"])
        kinds = (("constants", "<f8"), ("singles", "<f4"), ("doubles", "<f8"))
        self.constants, singles, doubles = (
            np.frombuffer(base64.b64decode(shown["numbers"][name]), kind).astype(float) for name, kind in kinds
        )
        self.columns = np.concatenate([singles, doubles]).reshape(-1, self.steps)
        self.places = shown["places"]

    def __call__(self, ref: int, at: int) -> float:
        ref, constants = ref if self.places is None else self.places[ref], len(self.constants)
        return float(self.constants[ref] if ref < constants else self.columns[ref - constants, at])


@pytest.mark.parametrize(
    "optimizer", [bp.SGD(0.1), bp.Momentum(0.1), bp.Adam(bp.Cosine(0.1, 9))], ids=lambda o: o.kernel
)
def test_traces_of_steps_are_those_of_a_fit(optimizer: bp.Adam, rng: np.random.Generator) -> None:
    layers = [bp.Dense(4, "tanh"), bp.BatchNorm(), bp.Dropout(0.3), bp.Dense(2)]
    x, y = rng.normal(size=(7, 3)), rng.normal(size=(7, 2))
    model = bp.Model(bp.Network(3, layers, "mean_squared_error", bp.L2(0.1)), "numpy", "float64", seed=5)
    before = model.parameters
    traces = list(trace_steps(model, x, y, optimizer=optimizer, steps=9))
    for name, value in model.parameters.items():
        np.testing.assert_array_equal(value, before[name])
    history = model.fit(x, y, optimizer=optimizer, steps=9)
    np.testing.assert_array_equal([trace.loss for trace in traces], history.loss)
    np.testing.assert_array_equal([trace.learning_rate for trace in traces], history.learning_rate)
    for name, value in model.parameters.items():
        np.testing.assert_array_equal(traces[-1].updated[name], value)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_numbers_are_the_engines(dtype: str) -> None:
    shown = content(page(xor(dtype), X, Y, optimizer=bp.SGD(2.0), steps=30))
    number, model = Numbers(shown), xor(dtype)
    assert shown["steps"] == list(range(1, 31))
    for at in range(30):
        for unit in shown["units"]:
            e = bp.explain(model, X, Y, layer=unit["column"] - 1, unit=unit["unit"], optimizer=bp.SGD(2.0))
            for name in ("z", "a", "da", "dz"):
                assert [number(ref, at) for ref in unit[name]] == getattr(e, name).tolist()
            for name in ("forward", "incoming", "through"):
                for r, sums in enumerate(unit[name]):
                    terms = getattr(e, name).terms(r)
                    got = [[number(ref, at) for ref in term[1:]] for term in sums["terms"]]
                    assert got == [[t.left, t.right, t.product] for t in terms]
                    assert (number(sums["value"], at), number(sums["rounding"], at)) == (terms.value, terms.rounding)
            own = {label: (part, i) for part in e.parameters for i, label in enumerate(part.labels())}
            for weight in (shown["weights"][i] for i in unit["weights"]):
                part, i = own.pop(weight["name"])
                update = part.update
                for name, wanted in (("old", update.old), ("step_size", update.step_size), ("new", update.new)):
                    assert number(weight[name], at) == wanted[i]
                assert number(weight["gradient"], at) == part.gradient[i]
                assert [number(t[3], at) for t in weight["data"]["terms"]] == part.data.product[i].tolist()
            assert not own
        assert number(shown["loss"], at) == model.trace(X, Y).loss
        model.fit(X, Y, optimizer=bp.SGD(2.0), steps=1)


GUIDES = ("forward-and-backward.md", "forward-and-backward.pt-BR.md")


@pytest.mark.thorough(keep=1)
@pytest.mark.parametrize("text", [HELP, *((ROOT / "docs" / "guides" / name).read_text("utf-8") for name in GUIDES)])
def test_the_training_that_help_and_guides_offer_as_a_page_learns(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (command,) = re.findall(r"bpengine (explain [^`\n]*--html xor\.html[^`\n]*)", text)
    monkeypatch.chdir(tmp_path)
    assert main(command.split()) == 0
    shown = json.loads(Path("xor.html").read_text("utf-8").split('id="content">')[1].split("</script")[0])
    losses = np.frombuffer(base64.b64decode(shown["losses"]))
    assert losses[-1] < 0.1 * losses[0]


def test_a_short_run_of_a_small_network_is_kept_whole_and_small() -> None:
    document = page(xor(), X, Y, steps=200)
    assert len(document.content["steps"]) == 200
    assert len(document.html().encode()) < 1_000_000


@pytest.fixture(scope="module")
def large() -> Page:
    rng = np.random.default_rng(0)
    layers = [bp.Dense(512, "relu"), bp.Dense(256, "relu"), bp.Dense(10)]
    model = bp.Model(bp.Network(784, layers, "softmax_cross_entropy"), "numpy", "float32")
    return page(model, rng.random((128, 784)), rng.integers(0, 10, 128), steps=4)


def test_a_network_too_large_to_draw_shows_its_largest_terms(large: Page) -> None:
    shown = content(large)
    number = Numbers(shown)
    assert [len(column["units"]) for column in shown["columns"]] == [FEWER] * 4
    assert not any(column["whole"] for column in shown["columns"])
    assert len(large.html().encode()) < 1_500_000
    for unit in shown["units"]:
        for sums in (*unit["forward"], *unit["incoming"], *(shown["weights"][i]["data"] for i in unit["weights"])):
            products = [number(term[3], 0) for term in sums["terms"]]
            left = number(sums["rest"], 0) if "rest" in sums else 0.0
            total = math.fsum([*products, left, number(sums["rounding"], 0)])
            assert total == pytest.approx(number(sums["value"], 0), rel=1e-12, abs=1e-20)
            assert sums.get("left_out", 0) + len(products) in (1, 10, 128, 256, 257, 512, 513, 785)


def test_the_drawn_units_have_the_largest_gradients(large: Page) -> None:
    rng = np.random.default_rng(0)
    layers = [bp.Dense(512, "relu"), bp.Dense(256, "relu"), bp.Dense(10)]
    model = bp.Model(bp.Network(784, layers, "softmax_cross_entropy"), "numpy", "float32")
    traced = model.trace(rng.random((128, 784)), rng.integers(0, 10, 128))
    size = np.abs(traced.layers["0"].dz).sum(axis=0)
    drawn = content(large)["columns"][1]["units"]
    assert size[drawn].min() >= np.delete(size, drawn).max()


def test_many_steps_are_thinned_out_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bpengine.explain.page.record_run.BYTES", 10_000)
    shown = content(page(xor(), X, Y, steps=50))
    assert shown["steps"][0] == 1
    assert shown["steps"][-1] == 50
    assert 2 <= len(shown["steps"]) < 20
    assert set(np.diff(shown["steps"])) <= {np.diff(shown["steps"]).min(), np.diff(shown["steps"]).min() + 1}
    assert len(base64.b64decode(shown["losses"])) == 50 * 8


@pytest.mark.parametrize(("count", "wanted", "chosen"), [(5, 9, [0, 1, 2, 3, 4]), (9, 3, [0, 4, 8]), (1, 4, [0])])
def test_steps_are_selected_evenly(count: int, wanted: int, chosen: list[int]) -> None:
    assert spread(count, wanted) == chosen


def test_a_run_that_ends_in_nan_says_where_it_began() -> None:
    model = bp.Model(bp.Network(1, [bp.Dense(2, "relu"), bp.Dense(1)], "mean_squared_error"), seed=1)
    shown = content(page(model, [[1.0], [2.0]], [[1.0], [3.0]], optimizer=bp.SGD(10.0), steps=60))
    step, cause = shown["bad"]
    traces = list(trace_steps(model, [[1.0], [2.0]], [[1.0], [3.0]], optimizer=bp.SGD(10.0), steps=step))
    assert [trace.first_bad is None for trace in traces] == [True] * (step - 1) + [False]
    assert cause == {lang: traces[-1].first_bad.text(lang) for lang in ("en", "pt")}
    assert shown["steps"][-1] == step < 60


def test_names_from_data_stay_text() -> None:
    document = page(xor(), X, Y, steps=2, title=NASTY, inputs=[NASTY, "b"], outputs=[NASTY])
    text = document.html()
    assert NASTY not in text
    assert text.count("<script") == text.count("</script") == 2
    data = text.split('id="content">')[1].split("</script")[0]
    assert not re.search("[<>&\u2028\u2029]", data)
    shown = json.loads(data)
    assert shown["title"] == shown["names"]["inputs"][0] == shown["names"]["outputs"][0] == visible(NASTY)
    assert visible(NASTY) in shown["labels"]["en"]


def test_page_loads_nothing_from_the_network() -> None:
    text = page(xor(), X, Y, steps=2).html()
    assert "default-src 'none'" in text
    assert not re.search(r"(?i)\b(src|href)=\"(?!data:,)|@import|\burl\(|https?://(?!www\.w3\.org/2000/svg)", text)


def test_every_phrase_exists_in_both_languages() -> None:
    for key, phrases in PAGE.items():
        assert len(phrases) == 2, key
        assert sorted(re.findall(r"\{\w+\}", phrases[0])) == sorted(re.findall(r"\{\w+\}", phrases[1])), key
    scripts = "".join((files("bpengine.explain.page") / name).read_text() for name in (*SCRIPTS, "template.html"))
    spoken = page_phrases()["pt"]
    used = set(re.findall(r"(?:say\(|data-say=)\"(\w+)\"", scripts))
    assert used <= set(spoken)
    for key in (*PAGE, *(f"room_{key}" for key in SHARED)):
        composed = key.startswith("stage_") or key.endswith("_legend") or key.startswith("cannot_edit_")
        composed = composed or key == "needs_script" or (key.endswith("_one") and f'"{key[:-4]}"' in scripts)
        assert composed or f'"{key}"' in scripts, f"{key} is never said"


def own_words(name: str) -> list[str]:
    """Return the texts of a file of the page: those of the template, and of a script two words or a capitalised one."""
    text = (files("bpengine.explain.page") / name).read_text(encoding="utf-8")
    if name.endswith(".html"):
        return [said for said in re.findall(r">([^<]*[A-Za-z][^<]*)<", text) if not re.fullmatch(r"\{\{\w+\}\}", said)]
    code = re.sub(r"(?<![:\"'`])//.*", "", text)
    literals = [
        re.sub(r"\$\{[^}]*\}", "", quoted or filled) for quoted, filled in re.findall(r'"([^"\n]*)"|`([^`]*)`', code)
    ]
    return [said for said in literals if re.search(r"[A-Za-z]{2,} [A-Za-z]{2,}|^[A-Z][a-z]{2,}", said)]


# names of classes, selectors, a layer's kind, and the form of a file
NAMES_IN_SCRIPTS = {
    "use strict", "bpengine page 1", "Dense", "line-of edit", "curve before", "curve own",
    ".part:first-of-type li, .part:first-of-type .line-of",
}  # fmt: skip


def test_the_page_says_nothing_but_its_phrases() -> None:
    assert own_words("template.html") == ["English", "Português"]
    assert {said for name in SCRIPTS for said in own_words(name)} <= NAMES_IN_SCRIPTS


class Doubling(bp.Layer):
    """A layer that calls no kernel: nothing is known about what joins its units."""

    def forward(self, ops: Any, params: Any, running: Any, x: Any, run: Any) -> Any:
        return x + x, None, running

    def backward(self, ops: Any, residual: Any, dy: Any, *, need_dx: bool = True) -> Any:
        return dy + dy, {}


def test_layer_of_an_own_class_is_named() -> None:
    layers = [bp.Dense(2), Doubling(), bp.Dense(1)]
    model = bp.Model(bp.Network(2, layers, "mean_squared_error"))
    assert content(page(model, X, Y, steps=2))["left"] == ["0", "1"]  # nothing known takes what these give
    assert content(page(xor(), X, Y, steps=2))["left"] == []


def test_gradient_computed_outside_of_kernels_is_shown_without_terms() -> None:
    layers = [bp.Dense(2, "tanh"), Doubling(), bp.Dense(1)]
    shown = content(page(bp.Model(bp.Network(2, layers, "mean_squared_error")), X, Y, steps=2))
    first = next(unit for unit in shown["units"] if unit["column"] == 1)
    assert first["incoming"] is None
    assert first["through"] is not None
    html = page(bp.Model(bp.Network(2, layers, "mean_squared_error")), X, Y, steps=1).html()
    assert 'say("room_outside"), "backward", line("dL/da"' in html
    assert "nothing comes back" not in html


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"steps": 0}, "steps to be a whole number of at least 1"),
        ({"lang": "fr"}, "unknown language 'fr'"),
        ({"optimizer": "sdg"}, "unknown optimizer 'sdg'. Did you mean 'sgd'"),
    ],
)
def test_invalid_page_settings_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(said)):
        page(xor(), X, Y, **settings)


def test_page_requires_targets() -> None:
    with pytest.raises(ConfigError, match="requires y"):
        page(xor(), X, None)


def test_a_page_with_a_program_stays_below_a_megabyte(rng: np.random.Generator) -> None:
    model = bp.Model(
        bp.Network(4, [bp.Dense(6, "tanh"), bp.Dense(3)], "softmax_cross_entropy"), "numpy", "float64", seed=1
    )
    document = page(model, rng.normal(size=(150, 4)), rng.integers(0, 3, 150), steps=120)
    steps = document.content["steps"]
    assert document.content["program"] is not None
    assert 700_000 < len(document.html()) <= 1_000_000
    assert (steps[0], steps[-1]) == (1, 120)
    assert len(steps) < 120
