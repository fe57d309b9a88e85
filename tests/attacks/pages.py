"""Hostile names in pages, pictures and graphs: what is written is well formed, shows them as they are, and runs none of them.

    python -m tests.attacks.pages --seconds 600 --seed 1

Names of classes, features, layers, titles. A page differs from one with plain names in its title and its data alone; an SVG
is well-formed XML of the few elements and attributes that it has anyway; DOT and Mermaid are read by a grammar, and their
labels say what they should. Where Chromium and Playwright are there, pages and pictures are opened as well: nothing runs, is
asked for or stands on the console. What is found is kept in `kept_pages.json`.
"""

from __future__ import annotations

import html
import json
import re
import shutil
import sys
import tempfile
import time
import traceback
import unicodedata
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from random import Random
from typing import Any
from xml.etree import ElementTree

import numpy as np

import bpengine as bp
from bpengine.explain.graphs.build import graph
from bpengine.explain.graphs.elements import Edge, Node
from bpengine.explain.graphs.graph import Graph
from bpengine.explain.page import page
from bpengine.output.visible import HIDDEN, visible
from tests.attacks import hostile_files
from tests.attacks.running import run
from tests.browser.conftest import FLAGS, NAMES

KEPT = Path(__file__).with_name("kept_pages.json")
RUN = "window.hacked=1"  # what a name would do if it ran
HOSTILE = (
    f"</script><script>{RUN}</script>", f'"><img src=x onerror="{RUN}">', f"'><svg onload={RUN}>", "]]>", "<![CDATA[", "<!--",
    "-->", f"<!--<script>{RUN}", f"javascript:{RUN}", f'" onmouseover="{RUN}" x="', "&lt;b&gt;", "&amp;", "&#60;", "&bogus;",
    "&", "#lt;script#gt;", "#35;", "`**bold**`", "`", '%%{init: {"theme": "dark"}}%%', "%% gone", "\n%% gone", "a\nb", "a\tb",
    "\u2028", "\u2029", "\0", "\x1b[2J", "\x9b2J", "\x85", "\u202e", "\u2066x\u2069", "\ud800", "\udcff", "\ufeff", "\ufffe",
    "\uffff", "\U0001f600", "\U000e0001", "{{content}}", "{{script}}", "\\", "\\n", "\\N\\G\\l", '\\"', '"', '"]; evil ["',
    "end", "|", "]", "])", "--> b", ";", "<%= 1 %>", "${1}", "{1}", "%s", "</title>", "</style>", "</svg>", "</text>",
    "<a href='x'>",
    "<!DOCTYPE x [<!ENTITY a 'b'>]>", "<?xml version='1.0'?>", "&a;", "x" * 3000, "<" * 500, "&" * 300, " ", "", "constructor",
    "__proto__", "toString", "0", "-1", "NaN",
    f"<iframe src='javascript:{RUN}'></iframe>", "<link rel=stylesheet href=//example.org/x.css>",
    "<base href=//example.org/>",
    "<meta http-equiv=refresh content='0;url=//example.org'>", "<details open ontoggle=alert(1)>", "url(//example.org/x.png)",
    *hostile_files.NAMES,
)  # fmt: skip
PARTS = ("title", "input", "other input", "class", "other class", "layer", "place")
TAGS = {"svg", "title", "style", "defs", "marker", "path", "rect", "text"}
ATTRIBUTES = {
    "viewBox", "width", "height", "role", "id", "refX", "refY", "markerWidth", "markerHeight", "orient", "d", "fill", "x", "y",
    "class", "rx", "text-anchor", "marker-end", "{http://www.w3.org/XML/1998/namespace}space",
}  # fmt: skip
SVG = "{http://www.w3.org/2000/svg}"
QUOTED = r'"(?:[^"\\]|\\.)*"'
DOT = re.compile(rf"(?:\s+|{QUOTED}|->|[{{}}\[\];=,]|\w+)*", re.DOTALL)
WORD = r'"[^"\n`%]*"'
MERMAID = re.compile(
    rf"flowchart LR|  v\d+(?:\(\[{WORD}\]\)|\[{WORD}\])|  v\d+ (?:-->|-\.->)\|{WORD}\| v\d+|  class(?:Def)? [\w,]+ [\w:,#]+"
)
X, Y = np.array([[0.0, 1.0], [1.0, 0.0], [2.0, 1.0]]), np.array([0, 1, 0])
Names = dict[str, str]


