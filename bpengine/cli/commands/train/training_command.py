"""`bpengine train`: train a network on a data set or file, print its scores and write a model file."""

from __future__ import annotations

import math
import sys
import warnings
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.table import Table

import bpengine as bp
from bpengine.backend import HostArray
from bpengine.cli import data_options, network_options
from bpengine.cli.commands.train.log_options import Logs
from bpengine.cli.commands.train.row_parts import (
    RowParts,
    balanced_weights,
    fraction_or_file,
    split_rows,
    validation_part,
)
from bpengine.cli.commands.train.seed_options import SeedChoice
from bpengine.cli.commands.train.several_seeds import fit_seeds
from bpengine.cli.commands.train.training_run import TrainingRun
from bpengine.cli.data_options import naming
from bpengine.cli.output import columns, key_value_table, print_json, require_writable, show
from bpengine.cli.processes.shards import Shards, shards_for
from bpengine.cli.score_options import Scoring
from bpengine.cli.size_limits import copies
from bpengine.cli.table_options.column_runs import in_runs
from bpengine.cli.table_options.column_use import ColumnUse
from bpengine.cli.table_options.groups import grouped
from bpengine.cli.table_options.text_format import TextFormat
from bpengine.data import Dataset
from bpengine.data.features.learned_columns import NumberColumn
from bpengine.errors import ConfigError
from bpengine.i18n.counted_nouns import count_of
from bpengine.i18n.language import localized
from bpengine.training.stopping import default_epochs

HELP = """\
Train a network on a data set or a file, score it on rows held out, and save it.

What is done with each column is printed, one line each, and goes into the model file: predict takes columns by name, in
any order. Questions that come up:

\b
Headers: the first line holds names where one is over numbers, or no field is a number. --header
Separators: comma, semicolon, tab, |, blanks and runs of them are found. --sep
Text columns: an input for each value; rare ones share one. Free text is left out. --drop
Missing cells: filled with the median, and a further input says so. --missing
Scaling: numbers get mean 0, deviation 1; targets too, predictions keep their unit. --standardize
Targets: classes when they are text, true or false, or few whole numbers that occur often. --task
Archives: .npz files need the names of their arrays, but for x and y. --keys x_train,y_train
Scores: of the training, validation and test rows; further ones by name. --metrics f1,roc_auc
Large files: arrays and converted tables (bpengine convert) are memory-mapped, not loaded.
Luck: the same network by several seeds, side by side; a mean says more than the best. --seeds 5

Under mpiexec or srun all processes train one model: each batch is cut into --shards parts, 16 unless it is given, which
they share. The result has the same bits for every number of processes; one process repeats them with --shards 16.

\b
Examples:
  bpengine train people.csv --target income --out income.safetensors
  bpengine train iris --layers 16 --epochs 100 --out iris.safetensors --figure iris-loss.svg
  bpengine train people.csv --validation 0.2 --early-stopping 10 --class-weight balanced
  bpengine train people.csv --metrics f1,roc_auc --early-stopping 10 --monitor roc_auc
  bpengine train houses.csv --target price --loss huber --drop id --categorical zip
  bpengine train x.npy --target y.npy --test 0 --backend jax --batch-size 1024
  bpengine train xor --test 0 --activation tanh --learning-rate 0.05 --epochs 500
  bpengine train iris --seeds 5 --out best.safetensors
  bpengine train digits --checkpoint run --resume --out digits.safetensors
  bpengine train digits --validation 0.1 --log run --tensorboard runs --log-layers
"""
SHOWN = 40  # columns of a table that are listed one by one
RATE = 3e-3  # training on small tables has converged after these steps; bench/README.md says how the number was chosen
DECAY, DECAY_ROWS, DECAYED = 0.03, 6.0, 10  # largest strength of the penalty; its strength times the rows; fewest rows
APART = 100.0  # ratio of the spreads of two columns above which a warning is given
Figure = Annotated[
    Path | None,
    typer.Option(
        "--figure",
        metavar="FILE",
        help="Draw the loss while training into this file (.png, .svg, .pdf).  [default: not drawn]",
    ),
]


