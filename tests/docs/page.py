"""A page of the documentation as its parts: sessions, quoted functions, rows of the table, links, mathematics."""

from __future__ import annotations

import doctest
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

from bpengine.kernels import KERNELS

_MARKDOWN = MarkdownIt("commonmark").enable("table")
_CODE = re.compile(r"^```.*?^```$|`[^`\n]+`", re.DOTALL | re.MULTILINE)
_BLOCK = re.compile(r"^\$\$\n(.+?)^\$\$$", re.DOTALL | re.MULTILINE)
_COMMAND = re.compile(r"^\$ (.+)\n((?:(?!\$ ).*\n)*)", re.MULTILINE)
_INLINE = re.compile(r"\$([^$\n]+)\$")


@dataclass(frozen=True)
class Page:
    """One Markdown file."""

    path: Path
    text: str

    @classmethod
    def read(cls, path: Path) -> Page:
        return cls(path, path.read_text(encoding="utf-8"))

    @cached_property
    def tokens(self) -> list[Token]:
        return _MARKDOWN.parse(self.text)

    @cached_property
    def headings(self) -> list[str]:
        return [after.content for token, after in self._pairs() if token.type == "heading_open"]

    @cached_property
    def kernels(self) -> dict[str, list[Token]]:
        """What the page holds on each kernel: all that follows a heading with the kernel's name as code."""
        parts: dict[str, list[Token]] = {}
        part: list[Token] = []
        for token, after in self._pairs():
            if token.type == "heading_open":
                named = [c.content for c in after.children or () if c.type == "code_inline" and c.content in KERNELS]
                part = parts.setdefault(named[0], []) if named else part
            part.append(token)
        return parts

    @property
    def links(self) -> list[str]:
        inline = [c for token in self.tokens for c in token.children or ()]
        return [str(c.attrGet("href") or c.attrGet("src")) for c in inline if c.type in ("link_open", "image")]

    @property
    def session(self) -> str:
        """The interactive session of the page, each line where it stands, the rest of the page blank."""
        lines = [""] * (self.text.count("\n") + 2)
        for token in self.tokens:
            if token.type == "fence" and token.info == "pycon" and token.map:
                first = token.map[0] + 1
                content = marked(token.content.splitlines())
                lines[first : first + len(content)] = content
        return "\n".join(lines)

    @property
    def examples(self) -> list[doctest.Example]:
        """What the session runs, one by one, each with the output the page shows."""
        return doctest.DocTestParser().get_examples(self.session, self.path.name)

    @property
    def commands(self) -> list[tuple[str, str]]:
        """The commands of the console blocks, each with the output the page shows."""
        sessions = (content for kind, content in self.blocks if kind == "console")
        return [(command, output) for block in sessions for command, output in _COMMAND.findall(block)]

    @property
    def blocks(self) -> list[tuple[str, str]]:
        """All fenced blocks in order, each with its kind."""
        return [(token.info, token.content) for token in self.tokens if token.type == "fence"]

    @property
    def mathematics(self) -> list[str]:
        """The formulas between dollar signs, as they stand in the file."""
        text = _CODE.sub("", self.text)
        for line in _BLOCK.sub("", text).splitlines():
            assert line.count("$") % 2 == 0, f"{self.path.name}: a formula that does not end in its line: {line}"
        return _BLOCK.findall(text) + _INLINE.findall(_BLOCK.sub("", text))

    @property
    def prose(self) -> list[str]:
        """What a Markdown renderer makes of each paragraph, cell and heading, marked where it is no longer plain text."""
        return ["".join(map(_plain, token.children or ())) for token in self.tokens if token.type == "inline"]

    @property
    def code(self) -> list[str]:
        """What stands in running text as code."""
        return [c.content for token in self.tokens for c in token.children or () if c.type == "code_inline"]

    def anchors(self) -> set[str]:
        """Names of the headings as GitHub makes them."""
        return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in self.headings}

    def _pairs(self) -> Iterator[tuple[Token, Token]]:
        return zip(self.tokens, [*self.tokens[1:], Token("", "", 0)], strict=True)


def fences(tokens: list[Token], info: str) -> str:
    """Return all fenced blocks of one kind, one below the other."""
    return "\n".join(token.content for token in tokens if token.type == "fence" and token.info == info)


def rows(tokens: list[Token]) -> dict[str, str]:
    """Return what the page says the kernel's row holds: `name = formula` and `kink: words`, long ones indented further."""
    lines = re.sub(r"\n +", " ", fences(tokens, "text")).splitlines()
    cells = [re.fullmatch(r"(\w+) *[=:] (.+)", line) for line in lines if line]
    assert all(cells), f"not a row of the table: {lines}"
    return {cell[1]: cell[2] for cell in cells if cell}


def marked(lines: list[str]) -> list[str]:
    """Mark the empty lines of a session that are output, as doctest wants them; one before a prompt is none."""
    following = [*lines[1:], ">>> "]
    return [
        "<BLANKLINE>" if not line and not after.startswith(">>> ") else line
        for line, after in zip(lines, following, strict=True)
    ]


def _plain(token: Token) -> str:
    if token.type == "code_inline":
        return f"`{token.content}`"
    return {"text": token.content, "softbreak": "\n"}.get(token.type, "\0")
