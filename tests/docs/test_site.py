"""The site: every page of the repository has its place there, links lead into it, and formulas are drawn without a script.

`make docs` builds it whole, with every warning an error, which takes half a minute; here its parts are tried.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest

from docs.site.accessibility import mended
from docs.site.docstrings import restructured, running_text
from docs.site.drawings import drawing, with_drawing
from docs.site.mathml import MATHML, mathml
from docs.site.pages import ROOT, Stage, contents, markdown_files, page_of
from docs.site.reference import public_names
from docs.site.sources import write_sources
from tests.docs.page import Page


class Addresses(HTMLParser):
    """The addresses that a page leads to, and those that a browser loads by itself."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        address = dict(attrs).get("href" if tag in ("a", "link") else "src") or ""
        (self.links if tag == "a" else self.loaded).append(address)


def mark(element: ElementTree.Element) -> str:
    return element.tag.removeprefix(MATHML)


@pytest.mark.parametrize(
    ("path", "page"),
    [
        ("README.md", "project"),
        ("docs/guides/README.md", "guides/index"),
        ("docs/guides/gradient.pt-BR.md", "guides/gradient.pt-BR"),
        (
            "bench/results/2026-11-27-nvidia-h200-compiled/README.md",
            "benchmarks/results/2026-11-27-nvidia-h200-compiled/index",
        ),
        ("docs/site/start.md", "index"),
    ],
)
def test_a_file_has_its_page(path: str, page: str) -> None:
    assert path in markdown_files()
    assert page_of(path) == page


def test_two_files_never_share_a_page() -> None:
    pages = list(map(page_of, markdown_files()))
    assert len(pages) == len(set(pages)) > 70


@pytest.mark.parametrize(
    ("path", "link", "becomes"),
    [
        ("docs/guides/gradient.md", "../figures/xor-loss.svg", "../figures/xor-loss.svg"),
        ("docs/guides/gradient.md", "../derivations/README.md#notation", "../derivations/index.md#notation"),
        ("docs/README.md", "../CONTRIBUTING.md", "contributing.md"),
        ("README.md", "docs/guides/README.md", "guides/index.md"),
        ("README.md", "docs/guides", "guides/index.md"),
        ("README.md", "bpengine/ops.py", "extra/source/bpengine/ops.py.html"),
        ("docs/derivations/dense.md", "../../bpengine/kernels", "../extra/source/bpengine/kernels/index.html"),
        ("README.md", "LICENSE", "files/LICENSE"),
        ("README.md", "https://data-apis.org/", "https://data-apis.org/"),
        ("README.md", "#speed", "#speed"),
    ],
)
def test_a_link_leads_to_the_page_of_its_file(tmp_path: Path, path: str, link: str, becomes: str) -> None:
    stage = Stage(tmp_path)
    assert stage.with_links(path, f"[words]({link})") == f"[words]({becomes})"


def test_code_keeps_what_looks_like_a_link(tmp_path: Path) -> None:
    text = "[a](LICENSE)\n\n```python\nw[0](LICENSE)\n```\n"
    assert Stage(tmp_path).with_links("README.md", text) == text.replace("[a](LICENSE)", "[a](files/LICENSE)")


