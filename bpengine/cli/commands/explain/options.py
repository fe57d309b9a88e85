"""The options of `bpengine explain` and their help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bpengine.cli.language import help_pages
from bpengine.explain import figures

GRAPHS = ("dot", "mermaid", "svg")

Sources = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[NET|MODEL] FILE_OR_NAME",
        help="A network's sizes such as 2-3-1 or a model file, if there is one, then the rows.",
    ),
]
Data = Annotated[str | None, typer.Option(metavar="FILE_OR_NAME", help="The rows, if not given above.")]
Rows = Annotated[int, typer.Option(min=1, help="Rows of the batch: the first so many.")]
Seed = Annotated[int, typer.Option(min=0, help="Draws the initial weights.")]
Layer = Annotated[str | None, typer.Option(metavar="PLACE", help='Explain a unit of this layer: 0, or "1.0".')]
Unit = Annotated[int | None, typer.Option(metavar="N", help="The unit's number, from 0.")]
Sample = Annotated[int | None, typer.Option(metavar="ROW", help="Explain this row of the batch only.  [default: all]")]
Weight = Annotated[
    str | None, typer.Option(metavar="NAME", help='The chain rule of one weight, such as "0.weight[2,1]".')
]
Sweep = Annotated[
    list[str] | None,
    typer.Option(
        "--sweep", metavar="NAME=VALUES", help="The loss as NAME moves: 0,1,2 or FROM:TO:COUNT; twice for two."
    ),
]
Sensitivity = Annotated[bool, typer.Option("--sensitivity", help="Every parameter's partial, ranked.")]
Graph = Annotated[
    str | None, typer.Option("--graph", metavar="KIND", help=f"The computational graph: {', '.join(GRAPHS)}.")
]
Figure = Annotated[
    str | None,
    typer.Option(
        "--figure",
        metavar="KIND",
        help=f"Draw a picture into --out (.png, .svg, .pdf): {', '.join(figures.KINDS)}.",
    ),
]
Html = Annotated[
    Path | None,
    typer.Option(
        "--html", metavar="FILE", help="Train for --steps on the whole batch and write it as a page for the browser."
    ),
]
Steps = Annotated[int, typer.Option(min=1, help="Training steps that --html records.")]
Receipt = Annotated[Path | None, typer.Option(metavar="FILE", help="Write the step as JSON lines, to be verified.")]
Verify = Annotated[Path | None, typer.Option("--verify", metavar="FILE", help="Derive a receipt again; needs no data.")]
Terms = Annotated[int, typer.Option(min=1, help="Terms of a sum that are shown; the rest is one term.")]
Lang = help_pages.Lang
Out = Annotated[Path | None, typer.Option(metavar="FILE", help="Write to this file.  [default: stdout]")]
Force = Annotated[bool, typer.Option("--force", help="Overwrite the file given by --out, --receipt or --html.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print as JSON.")]
