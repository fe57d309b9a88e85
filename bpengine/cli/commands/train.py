"""`bpengine train`: a data set or a file in, a trained network, its scores and a model file out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

import bpengine as bp
from bpengine.cli import data_options, network_options
from bpengine.cli.commands.training_run import TrainingRun
from bpengine.cli.output import key_value_table, print_json, require_writable, scores_text, show
from bpengine.cli.processes.shards import Shards, shards_for
from bpengine.cli.size_limits import copies
from bpengine.errors import ConfigError
from bpengine.explain import figures

HELP = """\
Train a network on a data set or a file, score it on rows held out, and save it.

A table's targets are taken as classes when they are text or the whole numbers 0..k or 1..k, otherwise as values to
predict; --loss overrides that. The score on the held-out rows is printed at the end. .npy files are memory-mapped:
with --test-fraction 0 nothing is copied, and files larger than memory can be trained on.

Under mpiexec or srun all processes train one model: each batch is cut into --shards parts, 16 unless it is given, which
they share. The result has the same bits for every number of processes; one process repeats them with --shards 16.

\b
Examples:
  bpengine train iris --layers 16 --epochs 100 --out iris.safetensors --figure iris-loss.svg
  bpengine train people.csv --target income --loss huber --patience 10 --epochs 500
  bpengine train x.npy --target y.npy --test-fraction 0 --backend jax --batch-size 1024
  bpengine train xor --test-fraction 0 --activation tanh --learning-rate 0.05 --epochs 500
  bpengine train digits --epochs 200 --checkpoint run --resume --out digits.safetensors
"""
Figure = Annotated[
    Path | None,
    typer.Option(
        "--figure",
        metavar="FILE",
        help="Draw the loss while training into this file (.png, .svg, .pdf).  [default: not drawn]",
    ),
]


def train(
    *,
    source: data_options.Source,
    target: data_options.Target = None,
    layers: network_options.Layers = "64,32",
    activation: network_options.Activation = "relu",
    loss: network_options.LossName = None,
    backend: network_options.BackendName = "numpy",
    dtype: network_options.Dtype = "float32",
    optimizer: network_options.OptimizerName = "adam",
    learning_rate: network_options.LearningRate = 1e-3,
    batch_size: Annotated[int, typer.Option(min=1, help="Rows per step; all rows when there are fewer.")] = 128,
    epochs: Annotated[int, typer.Option(min=1, help="Times that every training row is seen, at most.")] = 20,
    seed: Annotated[int, typer.Option(min=0, help="Draws the split, initial weights, order of rows, dropout.")] = 0,
    test_fraction: Annotated[
        float, typer.Option(help="Share of the rows held out for the score; 0 trains on all, without a copy.")
    ] = 0.2,
    dropout: Annotated[float, typer.Option(help="Share of each hidden layer's outputs that is dropped.")] = 0.0,
    l2: Annotated[float, typer.Option(help="Strength of the penalty strength/2 * sum of squared weights.")] = 0.0,
    clip_norm: Annotated[
        float | None, typer.Option(help="Largest norm of all gradients together.  [default: no limit]")
    ] = None,
    patience: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Stop after this many epochs without a lower loss on the held-out rows and go back to the best; "
            "their score then flatters a little.  [default: never]",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Save the model here (safetensors).  [default: not saved]")
    ] = None,
    figure: Figure = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            "--checkpoint",
            metavar="FOLDER",
            help="Write checkpoints there; a run that is killed goes on from them with --resume.  [default: none]",
        ),
    ] = None,
    every: Annotated[
        int | None, typer.Option(min=1, help="Steps between two checkpoints.  [default: one every 300 seconds]")
    ] = None,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Go on from the newest checkpoint in the folder; from the start without one."),
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the files given by --out and --figure.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
    shards: Shards = None,
) -> None:
    """Train a network and print a summary."""
    comm = bp.world()
    _check_files(out, figure, force=force or resume)
    folder = _run_folder(checkpoint, every, resume=resume)
    if patience is not None and test_fraction == 0:
        raise ConfigError("--patience requires rows held out, got --test-fraction 0. Drop one of them.")
    update = network_options.optimizer(optimizer, learning_rate)
    hidden = network_options.hidden_layers(layers, activation, dropout)
    named_loss = bp.Loss(loss) if loss else None
    whole = data_options.load(source, target, named_loss)
    rows, held_out = data_options.split(whole, test_fraction, seed)
    network = network_options.network(whole, hidden, named_loss, l2)
    model = network_options.model(network, backend, dtype, seed, copies=copies(update))
    model.class_names = whole.class_names
    run = TrainingRun(
        whole=whole, rows=rows, held_out=held_out, model=model, batch=min(batch_size, rows.rows), out=out, figure=figure,
        comm=comm, shards=shards_for(shards, comm),
    )  # fmt: skip
    history, seconds = run.fit(
        epochs, optimizer=update, clip_norm=clip_norm, patience=patience, folder=folder, resume=resume
    )
    run.save(history)
    summary = run.summary(history, seconds)
    if comm.rank == 0:
        print_json(summary) if as_json else show(key_value_table(_lines(summary)))


def _run_folder(checkpoint: Path | None, every: int | None, *, resume: bool) -> bp.RunFolder | None:
    """Return where checkpoints go, None for nowhere; raise ConfigError for options that need --checkpoint."""
    if checkpoint is not None:
        return bp.RunFolder(checkpoint, every=every)
    if resume or every is not None:
        raise ConfigError(f"{'--resume' if resume else '--every'} requires --checkpoint FOLDER, got none.")
    return None


def _check_files(out: Path | None, figure: Path | None, *, force: bool) -> None:
    """Refuse, before any work, a model file or picture that could not be written; raise ConfigError that says why."""
    if out is not None:
        require_writable(out, force=force)
    if figure is None:
        return
    figures.require_matplotlib()
    figures.check_target(figure, force=True)
    require_writable(figure, force=force, option="--figure")
    if out is not None and figure.resolve() == out.resolve():
        raise ConfigError(f"--figure and --out require two files, got {str(figure)!r} for both.")


def _processes(summary: dict[str, Any]) -> str:
    """Return how many processes and shards there were, "" for one process without shards."""
    if summary["shards"] is None:
        return ""
    count = summary["processes"]
    return f", {count} process{'es' * (count > 1)}, {summary['shards']} shards"


def _lines(summary: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the summary for a person."""
    held_out = f", {summary['held_out_rows']:,} held out" if summary["held_out_rows"] else ""
    shape = "-".join(map(str, summary["network"]))
    return [
        (
            "data",
            f"{summary['data']}: {summary['rows']:,} rows to train on{held_out}; {summary['features']:,} features",
        ),
        ("network", f"{shape}, {summary['parameters']:,} parameters, {summary['loss']}"),
        ("training", f"{summary['epochs']:,} epochs, {summary['steps']:,} steps of {summary['batch_size']:,} rows"),
        ("stopped by", summary["stopped_by"]),
        ("time", f"{summary['seconds']:.2f} s, {summary['samples_per_second']:,.0f} samples/s"),
        ("ran on", f"{summary['backend']} ({summary['device']}), {summary['dtype']}{_processes(summary)}"),
        (summary["scores_on"], scores_text(summary["scores"])),
        ("saved", summary["saved"] or "no (--out model.safetensors would)"),
        *([("figure", summary["figure"])] if summary["figure"] else []),
    ]