def drawn(seed: int, number: int) -> Names:
    """Return the names of a case."""
    random = Random(f"{seed} {number}")

    def one() -> str:
        chosen = random.choice(HOSTILE)
        while random.random() < 0.3:
            at = random.randrange(len(chosen) + 1)
            chosen = chosen[:at] + random.choice(HOSTILE) + chosen[at:]
        return chosen

    plain = {part: f"plain {k}" for k, part in enumerate(PARTS)}
    return {part: one() if random.random() < 0.7 else name for part, name in plain.items()}


PLAIN: Names = {part: f"plain {k}" for k, part in enumerate(PARTS)}


def _layer(name: str) -> bp.Layer:
    """Return a layer whose class has a name."""

    def forward(self: Any, ops: Any, params: Any, running: Any, x: Any, run: Any) -> Any:
        return ops.xp.tanh(x), ops.xp.tanh(x), running

    def backward(self: Any, ops: Any, residual: Any, dy: Any, *, need_dx: bool = True) -> Any:
        return dy * (1.0 - residual * residual), {}

    kind: type[bp.Layer] = type(
        name.replace("\0", " ").encode("utf-8", "replace").decode(),
        (bp.Layer,),
        {"forward": forward, "backward": backward},
    )
    return kind()


def model_of(names: Names) -> bp.Model:
    """Return a model with names of classes, and of a layer's class."""
    layers = [bp.Dense(2, "tanh"), _layer(names["layer"]), bp.Dense(2)]
    model = bp.Model(bp.Network(2, layers, "softmax_cross_entropy"))
    first, other = names["class"], names["other class"]
    model.class_names = [first, other if other != first else other + "2"]
    return model


def page_of(names: Names, lang: str = "en") -> Any:
    """Return a page."""
    inputs = [names["input"], names["other input"]]
    return page(model_of(names), X, Y, steps=2, title=names["title"], inputs=inputs, lang=lang)


def graphs_of(names: Names) -> Iterator[Graph]:
    """Yield the graph of a model's step, and one with a name everywhere."""
    yield graph(model_of(names), X, Y)
    evil, other = names["title"], names["place"]
    nodes = (
        Node(id="a", kind="given", phase="forward", title=evil, place="", formula=(), column=0, row=-1),
        Node(
            id=other,
            kind="call",
            phase="forward",
            title=evil,
            place=names["layer"],
            formula=(names["input"],),
            column=0,
            row=0,
        ),
    )
    yield Graph(
        nodes, (Edge(start="a", end=other, name=names["class"], shape=(1,), values=names["other class"]),), other
    )


def problem(names: Names) -> str | None:
    """Say what is wrong with what is written of these names, None for nothing."""
    try:
        return next((wrong for wrong in _problems(names) if wrong), None)
    except Exception:
        return traceback.format_exc()[-2500:]


def _problems(names: Names) -> Iterator[str | None]:
    yield _page_problem(names, page_of(names).html())
    for drawn_graph in graphs_of(names):
        yield _svg_problem(drawn_graph)
        yield _dot_problem(drawn_graph)
        yield _mermaid_problem(drawn_graph)
        for text in (drawn_graph.svg(), drawn_graph.dot(), drawn_graph.mermaid()):
            yield _hidden(text)


def _hidden(text: str) -> str | None:
    text.encode()
    characters = {ascii(c) for c in text if c not in "\n\t" and unicodedata.category(c) in HIDDEN}
    return f"what cannot be seen: {characters}" if characters else None


def _page_problem(names: Names, written: str) -> str | None:
    frame, title, data = _cut(written)
    if frame != _plain_frame():
        return "the page differs elsewhere than in its title and its data"
    if "<" in title or not html.unescape(title).startswith(visible(names["title"])):
        return f"the title is {title[:200]!r}"
    if re.search("[<>&\u2028\u2029]", data):
        return "the data could end their element"
    content = json.loads(data)
    shown = [content["title"], *content["names"]["inputs"], *content["names"]["outputs"][:1]]
    if shown != [visible(names[part]) for part in ("title", "input", "other input", "class")]:
        return f"the data have other names: {shown}"
    return _hidden(written)


def _cut(written: str) -> tuple[str, str, str]:
    """Return a page without its title and its data, and these two."""
    title = written.index("<title>") + 7, written.index("</title>")
    start = written.index('id="content">') + 13
    data = start, written.index("</script", start)
    return (
        written[: title[0]] + written[title[1] : data[0]] + written[data[1] :],
        written[slice(*title)],
        written[slice(*data)],
    )


