"""Which files of the repository become pages of the site, and where links lead there."""

from __future__ import annotations

import posixpath
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
NAMED = {
    "README.md": "project",
    "README.pt-BR.md": "project.pt-BR",
    "CONTRIBUTING.md": "contributing",
    "CHANGELOG.md": "changelog",
    "CODE_OF_CONDUCT.md": "code-of-conduct",
    "SECURITY.md": "security",
    "docs/README.md": "contents",
    "docs/site/start.md": "index",
    "docs/site/start.pt-BR.md": "index.pt-BR",
}  # files whose page is not named for their place
FOLDERS = {"docs/": "", "bench/": "benchmarks/"}  # where the pages of a folder stand on the site
_FENCE = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"(\]\()([^)\s]+)(\))")


def page_of(path: str) -> str:
    """Return the name of the page that a Markdown file becomes: "docs/guides/README.md" -> "guides/index"."""
    if path in NAMED:
        return NAMED[path]
    folder = next((name for name in FOLDERS if path.startswith(name)), "")
    page = FOLDERS.get(folder, "") + path.removeprefix(folder).removesuffix(".md")
    return page.removesuffix("README") + "index" if page.endswith("README") else page


def markdown_files() -> list[str]:
    """Return the Markdown files that become pages, relative to the repository."""
    folders = [ROOT / name for name in FOLDERS]
    below = [path.relative_to(ROOT).as_posix() for folder in folders for path in sorted(folder.rglob("*.md"))]
    return [name for name in NAMED if "/" not in name] + below


class Stage:
    """A folder in which Sphinx finds the pages, and what they link to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pages = {path: page_of(path) for path in markdown_files()}
        self.linked: set[str] = set()  # source files and folders that pages link to

    def write(self, page: str, text: str) -> None:
        """Write a page; only where it has changed, so that Sphinx reads only that again."""
        path = self.folder / page
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")

    def copy_pages(self, changed: Callable[[str, str], str]) -> None:
        """Write every Markdown file as a page; `changed` gives its text in place of (path, text)."""
        for path, page in self.pages.items():
            text = changed(path, (ROOT / path).read_text(encoding="utf-8"))
            self.write(f"{page}.md", self.with_links(path, text))

    def with_links(self, path: str, text: str) -> str:
        """Return the text of a file with its links into the repository as links into the site; code stays as it is."""
        parts = _FENCE.split(text)
        code = _FENCE.findall(text)
        here = posixpath.dirname(path)
        page = self.pages[path]
        changed = [_LINK.sub(lambda m: m[1] + self._link(here, page, m[2]) + m[3], part) for part in parts]
        return "".join(_alternating(changed, code))

    def _link(self, here: str, page: str, link: str) -> str:
        target, hash_sign, anchor = link.partition("#")
        if not target or target.startswith("/") or re.match(r"[a-z]+:", link):
            return link
        path = posixpath.normpath(posixpath.join(here, target))
        return posixpath.relpath(self._place(path), posixpath.dirname(page) or ".") + hash_sign + anchor

    def _place(self, path: str) -> str:
        """Return where a file or folder of the repository is on the site, and bring it there."""
        if f"{path}/README.md" in self.pages:
            path = f"{path}/README.md"
        if path in self.pages:
            return f"{self.pages[path]}.md"
        if path.endswith((".svg", ".png")):
            return self.copy(path, page_of(path))
        if (ROOT / path).is_dir() or path.endswith(".py"):
            self.linked.add(path)
            self.write(source_page(path), "")  # for Sphinx, which looks whether it is there; `sources` writes it
            return source_page(path)
        return self.copy(path, f"files/{path}")

    def copy(self, path: str, place: str) -> str:
        """Copy a file of the repository to a place on the site, and return the place."""
        target = self.folder / place
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / path, target)
        return place


def source_page(path: str) -> str:
    """Return the file that shows a source file, or lists those of a folder: what is in "extra" is taken over as it stands."""
    return f"extra/source/{path}/index.html" if (ROOT / path).is_dir() else f"extra/source/{path}.html"


def contents(path: str, pages: dict[str, str]) -> str:
    """Return the list of what the menu has below a page: below a folder's README.md the English pages of the folder."""
    if not path.endswith("/README.md") or path in NAMED:
        return ""
    folder = f"{posixpath.dirname(pages[path])}/"
    below = [p for p in pages.values() if p.startswith(folder) and p != pages[path] and not p.endswith(".pt-BR")]
    inner = [p for p in below if p.endswith("/index")]
    own = [p for p in below if not any(p.startswith(posixpath.dirname(i)) for i in inner)]
    return "\n```{toctree}\n:hidden:\n" + "".join(f"/{p}\n" for p in own + inner) + "```\n" if below else ""


def _alternating(texts: list[str], between: list[str]) -> Iterator[str]:
    for text, code in zip(texts, [*between, ""], strict=True):
        yield text
        yield code
