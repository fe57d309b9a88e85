"""Formulas as MathML, which browsers draw by themselves: no script, no font and nothing from the network."""

from __future__ import annotations

import re
from typing import Any

from docutils.nodes import Element, SkipNode
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx

SAME = {r"\dots": r"\ldots", r"\gt": ">", r"\lt": "<"}
"""Commands that TeX or MathJax knows and docutils does not, with what they are."""
_COMMAND = re.compile(r"\\[a-zA-Z]+")


def mathml(tex: str, *, block: bool) -> str:
    """Return a formula as a MathML element; raise docutils' MathError for TeX that it does not know."""
    return str(tex2mathml(_COMMAND.sub(lambda command: SAME.get(command[0], command[0]), tex), as_block=block))


def _inline(translator: Any, node: Element) -> None:
    translator.body.append(mathml(node.astext(), block=False))
    raise SkipNode


def _block(translator: Any, node: Element) -> None:
    translator.body.append(f'<div class="math-block">{mathml(node.astext(), block=True)}</div>\n')
    raise SkipNode


def setup(app: Sphinx) -> dict[str, Any]:
    """Tell Sphinx of the renderer."""
    app.add_html_math_renderer("mathml", inline_renderers=(_inline, None), block_renderers=(_block, None))
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