@grouped
def train(
    source: data_options.Source,
    *,
    written: TextFormat,
    use: ColumnUse,
    scoring: Scoring,
    logs: Logs,
    choice: SeedChoice,
    target: data_options.Target = None,
    layers: network_options.Layers = "64,32",
    activation: network_options.Activation = "relu",
    output_activation: network_options.OutputActivation = None,
    loss: network_options.LossName = None,
    backend: network_options.BackendName = "numpy",
    dtype: network_options.Dtype = "float32",
    threads: network_options.Threads = None,
    optimizer: network_options.OptimizerName = "adam",
    learning_rate: network_options.LearningRate = RATE,
    batch_size: Annotated[int, typer.Option(min=1, help="Rows per step; all rows when there are fewer.")] = 128,
    epochs: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Times that every training row is seen, at most.  [default: 200 for up to 10,000 rows, fewer for more, at "
            "least 20, and 400 steps]",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Draws the split, initial weights, order of rows, dropout.")] = 0,
    validation: Annotated[
        str | None,
        typer.Option(
            metavar="SHARE|FILE",
            help="Rows scored after each epoch, for --early-stopping.  [default: none; 0.1 with --early-stopping]",
        ),
    ] = None,
    test: Annotated[
        str,
        typer.Option(
            "--test", "--test-fraction", metavar="SHARE|FILE", help="Rows held out for the score; 0 for none."
        ),
    ] = "0.2",
    class_weight: Annotated[
        str | None,
        typer.Option(metavar="RULE", help="balanced: every class counts the same.  [default: every row does]"),
    ] = None,
    dropout: Annotated[float, typer.Option(help="Share of each hidden layer's outputs that is dropped.")] = 0.0,
    batch_norm: Annotated[
        bool, typer.Option("--batch-norm", help="Normalise each hidden layer.  [default: no]")
    ] = False,
    l1: Annotated[float, typer.Option(help="Strength of the penalty strength * sum of absolute weights.")] = 0.0,
    l2: Annotated[
        float | None,
        typer.Option(
            help="Strength of the penalty strength/2 * sum of squared weights.  [default: 6 divided by the training rows, at "
            "most 0.03; none below 10 rows, as those of textbooks]"
        ),
    ] = None,
    clip_norm: Annotated[
        float | None, typer.Option(help="Largest norm of all gradients together.  [default: no limit]")
    ] = None,
    patience: Annotated[
        int | None,
        typer.Option(
            "--early-stopping",
            "--patience",
            min=1,
            help="Stop after this many epochs without a lower loss, or a better --monitor, on the validation rows and go back "
            "to the best. Rows held out to test never choose the epoch.  [default: never]",
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
    force: Annotated[
        bool, typer.Option("--force", help="Overwrite the files given by --out, --figure and --log.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
    shards: Shards = None,
) -> None:
    """Train a network and print a summary."""
    comm = bp.world()
    alone = {"--checkpoint": checkpoint is not None, **logs.asked, "--shards": shards is not None}
    choice.check(alone, out, processes=comm.size, force=force)
    _check_files(out, figure, force=force or resume)
    logs.check(force=force or resume)
    folder = _run_folder(checkpoint, every, resume=resume)
    use.check()
    validates = fraction_or_file(validation, "--validation") is not None
    scoring.check(stopping=patience is not None, choosing=bool(choice.numbers) and validates)
    held_out = fraction_or_file(test, "--test")
    validated = validation_part(validation, stopping=patience is not None)
    if class_weight not in (None, "balanced"):
        raise ConfigError(f"--class-weight requires 'balanced', got {class_weight!r}.")
    update = network_options.optimizer(optimizer, learning_rate)
    hidden = network_options.hidden_layers(layers, activation, dropout, batch_norm=batch_norm)
    named_loss = bp.Loss(loss) if loss is not None else None
    options = written.options_for(source)

    def load(name: str) -> Dataset:
        data = data_options.load(name, target, named_loss, task=use.task, raw=True, options=options)
        return use.used(data)

    whole = load(source)
    chosen = network_options.last_layer(whole, named_loss, output_activation)
    split = split_rows(whole, validated, held_out, load, seed)
    with naming(source):
        features = use.fitted(split.training, scale_target=chosen.open, comm=comm)
    _warn(split.training, features, standardized=use.standardize)
    decay = default_decay(split.training.rows) if l2 is None else l2
    network = network_options.network(whole, hidden, chosen, inputs=features.inputs, l1=l1, l2=decay)
    kept = copies(update) * max(1, len(choice.numbers))
    model = network_options.model(network, backend, dtype, seed, copies=kept, threads=threads)
    model.features = features
    parts = split.encoded(features, dtype, comm)
    first_lines: list[Table | str] = [] if as_json or comm.rank else [_column_lines(features), f"\n{split.sentence}\n"]
    if (
        first_lines and sys.stdout.isatty()
    ):  # on a terminal it is shown before the work; in a pipe nothing is written if the work fails
        show(*first_lines)
        first_lines = []
    run = TrainingRun(
        whole=whole, parts=parts, model=model, batch=min(batch_size, parts.training.rows), out=out, figure=figure,
        weights=_weights(class_weight, parts, features), metrics=scoring.chosen(model),
        comm=comm, shards=shards_for(shards, comm),
    )  # fmt: skip
    rule = None if patience is None else bp.NoImprovement(patience, monitor=scoring.monitor or "loss")
    length = epochs or default_epochs(parts.training.rows, run.batch)
    if choice.numbers:
        fits = fit_seeds(
            run, choice.numbers, length, optimizer=update, clip_norm=clip_norm, rule=rule, folder=choice.out_each,
            monitor=scoring.monitor or "loss",
        )  # fmt: skip
        fits.save()
        summary, scores = fits.summary()
        compared, first_lines = fits.to_json(), [*first_lines, *fits.tables(), ""]
    else:
        history, seconds = run.fit(
            length,
            optimizer=update,
            clip_norm=clip_norm,
            rule=rule,
            folder=folder,
            resume=resume,
            callbacks=logs.callbacks(parts.training) if comm.rank == 0 else [],
        )
        run.save(history)
        summary, scores = run.summary(history, seconds)
        compared = {}
    if comm.rank:
        return
    if as_json:
        print_json({**summary, **scores.to_json(), **compared})
    else:
        show(*first_lines, key_value_table(_lines(summary)), "", *scores.tables())


def _run_folder(checkpoint: Path | None, every: int | None, *, resume: bool) -> bp.RunFolder | None:
    """Return the folder of checkpoints, None for none; raise ConfigError for options that need --checkpoint."""
    if checkpoint is not None:
        return bp.RunFolder(checkpoint, every=every)
    if resume or every is not None:
        raise ConfigError(f"{'--resume' if resume else '--every'} requires --checkpoint FOLDER, got none.")
    return None


def default_decay(rows: int) -> float:
    """Return the default strength of the penalty on weights: few rows need a stronger one."""
    return min(DECAY, DECAY_ROWS / rows) if rows >= DECAYED else 0.0


def _weights(rule: str | None, parts: RowParts, features: bp.Features) -> HostArray | None:
    if rule is None:
        return None
    if features.classes is None:
        raise ConfigError(
            "--class-weight requires classes, got values to predict. Drop it, or say --task classification."
        )
    return balanced_weights(parts.training.y, len(features.classes))


def _column_lines(features: bp.Features) -> Table:
    """Return one line per column, or run of similar columns: its kind and its use."""
    *inputs, (target, *use) = in_runs(features.summary())
    unnamed = features.target is None or not features.target.columns
    lines = [*inputs, (localized(target) if unnamed else target, *use)]
    if len(lines) > SHOWN:
        left = len(lines) - SHOWN
        lines = [*lines[: SHOWN - 1], ("...", "", f"{left:,} more"), lines[-1]]
    return columns(["column", "is", "use"], lines, left=3, names=1)


def _warn(training: Dataset, features: bp.Features, *, standardized: bool) -> None:
    """Warn of likely problems before the work."""
    for text in features.warnings():
        warnings.warn(localized(text), stacklevel=2)
    if training.task == "classification" and len(np.unique(training.y)) == 1:
        warnings.warn(
            localized("all training rows are of a single class; nothing can be learned from them."), stacklevel=2
        )
    if not standardized:
        _warn_of_scales(features)
    if _looks_like_identifier(training):
        warnings.warn(
            localized(
                "the target looks like an identifier: nearly every row has a value of its own. --target names another column."
            ),
            stacklevel=2,
        )


def _warn_of_scales(features: bp.Features) -> None:
    numbers = [column for column in features.columns if isinstance(column, NumberColumn)]
    spreads = {column.name: column.spread for column in numbers if column.spread > 0}
    if spreads and max(spreads.values()) > APART * min(spreads.values()):
        wide, narrow = max(spreads, key=lambda n: spreads[n]), min(spreads, key=lambda n: spreads[n])
        warnings.warn(
            localized(
                f"the columns {wide!r} and {narrow!r} have very different scales (standard deviations {spreads[wide]:.3g} and "
                f"{spreads[narrow]:.3g}), which slows training. Drop --no-standardize."
            ),
            stacklevel=3,
        )


def _looks_like_identifier(data: Dataset) -> bool:
    if data.task == "classification":
        return (data.classes or 0) > 20 and 2 * (data.classes or 0) > data.rows
    y = np.asarray(data.y)
    if y.shape[1] != 1 or len(y) < 20 or y.dtype.kind not in "iu":
        return False
    return bool((np.diff(np.sort(y[:, 0])) >= 1).all() and math.isclose(float(np.ptp(y)), len(y), rel_tol=1.0))


def _check_files(out: Path | None, figure: Path | None, *, force: bool) -> None:
    """Raise ConfigError, before any work, for a model file or picture that could not be written, with the reason."""
    if out is not None:
        require_writable(out, force=force)
    if figure is None:
        return
    from bpengine.explain import figures  # imported only with --figure: it loads all of explain

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
    return f", {count_of(count, 'process')}, {count_of(summary['shards'], 'shard')}"


def _lengths(summary: dict[str, Any]) -> str:
    epochs, steps, rows = (
        count_of(summary[key], noun, ",")
        for key, noun in (("epochs", "epoch"), ("steps", "step"), ("batch_size", "row"))
    )
    return f"{epochs}, {steps} of {rows}"


def _kept(summary: dict[str, Any]) -> str:
    """Return the epoch of the model, and the rule that chose it."""
    best = "the lowest" if summary["monitor"] == "loss" else "the best"
    shown = f"epoch {summary['best_epoch']:,} of {summary['epochs']:,}"
    return f"{shown}, which has {best} {summary['monitor']} on the validation rows"


def _lines(summary: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the summary as lines of text."""
    shape = "-".join(map(str, summary["network"]))
    return [
        ("data", f"{summary['data']}: {count_of(summary['features'], 'feature', ',')}"),
        ("network", f"{shape}, {count_of(summary['parameters'], 'parameter', ',')}, {summary['loss']}"),
        ("training", _lengths(summary)),
        ("stopped by", summary["stopped_by"]),
        *([("kept", _kept(summary))] if summary["best_epoch"] else []),
        ("time", f"{summary['seconds']:.2f} s, {summary['samples_per_second']:,.0f} samples/s"),
        ("ran on", f"{summary['backend']} ({summary['device']}), {summary['dtype']}{_processes(summary)}"),
        ("saved", summary["saved"] or "no (--out model.safetensors would)"),
        *([("figure", summary["figure"])] if summary["figure"] else []),
    ]
