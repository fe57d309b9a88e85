"""Details of a new network of `bpengine explain` beside its sizes: output activation, biases, penalties, parameters."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

import bpengine as bp
from bpengine.cli import network_options
from bpengine.errors import ConfigError

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
    """Details of a network beside its sizes, its activation and its loss; without them a new network has the defaults."""

    output_activation: network_options.OutputActivation = None
    bias: Bias = True
    parameters: Parameters = None
    l1: L1 = 0.0
    l2: L2 = 0.0

    def require_fresh(self, name: str) -> None:
        """Raise ConfigError where an option contradicts the network of a model file."""
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
        """Set the model's parameters from the file of --parameters; raise ConfigError for a file without parameters."""
        if self.parameters is None:
            return
        try:
            values = json.loads(self.parameters.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            reason = _reason(error)
            raise ConfigError(f"--parameters requires a JSON file, got {str(self.parameters)!r}: {reason}.") from None
        if not isinstance(values, dict):
            raise ConfigError(
                f'--parameters requires an object of arrays by name, such as {{"0.weight": [[1, 2]]}}, got a '
                f"{type(values).__name__} in {str(self.parameters)!r}."
            )
        model.parameters = values


def _reason(error: OSError | ValueError) -> str:
    """Return why a file could not be read as JSON: the system's reason, or the place of the first mistake."""
    if isinstance(error, OSError):
        return str(error.strerror)
    if isinstance(error, json.JSONDecodeError):
        return f"it is no JSON from line {error.lineno}, column {error.colno} on"
    return str(error)
