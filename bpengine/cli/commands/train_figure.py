"""`bpengine train --figure`: the loss while training as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import bpengine as bp
from bpengine.cli.output import require_writable
from bpengine.explain import figures

File = Annotated[
    Path | None,
    typer.Option(
        "--figure",
        metavar="FILE",
        help="Draw the loss while training into this file (.png, .svg, .pdf).  [default: not drawn]",
    ),
]


def check(path: Path, out: Path | None, *, force: bool) -> None:
    """Refuse, before any work, a picture that could not be drawn or written; raise ConfigError that says why."""
    figures.require_matplotlib()
    figures.check_target(path, force=True)
    require_writable(path, force=force, option="--figure")
    if out is not None and path.resolve() == out.resolve():
        raise bp.ConfigError(f"--figure and --out require two files, got {str(path)!r} for both.")


def save(history: bp.History, path: Path) -> None:
    """Draw the loss curve and write it."""
    figures.save(figures.loss_curve(history), path, force=True)
