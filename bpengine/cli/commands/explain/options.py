"""The options of `bpengine explain` and what their help says."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

import bpengine as bp
from bpengine.cli import network_options
from bpengine.errors import ConfigError
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
Sample = Annotated[
    int | None, typer.Option(metavar="ROW", help="Tell about this row of the batch only.  [default: all]")
]
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
Lang = Annotated[str, typer.Option(metavar="NAME", help="en, or pt for Brazilian Portuguese.")]
Out = Annotated[Path | None, typer.Option(metavar="FILE", help="Write to this file.  [default: stdout]")]
Force = Annotated[bool, typer.Option("--force", help="Overwrite the file given by --out, --receipt or --html.")]
L1 = Annotated[float, typer.Option("--l1", help="Strength of the penalty strength * sum of absolute weights.")]
L2 = Annotated[float, typer.Option("--l2", help="Strength of the penalty strength/2 * sum of squared weights.")]
Bias = Annotated[bool, typer.Option("--bias/--no-bias", help="Whether the layers have biases.")]
Parameters = Annotated[
    Path | None,
    typer.Option(
        "--parameters", metavar="FILE", help='Parameters by name, as JSON: {"0.weight": [[1, 2]], "0.bias": [0, 0]}.'
    ),
]


@dataclass(frozen=True, kw_only=True)
class NetworkDetails:
    """What a network has beside its sizes, its activation and its loss; without it a fresh network has the defaults."""

    output_activation: network_options.OutputActivation = None
    bias: Bias = True
    parameters: Parameters = None
    l1: L1 = 0.0
    l2: L2 = 0.0

    def require_fresh(self, name: str) -> None:
        """Raise ConfigError where an option asks for another network than that of a model file."""
        asked = {
            "--output-activation": self.output_activation is not None, "--no-bias": not self.bias, "--l1": self.l1 != 0,
            "--l2": self.l2 != 0,
        }  # fmt: skip
        if wrong := [option for option, asks in asked.items() if asks]:
            raise ConfigError(
                f"{', '.join(wrong)} requires a network given by its sizes, got the model file {name!r}, which says what its "
                "network is."
            )

    def set_parameters(self, model: bp.Model) -> None:
        """Give the model the parameters of --parameters; raise ConfigError for a file that holds none."""
        if self.parameters is None:
            return
        try:
            values = json.loads(self.parameters.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise ConfigError(f"--parameters requires a JSON file, got {str(self.parameters)!r}: {reason}.") from None
        if not isinstance(values, dict):
            raise ConfigError(
                f'--parameters requires an object of arrays by name, such as {{"0.weight": [[1, 2]]}}, got a '
                f"{type(values).__name__} in {str(self.parameters)!r}."
            )
        model.parameters = values


AsJson = Annotated[bool, typer.Option("--json", help="Print as JSON.")]
