"""Every kernel has its derivation; what a page quotes, prints and links to is the engine's own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bpengine.kernels import KERNELS, Kernel
from tests.docs.checks import check_code, check_examples, check_links, check_mathematics, check_row, check_session
from tests.docs.page import Page, fences

DOCS = Path(__file__).parents[2] / "docs"
INDEX = DOCS / "derivations" / "README.md"
PAGES = {p.stem: Page.read(p) for p in sorted(INDEX.parent.glob("*.md")) if p != INDEX}
HOME = {name: page for page in PAGES.values() for name in page.kernels}
SECTIONS = ["Definition", "Derivation", "Code", "Example", "Source"]

EVERY_PAGE = pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)
EVERY_KERNEL = pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)


@pytest.fixture(scope="module")
def names() -> dict[str, Any]:
    """Give the names that the index defines for the sessions of all pages."""
    defined: dict[str, Any] = {}
    check_session(Page.read(INDEX), defined)
    return defined


def test_every_kernel_has_a_page() -> None:
    assert HOME.keys() == KERNELS.keys()


@EVERY_KERNEL
def test_a_kernel_with_a_backward_has_a_page_to_itself(kernel: Kernel) -> None:
    if kernel.backward:
        assert list(PAGES[kernel.name].kernels) == [kernel.name]


@EVERY_PAGE
def test_sessions_of_a_page_run_as_shown(page: Page, names: dict[str, Any]) -> None:
    check_session(page, names.copy())


@EVERY_KERNEL
def test_the_session_shows_the_kernel(kernel: Kernel) -> None:
    session = fences(HOME[kernel.name].kernels[kernel.name], "pycon")
    assert f'KERNELS["{kernel.name}"].forward(' in session
    if kernel.backward:
        assert f'KERNELS["{kernel.name}"].backward(' in session
        assert "differences(" in session


@EVERY_PAGE
def test_quoted_code_is_that_of_the_kernel(page: Page) -> None:
    check_code(page)


@EVERY_KERNEL
def test_formulas_of_a_page_are_those_of_the_kernels_row(kernel: Kernel) -> None:
    check_row(HOME[kernel.name], kernel)


@EVERY_PAGE
def test_a_page_of_one_kernel_goes_from_definition_to_source(page: Page) -> None:
    if page.path.stem in KERNELS:
        assert [h for h in page.headings if h in SECTIONS] == SECTIONS


EVERY_FILE = pytest.mark.parametrize("path", sorted(DOCS.rglob("*.md")), ids=lambda p: str(p.relative_to(DOCS)))


@EVERY_FILE
def test_links_of_a_page_lead_somewhere(path: Path) -> None:
    check_links(Page.read(path))


@EVERY_FILE
def test_mathematics_survives_markdown(path: Path) -> None:
    check_mathematics(Page.read(path))


@EVERY_PAGE
def test_examples_that_a_page_names_exist(page: Page) -> None:
    check_examples(page)


def test_the_indexes_lead_to_every_page() -> None:
    assert {f"{stem}.md" for stem in PAGES} <= set(Page.read(INDEX).links)
    assert "derivations/README.md" in Page.read(DOCS / "README.md").links


CHECKS: dict[str, Callable[[Page, dict[str, Any]], None]] = {
    "session": lambda page, names: check_session(page, names.copy()),
    "code": lambda page, _: check_code(page),
    "row": lambda page, _: check_row(page, KERNELS[page.path.stem]),
    "links": lambda page, _: check_links(page),
    "mathematics": lambda page, _: check_mathematics(page),
}


@pytest.mark.parametrize(
    ("check", "page", "right", "wrong"),
    [
        ("session", "dense", "[[-2. ", "[[-3. "),
        ("code", "dense", "row_product(xp, res.x, dy)", "row_product(xp, dy, res.x)"),
        ("code", "dense", "def dense_bwd(", "def dense_backward("),
        ("code", "dense", "```python\n", "```python\nx = 1\n"),
        ("row", "dense", "dw = x.T @ dy\n", "dw = dy.T @ x\n"),
        ("row", "dense", "dw = x.T @ dy\n", ""),
        ("row", "dense", "`w` (I, O)", "`w` (O, I)"),
        ("row", "dense", "Rumelhart", "Somebody"),
        ("row", "relu", "taken as 0\n", "taken as 1\n"),
        ("links", "dense", "README.md", "REDME.md"),
        ("links", "dense", "#the-session", "#a-session"),
        ("mathematics", "dense", "w_{ij}", r"w\_{ij}"),
        ("mathematics", "dense", "dy_{nj}", "*dy*_{nj}"),
        ("mathematics", "dense", "dy_{nj}", "dy_{nj}}"),
        ("mathematics", "dense", r"\sum", r"\somme"),
        ("mathematics", "dense", "$x_{ni}$", "$x_{ni}"),
    ],
)
def test_outdated_page_is_detected(check: str, page: str, right: str, wrong: str, names: dict[str, Any]) -> None:
    good = PAGES[page]
    CHECKS[check](good, names)
    assert right in good.text
    with pytest.raises(AssertionError):
        CHECKS[check](Page(good.path, good.text.replace(right, wrong)), names)
