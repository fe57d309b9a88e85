"""The Mermaid drawings of the guides as SVG, drawn by the engine from the same graph: a browser draws no Mermaid by itself."""

from __future__ import annotations

import doctest
import re
from contextlib import redirect_stdout
from io import StringIO
from typing import Any

_DRAWING = re.compile(r"^```mermaid\n.*?^```$", re.DOTALL | re.MULTILINE)
_SESSION = re.compile(r"^```pycon\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def drawing(text: str) -> str | None:
    """Return the SVG of the `graph` that the page's session makes; None for a page without a drawing.

    Raises whatever the session raises, and KeyError where it makes no `graph`.
    """
    if not _DRAWING.search(text):
        return None
    names: dict[str, Any] = {}
    source = "\n".join(_SESSION.findall(text))
    with redirect_stdout(StringIO()):
        for example in doctest.DocTestParser().get_examples(source):
            exec(compile(example.source, "<session>", "single"), names)
    return str(names["graph"].svg())


def with_drawing(text: str, file: str) -> str:
    """Return the page with its drawing as an image of that file."""
    return _DRAWING.sub(lambda _: f"![]({file})", text)
