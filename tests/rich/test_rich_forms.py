"""Every result shows itself: text, a table in HTML, a picture where it is one; a new one without a form is seen here."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape
from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree

import pytest
from IPython.lib.pretty import pretty

import bpengine as bp
from bpengine.benchmark import BenchmarkTables
from bpengine.explain.sweeps.trajectory import Descent
from bpengine.i18n import language
from bpengine.output.line_chart import line_chart
from bpengine.output.rich_form import RichForm, block, escaped, table
from tests.language.english_words import english
from tests.rich.results import NO_FORM, results, returned

CLASSES = {kind.__name__: kind for kind in (*returned(), BenchmarkTables, Descent) if kind.__name__ not in NO_FORM}
NAMES = sorted(CLASSES)
PICTURES = {"Graph", "ShownFigure"}
DOCUMENTS = {"Page"}
VOID = {"meta", "br", "input", "link", "img"}
NO_ROWS = {"Model", "Network", "Dataset", "Features", "Page", "ShownFigure"}
each = pytest.mark.parametrize("name", NAMES)
# A page holds both languages, a graph the one it was made in.
OWN_LANGUAGE = {"Page", "Graph"}
# heads that are names, in every language
SAME = frozenset(
    {
        "a",
        "z",
        "da",
        "dz",
        "rms",
        "kernel",
        "array",
        "ulp",
        "backend",
        "ok",
        "0.bias[0]",
        "a&lt;b",
        "c&amp;d",
        "x numpy",
        "",
    }
)
PORTUGUESE = frozenset({"value", "values", "in", "loss", "error", "training", "number", "by"})


class Tree(HTMLParser):
    """An HTML parser that fails where tags do not match."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: dict[str, int] = {}
        self.attributes: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen[tag] = self.seen.get(tag, 0) + 1
        self.attributes += [name for name, _ in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen[tag] = self.seen.get(tag, 0) + 1

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def shown(name: str) -> str:
    value = results()[name]
    return str(value.to_html() if name in PICTURES else value._repr_html_())


def test_every_class_that_a_public_function_returns_has_a_rich_form_or_a_reason() -> None:
    without = {kind.__name__ for kind in returned() if not has_form(kind)}
    assert without == set(NO_FORM)


def has_form(kind: type) -> bool:
    return any(hasattr(kind, name) for name in ("_repr_html_", "_repr_mimebundle_"))


def test_result_without_a_rich_form_is_detected() -> None:
    class Lonely:
        pass

    assert not has_form(Lonely)
    assert has_form(bp.History)
    with pytest.raises(TypeError, match=r"abstract method '?_html_parts"):
        type("Bare", (RichForm,), {})()


def test_there_is_an_example_of_every_form() -> None:
    assert set(results()) == set(NAMES)


@each
def test_a_form_is_well_formed_html_without_scripts(name: str) -> None:
    tree = Tree(shown(name))
    assert tree.seen["div"] >= 1
    assert "script" not in tree.seen
    assert not [a for a in tree.attributes if a.startswith("on")]
    assert ({"table", "svg", "iframe", "img"} & set(tree.seen)) or name == "Verified"


@each
def test_text_of_a_result_is_not_its_repr(name: str) -> None:
    text = str(results()[name])
    assert text.strip()
    assert "array(" not in text
    assert not re.match(rf"{name}\(\w+=", text)


@pytest.mark.parametrize("name", sorted(n for n in NAMES if issubclass(CLASSES[n], RichForm)))
def test_ipython_prints_the_text_in_a_terminal(name: str) -> None:
    value = results()[name]
    assert pretty(value) == str(value)


@pytest.mark.parametrize("name", sorted(set(NAMES) - NO_ROWS))
def test_the_names_of_exports_are_the_same_everywhere(name: str) -> None:
    value = results()[name]
    rows = list(value.to_rows())
    assert rows
    assert all(isinstance(row, dict) for row in rows)
    assert len(value.to_frame()) == len(rows)
    assert isinstance(value.to_dict(), dict)


@pytest.mark.parametrize("name", sorted(PICTURES | DOCUMENTS))
def test_pictures_and_pages_have_one_pair_of_names(name: str, tmp_path: Any) -> None:
    value = results()[name]
    ending = ".html" if name in DOCUMENTS else ".svg"
    value.save(tmp_path / f"picture{ending}")
    written = (tmp_path / f"picture{ending}").read_text(encoding="utf-8")
    again = value.to_html() if name in DOCUMENTS else value.to_svg()
    # matplotlib moves the parts of a figure a little when it is drawn again, and names them by where they are
    assert len(written) == pytest.approx(len(again), rel=0.01)
    assert written.splitlines()[-1] == again.splitlines()[-1]


@pytest.mark.parametrize("name", sorted(PICTURES))
def test_a_picture_is_shown_as_a_picture(name: str) -> None:
    value = results()[name]
    bundle = value._repr_mimebundle_() if hasattr(value, "_repr_mimebundle_") else {"image/svg+xml": value._repr_svg_()}
    assert ElementTree.fromstring(bundle["image/svg+xml"]).tag.endswith("svg")


def test_a_large_figure_is_shown_as_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    figure = results()["ShownFigure"]
    monkeypatch.setattr("bpengine.explain.figures.shown_figure.LARGEST", 1000)
    assert figure._repr_mimebundle_()["image/png"].startswith(b"\x89PNG")


def test_a_page_stands_in_a_frame_that_cannot_reach_the_notebook() -> None:
    page = results()["Page"]
    text = page._repr_html_()
    (sandbox,) = re.findall(r'sandbox="([^"]*)"', text)
    assert "allow-same-origin" not in sandbox
    assert escaped(page.to_html().splitlines()[0]) in text


def test_hostile_names_are_only_text() -> None:
    name = '"><script>alert(1)</script>\x1b[8m'
    data = bp.data.Dataset(
        name, [[1.0]] @ bp.data.load("xor").x[:1, :1], bp.data.load("xor").y[:1], feature_names=(name,), class_names=None,
        task="regression", source=name,
    )  # fmt: skip
    tree = Tree(data.to_html())
    assert "script" not in tree.seen
    assert "\x1b" not in data.to_html()


def test_a_long_table_shows_its_ends_and_says_what_is_left_out() -> None:
    text = table(["n"], [[i] for i in range(1000)], most=40)
    assert text.count("<tr>") == 1 + 40 + 1
    assert "... 960 more rows ..." in text
    assert ">999<" in text


def test_the_colours_are_those_of_the_page() -> None:
    style = block().partition("<style>")[2].partition("</style>")[0]
    inked = [rule for rule in style.splitlines() if "paper" not in rule]
    assert not re.findall(r"(?<!-)color:(?!inherit)", "\n".join(inked).replace("border-color:", ""))
    assert "prefers-color-scheme" not in style


def test_a_learning_curve_is_drawn_without_a_library() -> None:
    history = results()["History"]
    svg = re.search(r"<svg.*</svg>", history.to_html(), re.DOTALL)
    assert svg
    drawing = ElementTree.fromstring(svg[0])
    words = {element.text for element in drawing.iter() if element.tag.endswith("text")}
    assert {"training", "validation", "step"} <= words
    assert sum(element.tag.endswith("path") and "stroke-dasharray" in element.attrib for element in drawing.iter()) == 2


def words_of(form: str) -> str:
    """Return the words of a form, a line for each cell or paragraph."""
    return unescape(re.sub(r"<style>.*?</style>|<[^>]+>", "\n", form, flags=re.DOTALL))


@pytest.fixture
def portuguese() -> Iterator[None]:
    bp.language("pt")
    yield
    language.choose(None)


def heads_of(form: str) -> list[str]:
    return re.findall(r"<th(?: [^>]*)?>(.*?)</th>", form)


@pytest.mark.parametrize("name", sorted(set(NAMES) - OWN_LANGUAGE))
def test_a_form_is_in_the_language_that_is_set(name: str, portuguese: None) -> None:
    form = shown(name)
    language.choose("en")
    before = shown(name)
    assert [head for head, was in zip(heads_of(form), heads_of(before), strict=True) if head == was not in SAME] == []
    assert english(words_of(form), PORTUGUESE) == []
    assert form != before or name in ("ShownFigure", "Verified")


@pytest.mark.parametrize("name", sorted(set(NAMES) - OWN_LANGUAGE - {"ShownFigure"}))
def test_the_text_of_a_result_is_in_the_language_that_is_set(name: str, portuguese: None) -> None:
    assert english(str(results()[name]), PORTUGUESE) == []


def test_a_learning_curve_and_a_long_table_are_portuguese(portuguese: None) -> None:
    words = words_of(results()["History"].to_html()).split("\n")
    assert {"treino", "validação", "passo", "perda", "taxa de aprendizado", "perda de validação"} <= set(words)
    assert "... mais 960 linhas ..." in table(["n"], [[i] for i in range(1000)], most=40)
    assert ">sim<" in table(["ok"], [[True]])


def test_a_picture_lies_on_no_white_paper_and_a_graph_keeps_its_size() -> None:
    graph = results()["Graph"]
    form = graph.to_html()
    assert "background:#fff" not in form
    assert '<div class="paper wide" tabindex="0"' in form
    assert ".paper.wide img{max-width:none}" in form
    assert re.search(r'<rect x="0" width="\d+" height="\d+" class="g"/>', graph.to_svg())  # its own ground


@pytest.mark.parametrize("steps", [6000, 1_000_000, 7])
def test_no_number_of_a_learning_curve_is_cut_off(steps: int) -> None:
    drawing = ElementTree.fromstring(line_chart({"loss": ([0, steps], [4.0, 1.0])}, "step", "loss"))
    labels = [
        e for e in drawing.iter() if e.get("text-anchor") == "middle" and re.fullmatch(r"[\d,.e+]+", e.text or "")
    ]
    assert len(labels) > 2
    assert all(float(e.attrib["x"]) + 3 * len(e.text or "") <= float(drawing.attrib["width"]) for e in labels)


def test_a_graph_that_is_part_of_a_page_leaves_other_drawings_alone() -> None:
    style = re.findall(r"<style>(.*?)</style>", results()["Graph"].to_svg())[0]
    rules = re.findall(r"([^{}@]+)\{[^{}]+\}", re.sub(r"@media[^{]*", "", style))
    assert len(rules) > 10
    assert [rule for rule in rules if not rule.startswith(".bpengine-graph ")] == []


def test_sentences_of_a_table_have_room_and_names_are_not_broken() -> None:
    form = block(table(["network", "why", "loss"], [["2-3-1", "a long sentence " * 4, 0.5]]))
    assert "<td>2-3-1</td>" in form
    assert '<td class="s">a long' in form
    (cells,) = re.findall(r"th,\.bpengine\.bpengine td\{[^}]*\}", form)
    assert "white-space:nowrap" in cells
    assert ".bpengine.bpengine td.s{white-space:normal;min-width:24em}" in form