def test_source_files_are_shown_with_the_folder_they_are_in(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.with_links("README.md", "[kernels](bpengine/kernels)")
    write_sources(stage)
    folder = tmp_path / "extra" / "source" / "bpengine" / "kernels"
    links = Addresses((folder / "index.html").read_text(encoding="utf-8")).links
    assert "dense.py.html" in links
    for link in links[1:]:  # the first leads to the site's start
        assert (folder / link).exists(), link
    assert "dense_bwd" in (folder / "dense.py.html").read_text(encoding="utf-8")


def test_the_menu_lists_the_english_pages_of_a_folder() -> None:
    pages = {path: page_of(path) for path in markdown_files()}
    listed = contents("docs/guides/README.md", pages).split()
    assert "/guides/gradient" in listed
    assert "/guides/gradient.pt-BR" not in listed
    assert contents("docs/guides/gradient.md", pages) == ""


@pytest.mark.parametrize("path", sorted((ROOT / "docs" / "derivations").glob("*.md")), ids=lambda path: path.stem)
def test_every_formula_of_a_derivation_is_mathml(path: Path) -> None:
    for formula in Page.read(path).mathematics:
        root = ElementTree.fromstring(mathml(formula.strip(), block=False))
        assert mark(root) == "math"
        assert not any(mark(part) == "merror" for part in root.iter()), formula


def test_an_index_stands_beside_a_letter_with_an_accent() -> None:
    (index,) = ElementTree.fromstring(mathml(r"\hat m_t", block=False))
    accented, letter = index
    assert (mark(index), mark(accented), letter.text) == ("msub", "mover", "t")


def test_commands_unknown_to_docutils_are_converted() -> None:
    assert "&gt;" in mathml(r"[x \gt 0]", block=False)
    assert "\u2026" in mathml(r"1, \dots, B", block=False)


def test_a_drawing_is_the_graph_of_its_session() -> None:
    text = (ROOT / "docs" / "guides" / "gradient.md").read_text(encoding="utf-8")
    svg = drawing(text)
    assert svg is not None
    assert "sigmoid_bwd" in svg
    assert "```mermaid" not in with_drawing(text, "graph.svg")
    assert drawing("no drawing") is None


def test_a_docstring_becomes_fields_examples_and_plain_words() -> None:
    docstring = """Return |x| of *x_*, as `Model.fit` does.

    x: rows
        of numbers. seed: draws.
    Raises: ShapeError.

    >>> 1 + 1
    2
    """
    assert restructured(docstring, {"Model.fit": "bpengine.Model.fit"}) == [
        r"Return \|x\| of \*x\_\*, as \ :py:obj:`Model.fit <bpengine.Model.fit>`\  does.",
        "",
        "- **x**: rows of numbers. seed: draws.",
        "- **Raises**: ShapeError.",
        "",
        ">>> 1 + 1",
        "2",
        "",
    ]
    assert running_text("a `b` c", {}) == r"a \ ``b``\  c"


def test_what_scrolls_can_be_reached_and_what_is_named_has_a_name() -> None:
    page = """<html class="no-js" lang="pt-BR"><aside class="sidebar-drawer"></aside><aside class="toc-drawer"></aside>
    <p class="caption" role="heading">Guias</p><pre>x</pre><div class="table-wrapper colwidths-auto container">
    <tr><th class="head"><p></p></th><th class="head text-right"></th><th class="head"><p>a</p></th></tr></div>
    <dl>\n<dd><em class="sig-param">x</em>,</dd>\n<dd><em class="sig-param">y</em>,</dd>
</dl><div id="search-results"></div>"""
    changed = mended(page)
    for wanted in (
        '<aside class="sidebar-drawer" aria-label="Menu">', '<aside class="toc-drawer" aria-label="Nesta página">',
        '<p class="caption" role="heading" aria-level="2">', '<pre tabindex="0">',
        '<div class="table-wrapper colwidths-auto container" tabindex="0">', '<td class="head text-right"></td>',
        '<div><em class="sig-param">y</em>,</div>\n</div>', '<h1>Search</h1><div id="search-results">',
    ):  # fmt: skip
        assert wanted in changed
    assert changed.count("<th") == 1
    assert mended(changed) == changed


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the whole site; no warning may come of it."""
    folder = tmp_path_factory.mktemp("site") / "html"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "backends")])}
    ended = subprocess.run(
        [sys.executable, "-m", "docs.site", str(folder)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert not ended.stderr
    return folder


@pytest.mark.thorough
def test_the_site_loads_nothing_from_elsewhere_and_has_no_dead_link(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 300
    anchors: dict[Path, set[str]] = {}
    for page in pages:
        addresses = Addresses(page.read_text(encoding="utf-8"))
        assert not any(re.match(r"(https?:)?//", address) for address in addresses.loaded), page
        for link in addresses.links:
            path, _, anchor = link.partition("#")
            if re.match(r"[a-z]+:", link):
                continue
            target = (page.parent / path).resolve() if path else page
            assert target.exists(), f"{page}: {link}"
            if anchor and target.suffix == ".html":
                if target not in anchors:
                    anchors[target] = set(re.findall(r'\bid="([^"]+)"', target.read_text(encoding="utf-8")))
                assert anchor in anchors[target], f"{page}: {link}"


@pytest.mark.thorough
def test_every_public_name_is_on_the_site_with_its_example(site: Path) -> None:
    examples = (site / "examples.html").read_text(encoding="utf-8")
    for name, public in public_names().items():
        text = (site / f"{public.page}.html").read_text(encoding="utf-8")
        assert f'id="{name}"' in text, name
        entry = text.split(f'id="{name}"')[1].split('<dl class="py')[0]
        assert "&gt;&gt;&gt;" in entry or re.search(rf"\b{name.rpartition('.')[2]}\b", examples), name


@pytest.mark.thorough
def test_every_page_has_the_accessibility_corrections(site: Path) -> None:
    for path in site.rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        assert mended(text) == text, path


@pytest.mark.thorough
def test_a_portuguese_page_says_its_language(site: Path) -> None:
    assert '<html class="no-js" lang="pt-BR"' in (site / "guides" / "gradient.pt-BR.html").read_text(encoding="utf-8")
    assert '<html class="no-js" lang="en"' in (site / "guides" / "gradient.html").read_text(encoding="utf-8")
