"""Names that a browser or a terminal obeys: pictures and pages are well-formed and show them as escapes."""

from __future__ import annotations

import html
import unicodedata
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

import bpengine as bp
from bpengine.cli import main
from bpengine.explain import figures
from bpengine.explain.graphs.elements import Edge, Node
from bpengine.explain.graphs.graph import Graph
from bpengine.explain.page import page
from bpengine.output.visible import HIDDEN, visible
from tests.attacks.hostile_files import HALVES, NAMES

EVERY = [*NAMES, *HALVES, "".join(map(chr, range(1, 0xA0)))]
ALL = " ".join(EVERY)
TEXT = "{http://www.w3.org/2000/svg}text"


def hidden(text: str) -> set[str]:
    return {ascii(c) for c in text if c not in "\n\t" and unicodedata.category(c) in HIDDEN}


def classifier() -> bp.Model:
    model = bp.Model(bp.Network(2, bp.Dense(2), "softmax_cross_entropy"))
    model.class_names = [ALL, f"{ALL}2"]
    return model


ROWS = (np.array([[0.0, 1.0], [1.0, 0.0], [2.0, 1.0]]), np.array([0, 1, 0]))


@pytest.mark.parametrize("evil", EVERY, ids=ascii)
def test_graph_is_well_formed_and_escapes_invisible_characters(evil: str) -> None:
    nodes = (
        Node(id="a", kind="given", phase="forward", title=evil, place="", formula=(), column=0, row=-1),
        Node(id=evil, kind="call", phase="forward", title=evil, place=evil, formula=(evil,), column=0, row=0),
    )
    drawn = Graph(nodes, (Edge(start="a", end=evil, name=evil, shape=(1,), values=evil),), evil)
    for text in (drawn.svg(), drawn.dot(), drawn.mermaid()):
        text.encode()
        assert not hidden(text)
    root = ElementTree.fromstring(drawn.svg())
    assert visible(evil).replace("\n", " ").split() == root.findtext("./" + TEXT, "").split()
    assert not list(root.iter("{http://www.w3.org/2000/svg}script"))
    assert drawn.to_json()["title"] == evil


def test_page_escapes_invisible_characters() -> None:
    text = page(classifier(), *ROWS, steps=2, title=ALL, inputs=[ALL, "b"]).html()
    text.encode()
    assert not hidden(text)
    tags: list[str] = []

    class Parser(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            tags.append(tag)

    parser = Parser()
    parser.feed(text)
    assert tags.count("script") == 2
    title = text.partition("<title>")[2].partition("</title>")[0]
    assert html.unescape(title).startswith(visible(ALL))


@pytest.mark.filterwarnings("ignore:Glyph:UserWarning")
@pytest.mark.parametrize("kind", ["svg", "png", "pdf"])
def test_figure_escapes_invisible_characters(tmp_path: Path, kind: str) -> None:
    figure = figures.decision_boundary(classifier(), *ROWS, features=[ALL, ALL])
    axes = figure.axes[0]
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert axes.get_xlabel() == axes.get_ylabel() == visible(ALL)
    assert not hidden("".join([axes.get_xlabel(), *legend]))
    path = figures.save(figure, tmp_path / f"{NAMES[4]}.{kind}")
    if kind == "svg":
        ElementTree.fromstring(path.read_text(encoding="utf-8"))
        assert not hidden(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("args", [["--graph", "svg", "--out", "o.svg"], ["--html", "o.html"]], ids=["graph", "page"])
def test_command_line_escapes_invisible_characters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, args: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    evil = "".join(name for name in NAMES if '"' not in name)
    table = Path(f"{NAMES[0]}{NAMES[4]}.csv")
    table.write_text(f'"{evil}",b,c\n1,2,"{evil}"\n2,3,x\n3,4,"{evil}"\n2,5,x\n', encoding="utf-8")
    assert main(["explain", str(table), "--layers", "2", "--steps", "2", *args]) == 0
    text = Path(args[-1]).read_text(encoding="utf-8")
    assert not hidden(text)
    if args[-1].endswith(".svg"):
        ElementTree.fromstring(text)
