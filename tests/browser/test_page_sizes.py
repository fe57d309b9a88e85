"""The page on screens of several widths and on paper: numbers inside circles and fields, and the room that is used."""

from __future__ import annotations

import numpy as np
import pytest

import bpengine as bp
from bpengine.explain.page import page
from tests.browser.test_explain_page import Opened, X, Y, html, to_step, xor
from tests.browser.test_page_answers import CASES, VALUES
from tests.browser.test_page_answers import X as ROWS

INSIDE = """() => [...document.querySelectorAll("#picture .node")].map((node) => {
    const width = (part) => node.querySelector(part).getBoundingClientRect().width;
    return [width(".value"), width(".body"), node.querySelector(".value").textContent, node.dataset.id];
})"""


@pytest.mark.thorough(keep=2)
@pytest.mark.parametrize("width", [390, 1280, 2560])
def test_numbers_lie_inside_their_circles(opened: Opened, width: int) -> None:
    model = CASES["half_sum_squares"].model()
    parameters = model.parameters
    parameters["1.weight"] = parameters["1.weight"] * 0.01  # small gradients: the longest numbers
    model.parameters = parameters
    tab, longest = opened(page(model, ROWS, VALUES, steps=2).html(), width=width), 0
    for stage in range(8):
        tab.locator("#stages input").nth(stage).check(force=True)
        for wide, body, text, spot in tab.evaluate(INSIDE):
            assert wide <= body - 4, (text, spot, stage)
            longest = max(longest, len(text))
    assert longest == 7


def test_a_wide_screen_is_used(opened: Opened) -> None:
    usual, wide = opened(html(), width=1280), opened(html(), width=2560, height=1440)
    for spot, times in (("[data-id=u0] .body", 1.3), ("#curve svg", 1.3), ("#told h3", 1.2), ("#now", 1.2)):
        small, large = (tab.locator(spot).bounding_box()["height"] for tab in (usual, wide))
        assert large >= times * small, spot
    box = wide.locator("#curve svg").bounding_box()
    dot = wide.locator("#curve .dot").bounding_box()
    wide.mouse.click(box["x"] + box["width"] * 0.6, box["y"] + 60)
    wanted = wide.evaluate("moment().step")
    middle = wide.locator("#curve .dot").bounding_box()
    assert abs(middle["x"] + middle["width"] / 2 - (box["x"] + box["width"] * 0.6)) < box["width"] / 39
    assert wanted > 15
    assert middle["x"] > dot["x"]


@pytest.mark.thorough(keep=1)
@pytest.mark.parametrize("value", [0.003899208042, -0.0005199597416, -1.716123456e-5, -1.716123456e-105])
def test_fields_of_a_narrow_page_show_the_longest_numbers(opened: Opened, value: float) -> None:
    model = CASES["half_sum_squares"].model()
    parameters = model.parameters
    parameters["0.weight"][0] = value
    model.parameters = parameters
    tab = opened(page(model, ROWS, VALUES, steps=2).html(), width=390)
    field = tab.locator("#told td input").first
    assert float(field.input_value()) == value
    assert field.evaluate("(field) => field.scrollWidth - field.clientWidth") <= 0
    assert tab.evaluate("byId('told').scrollWidth <= byId('told').clientWidth")


def test_all_of_the_page_is_on_paper_dark_on_white(opened: Opened) -> None:
    tab = opened(html(), height=500, color_scheme="dark")
    assert tab.evaluate("byId('sum').scrollHeight > byId('sum').clientHeight")  # on the screen it has a scroll bar
    tab.evaluate("document.documentElement.style.colorScheme = 'dark'")
    tab.emulate_media(media="print", color_scheme="dark")
    tab.set_viewport_size({"width": 720, "height": 1000})
    assert tab.evaluate("byId('sum').scrollHeight <= byId('sum').clientHeight + 2")
    assert tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
    for spot in ("#picture svg", "#curve svg"):
        assert tab.locator(spot).bounding_box()["width"] < 720
    assert [spot for spot in ("#play", "#save", ".switches", "#next-stage") if tab.locator(spot).is_visible()] == []
    assert tab.locator("#told h3").is_visible()


def test_lines_of_a_run_that_diverges_have_the_thickness_of_the_step_shown(opened: Opened) -> None:
    model = bp.Model(bp.Network(1, [bp.Dense(2, "relu"), bp.Dense(1)], "mean_squared_error"), seed=1)
    document = page(model, [[1.0], [2.0]], [[1.0], [3.0]], optimizer=bp.SGD(10.0), steps=60)
    tab = opened(document.html())
    for step in (0, 3):
        to_step(tab, step)
        widths = tab.evaluate("[...picture.lines.values()].map((one) => Number(one.mark.getAttribute('stroke-width')))")
        assert max(widths) == pytest.approx(7.0)


def test_the_key_names_the_factors_where_they_are_shown(opened: Opened) -> None:
    tab = opened(html())
    for subject, stage, shown in (
        ("u0", 4, True),
        ("u0", 0, False),
        ("u2", 4, False),
        ("w0", 4, False),
        ("u1", 5, True),
    ):
        tab.locator("#look-at").select_option(subject)
        tab.locator("#stages input").nth(stage).check(force=True)
        assert ("With \u00d7: a weight in the sum." in tab.locator("#legend").text_content()) == shown, (subject, stage)


def test_the_line_about_the_run_names_its_penalties(opened: Opened) -> None:
    network = bp.Network(2, [bp.Dense(2, "sigmoid"), bp.Dense(1)], "half_sum_squares", [bp.L1(0.01), bp.L2(0.1)])
    tab = opened(page(bp.Model(network), X, Y, optimizer=bp.Adam(0.05), steps=2).html())
    assert (
        tab.locator("#about")
        .text_content()
        .endswith(", Adam, learning rate 0.05, 4 rows, numpy float32; penalties: l1 0.01, l2 0.1")
    )
    tab.locator("#language").select_option("pt")
    assert tab.locator("#about").text_content().endswith("; penalidades: l1 0.01, l2 0.1")
    assert "penal" not in opened(page(xor(), X, Y, steps=2).html()).locator("#about").text_content()
    assert np.isfinite(tab.evaluate("lossAt(moment())"))