def _svg_problem(drawn_graph: Graph) -> str | None:
    text = drawn_graph.svg()
    root = ElementTree.fromstring(text)
    for element in root.iter():
        if element.tag.removeprefix(SVG) not in TAGS or set(element.attrib) - ATTRIBUTES:
            return f"an element <{element.tag}> with {sorted(element.attrib)}"
        for value in element.attrib.values():
            if "nan" in value or "inf" in value:
                return f"a place that is no number: {value}"
    if re.search("<[!?]", text):
        return "a comment, an entity or an instruction"
    if root.findtext(f"{SVG}title") != visible(drawn_graph.title):
        return f"the title is {root.findtext(f'{SVG}title')!r}"
    shown = " ".join("".join(element.itertext()) for element in root.iter(f"{SVG}text"))
    return next((f"{n!r} is not shown" for n in _names_of(drawn_graph) if not _within(visible(n), shown)), None)


def _names_of(drawn_graph: Graph) -> list[str]:
    return [node.title for node in drawn_graph.nodes]


def _within(name: str, text: str) -> bool:
    return "".join(name.split()) in "".join(text.split())


def _dot_problem(drawn_graph: Graph) -> str | None:
    text = drawn_graph.dot()
    if not DOT.fullmatch(text):
        return f"no DOT: {text[:300]!r}"
    if len(re.findall(rf"^  {QUOTED} \[", text, re.DOTALL | re.MULTILINE)) != len(drawn_graph.nodes):
        return f"other nodes in DOT: {text[:300]!r}"
    labels = [_dot_shows(label) for label in re.findall(rf"label=({QUOTED})", text, re.DOTALL)]
    wanted = [visible(drawn_graph.title), *(visible(node.title) for node in drawn_graph.nodes)]
    wrong = next((w for w, label in zip(wanted, labels, strict=False) if not label.startswith(w)), None)
    return None if wrong is None else f"the label of {wrong!r} in DOT is another"


def _dot_shows(quoted: str) -> str:
    """Return what Graphviz shows of a label: escapes, then entities of HTML."""
    return html.unescape(
        re.sub(r"\\(.)", lambda match: "\n" if match[1] == "n" else match[1], quoted[1:-1], flags=re.DOTALL)
    )


def _mermaid_problem(drawn_graph: Graph) -> str | None:
    text = drawn_graph.mermaid()
    for line in text.removesuffix("\n").split("\n"):
        if not MERMAID.fullmatch(line):
            return f"no line of Mermaid: {line[:300]!r}"
    labels = [_mermaid_shows(label) for label in re.findall(rf"^  v\d+\(?\[({WORD})\]", text, re.MULTILINE)]
    wanted = [_flat(visible(node.title)) for node in drawn_graph.nodes]
    wrong = next((w for w, label in zip(wanted, labels, strict=True) if not _flat(label).startswith(w)), None)
    return None if wrong is None else f"the label of {wrong!r} in Mermaid is another: {labels}"


def _mermaid_shows(quoted: str) -> str:
    """Return what Mermaid shows of a label: its own codes (#35; #quot;), then HTML."""
    coded = re.sub(r"#(\d+);", r"&#\1;", re.sub(r"#([a-zA-Z]\w*);", r"&\1;", quoted[1:-1]))
    return html.unescape(coded.replace("<br/>", "\n"))


def _flat(text: str) -> str:
    return re.sub(r"\s", " ", text)


_plain_frame = cache(lambda: _cut(page_of(PLAIN).html())[0])


# ---- in a browser


LOOK = """() => {
    for (const lang of ["en", "pt"]) {
        state.lang = lang;
        speakLanguage();
        for (const option of byId("look-at").options) show({ kept: option.value, stage: 0, row: 0, at: 0 });
    }
    const loading = document.querySelectorAll("img,iframe,base,meta[http-equiv=refresh]");
    return [window.hacked === undefined, document.body.textContent, loading.length];
}"""


