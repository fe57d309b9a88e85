"""Write into pages what their sessions and commands print now: `python -m tests.docs.refresh docs/guides/*.md`.

For the one who changes what the engine says: the difference is then read, and kept or not.
"""

from __future__ import annotations

import doctest
import os
import sys
import tempfile
from contextlib import chdir, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

from tests.docs.checks import drawn, printed
from tests.docs.page import Page, marked


def refreshed(page: Page) -> str:
    """Return the page's text with the outputs of today; sessions and commands run in order, in the working folder."""
    names: dict[str, Any] = {}
    lines = page.text.splitlines()
    written: list[str] = []
    kept = 0  # lines of the page that are in `found`
    for token in page.tokens:
        if token.type == "fence" and token.map and token.info in RUN:
            first, end = token.map
            written += [*lines[kept : first + 1], *RUN[token.info](token.content, names)]
            kept = end - 1
    return "\n".join([*written, *lines[kept:]]) + "\n"


def _session(content: str, names: dict[str, Any]) -> list[str]:
    lines: list[str] = []
    for example in doctest.DocTestParser().get_examples("\n".join(marked(content.splitlines())) + "\n"):
        first, *rest = example.source.rstrip("\n").split("\n")
        lines += [f">>> {first}", *(f"... {line}".rstrip() for line in rest)]
        with redirect_stdout(StringIO()) as said:
            exec(compile(example.source, "<session>", "single"), names)
        lines += said.getvalue().splitlines()
    return lines


def _console(content: str, _: dict[str, Any]) -> list[str]:
    commands = [line.removeprefix("$ ") for line in content.splitlines() if line.startswith("$ ")]
    return [line for command in commands for line in (f"$ {command}", *printed(command).splitlines())]


def _mermaid(_: str, names: dict[str, Any]) -> list[str]:
    return drawn(names).splitlines()


RUN = {"pycon": _session, "console": _console, "mermaid": _mermaid}


def main(paths: list[str]) -> None:
    """Rewrite the pages that say something else now, and name them."""
    os.environ["COLUMNS"] = "100"
    for path in map(Path.resolve, map(Path, paths)):
        page = Page.read(path)
        with tempfile.TemporaryDirectory() as folder, chdir(folder):
            text = refreshed(page)
        if text != page.text:
            path.write_text(text, encoding="utf-8")
            print(path)


if __name__ == "__main__":
    main(sys.argv[1:])
