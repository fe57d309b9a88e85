"""What must hold for a page; each check raises AssertionError where it does not."""

from __future__ import annotations

import ast
import doctest
import re
import shlex
from contextlib import redirect_stdout
from io import StringIO
from typing import Any

from bpengine.cli import main
from bpengine.examples import EXAMPLES
from bpengine.kernels import KERNELS, Kernel
from tests.docs.page import Page, fences, rows
from tests.docs.sources import functions, kernel_functions

SOURCES = kernel_functions()
LANGUAGE = re.compile(r"\.text\('pt'\)| --lang pt")  # what asks for Portuguese, in a session or a command
TEX = """
    Delta Phi Rightarrow alpha approx beta cdot cosh delta dots eta frac gamma ge gg gt hat infty int lVert lambda le left
    ll log lt lvert mathbf mathrm max min mu nabla ne odot partial pi pm prod qquad quad rVert rho right rvert sigma sinh
    sqrt sum tanh tau text theta tilde times top varepsilon varphi
"""  # commands that MathJax, with which GitHub renders, is known to know


def check_session(page: Page, names: dict[str, Any]) -> None:
    """Run the session; its output must be, to the letter, what the page shows. `names` holds what it defined."""
    test = doctest.DocTestParser().get_doctest(page.session, {}, page.path.name, str(page.path), 0)
    test.globs = names
    said: list[str] = []
    failed, attempted = doctest.DocTestRunner(verbose=False).run(test, out=said.append, clear_globs=False)
    assert attempted
    assert not failed, "".join(said)


def check_commands(page: Page) -> None:
    """Run the commands of the console blocks in the working folder; each prints, to the letter, what the page shows."""
    for command, shown in page.commands:
        assert printed(command) == shown, f"{page.path.name}: {command}"


def printed(command: str) -> str:
    """Run a command of bpengine in this process and return what it prints."""
    name, *arguments = shlex.split(command)
    assert name == "bpengine", f"not a command of this project: {command}"
    with redirect_stdout(StringIO()) as said:
        code = main(arguments)
    assert code == 0, f"{command} ended with {code}: {said.getvalue()}"
    return said.getvalue()


def check_drawing(page: Page, names: dict[str, Any]) -> None:
    """Hold a Mermaid drawing on the page against the session's `graph`."""
    for kind, content in page.blocks:
        assert kind != "mermaid" or content == drawn(names), f"{page.path.name} draws another graph than its session"


def drawn(names: dict[str, Any]) -> str:
    """Return the session's `graph` as the lines of a Mermaid block."""
    return str(names["graph"].mermaid()).rstrip("\n") + "\n"


def check_partner(page: Page, partner: Page) -> None:
    """Two pages link to each other and run the same code, but for comments and the language that is asked for."""
    assert partner.path.name in page.links[:1], f"{page.path.name} does not begin with a link to {partner.path.name}"
    assert page.path.name in partner.links[:1], f"{partner.path.name} does not begin with a link to {page.path.name}"
    assert [kind for kind, _ in page.blocks] == [kind for kind, _ in partner.blocks]
    assert _without_language(page) == _without_language(partner)


def _without_language(page: Page) -> list[str]:
    sources = [ast.unparse(ast.parse(example.source)) for example in page.examples]
    return [LANGUAGE.sub("", text) for text in (*sources, *(command for command, _ in page.commands))]


def check_code(page: Page) -> None:
    """Each quoted function is the source's, less its docstring, and the kernel's last word is among them."""
    code = fences(page.tokens, "python")
    quoted = dict(functions(code))
    assert len(quoted) == len(ast.parse(code).body), f"{page.path.name} quotes something that is no function"
    for name, lines in quoted.items():
        assert name in SOURCES, f"{page.path.name} quotes {name}, which no kernel file defines"
        assert lines == SOURCES[name]
    for kernel in map(KERNELS.__getitem__, page.kernels):
        assert (kernel.backward or kernel.forward).__name__ in quoted


def check_row(page: Page, kernel: Kernel) -> None:
    """Formulas, kink, shapes and source are those of the table."""
    part = page.kernels[kernel.name]
    assert rows(part) == dict(kernel.formula) | ({"kink": kernel.kink} if kernel.kink else {})
    words = " ".join(token.content for token in part if token.type == "inline")
    for name, shape in kernel.shapes.items():
        assert f"`{name}` ({', '.join(map(str, shape))})" in " ".join(words.split())
    for word in re.findall(r"[A-Z]\w+|\d{4}", kernel.source):
        assert word in words, f"{page.path.name} leaves {word} out of the source: {kernel.source}"


def check_links(page: Page) -> None:
    """Each link inside of the project leads to a file, and to a heading of it."""
    for link in page.links:
        if link.startswith(("https://", "/reference/")):  # pages that the site makes, whose links its building checks
            continue
        file, _, anchor = link.partition("#")
        target = page.path.parent / file if file else page.path
        assert target.exists(), f"{page.path.name} links to {link}"
        assert not anchor or anchor in Page.read(target).anchors(), f"{page.path.name} links to {link}"


def check_examples(page: Page) -> None:
    """Each worked example that the page names is one of the engine's."""
    named = [code.removeprefix("bpengine examples ") for code in page.code if code.startswith("bpengine examples ")]
    assert set(named) <= EXAMPLES.keys(), f"{page.path.name} names one that does not exist: {named}"


def check_mathematics(page: Page) -> None:
    """Markdown takes nothing in a formula for its own: no emphasis, no escape, no list; and TeX can read it."""
    prose = "\n\n".join(page.prose)
    for formula in page.mathematics:
        assert formula in prose, formula
        assert formula.count("{") == formula.count("}"), formula
        assert set(re.findall(r"\\([a-zA-Z]+|.)", formula)) <= set(TEX.split()), formula
