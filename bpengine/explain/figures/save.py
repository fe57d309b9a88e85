"""Save a figure as PNG, SVG or PDF: atomically, and with the same bytes each time; an SVG has colours for dark screens too."""

from __future__ import annotations

import io as memory
import os
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bpengine.errors import ConfigError, unknown
from bpengine.output import writing
from bpengine.output.dark_svg import with_dark
from bpengine.output.visible import visible

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = ("pdf", "png", "svg")
DPI = 150
SHADES = 72  # dots per inch of the shaded planes in a drawing of lines: they are smooth, and small files load fast
DATES = {"pdf": "CreationDate", "svg": "Date"}  # metadata left out, so that the same figure gives the same file


def save(figure: Figure, path: str | os.PathLike[str], *, force: bool = False) -> Path:
    """Write a figure to a file, in the format that its name ends in, and return the path.

    Raises ConfigError for a file that exists (unless `force`), for a folder that does not, and for another format.

    >>> from bpengine.explain import figures
    >>> history = bp.Model(bp.Network(1, bp.Dense(1), "mean_squared_error")).fit([[1.0]], [[2.0]], steps=5)
    >>> figures.save(figures.loss_curve(history), "loss.svg", force=True).name
    'loss.svg'
    """
    target = check_target(path, force=force)
    kind = target.suffix[1:].lower()
    content = drawn(figure, kind, visible(target.stem))
    writing.write_whole(target, with_dark(content) if kind == "svg" else content)
    return target


def drawn(figure: Figure, kind: str, name: str = "figure") -> bytes:
    """Return a figure in one of FORMATS, the same bytes each time. name: its title, where it has none of its own."""
    buffer = memory.BytesIO()
    about: dict[str, Any] = {"Title": figure.get_label() or name}
    if kind in DATES:
        about[DATES[kind]] = None
    with import_module("matplotlib").rc_context({"svg.hashsalt": "bpengine"}):
        figure.savefig(buffer, format=kind, dpi=DPI if kind == "png" else SHADES, metadata=about, facecolor="white")
    return buffer.getvalue()


def check_target(path: str | os.PathLike[str], *, force: bool = False) -> Path:
    """Return the path of a figure that may be written; raise ConfigError that says what to do instead.

    >>> from bpengine.explain import figures
    >>> figures.check_target("xor.png").name
    'xor.png'
    """
    target = Path(path)
    if target.suffix[1:].lower() not in FORMATS:
        if not target.suffix:
            raise ConfigError(f"a figure requires a file name that ends in .png, .svg or .pdf, got {str(target)!r}.")
        raise unknown("figure format", target.suffix[1:], FORMATS)
    writing.check_target(target, error=ConfigError)
    if target.exists() and not force:
        raise ConfigError(f"{str(target)!r} exists already. Choose another name, or pass force=True (--force).")
    return target
