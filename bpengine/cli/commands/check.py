"""`bpengine check`: the gradients of a network, a saved model or a kernel before every oracle."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
import typer

import bpengine as bp
from bpengine import data
from bpengine.check.gradientreport import Report
from bpengine.check.report import Outcome
from bpengine.check.verdict import GIVEN, PERTURBED
from bpengine.cli import class_names, data_options, network_options
from bpengine.cli.output import columns, key_value_table, print_json, show
from bpengine.data import Dataset
from bpengine.errors import ConfigError
from bpengine.streams import stream

HELP = """\
Check the hand-written gradients of a network, or of one kernel, against independent oracles.

JAX autodiff in float64, finite differences, the complex step where it applies, random inner products. The network is
that of a model file, or a fresh one for the data; every parameter and the input are checked, there and at a perturbed
point, for what is forgotten does not show where a bias is 0 or a gain 1. A failure names the worst element and the
guilty kernel. Exit codes: 0 passed, 1 failed, 2 a mistake in what was asked.

\b
Examples:
  bpengine check iris
  bpengine check digits --layers 64,32 --activation gelu --rows 32 --backend jax
  bpengine check model.safetensors people.csv --target income --json
  bpengine check --kernel softmax_cross_entropy
"""
FAILED = 1


def check(
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[MODEL] FILE_OR_NAME",
            help="A model file, if there is one, then the rows: a file, or the name of a set: "
            f"{', '.join(data.names())}.",
        ),
    ] = None,
    target: data_options.Target = None,
    layers: network_options.Layers = "64,32",
    activation: network_options.Activation = "relu",
    loss: network_options.LossName = None,
    backend: network_options.BackendName = "numpy",
    dtype: network_options.Dtype = "float32",
    rows: Annotated[int, typer.Option(min=1, help="Rows to take the loss over, drawn at random.")] = 64,
    seed: Annotated[int, typer.Option(min=0, help="Draws the rows, initial weights, directions.")] = 0,
    kernel: Annotated[
        str | None, typer.Option(metavar="NAME", help="Check this kernel alone, at arguments drawn at random.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Check and print the report."""
    given = sources or []
    if kernel is not None:
        if given:
            raise ConfigError(
                f"--kernel checks a kernel without data, got {' '.join(given)} as well. Drop one of them."
            )
        tell(bp.check_gradients(kernel, seed=seed), as_json=as_json)
        return
    if not 1 <= len(given) <= 2:
        got = f"{len(given)} names: {' '.join(given)}" if given else "none"
        raise ConfigError(f"check requires [MODEL] FILE_OR_NAME, got {got}. For example: bpengine check iris.")
    if len(given) == 1 and given[0].endswith(".safetensors"):
        raise ConfigError(f"check requires rows beside the model {given[0]}: bpengine check {given[0]} FILE_OR_NAME.")
    named = bp.Loss(loss) if loss else None
    if len(given) == 2:
        model = bp.load(given[0], backend)
        found = data_options.load(given[1], target, model.network.loss)
        x, y = draw(found.x, class_names.renumbered(found, model.class_names), rows, seed)
    else:
        found = data_options.load(given[0], target, named)
        model = network_options.model(fresh(found, layers, activation, named), backend, dtype, seed)
        x, y = draw(found.x, found.y, rows, seed)
    tell(model.check(x, y, seed=seed), as_json=as_json)


def fresh(found: Dataset, layers: str, activation: str, loss: bp.Loss | None) -> bp.Network:
    """Return a network for a data set, not trained."""
    return network_options.network(found, network_options.hidden_layers(layers, activation, 0.0), loss, 0.0)


def draw(x: np.ndarray, y: np.ndarray, rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return some rows, drawn at random, in their order."""
    chosen = np.sort(stream("check rows", seed).permutation(len(x))[:rows])
    return np.asarray(x[chosen]), np.asarray(y[chosen])


def tables(found: Outcome) -> list[Any]:
    """Return the table of an outcome; of gradients one for each point, which fits into a terminal."""
    if not isinstance(found, Report):
        return [columns(found.heads, found.rows()), ""]
    heads, parts = [head for head in found.heads if head != "point"], []
    for point in (GIVEN, PERTURBED):
        if rows := found.rows_at(point):
            named = [f"at the {point} point:"] if point == PERTURBED else []
            parts += [*named, columns(heads, rows), ""]
    return parts


def tell(found: Outcome, *, as_json: bool) -> None:
    """Print a report as text or JSON; end with exit code 1 where something does not agree."""
    if as_json:
        print_json(found.to_dict())
    else:
        wrong = ["", *found.findings()] if found.findings() else []
        show(found.verdict(), *wrong, "", *tables(found), key_value_table(found.notes()))
    if not found.passed:
        raise typer.Exit(FAILED)
