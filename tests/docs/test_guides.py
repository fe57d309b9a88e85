"""Every guide prints what the engine prints, in two languages that say the same; and so does the README."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bpengine.i18n import language
from tests.docs.checks import check_commands, check_drawing, check_examples, check_links, check_partner, check_session
from tests.docs.page import Page
from tests.docs.refresh import refreshed

ROOT = Path(__file__).parents[2]
GUIDES = ROOT / "docs" / "guides"
INDEX = Page.read(GUIDES / "README.md")
PAGES = {p.name: Page.read(p) for p in sorted(GUIDES.glob("*.md")) if p.name != "README.md"}
ENGLISH = [name for name in PAGES if not name.endswith(".pt-BR.md")]
READMES = [Page.read(ROOT / name) for name in ("README.md", "README.pt-BR.md")]

EVERY_PAGE = pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)


def partner(name: str) -> str:
    return name.replace(".md", ".pt-BR.md")


def check_what_is_run(page: Page) -> None:
    names: dict[str, Any] = {}
    check_session(page, names)
    check_drawing(page, names)
    check_commands(page)


@pytest.fixture(autouse=True)
def somewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in a folder of one's own: guides write files."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")


@pytest.mark.thorough(keep=4)
@EVERY_PAGE
def test_sessions_and_commands_of_a_guide_print_what_it_shows(page: Page, request: pytest.FixtureRequest) -> None:
    if any('"jax"' in example.source for example in page.examples):
        request.getfixturevalue("jax")
    check_what_is_run(page)


def test_every_guide_is_there_in_both_languages() -> None:
    assert len(ENGLISH) >= 5
    assert set(PAGES) == {*ENGLISH, *map(partner, ENGLISH)}


@pytest.mark.parametrize("name", ENGLISH)
def test_both_languages_run_the_same(name: str) -> None:
    check_partner(PAGES[name], PAGES[partner(name)])


def test_the_indexes_lead_to_every_guide() -> None:
    assert set(PAGES) <= set(INDEX.links)
    assert "guides/README.md" in Page.read(ROOT / "docs" / "README.md").links
    assert all("docs/guides/README.md" in page.links for page in READMES)


@EVERY_PAGE
def test_examples_that_a_guide_names_exist(page: Page) -> None:
    check_examples(page)


@pytest.mark.parametrize("page", READMES, ids=lambda page: page.path.name)
def test_links_of_the_readmes_lead_somewhere(page: Page) -> None:
    check_links(page)


def check_readmes(english: Page, portuguese: Page) -> None:
    """Both link to each other, and hold the same blocks, but for comments and the language that is asked for."""
    assert portuguese.path.name in english.links[:1]
    assert english.path.name in portuguese.links[:1]
    assert len(english.headings) == len(portuguese.headings)
    assert [without_comments(*block) for block in english.blocks] == [
        without_comments(*block) for block in portuguese.blocks
    ]


def without_comments(kind: str, content: str) -> tuple[str, str]:
    if kind == "python":
        return kind, ast.unparse(ast.parse(content))
    lines = content.replace(f" {language.VARIABLE}=pt", "").replace(" --lang pt", "").splitlines()
    return kind, "\n".join(line.partition(" # ")[0].rstrip() for line in lines)


def test_the_readme_says_the_same_in_both_languages() -> None:
    check_readmes(*READMES)


def test_every_explanation_of_the_portuguese_readme_is_asked_for_in_portuguese() -> None:
    lines = [line for kind, content in READMES[1].blocks if kind == "console" for line in content.splitlines()]
    explained = [line for line in lines if "bpengine explain" in line]
    assert len(explained) == 2
    assert [line for line in explained if not line.endswith(" --lang pt")] == []


def test_the_first_command_of_the_portuguese_readme_prints_portuguese() -> None:
    command = next(content for kind, content in READMES[1].blocks if kind == "console").splitlines()[0]
    assert command.partition(" # ")[0].split() == ["$", "make", "demo", f"{language.VARIABLE}=pt"]
    makefile = f"demo:\n\t@{sys.executable} -m bpengine demo --help\n"  # make hands its variables on to what it runs
    alone = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    run = subprocess.run(  # `make test` may be what runs this: its flags are not those of a shell
        ["make", "-f", "-", *command.split()[2:4]],
        input=makefile,
        env=alone,
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.startswith("Uso: bpengine demo")


def test_refreshing_finds_what_a_page_should_say() -> None:
    page = PAGES["gradient.md"]
    assert refreshed(page) == page.text
    rotted = page.text.replace("-0.0761432\n", "-0.2\n").replace("0.0161\n", "").replace("sigmoid_bwd<br/>", "")
    assert rotted != page.text
    assert refreshed(Page(page.path, rotted)) == page.text


CHECKS: dict[str, Callable[[Page], None]] = {
    "run": check_what_is_run,
    "examples": check_examples,
    "links": check_links,
    "partner": lambda page: check_partner(page, PAGES[partner(page.path.name)]),
    "readme": lambda page: check_readmes(page, READMES[1]),
}
GOOD = {**PAGES, "README.md": READMES[0]}


@pytest.mark.parametrize(
    ("check", "name", "right", "wrong"),
    [
        ("run", "gradient.md", "-0.0761432\n", "-0.0761433\n"),
        ("run", "gradient.md", "0.01%\n\ndead", "0.01%\ndead"),
        ("run", "gradient.md", "sigmoid_bwd<br/>", "relu_bwd<br/>"),
        ("run", "forward-and-backward.md", "0.9165696532 -> 1; target", "0.9165696533 -> 1; target"),
        ("run", "forward-and-backward.md", "$ bpengine explain", "$ bpengine explian"),
        ("examples", "gradient.md", "colah_computational_graph", "olah_computational_graph"),
        ("links", "gradient.md", "(../figures/xor-loss.svg)", "(../figures/xor-lost.svg)"),
        ("partner", "gradient.md", "[Português](gradient.pt-BR.md)\n", ""),
        ("partner", "gradient.md", "here - 0.01", "here - 0.02"),
        ("partner", "gradient.md", "```mermaid\n", "```text\n"),
        ("partner", "forward-and-backward.md", "xor --sample 1\n", "xor --sample 2\n"),
        ("readme", "README.md", "epochs=40", "epochs=41"),
        ("readme", "README.md", "$ make test", "$ make tests"),
        ("readme", "README.md", "[Português](README.pt-BR.md)\n", ""),
    ],
)
def test_outdated_page_is_detected(check: str, name: str, right: str, wrong: str) -> None:
    good = GOOD[name]
    CHECKS[check](good)
    assert right in good.text
    with pytest.raises(AssertionError):
        CHECKS[check](Page(good.path, good.text.replace(right, wrong)))
