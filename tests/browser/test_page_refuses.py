"""What the page cannot take, typed into a field or in its address: it says so in words, and nothing else changes."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from bpengine.explain.page import page
from tests.browser.test_explain_page import Opened, html
from tests.browser.test_page_answers import CASES, CLASSES, X, answered, change

NOT_A_NUMBER = "{} is not a number: write one such as -0.25 or 1e-3. The value is still "
HOLDS_NONE = (
    "The address of this page holds no state of this network: nothing of it was taken. Copy the whole link again."
)


@pytest.mark.thorough(keep=2)
@pytest.mark.parametrize(
    ("text", "said"),
    [
        *((text, NOT_A_NUMBER.format(text)) for text in ("abc", "1,000.5", "-", "0x10", "Infinity", "1e", "1 2")),
        ("", "A number is missing; the value is still "),
        ("0,5", "0,5 has a comma: write the decimal mark as a point, as in 0.5. The value is still "),
        ("1e999", "1e999 is larger than any number that the step can hold. The value is still "),
    ],
)
def test_what_is_not_a_number_is_refused_in_words(opened: Opened, text: str, said: str) -> None:
    tab = opened(html())
    before = tab.locator("#told").inner_text()
    field = tab.locator("#told td input").first
    held = field.input_value()
    change(tab, field, text)
    assert tab.locator("[role=alert]").text_content() == f"{said}{held}."
    assert field.get_attribute("aria-describedby") == tab.locator("[role=alert]").get_attribute("id")
    assert field.get_attribute("aria-invalid") == "true"
    change(tab, tab.locator("#rate input"), "fast")  # one message at a time; the field before has its number again
    assert tab.locator("[role=alert]").count() == 1
    assert field.input_value() == held
    change(tab, tab.locator("#rate input"), "2")
    assert tab.locator("[role=alert], [aria-invalid]").count() == 0
    assert tab.locator("#told").inner_text() == before


def test_a_comma_is_the_decimal_mark_in_portuguese(opened: Opened) -> None:
    tab = opened(html("pt"))
    for text, wanted in (("0,5", "0.5"), ("-1,25e1", "-12.5"), ("\u22120.25", "-0.25")):
        change(tab, tab.locator("#told td input").first, text)
        assert tab.locator("#told td input").first.input_value() == wanted
    change(tab, tab.locator("#told td input").first, "1,0,5")
    assert tab.locator("[role=alert]").text_content() == (
        "1,0,5 não é um número: escreva um como -0,25 ou 1e-3. O valor continua sendo -0.25."
    )


def test_numbers_that_the_engine_refuses_are_refused(opened: Opened) -> None:
    case = CASES["binary_cross_entropy"]
    tab = opened(page(case.model(), X, case.target, optimizer=case.optimizer, steps=2).html())
    change(tab, tab.locator("#rate input"), "-1")
    assert "a learning rate is at least 0" in tab.locator("[role=alert]").text_content()
    tab.locator("#look-at").select_option("loss")
    change(tab, tab.locator("td.target input"), "3")
    assert "a target of this loss lies from 0 to 1" in tab.locator("[role=alert]").text_content()
    assert tab.evaluate("edits.length") == 0


def test_a_number_too_large_for_float32_is_refused(opened: Opened) -> None:
    tab = opened(page(CASES["float32"].model(), X, CASES["float32"].target, steps=2).html())
    change(tab, tab.locator("#told td input").first, "1e39")
    assert "1e39 is larger than any number" in tab.locator("[role=alert]").text_content()


def address(**view: Any) -> str:
    plain = json.dumps({"edits": [], "kept": "loss", "stage": 0, **view}).encode()
    return "#" + base64.urlsafe_b64encode(plain).decode().rstrip("=")


WRONG_ADDRESSES = [
    "#x", "#e30", address(edits=[5]), address(edits=[[1, None]]), address(edits=[[1, [None]]]), address(stage="length"),
    address(kept="u99"), address(edits=[[1, [["state", 99, 0, 1]]]]), address(edits=[[1, [["state", 0, "length", 3]]]]),
    address(edits=[[1, [["state", "length", 0, 3]]]]), address(edits=[[1, [["activation", 0, "constructor"]]]]),
    address(edits=[[1, [["rows", 1, 0, 7]]]]), address(edits=[[1, [["rate", -1]]]]),
]  # fmt: skip


@pytest.mark.thorough(keep=2)
@pytest.mark.parametrize("hash", WRONG_ADDRESSES, ids=range(len(WRONG_ADDRESSES)))
def test_an_address_without_a_state_of_the_page_is_told(opened: Opened, hash: str) -> None:
    case = CASES["softmax_cross_entropy"]
    tab = opened(page(case.model(), X, CLASSES, optimizer=case.optimizer, steps=2).html())
    before = answered(tab)
    tab.evaluate("(hash) => { location.hash = hash; }", hash)
    tab.wait_for_function("byId('edit-note').textContent.startsWith('The address')")
    assert tab.locator("#edit-note").text_content() == HOLDS_NONE
    assert (answered(tab), tab.evaluate("edits.length")) == (before, 0)
    tab.reload()
    assert tab.locator("#edit-note").text_content() == HOLDS_NONE
    assert answered(tab) == before
    tab.locator("#step-on").click()
    assert tab.locator("#edit-note").text_content() != HOLDS_NONE
