"""The page in a browser: units and weights answer to pointer and keyboard, and say the engine's numbers."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from itertools import combinations, pairwise, product
from typing import Any

import numpy as np
import pytest

import bpengine as bp
from bpengine.explain.page import page
from bpengine.explain.units.explanation import Explanation
from bpengine.i18n.phrases.page import PAGE
from bpengine.i18n.translate import format_number
from bpengine.output.visible import visible
from tests.explain.portuguese import PROSE
from tests.explain.portuguese import english as wrong_words
from tests.explain.test_page import NASTY, Doubling, X, Y, xor

RATE = bp.SGD(2.0)
STEPS = 40
Opened = Callable[..., Any]


@cache
def html(lang: str = "en") -> str:
    return page(xor(), X, Y, optimizer=RATE, steps=STEPS, title="xor", lang=lang).html()


def numbers(tab: Any, part: str) -> list[float]:
    """Return the numbers of a part of the sum, at full precision; what is shown of them must be the same."""
    shown = tab.eval_on_selector_all(f"#told {part} b", "list => list.map((b) => [b.dataset.value, b.textContent])")
    assert [text for _, text in shown] == [format_number(float(value)) for value, _ in shown]
    return [float(value) for value, _ in shown]


def to_step(tab: Any, step: int) -> None:
    tab.locator("#step").fill(str(step))


def engine(step: int, layer: int, unit: int, row: int) -> Explanation:
    model = xor()
    if step:
        model.fit(X, Y, optimizer=RATE, steps=step)
    return bp.explain(model, X, Y, layer=layer, unit=unit, sample=row, optimizer=RATE)


def test_page_opens_on_the_first_hidden_unit(opened: Opened) -> None:
    tab = opened(html())
    assert tab.title() == "xor 2-2-1 - backpropagation"
    assert tab.locator("#told h3").text_content() == "Unit 0 of layer 0 (Dense, sigmoid), hidden layer"
    assert tab.locator("#now").text_content().startswith("Step 1 of 40, loss 0.")
    assert tab.locator(".node[role=button]").count() == 2 + 2 + 1 + 1
    assert tab.locator(".line[role=button]").count() == 9


@pytest.mark.parametrize("step", [0, 17, STEPS - 1])
def test_the_numbers_of_units_are_the_engines(opened: Opened, step: int) -> None:
    tab = opened(html())
    to_step(tab, step)
    for number, (layer, unit) in enumerate([(0, 0), (0, 1), (1, 0)]):
        for row in (0, 3):
            tab.locator("#look-at").select_option(f"u{number}")
            tab.locator("#sample").select_option(str(row))
            e = engine(step, layer, unit, row)
            assert e.forward is not None
            assert e.incoming is not None
            assert e.through is not None
            sums = [s.terms(0) for s in (e.forward, e.incoming, e.through)]
            z, da, dz = ([*(t.product for t in s), s.value] for s in sums)
            assert numbers(tab, ".part.forward") == [*z, float(e.a[0])]
            assert [v for v in numbers(tab, ".part.backward") if abs(v) > 1e-15] == [*da, *dz]
            said = tab.locator(".part.backward .terms li").first.text_content()
            first = sums[1].terms[0]
            assert format_number(first.left) in said
            assert format_number(first.right) in said


def test_the_numbers_of_weights_are_the_engines(opened: Opened) -> None:
    tab = opened(html())
    to_step(tab, 21)
    for i, (layer, unit, own, index) in enumerate([(0, 0, 0, 0), (0, 0, 0, 1), (0, 0, 1, 0)]):
        part = engine(21, layer, unit, 1).parameters[own]
        tab.locator("#look-at").select_option(f"w{i}")
        assert part.labels()[index] in tab.locator("#told h3").text_content()
        products = part.data.product[index].tolist()
        assert [v for v in numbers(tab, ".part.backward") if abs(v) > 1e-15 or v in products] == [
            *products, float(part.gradient[index]),
        ]  # fmt: skip
        assert float(tab.locator("#told .new").get_attribute("data-value")) == part.update.new[index]
        step = tab.locator(".part.update").text_content()
        for value in (part.update.slope, part.update.step_size, part.update.old, part.update.new):
            assert format_number(float(value[index])) in step
        assert tab.locator(".terms .marked .label").text_content() == "Row 1"


def test_pointing_shows_a_sum_and_clicking_keeps_it(opened: Opened) -> None:
    tab = opened(html())
    heading = tab.locator("#told h3")
    tab.locator("[data-id=u2]").hover()
    assert heading.text_content() == "Unit 0 of layer 1 (Dense, sigmoid), output layer"
    tab.locator("#network-heading").hover()
    assert heading.text_content() == "Unit 0 of layer 0 (Dense, sigmoid), hidden layer"
    tab.locator("[data-id=w4] .target").hover(force=True)
    assert heading.text_content() == "0.weight[1,1]: from input 1 to unit 1 of layer 0"
    tab.locator("[data-id=u1]").click()
    tab.locator("#network-heading").hover()
    assert heading.text_content() == "Unit 1 of layer 0 (Dense, sigmoid), hidden layer"
    assert tab.locator("[data-id=u1]").get_attribute("aria-pressed") == "true"
    tab.locator("[data-id=loss]").click()
    assert "half_sum_squares" in tab.locator("#told").text_content()


def test_the_keyboard_reaches_everything(opened: Opened, expect: Any) -> None:
    tab = opened(html())
    for _ in range(20):
        tab.keyboard.press("Tab")
        if tab.evaluate("document.activeElement.closest('#picture') !== null"):
            break
    tab.keyboard.press("Home")
    seen = set()
    for spots in tab.evaluate("picture.lanes.map((lane) => lane.length)"):
        for key in ["ArrowUp"] * spots + ["ArrowDown"] * spots:
            tab.keyboard.press(key)
            seen.add(tab.evaluate("document.activeElement.dataset.id"))
            assert tab.locator("#look-at").input_value() == tab.evaluate("document.activeElement.dataset.id")
        tab.keyboard.press("ArrowRight")
    assert len(seen) == 6 + 9
    assert tab.evaluate("document.activeElement.dataset.id") == "loss"
    tab.keyboard.press("Home")
    assert tab.locator("#told h3").text_content() == "input 0"
    expect(tab.locator("#said")).to_contain_text("Step 1. input 0: ")


def test_every_focusable_element_has_a_name(opened: Opened) -> None:
    tab = opened(html())
    tree = tab.context.new_cdp_session(tab).send("Accessibility.getFullAXTree")["nodes"]
    roles = ("button", "radio", "slider", "combobox", "radiogroup", "region", "image")
    reachable = [
        (node["role"]["value"], node["name"]["value"]) for node in tree if node.get("role", {}).get("value") in roles
    ]
    assert {role for role, _ in reachable} >= {"button", "radio", "slider", "combobox", "radiogroup"}
    assert [role for role, name in reachable if not name.strip()] == []
    assert tab.locator("#said").get_attribute("aria-live") == "polite"


def test_slider_shows_each_step_and_play_runs_to_the_last(opened: Opened, expect: Any) -> None:
    tab = opened(html())
    losses = [trace_loss(step) for step in (0, 9)]
    assert tab.locator("#now").text_content() == f"Step 1 of 40, loss {format_number(losses[0], 6)}"
    to_step(tab, 9)
    assert tab.locator("#now").text_content() == f"Step 10 of 40, loss {format_number(losses[1], 6)}"
    assert tab.locator("#step").get_attribute("aria-valuetext") == tab.locator("#now").text_content()
    tab.locator("#step").press("ArrowRight")
    assert tab.locator("#now").text_content().startswith("Step 11 of 40")
    to_step(tab, STEPS - 3)
    tab.locator("#play").click()
    expect(tab.locator("#now")).to_contain_text("Step 40 of 40")
    expect(tab.locator("#play")).to_have_attribute("aria-pressed", "false")
    box = tab.locator("#curve svg").bounding_box()
    tab.mouse.click(box["x"] + box["width"] - 15, box["y"] + 40)
    assert tab.locator("#now").text_content().startswith("Step 40 of 40")
    tab.mouse.click(box["x"] + 53, box["y"] + 40)
    assert tab.locator("#now").text_content().startswith("Step 1 of 40")


def trace_loss(step: int) -> float:
    model = xor()
    if step:
        model.fit(X, Y, optimizer=RATE, steps=step)
    return float(model.trace(X, Y).loss)


def test_stages_step_through_forward_loss_backward_and_update(opened: Opened) -> None:
    tab = opened(html())
    model = xor()
    traced = model.trace(X, Y)
    names = []
    while tab.locator("#previous-stage").is_enabled():
        tab.locator("#previous-stage").click()
    while True:
        names.append(tab.locator("#stages input:checked + span").text_content())
        if not tab.locator("#next-stage").is_enabled():
            break
        tab.locator("#next-stage").click()
    assert names == ["Forward: layer 0", "Forward: layer 1", "Loss", "Backward: layer 1", "Backward: layer 0", "Update"]
    for stage, unit, value in (
        (0, "u0", traced.layers["0"].a[1, 0]), (0, "u2", None), (1, "u2", traced.layers["1"].a[1, 0]),
        (3, "u2", traced.layers["1"].dz[1, 0]), (3, "u0", traced.layers["0"].a[1, 0]), (4, "u0", traced.layers["0"].dz[1, 0]),
    ):  # fmt: skip
        tab.locator("#stages input").nth(stage).check(force=True)
        said = tab.locator(f"[data-id={unit}]").get_attribute("aria-label")
        assert said.partition(": ")[2] == ("" if value is None else format_number(float(value)))


def test_whole_batch_shows_a_term_for_each_row(opened: Opened) -> None:
    tab = opened(html())
    tab.locator("#sample").select_option("-1")
    traced = xor().trace(X, Y)
    wanted = np.stack([traced.layers["0"].da[:, 0], traced.layers["0"].dz[:, 0]], axis=1)
    assert numbers(tab, ".part.backward") == wanted.ravel().tolist()
    total = tab.locator("[data-id=u0]").get_attribute("aria-label").partition(": ")[2]
    assert total == format_number(float(traced.gradients["0.bias"][0]))
    tab.locator(".part.backward button").nth(2).click()
    assert tab.locator("#sample").input_value() == "2"


def in_sight(tab: Any) -> str:
    """Return the text of the page without the screen reader's announcement, which is written later."""
    return str(
        tab.evaluate("""() => {
            byId("said").hidden = true;
            const text = document.body.innerText;
            byId("said").hidden = false;
            return text;
        }""")
    )


