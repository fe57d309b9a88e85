"""`bpengine check`: the gradients of a network, a saved model or a kernel compared with every oracle."""

from __future__ import annotations

from typing import Annotated

import typer

import bpengine as bp
from bpengine import data
from bpengine.cli import data_options, network_options
from bpengine.cli.commands.check_report import print_report
from bpengine.cli.table_options.groups import grouped
from bpengine.cli.table_options.text_format import TextFormat
from bpengine.errors import ConfigError

HELP = """\
Check the hand-written gradients of a network, or of one kernel, against independent oracles.

JAX autodiff in float64, finite differences, the complex step where it applies, random inner products. The network is
that of a model file, or a fresh one for the data; every parameter and the input are checked, there and at a perturbed
point, for what is forgotten does not show where a bias is 0 or a gain 1. A failure names the worst element and the
faulty kernel. Exit codes: 0 passed, 1 failed, 2 a mistake in what was asked.

\b
Examples:
  bpengine check iris
  bpengine check digits --layers 64,32 --activation gelu --rows 32 --backend jax
  bpengine check model.safetensors people.csv --target income --json
  bpengine check --kernel softmax_cross_entropy
"""


@grouped
def check(
    *,
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[MODEL] FILE_OR_NAME",
            help="A model file, if there is one, then the rows: a file, or the name of a set: "
            f"{', '.join(data.names())}.",
        ),
    ] = None,
    written: TextFormat,
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
    names = sources or []
    if kernel is not None:
        if names:
            raise ConfigError(
                f"--kernel checks a kernel without data, got {' '.join(names)} as well. Drop one of them."
            )
        print_report(bp.check_gradients(kernel, seed=seed), as_json=as_json)
        return
    _require_rows(names)
    named, options = bp.Loss(loss) if loss is not None else None, written.options_for(names[-1])
    if len(names) == 2:
        model = bp.load(names[0], backend)
        dataset = data_options.load_for(model, names[1], target, options)
        x, y = data_options.for_model(model, dataset)
    else:
        dataset = data_options.load(names[0], target, named, options=options)
        network = network_options.fresh_network(dataset, layers, activation, named)
        model, x, y = network_options.model(network, backend, dtype, seed), dataset.x, dataset.y
    x, y = data_options.draw_rows(x, y, rows, seed)
    print_report(model.check(x, y, seed=seed), as_json=as_json)


def _require_rows(names: list[str]) -> None:
    """Raise ConfigError unless there is one name for the rows, with at most one before it for a model file."""
    if not 1 <= len(names) <= 2:
        got = f"{len(names)} names: {' '.join(names)}" if names else "none"
        raise ConfigError(f"check requires [MODEL] FILE_OR_NAME, got {got}. For example: bpengine check iris.")
    if len(names) == 1 and names[0].endswith(".safetensors"):
        raise ConfigError(f"check requires rows beside the model {names[0]}: bpengine check {names[0]} FILE_OR_NAME.")
