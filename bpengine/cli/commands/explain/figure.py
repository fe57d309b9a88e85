"""`bpengine explain --figure`: what is asked for, checked before the work, and the picture written."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bpengine.cli.commands.explain.subject import Subject, swept
from bpengine.cli.output import show
from bpengine.cli.whole_numbers import number_or_name
from bpengine.errors import ConfigError, unknown
from bpengine.explain import figures

Kind = Annotated[
    str | None,
    typer.Option(
        "--figure",
        metavar="KIND",
        help=f"Draw a picture into --out (.png, .svg, .pdf): {', '.join(figures.KINDS)}.",
    ),
]
WITH = {"network": "unit", "sweep": "sweep", "gradients": "sensitivity"}  # the options that say more about a picture


def check(kind: str, wanted: str, out: Path | None) -> Path:
    """Return where the picture goes; raise ConfigError, before any work, for what cannot be drawn or written."""
    if kind not in figures.KINDS:
        raise unknown("figure", kind, figures.KINDS)
    if wanted not in ("forward", WITH.get(kind)):
        raise ConfigError(f"explain shows one thing at a time, got the figure {kind!r} and {wanted}. Drop one.")
    if kind == "sweep" and wanted != "sweep":
        raise ConfigError("--figure sweep requires --sweep NAME=VALUES, such as --sweep 1.bias=0:3:13.")
    if out is None:
        raise ConfigError(f"--figure requires --out, a file such as {kind}.png.")
    figures.require_matplotlib()
    return figures.check_target(out, force=True)  # what exists was looked at with the other outputs


def save(
    kind: str, subject: Subject, out: Path, *, moved: list[str] | None, layer: str | None, unit: int | None,
    sample: int | None, lang: str,
) -> None:  # fmt: skip
    """Draw and write the picture."""
    names, values = swept(moved or [])
    place = None if layer is None else number_or_name(layer, "--layer")
    made = figures.draw(
        kind,
        subject.model,
        subject.x,
        subject.y,
        parameter=names or None,
        values=values,
        layer=place,
        unit=unit,
        sample=sample or 0,
        lang=lang,
    )
    figures.save(made, out, force=True)
    show(f"written: {out}")