def test_the_language_can_be_changed(opened: Opened) -> None:
    tab = opened(html())
    english = in_sight(tab)
    tab.locator("#language").select_option("pt")
    assert tab.evaluate("document.documentElement.lang") == "pt-BR"
    shown = in_sight(tab)
    assert "Passo para trás (backward pass): gradiente de cada unidade da camada seguinte" in shown
    for key in ("heading", "network", "training", "sum", "sample", "positive", "network_help", "language"):
        assert (PAGE[key][0] in english or key == "language", PAGE[key][0] in shown) == (True, False), key
    names = PROSE | {"English", "Português", "xor", "numpy", "float64"}
    assert not wrong_words(shown, names)
    assert wrong_words(english, names)
    assert in_sight(opened(html("pt"))) == in_sight(tab)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_button_switches_between_dark_and_light(opened: Opened, scheme: str) -> None:
    tab = opened(html(), color_scheme=scheme)

    def ground() -> int:
        return sum(tab.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)"))

    assert (ground() < 200) == (scheme == "dark")
    assert tab.locator("#dark").get_attribute("aria-pressed") == str(scheme == "dark").lower()
    tab.locator("#dark").click()
    assert (ground() < 200) == (scheme == "light")


@pytest.mark.parametrize("width", [320, 390, 1000, 1400])
def test_page_fits_the_window(opened: Opened, expect: Any, width: int) -> None:
    tab = opened(html(), width=width)
    for row in ("1", "-1"):
        tab.locator("#sample").select_option(row)
        for subject in ("u0", "w0", "loss"):
            tab.locator("#look-at").select_option(subject)
            assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth"), subject
    keys = "list => list.map((key) => [...key.children].map((part) => part.getBoundingClientRect().bottom))"
    assert all(abs(swatch - word) < 20 for swatch, word in tab.eval_on_selector_all(".key > span", keys))
    tab.set_viewport_size({"width": 700, "height": 900})
    expect(tab.locator("#picture svg")).to_have_attribute("width", re.compile("6[0-9][0-9]"))


