"""Page: a recorded run as one self-contained HTML file."""

from __future__ import annotations

import base64
import hashlib
import html
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from bpengine.explain.result import translator_for
from bpengine.i18n.language import LANGUAGES
from bpengine.i18n.phrases import PHRASES
from bpengine.i18n.phrases.page import PAGE, SHARED
from bpengine.output.rich_form import RichForm, block, frame_of
from bpengine.output.visible import visible, visible_json
from bpengine.output.writing import write_whole

SCRIPTS = (
    "numbers.js", "elements.js", "operations.js", "moments.js", "editing.js", "saving.js", "picture.js", "painting.js",
    "sums.js", "training.js", "page.js",
)  # fmt: skip


# height of the page in a notebook, in pixels: all but the notes, without a second scroll bar on most screens
HEIGHT = 760


@dataclass(frozen=True)
class Page(RichForm):
    """The content of a page: the data's title, the initial language, the settings of the training, and the steps.

    content: columns of units, units, weights and their sums (`content.py`), numbers (`packing.py`), steps and losses.

    >>> from bpengine.explain.page import page
    >>> xor = bp.data.load("xor")
    >>> network = bp.Network(2, [bp.Dense(3, "sigmoid"), bp.Dense(1, "sigmoid")], "half_sum_squares")
    >>> model = bp.Model(network, dtype="float64")
    >>> html = page(model, xor.x, xor.y, steps=3, title="xor").html()
    >>> html.startswith("<!DOCTYPE html>")
    True
    """

    title: str
    lang: str
    about: dict[str, Any]
    content: dict[str, Any]

    def to_html(self) -> str:
        """Return the whole document: style, scripts and content, with a Content-Security-Policy against loading anything."""
        style, script = _asset("page.css"), "\n".join(_asset(name) for name in SCRIPTS)
        parts = {
            "lang": {"pt": "pt-BR"}.get(self.lang, self.lang), "title": html.escape(visible(self._title())), "style": style,
            "script": script, "content": self._json(), "style_hash": _hash(style), "script_hash": _hash(script),
            "needs_script": html.escape(page_phrases()[self.lang]["needs_script"]),
        }  # fmt: skip
        return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], _asset("template.html"))

    def html(self) -> str:
        """Return `to_html()`, which had this name before."""
        return self.to_html()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the file, completely or not at all."""
        write_whole(path, self.to_html().encode())

    def _html_parts(self) -> Iterator[str]:
        yield frame_of(self.to_html(), self._title(), HEIGHT)

    def _repr_html_(self) -> str:
        return block(*self._html_parts())

    def __str__(self) -> str:
        return translator_for(None)("page_told", title=self._title(), call='save("page.html")')

    def _title(self) -> str:
        return " ".join(part for part in (self.title, self.about["sizes"]) if part) + " - backpropagation"

    def _json(self) -> str:
        """Return the content as JSON without "<", so that no name in it can end the HTML element around it."""
        content = {"title": self.title, "lang": self.lang, "about": self.about, "words": page_phrases(), **self.content}
        plain = visible_json(_seen(content), separators=(",", ":"))
        return re.sub("[<>&]", lambda match: f"\\u{ord(match[0]):04x}", plain)


def _seen(value: object) -> object:
    """Return plain values with invisible characters of every text written as escapes."""
    if isinstance(value, dict):
        return {_seen(key): _seen(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_seen(part) for part in value]
    return visible(value) if isinstance(value, str) else value


def _asset(name: str) -> str:
    return (files(__package__) / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """Return the hash by which a Content-Security-Policy allows this script."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")


def page_phrases() -> dict[str, dict[str, str]]:
    """Return the phrases of the page by language."""
    phrases = {**{f"room_{key}": PHRASES[key] for key in SHARED}, **PAGE}
    return {lang: {key: both[i] for key, both in phrases.items()} for i, lang in enumerate(LANGUAGES)}
