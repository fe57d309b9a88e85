"""Save a figure as PNG, SVG or PDF: atomically, and with the same bytes each time."""

from __future__ import annotations

import io as memory
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bpengine.errors import ConfigError, unknown
from bpengine.explain.figures import canvas
from bpengine.output import writing
from bpengine.output.visible import visible

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = ("pdf", "png", "svg")
SHADES = 72  # dots per inch of the shaded planes in a drawing of lines: they are smooth, and small files load fast
DATES = {"pdf": "CreationDate", "svg": "Date"}  # left out, so that the same figure is the same file


def save(figure: Figure, path: str | os.PathLike[str], *, force: bool = False) -> Path:
    """Write a figure to a file, in the format that its name ends in, and return the path.

    Raises ConfigError for a file that exists (unless `force`), for a folder that does not, and for another format.

    >>> from bpengine.explain import figures
    >>> history = bp.Model(bp.Network(1, bp.Dense(1), "mean_squared_error")).fit([[1.0]], [[2.0]], steps=5)
    >>> figures.save(figures.loss_curve(history), "loss.svg", force=True).name
    'loss.svg'
    """
    target = check_target(path, force=force)
    kind, buffer = target.suffix[1:].lower(), memory.BytesIO()
    about: dict[str, Any] = {"Title": figure.get_label() or visible(target.stem)}
    if kind in DATES:
        about[DATES[kind]] = None
    with canvas.package().rc_context({"svg.hashsalt": "bpengine"}):
        figure.savefig(
            buffer, format=kind, dpi=canvas.DPI if kind == "png" else SHADES, metadata=about, facecolor="white"
        )
    writing.write_whole(target, buffer.getvalue())
    return target


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