def test_names_from_data_are_only_text(opened: Opened) -> None:
    document = page(xor(), X, Y, steps=3, title=NASTY, inputs=[NASTY, "b"], outputs=[NASTY])
    tab = opened(document.html())
    assert visible(NASTY) in tab.locator("#about").text_content()
    for subject in ("x0", "u0", "u2", "w0", "loss"):
        tab.locator("#look-at").select_option(subject)
    assert tab.evaluate("window.hacked") is None
    assert tab.locator("body script").count() == 2
    assert tab.locator("#told img").count() == 0


def everything(tab: Any) -> None:
    """Open every view in both languages: an error would stand on the console."""
    tab.evaluate("""() => {
        const ways = ["forward", "loss", "backward", "update"].map((way) => stages.findIndex((s) => s.direction === way));
        for (const [lang, row] of [["en", 0], ["pt", -1]]) {
            state.lang = lang;
            speakLanguage();
            for (const option of byId("look-at").options)
                for (const stage of ways) show({ kept: option.value, stage, row, at: page.steps.length - 1 });
        }
    }""")
    assert "undefined" not in tab.locator("body").inner_text()


def test_page_shows_layers_of_every_kind(opened: Opened, rng: np.random.Generator) -> None:
    inner = bp.Residual([bp.Dense(2, "tanh"), bp.BatchNorm()])
    layers = [bp.Dense(2, bias="column"), bp.Activation("relu"), inner, bp.LayerNorm(), bp.Dropout(0.4)]
    net = bp.Network(2, [*layers, bp.Dense(2, "softmax", bias=False)], "categorical_cross_entropy", bp.L2(0.1))
    document = page(bp.Model(net), rng.normal(size=(20, 2)), rng.integers(0, 2, 20), optimizer=bp.Adam(0.01), steps=3)
    tab = opened(document.html())
    assert tab.locator(".head").all_text_contents() == [
        "Inputs", "Layer 0", "Layer 1", "Layer 2.0", "Layer 2.1", "Layer 2", "Layer 3", "Layer 4", "Layer 5",
    ]  # fmt: skip
    everything(tab)


