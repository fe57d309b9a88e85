"""What Sphinx and its theme leave out for those who use a keyboard or hear a page, put into the pages that they wrote.

Headings of the menu get their level, the two side panels their names; code, tables and formulas that scroll can be reached by
the keyboard; an empty cell at the corner of a table is no head; the arguments of a signature are no list of definitions; and
the page of the search has a heading.
"""

from __future__ import annotations

import re
from pathlib import Path

NAMES = {"en": ("Menu", "On this page"), "pt-BR": ("Menu", "Nesta página")}
LANGUAGE = re.compile(r'<html[^>]* lang="([\w-]+)"')
CHANGES = (
    (re.compile(r'<p class="caption" role="heading">'), '<p class="caption" role="heading" aria-level="2">'),
    (re.compile(r"<pre>"), '<pre tabindex="0">'),
    (re.compile(r'<div class="(table-wrapper|math-block)\b([^">]*)">'), r'<div class="\1\2" tabindex="0">'),
    (re.compile(r'<th class="(head[^"]*)">(<p></p>)?</th>'), r'<td class="\1"></td>'),
    (re.compile(r'<dl>\n((?:<dd><em class="sig-param">.*</dd>\n)+)</dl>'), r'<div class="arguments">\n\1</div>'),
    (re.compile(r'<dd>(<em class="sig-param">.*)</dd>'), r"<div>\1</div>"),
    (re.compile(r'(?<!</h1>)<div id="search-results"'), '<h1>Search</h1><div id="search-results"'),
)


def mended(page: str) -> str:
    """Return a page with all of it; a page that was mended stays as it is.

    >>> mended('<html lang="en"><pre>x = 1</pre>')
    '<html lang="en"><pre tabindex="0">x = 1</pre>'
    """
    for pattern, change in CHANGES:
        page = pattern.sub(change, page)
    language = LANGUAGE.search(page)
    for panel, name in zip(("sidebar", "toc"), NAMES[language[1] if language else "en"], strict=True):
        page = page.replace(f'<aside class="{panel}-drawer">', f'<aside class="{panel}-drawer" aria-label="{name}">')
    return page


def mend(folder: Path) -> None:
    """Mend every page in a folder."""
    for path in sorted(folder.rglob("*.html")):
        before = path.read_text(encoding="utf-8")
        after = mended(before)
        if after != before:
            path.write_text(after, encoding="utf-8")
