"""What this site adds to Sphinx: our docstrings, our types, and pages in two languages."""

from __future__ import annotations

import ast
import builtins
import inspect
import posixpath
from functools import cache
from pydoc import locate
from typing import Any

from docutils.nodes import Element, document, reference
from sphinx.addnodes import download_reference
from sphinx.application import Sphinx
from sphinx.util.nodes import make_refnode

from docs.site.docstrings import known_names, restructured
from docs.site.pages import ROOT


def _docstring(app: Sphinx, what: str, name: str, value: Any, options: Any, lines: list[str]) -> None:
    lines[:] = restructured("\n".join(lines), known_names())


def _skip(app: Sphinx, what: str, name: str, value: Any, skipped: bool, options: Any) -> bool | None:
    """Leave out what a class inherits from elsewhere than the engine, such as the methods of Exception or tuple."""
    function = value.fget if isinstance(value, property) else inspect.unwrap(value) if callable(value) else value
    module = getattr(function, "__module__", None) or "bpengine"
    return None if module.startswith("bpengine") else True


def _missing(app: Sphinx, env: Any, node: Element, content: Element) -> Element | None:
    """Link a type in a signature to what is documented of it; one that is not public is only text, if it exists."""
    if node.get("refdomain") != "py":
        return None
    target = str(node["reftarget"])
    known = known_names().get(target.rpartition(".")[2])
    if known is not None:
        inventory = env.domains["py"].objects
        if known in inventory:
            return make_refnode(
                app.builder, node["refdoc"], inventory[known].docname, inventory[known].node_id, content
            )
    return content if target.rpartition(".")[2] in _names_in_sources() or locate(target.partition("[")[0]) else None


@cache
def _names_in_sources() -> set[str]:
    """Return built-in names and what the engine's files define or import, for the type checker alone, too."""
    names = set(vars(builtins))
    for path in (ROOT / "bpengine").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.alias)):
                names.add(getattr(node, "asname", None) or node.name)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                names.add(node.id)
    return names


def _sources(app: Sphinx, doctree: document) -> None:
    """Turn links to the pages of source files, which Sphinx takes for files to download, into links."""
    here = posixpath.dirname(app.env.docname)
    for node in list(doctree.findall(download_reference)):
        path = posixpath.normpath(posixpath.join(here, str(node["reftarget"])))
        if path.startswith("extra/"):
            address = posixpath.relpath(path.removeprefix("extra/"), here or ".")
            node.replace_self(reference("", "", *node.children, refuri=address, internal=True))


def _language(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    if page.endswith(".pt-BR"):
        context["language"] = "pt-BR"


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect all of it."""
    app.connect("autodoc-process-docstring", _docstring)
    app.connect("autodoc-skip-member", _skip)
    app.connect("missing-reference", _missing)
    app.connect("doctree-read", _sources, priority=100)  # before Sphinx collects what is to be downloaded
    app.connect("html-page-context", _language)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