def test_layers_that_cannot_be_drawn_are_named(opened: Opened) -> None:
    model = bp.Model(bp.Network(2, [bp.Dense(2), Doubling(), bp.Dense(1)], "mean_squared_error"))
    tab = opened(page(model, X, Y, steps=2).html())
    assert "Layer 0, 1: what joins its units to others cannot be drawn" in tab.locator("#notices").text_content()
    everything(tab)


def test_page_shows_a_network_without_hidden_layers(opened: Opened) -> None:
    tab = opened(page(bp.Model(bp.Network(2, bp.Dense(1), "mean_squared_error")), X, Y, steps=2).html())
    assert "output layer" in tab.locator("#told h3").text_content()
    everything(tab)


def test_a_large_network_is_usable(opened: Opened, rng: np.random.Generator) -> None:
    net = bp.Network(60, [bp.Dense(40, "relu"), bp.Dense(30, "relu"), bp.Dense(3)], "softmax_cross_entropy")
    tab = opened(page(bp.Model(net), rng.random((50, 60)), rng.integers(0, 3, 50), steps=2).html())
    assert "too large to draw whole" in tab.locator("#notices").text_content()
    assert tab.locator(".kind").first.text_content() == "6 of 60 drawn"
    assert "24 others, not drawn" in tab.locator(".part.backward").text_content()
    tab.locator("[data-id=u0]").click()
    assert "54 others, not drawn" in tab.locator(".part.forward").text_content()


@cache
def crowded() -> str:
    rng = np.random.default_rng(5)
    net = bp.Network(60, [bp.Dense(40, "relu"), bp.Dense(30, "relu"), bp.Dense(10)], "softmax_cross_entropy")
    return page(bp.Model(net), rng.random((20, 60)), rng.integers(0, 10, 20), steps=2, lang="pt").html()


@pytest.mark.parametrize("width", [390, 1280, 2560])
def test_no_head_of_a_column_is_cut_off_or_covers_another(opened: Opened, width: int) -> None:
    tab = opened(crowded(), width=width)
    ends = "list => list.map((text) => text.getBBox()).map((box) => [box.x, box.x + box.width])"
    heads = tab.eval_on_selector_all(".kind", ends)
    assert tab.locator(".kind").first.text_content() == ("6 de 60" if width == 390 else "6 de 60 desenhadas")
    assert heads[0][0] >= 0
    assert all(end < start for (_, end), (start, _) in pairwise(heads))


@pytest.mark.parametrize("width", [1280, 2560])
def test_no_number_covers_another_or_a_circle(opened: Opened, width: int) -> None:
    net = bp.Network(3, [bp.Dense(3, "sigmoid"), bp.Dense(1, "sigmoid")], "half_sum_squares")
    tab = opened(page(bp.Model(net, dtype="float64"), np.hstack([X, Y]), Y, steps=2).html(), width=width)
    boxes = """list => list.filter((text) => text.textContent).map((text) => text.getBBox())
        .map((box) => [box.x, box.y, box.width, box.height])"""
    for way in ("forward", "backward"):
        for subject in ("u0", "u1", "u2", "u3"):
            tab.evaluate(
                "([way, kept]) => show({ kept, stage: stages.findLastIndex((s) => s.direction === way) })",
                [way, subject],
            )
            labels = tab.eval_on_selector_all(".labels text", boxes)
            inside = tab.eval_on_selector_all(".node .value", boxes)
            pairs = [*combinations(labels, 2), *product(labels, inside)]
            assert [pair for pair in pairs if covering(*pair)] == [], subject