def seen_in(browser: Any, names: Names, folder: Path) -> str | None:
    """Open a page and a picture of these names in a browser; say what is wrong, None for nothing."""
    heard: list[str] = []
    files = {
        "page.html": page_of(names).html(),
        "graph.svg": next(iter(graphs_of(names))).svg(),
        "evil.svg": list(graphs_of(names))[1].svg(),
    }
    context = browser.new_context(offline=True)
    try:
        tab = context.new_page()
        tab.set_default_timeout(20_000)
        tab.on("console", lambda message: heard.append(f"console: {message.text}"))
        tab.on("pageerror", lambda error: heard.append(f"error: {error}"))
        tab.on("dialog", lambda dialog: (heard.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        for name, text in files.items():
            path = folder / name
            path.write_text(text, encoding="utf-8")
            asked: list[str] = []
            tab.on("request", lambda request, asked=asked: asked.append(request.url))
            tab.goto(path.as_uri())
            wrong = _page_seen(tab, names) if name.endswith("html") else _svg_seen(tab)
            heard += [f"asked for {url}" for url in asked if url not in (path.as_uri(), "data:,")]
            if wrong or heard:
                return f"{name}: {wrong or heard}"
    finally:
        context.close()
    return None


def _page_seen(tab: Any, names: Names) -> str | None:
    untouched, text, loading = tab.evaluate(LOOK)
    if not untouched or loading:
        return "a name ran, or became an element"
    if not tab.title().startswith(" ".join(visible(names["title"]).split())):
        return f"the tab is called {tab.title()!r}"
    missing = [part for part in ("title", "input", "class") if not _within(visible(names[part]), text)]
    return f"not shown: {missing}" if missing else None


def _svg_seen(tab: Any) -> str | None:
    root, scripts, untouched = tab.evaluate(
        "[document.documentElement.nodeName, document.querySelectorAll('script,parsererror,image,a').length, "
        "window.hacked === undefined]"
    )
    return (
        None if (root, scripts, untouched) == ("svg", 0, True) else f"a picture of {root}, {scripts} elements that act"
    )


@contextmanager
def chromium() -> Iterator[Any]:
    """Give a browser, or None where there is none."""
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None or find_spec("playwright") is None:
        yield None
        return
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program, headless=True, args=list(FLAGS))
        try:
            yield started
        finally:
            started.close()


@dataclass
class Report:
    """What came of an attack."""

    seed: int
    cases: int = 0
    opened: int = 0
    failures: list[tuple[Names, str]] = field(default_factory=list)

    def __str__(self) -> str:
        summary = f"{self.cases} sets of names, {self.opened} of them in Chromium, seed {self.seed}: "
        summary += f"{len(self.failures)} failures"
        return "\n".join([summary, *(f"{text}\n  {names!a}" for names, text in self.failures)])


def attack(seconds: float, seed: int, first: int = 0, most: int = sys.maxsize) -> Report:
    """Write pages and pictures for so many seconds, or so many sets of names, and open them where there is a browser."""
    report, end = Report(seed), time.monotonic() + seconds
    with (
        chromium() as browser,
        tempfile.TemporaryDirectory(prefix="bpengine-attack-") as folder,
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        number = first
        while time.monotonic() < end and report.cases < most:
            names = drawn(seed, number)

            def wrong_with(names: Names) -> str | None:
                return problem(names) or (seen_in(browser, names, Path(folder)) if browser else None)

            report.cases += 1
            report.opened += browser is not None
            if wrong := wrong_with(names):
                names = smaller(names, wrong_with)
                if names not in [known for known, _ in report.failures]:
                    report.failures.append((names, f"--seed {seed} --number {number}: {wrong_with(names) or wrong}"))
            number += 1
    return report


def smaller(names: Names, wrong: Callable[[Names], str | None]) -> Names:
    """Return names of which as many as possible are plain, and the others as short as halving makes them."""
    for part in PARTS:
        plain = {**names, part: PLAIN[part]}
        if wrong(plain):
            names = plain
    for part in PARTS:
        size = len(names[part]) // 2
        while names[part] != PLAIN[part] and size:
            text = names[part]
            shorter = [text[:k] + text[k + size :] for k in range(0, len(text), size)]
            failing = next((t for t in shorter[:40] if wrong({**names, part: t})), None)
            if failing is None:
                size //= 2
            else:
                names = {**names, part: failing}
                size = min(size, len(failing) // 2)
    return names


def kept() -> list[Names]:
    """Return the names that were found to be wrong once."""
    return list(json.loads(KEPT.read_text(encoding="ascii"))) if KEPT.exists() else []


def keep(failing: list[Names]) -> None:
    """Add names to those that are kept."""
    every = kept()
    every += [names for names in failing if names not in every]
    KEPT.write_text("[\n" + ",\n".join(f"  {json.dumps(names)}" for names in every) + "\n]\n", encoding="ascii")


if __name__ == "__main__":
    sys.exit(run("pages", __doc__, attack, lambda report: keep([names for names, _ in report.failures])))
