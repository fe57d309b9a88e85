"""`bpengine explain --html`: a short training run as a page, to be stepped through and pointed at."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bpengine.cli.commands.explain.subject import Subject
from bpengine.cli.output import show
from bpengine.data.validation.class_names import name_text
from bpengine.explain.page import page
from bpengine.training import Optimizer

Html = Annotated[
    Path | None,
    typer.Option(
        "--html", metavar="FILE", help="Train for --steps on the whole batch and write it as a page for the browser."
    ),
]
Steps = Annotated[int, typer.Option(min=1, help="Training steps that --html records.")]


def save(subject: Subject, path: Path, *, optimizer: Optimizer, steps: int, lang: str) -> None:
    """Train a copy of the model, and write the page."""
    data = subject.data
    names = subject.model.class_names or data.class_names or ()
    made = page(
        subject.model, subject.x, subject.y, optimizer=optimizer, steps=steps, title=data.name,
        inputs=data.feature_names, outputs=tuple(map(name_text, names)), lang=lang,
    )  # fmt: skip
    made.save(path)
    show(f"written: {path}")
