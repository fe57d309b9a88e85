"""Formulas as MathML, which browsers draw by themselves: no script, no font and nothing from the network."""

from __future__ import annotations

import html
import re
from typing import Any
from xml.etree import ElementTree

from docutils.nodes import Element, SkipNode
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx

MATHML = "{http://www.w3.org/1998/Math/MathML}"
ElementTree.register_namespace("", MATHML[1:-1])
SAME = {r"\dots": r"\ldots", r"\gt": ">", r"\lt": "<"}
"""Commands that TeX or MathJax knows and docutils does not, with what they are."""
_COMMAND = re.compile(r"\\[a-zA-Z]+")
_ENTITY = re.compile(r"&(?!amp;|lt;|gt;|quot;)\w+;")  # of HTML, which XML does not know
ACCENTS = "\u02c6~\u00af^"


def mathml(tex: str, *, block: bool) -> str:
    """Return a formula as a MathML element; raise docutils' MathError for TeX that it does not know."""
    known = _COMMAND.sub(lambda command: SAME.get(command[0], command[0]), tex)
    written = _ENTITY.sub(lambda entity: html.unescape(entity[0]), tex2mathml(known, as_block=block))
    root = ElementTree.fromstring(written)
    for parent in root.iter():
        for place, child in enumerate(parent):
            if child.tag == f"{MATHML}munderover" and child[2].text in ACCENTS:
                parent[place] = _index_beside(child)
    return ElementTree.tostring(root, encoding="unicode")


def _index_beside(accented: ElementTree.Element) -> ElementTree.Element:
    """Return a letter with an accent and an index, which docutils sets below the letter, with the index beside it."""
    letter, index, accent = accented
    both, above = ElementTree.Element(f"{MATHML}msub"), ElementTree.Element(f"{MATHML}mover", accent="true")
    above.extend([letter, accent])
    both.extend([above, index])
    return both


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
