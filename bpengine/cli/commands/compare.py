"""`bpengine compare`: one network on several backends, side by side, and the first place where they disagree."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer

import bpengine as bp
from bpengine.cli import backend_status, data_options, network_options
from bpengine.cli.commands.check_report import print_report
from bpengine.cli.size_limits import copies, require_memory
from bpengine.cli.table_options.groups import grouped
from bpengine.cli.table_options.text_format import TextFormat

HELP = """\
Run one network on several backends and compare: every layer's output, every gradient, the parameters after training.

All start from the same weights and see the same rows; the first backend is the reference. The tolerance is what the
dtype and the rounding of the weights explain. A backend that cannot run here is left out, with the reason, as long as
two are left. Exit codes: 0 they agree, 1 they disagree, 2 a mistake in what was asked.

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
    names, missing = _ready([name.strip() for name in backends.split(",")])
    named, update = bp.Loss(loss) if loss is not None else None, network_options.optimizer(optimizer, learning_rate)
    dataset = data_options.load(source, target, named, options=written.options_for(source))
    network = network_options.fresh_network(dataset, layers, activation, named)
    require_memory(network, dtype, copies=copies(update))
    x, y = data_options.draw_rows(dataset.x, dataset.y, rows, seed)
    report = bp.compare_backends(network, x, y, names, steps=steps, dtype=dtype, seed=seed, optimizer=update)
    print_report(replace(report, missing=missing), as_json=as_json)


def _ready(names: list[str]) -> tuple[list[str], tuple[tuple[str, str], ...]]:
    """Return the backends that can run here, and why the others cannot.

    Raises BackendUnavailable with the reasons when fewer than two are left.
    """
    states = {name: backend_status.availability(name) for name in names}
    missing = tuple((name, f"{state.detail} {state.cure}") for name, state in states.items() if not state.ready)
    ready = [name for name in names if states[name].ready]
    if missing and len(ready) < 2:
        left = f"only {ready[0]!r}" if ready else "none"
        reasons = " ".join(f"{name}: {why}" for name, why in missing)
        raise bp.BackendUnavailable(f"compare requires two backends that can run here, got {left}. {reasons}")
    return ready, missing
