"""A matplotlib Figure that notebooks show as a picture; imported when a figure is drawn, since matplotlib is optional."""

from __future__ import annotations

import os
from io import BytesIO
from pathlib import Path
from typing import Any, Final

from matplotlib.figure import Figure

from bpengine.explain.figures.save import drawn, save
from bpengine.i18n.language import localized
from bpengine.output.dark_svg import with_dark
from bpengine.output.rich_form import block, on_paper

LARGEST: Final = 500_000  # the longest SVG, in characters, that a notebook gets; a larger one is sent as pixels
PIXELS: Final = 110  # per inch


class ShownFigure(Figure):
    """A Figure with the methods of all pictures of the engine: `to_svg`, `to_html`, `save`."""

    def to_svg(self) -> str:
        """Return the figure as SVG, with the colours of a dark page as well: what `save` writes."""
        return with_dark(drawn(self, "svg")).decode()

    def to_html(self) -> str:
        """Return the figure as a fragment of HTML, on white paper."""
        return block(on_paper(drawn(self, "svg").decode(), str(self.get_label())))

    def save(self, path: str | os.PathLike[str], *, force: bool = False) -> Path:
        """Write the figure, completely or not at all: `bp.explain.figures.save(figure, path)`."""
        return save(self, path, force=force)

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, Any]:
        """Return what a notebook shows, without `pyplot` and without a magic command."""
        svg = drawn(self, "svg").decode()  # on white: the notebook's colour scheme may differ from the system's
        if len(svg) <= LARGEST:
            return {"image/svg+xml": svg, "text/plain": self._words()}
        buffer = BytesIO()
        self.savefig(buffer, format="png", dpi=PIXELS, facecolor="white")
        return {"image/png": buffer.getvalue(), "text/plain": self._words()}

    def _words(self) -> str:
        return f"{localized('Figure')}: {self.get_label()}"

    def __str__(self) -> str:
        return self._words()
