"""`bpengine explain --figure`: the request, checked before the work, and writing the picture.

A separate file, as the options and the views have.
"""

from __future__ import annotations

from pathlib import Path

from bpengine.cli.commands.explain.subject import Subject, swept
from bpengine.cli.commands.explain.views import Request
from bpengine.cli.output import show
from bpengine.cli.whole_numbers import number_or_name
from bpengine.errors import ConfigError, unknown
from bpengine.explain import figures

# the view whose options each picture uses
ADDED_VIEW = {"network": "unit", "sweep": "sweep", "gradients": "sensitivity"}


def check_figure(kind: str, view: str, out: Path | None) -> Path:
    """Return the path of the picture; raise ConfigError, before any work, for a picture that cannot be drawn or written."""
    if kind not in figures.KINDS:
        raise unknown("figure", kind, figures.KINDS)
    if view not in ("forward", ADDED_VIEW.get(kind)):
        raise ConfigError(f"explain shows one thing at a time, got the figure {kind!r} and {view}. Drop one.")
    if kind == "sweep" and view != "sweep":
        raise ConfigError("--figure sweep requires --sweep NAME=VALUES, such as --sweep 1.bias=0:3:13.")
    if out is None:
        raise ConfigError(f"--figure requires --out, a file such as {kind}.png.")
    figures.require_matplotlib()
    return figures.check_target(out, force=True)  # existing files were checked with the other outputs


def save_figure(kind: str, out: Path, request: Request, subject: Subject) -> None:
    """Draw the picture and write it."""
    names, values = swept(request.sweep or [])
    picture = figures.draw(
        kind,
        subject.model,
        subject.x,
        subject.y,
        parameter=names or None,
        values=values,
        layer=None if request.layer is None else number_or_name(request.layer, "--layer"),
        unit=request.unit,
        sample=request.sample or 0,
        lang=request.lang,
    )
    figures.save(picture, out, force=True)
    show(f"written: {out}")