@cache
def digits() -> str:
    rng = np.random.default_rng(3)
    layers = [bp.Dense(64, "relu"), bp.Dense(64, "relu"), bp.Dense(10)]
    model = bp.Model(bp.Network(64, layers, "softmax_cross_entropy"))
    return page(model, rng.random((16, 64)), rng.integers(0, 10, 16), optimizer=bp.Adam(1e-3), steps=2).html()


def test_no_number_covers_another_or_a_circle_on_a_telephone(opened: Opened) -> None:
    tab = opened(digits(), width=390)
    views = tab.evaluate("""() => {
        const boxes = (which) => [...document.querySelectorAll(which)].filter((text) => text.textContent)
            .map((text) => text.getBBox()).map((box) => [box.x, box.y, box.width, box.height]);
        return [...things.keys()].filter((id) => "xu".includes(id[0])).flatMap((kept) => stages.map((_, stage) => {
            Object.assign(state, { kept, stage });
            updatePicture();
            return [`${kept} ${stage}`, boxes(".labels text"), boxes(".node .value")];
        }));
    }""")
    assert len(views) == 192
    pairs = [(view, *pair) for view, ls, inside in views for pair in [*combinations(ls, 2), *product(ls, inside)]]
    assert {view for view, one, other in pairs if covering(one, other)} == set()


def test_a_picture_that_does_not_fit_is_scrolled_to_what_is_looked_at(opened: Opened) -> None:
    tab = opened(digits(), width=390)
    assert tab.evaluate("byId('picture').scrollWidth > byId('picture').clientWidth")
    for subject in ("u17", "x0", "loss"):
        tab.locator("#look-at").select_option(subject)
        box, frame = tab.locator(f"[data-id={subject}] .body").bounding_box(), tab.locator("#picture").bounding_box()
        assert frame["x"] <= box["x"]
        assert box["x"] + box["width"] <= frame["x"] + frame["width"]
    tab.evaluate("byId('picture').scrollLeft = 0")
    to_step(tab, 1)
    assert tab.evaluate("byId('picture').scrollLeft") == 0  # scrolled by the reader, it stays


def test_a_single_row_is_counted_in_the_singular(opened: Opened) -> None:
    tab = opened(page(xor(), X[:1], Y[:1], steps=2, lang="pt").html())
    tab.locator("#look-at").select_option("loss")
    assert ", 1 amostra, " in tab.locator("#about").text_content()
    assert "sobre 1 amostra:" in tab.locator("#told").text_content()
    assert tab.locator("#sample option").last.text_content() == "Lote inteiro (1 amostra)"


def covering(one: list[float], other: list[float]) -> bool:
    """Say whether two boxes (x, y, width, height) cover each other by more than a pixel."""
    return all(min(one[i] + one[i + 2], other[i] + other[i + 2]) - max(one[i], other[i]) > 1 for i in (0, 1))


def test_numbers_that_are_not_finite_are_marked(opened: Opened) -> None:
    model = bp.Model(bp.Network(1, [bp.Dense(2, "relu"), bp.Dense(1)], "mean_squared_error"), seed=1)
    document = page(model, [[1.0], [2.0]], [[1.0], [3.0]], optimizer=bp.SGD(10.0), steps=60)
    tab = opened(document.html())
    step, cause = document.content["bad"]
    assert tab.locator(".notice.bad").text_content() == (
        f"The run diverges: in step {step} a number is not finite, and the run ends there. First cause: {cause['en']}. "
        "A smaller learning rate may help."
    )
    assert tab.locator("#now").text_content() == f"Step 1 of {step}, loss 5"
    to_step(tab, step - 1)
    assert tab.locator("#now").text_content() == f"Step {step} of {step}, loss inf (!)"
    assert tab.locator(".node.bad .value").text_content() == "inf !"
    tab.locator("#look-at").select_option("loss")
    assert "inf (!)" in tab.locator("#told").text_content()
    tab.locator("#language").select_option("pt")
    assert f"Primeira causa: {cause['pt']}." in tab.locator(".notice.bad").text_content()
    everything(tab)
