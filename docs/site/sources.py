"""Pages that show the source files to which other pages link, so that the site needs no other place for them.

They are plain HTML beside the pages that Sphinx makes: two hundred files in the site's menu would make it useless, and slow.
"""

from __future__ import annotations

import ast
import html
import posixpath
from collections.abc import Iterator
from functools import cache

from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

from docs.site.pages import ROOT, Stage, source_page

PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{path}</title>
<link rel="stylesheet" href="{top}source.css">
</head>
<body>
<nav aria-label="Path"><a href="{top}../index.html">bpengine</a> / {trail}</nav>
<main>
<h1><code>{name}</code></h1>
{content}
</main>
</body>
</html>
"""
CSS = """\
:root { color-scheme: light dark; }
body { max-width: 62rem; margin: 1rem auto; padding: 0 1rem; font-family: system-ui, sans-serif; line-height: 1.5; }
h1 { font-size: 1.4rem; overflow-wrap: anywhere; }
pre { padding: 1rem; overflow-x: auto; border-radius: 4px; font-size: .85rem; line-height: 1.45; }
.highlight a { color: inherit; text-decoration: none; }
td { padding: .2rem 1rem .2rem 0; vertical-align: top; }
body { background: #fff; color: #111; } a { color: #0a4bff; }
"""
# the theme's own, with enough contrast for all colours
LIGHT, DARK = "a11y-high-contrast-light", "a11y-high-contrast-dark"
CSS_DARK = "body { background: #131416; color: #cfd0d0; } a { color: #8ab4ff; }"


def write_sources(stage: Stage) -> None:
    """Write a page for each linked source file, and for each linked folder a list of its files, with a page for each."""
    paths = sorted({path for linked in stage.linked for path in (linked, *_inside(linked))})
    for path in paths:
        content = _folder(path) if (ROOT / path).is_dir() else _file(path)
        place = source_page(path)
        top = posixpath.relpath("extra/source", posixpath.dirname(place)) + "/"
        trail = html.escape(path)
        stage.write(place, PAGE.format(path=trail, top=top, trail=trail, name=trail, content=content))
    light, dark = (_formatter(style).get_style_defs(".highlight") for style in (LIGHT, DARK))
    stage.write(
        "extra/source/source.css", f"{CSS}{light}\n@media (prefers-color-scheme: dark) {{\n{CSS_DARK}\n{dark}\n}}\n"
    )


@cache
def _formatter(style: str) -> HtmlFormatter[str]:
    return HtmlFormatter(style=style, linespans="L")


def _inside(path: str) -> Iterator[str]:
    """Yield the source files of a folder, and of each package in it the file that says what the package is."""
    folder = ROOT / path
    if folder.is_dir():
        files = (file / "__init__.py" if file.is_dir() else file for file in sorted(folder.iterdir()))
        yield from (file.relative_to(ROOT).as_posix() for file in files if file.suffix == ".py" and file.exists())


def _file(path: str) -> str:
    return highlight((ROOT / path).read_text(encoding="utf-8"), PythonLexer(), _formatter(LIGHT))


def _folder(path: str) -> str:
    rows = (
        f'<tr><td><a href="{posixpath.relpath(source_page(inside), posixpath.dirname(source_page(path)))}">'
        f"<code>{html.escape(inside.removeprefix(path + '/'))}</code></a></td><td>{html.escape(_first_line(inside))}</td></tr>"
        for inside in _inside(path)
    )
    return "<table>\n" + "\n".join(rows) + "\n</table>"


def _first_line(path: str) -> str:
    return (ast.get_docstring(ast.parse((ROOT / path).read_text(encoding="utf-8"))) or "").split("\n")[0]
