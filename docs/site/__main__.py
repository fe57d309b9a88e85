"""Build the site: `python -m docs.site [FOLDER]`."""

from __future__ import annotations

import sys
from pathlib import Path

from sphinx.cmd.build import build_main

from bpengine.system.busy import BUSY_WATCH
from docs.site.accessibility import mend
from docs.site.drawings import drawing, with_drawing
from docs.site.pages import ROOT, Stage, contents, page_of
from docs.site.reference import write_reference
from docs.site.sources import write_sources


def stage(folder: Path) -> Stage:
    """Write all pages of the site into a folder, as Sphinx reads them."""
    pages = Stage(folder)

    def changed(path: str, text: str) -> str:
        text += contents(path, pages.pages)
        svg = drawing(text)
        if svg is None:
            return text
        file = f"{page_of(path)}.graph.svg"
        pages.write(file, svg)
        return with_drawing(text, f"/{file}")

    pages.copy_pages(changed)
    write_sources(pages)
    write_reference(pages)
    return pages


def main(folder: Path) -> int:
    """Stage the pages, run Sphinx on them, and mend what it wrote; every warning is an error."""
    BUSY_WATCH.rest()  # what else this machine does is no matter of the site
    source = folder.with_name(f"{folder.name}-source")
    stage(source)
    extra = ["-D", f"html_extra_path={source / 'extra'}"]
    strict = ["--nitpicky", "--fail-on-warning", "--keep-going", "--quiet", "-j", "auto"]
    anew = ["--fresh-env", "--write-all"]  # else a page that stays as it was warns of nothing, and keeps an old menu
    ended = build_main(
        ["-b", "html", "-c", str(ROOT / "docs" / "site"), *extra, *strict, *anew, str(source), str(folder)]
    )
    mend(folder)
    return ended


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else "build/site").resolve()))
