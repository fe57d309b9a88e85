"""`bpengine compare`: one network on several backends, side by side, and the first place where they disagree."""

from __future__ import annotations

from typing import Annotated

import typer

import bpengine as bp
from bpengine.cli import data_options, network_options
from bpengine.cli.commands.check_report import print_report
from bpengine.cli.size_limits import copies, require_memory
from bpengine.cli.table_options.groups import grouped
from bpengine.cli.table_options.text_format import TextFormat

HELP = """\
Run one network on several backends and compare: every layer's output, every gradient, the parameters after training.

All start from the same weights and see the same rows; the first backend is the reference. The tolerance is what the
dtype and the rounding of the weights explain. Exit codes: 0 they agree, 1 they part, 2 a mistake in what was asked.

\b
Examples:
  bpengine compare iris
  bpengine compare digits --layers 64,32 --backends numpy,jax --steps 100
  bpengine compare people.csv --target income --dtype float64 --json
"""


@grouped
def compare(
    *,
    source: data_options.Source,
    written: TextFormat,
    target: data_options.Target = None,
    layers: network_options.Layers = "64,32",
    activation: network_options.Activation = "relu",
    loss: network_options.LossName = None,
    backends: Annotated[str, typer.Option(metavar="NAMES", help="Backends, separated by commas.")] = "numpy,jax",
    steps: Annotated[int, typer.Option(min=0, help="Training steps on all rows; 0 for none.")] = 10,
    optimizer: network_options.OptimizerName = "adam",
    learning_rate: network_options.LearningRate = 1e-3,
    dtype: network_options.Dtype = "float32",
    rows: Annotated[int, typer.Option(min=1, help="Rows, drawn at random.")] = 64,
    seed: Annotated[int, typer.Option(min=0, help="Draws the rows and the initial weights.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the comparison as JSON.")] = False,
) -> None:
    """Compare and print the table."""
    names = [name.strip() for name in backends.split(",")]
    named, update = bp.Loss(loss) if loss is not None else None, network_options.optimizer(optimizer, learning_rate)
    dataset = data_options.load(source, target, named, options=written.options_for(source))
    network = network_options.fresh_network(dataset, layers, activation, named)
    require_memory(network, dtype, copies=copies(update))
    x, y = data_options.draw_rows(dataset.x, dataset.y, rows, seed)
    report = bp.compare_backends(network, x, y, names, steps=steps, dtype=dtype, seed=seed, optimizer=update)
    print_report(report, as_json=as_json)
