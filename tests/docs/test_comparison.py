"""The comparison's figures are those of the record that it links to, in both languages; its best are the best."""

from __future__ import annotations

import re

import pytest

from docs.site.pages import ROOT
from tests.docs.checks import check_links, check_partner
from tests.docs.page import Page

RECORD = (ROOT / "bench" / "results" / "2026-11-25-intel-r-xeon-r-processor-cpu.md").read_text(encoding="utf-8")
PAGES = {name: Page.read(ROOT / "docs" / name) for name in ("comparison.md", "comparison.pt-BR.md")}
EVERY_PAGE = pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)


def figures(text: str) -> list[list[str]]:
    """Return the rows of a table of milliseconds: a name, then numbers only."""
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    return [row for row in rows if len(row) >= 7 and all(re.fullmatch(r"[\d.,]+", cell.strip("*")) for cell in row[1:])]


def test_the_figures_are_those_of_the_record() -> None:
    recorded = {row[0]: row[1:7] for row in figures(RECORD)}
    shown = {row[0]: [cell.strip("*") for cell in row[1:]] for row in figures(PAGES["comparison.md"].text)}
    assert len(shown) == 9
    assert shown == {name: recorded[name] for name in shown}


@EVERY_PAGE
def test_bold_is_the_best_of_all_that_the_record_has(page: Page) -> None:
    for column in range(1, 7):
        best = min(float(row[column]) for row in figures(RECORD) if len(row) > 7)
        bold = [float(row[column].strip("*")) for row in figures(page.text) if row[column].startswith("**")]
        assert bold == [best]


@EVERY_PAGE
def test_links_of_the_comparison_lead_somewhere(page: Page) -> None:
    check_links(page)


def test_both_languages_have_the_same_rows_and_links() -> None:
    english, portuguese = PAGES.values()
    check_partner(english, portuguese)
    assert len(english.headings) == len(portuguese.headings)
    assert [row[1:] for row in figures(english.text)] == [row[1:] for row in figures(portuguese.text)]
    assert english.text.count("\n|") == portuguese.text.count("\n|")
    addresses = [[link for link in page.links if link.startswith("https:")] for page in (english, portuguese)]
    assert addresses[0] == addresses[1]
