"""No accessibility fault in a page: axe-core looks at it in both languages, light and dark, narrow and wide."""

from __future__ import annotations

import subprocess
import sys
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from bpengine.explain.page import page
from docs.site.pages import ROOT
from tests.browser.test_explain_page import Opened, html
from tests.browser.test_page_answers import CASES, CLASSES, X


@pytest.fixture(scope="session")
def axe(request: pytest.FixtureRequest) -> str:
    """Give the text of axe-core; where it is missing, skip, or fail if a browser is required."""
    if find_spec("axe_playwright_python") is None:
        required = request.config.getoption("--require-browser", default=False)
        (pytest.fail if required else pytest.skip)("axe-core is not installed (pip install axe-playwright-python)")
    return (files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8")


def faults(tab: Any, axe: str) -> list[str]:
    """Return what axe-core finds, best practices included: its rule, and where."""
    tab.evaluate(axe)
    violations = tab.evaluate("axe.run().then(({ violations }) => violations)")
    return [
        f"{rule['id']}: {node['html'][:200]} {node['failureSummary']}" for rule in violations for node in rule["nodes"]
    ]


@pytest.mark.parametrize(
    ("scheme", "width", "lang"), [("light", 1400, "en"), ("dark", 1280, "pt"), ("light", 390, "pt")]
)
def test_axe_finds_no_fault(opened: Opened, axe: str, scheme: str, width: int, lang: str) -> None:
    tab = opened(html(lang), width=width, color_scheme=scheme)
    for subject, row in (("u0", "1"), ("w0", "1"), ("loss", "-1")):
        tab.locator("#look-at").select_option(subject)
        tab.locator("#sample").select_option(row)
        assert faults(tab, axe) == [], (subject, row)


def test_axe_finds_no_fault_after_an_edit_and_in_classes(opened: Opened, axe: str) -> None:
    case = CASES["softmax_cross_entropy"]
    tab = opened(page(case.model(), X, CLASSES, optimizer=case.optimizer, steps=4).html())
    tab.locator("#look-at").select_option("loss")
    tab.locator("#told select").first.select_option("1")
    tab.locator("#run-on").click()
    tab.locator("#link").click()
    assert faults(tab, axe) == []


@pytest.mark.thorough(keep=1)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_fault_where_a_number_is_refused(opened: Opened, axe: str, scheme: str) -> None:
    tab = opened(html(), color_scheme=scheme)
    for field in (tab.locator("#told td input").first, tab.locator("#rate input")):
        field.fill("1e999")
        field.press("Enter")
        assert tab.locator("[role=alert]").is_visible()
        assert faults(tab, axe) == []


def test_axe_finds_a_planted_fault(opened: Opened, axe: str) -> None:
    tab = opened(html())
    tab.evaluate("byId('play').textContent = ''")
    assert any(fault.startswith("button-name") for fault in faults(tab, axe))


SOURCES = 90  # of the pages that show a source file, one in so many: they are alike


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site") / "html"
    subprocess.run([sys.executable, "-m", "docs.site", str(folder)], cwd=ROOT, check=True)
    return folder


@pytest.mark.thorough
@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
def test_axe_finds_no_fault_in_any_page_of_the_site(
    browser: Any, axe: str, site: Path, scheme: str, width: int
) -> None:
    pages = sorted(site.rglob("*.html"))
    sources = [path for path in pages if path.is_relative_to(site / "source")]
    assert len(pages) > len(sources) + 100
    by_page = dict[str, list[str]]()
    for path in [*(path for path in pages if path not in sources), *sources[::SOURCES]]:
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True)
        tab = context.new_page()
        tab.goto(path.as_uri())
        by_page[str(path.relative_to(site))] = faults(tab, axe)
        context.close()
    assert {name: wrong for name, wrong in by_page.items() if wrong} == {}
