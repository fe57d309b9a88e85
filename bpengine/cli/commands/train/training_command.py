"""`bpengine train`: train a network on a data set or file, print its scores and write a model file."""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Any

import numpy as np
import typer
from rich.table import Table

import bpengine as bp
from bpengine.cli import data_options, network_options
from bpengine.cli.commands.train.row_parts import SplitRows, split_rows
from bpengine.cli.commands.train.score_table import Scores
from bpengine.cli.commands.train.seed_options import SeedChoice
from bpengine.cli.commands.train.several_seeds import fit_seeds
from bpengine.cli.commands.train.training_options import (
    FileChoice,
    LimitChoice,
    Logs,
    NetworkChoice,
    RowChoice,
    StepChoice,
)
from bpengine.cli.commands.train.training_run import FitOptions, TrainingRun, summary_lines
from bpengine.cli.data_options import naming
from bpengine.cli.output import columns, key_value_table, print_json, show
from bpengine.cli.processes.shards import Shards, shards_for
from bpengine.cli.score_options import Scoring
from bpengine.cli.size_limits import copies
from bpengine.cli.table_options.column_runs import in_runs
from bpengine.cli.table_options.column_use import ColumnUse
from bpengine.cli.table_options.groups import grouped
from bpengine.cli.table_options.text_format import TextFormat
from bpengine.data import Dataset
from bpengine.data.features.learned_columns import NumberColumn
from bpengine.distributed import Comm
from bpengine.i18n.language import localized
from bpengine.layers import Layer
from bpengine.training import Optimizer

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
APART = 100.0  # ratio of the spreads of two columns above which a warning is given


@dataclass(frozen=True, kw_only=True)
class TrainingPlan:
    """What the options say, checked before any row is read.

    validated, held_out: the rows to validate and to test with, each a share of all, a file or None.
    """

    network: NetworkChoice
    limits: LimitChoice
    use: ColumnUse
    seed: int
    validated: float | str | None
    held_out: float | str | None
    update: Optimizer
    hidden: list[Layer]
    loss: bp.Loss | None

    @classmethod
    def of(
        cls, network: NetworkChoice, steps: StepChoice, rows: RowChoice, limits: LimitChoice, use: ColumnUse
    ) -> TrainingPlan:
        """Return the plan; raise ConfigError for options that make no sense."""
        validated, held_out = rows.parts(stopping=limits.stops)
        return cls(
            network=network, limits=limits, use=use, seed=rows.seed, validated=validated, held_out=held_out,
            update=steps.rule(), hidden=limits.hidden_layers(network), loss=network.named_loss(),
        )  # fmt: skip

    def read(self, source: str, target: str | None, options: dict[str, Any]) -> tuple[Dataset, SplitRows]:
        """Return the data, and their rows to train on, to validate and to test with."""

        def load(name: str) -> Dataset:
            data = data_options.load(name, target, self.loss, task=self.use.task, raw=True, options=options)
            return self.use.used(data)

        whole = load(source)
        return whole, split_rows(whole, self.validated, self.held_out, load, self.seed)

    def model(self, whole: Dataset, split: SplitRows, source: str, *, fits: int, comm: Comm) -> bp.Model:
        """Return the untrained model, with what the columns are as learned from the training rows.

        Raises ConfigError where the parameters of so many fits do not fit into memory.
        """
        last = network_options.last_layer(whole, self.loss, self.network.output_activation)
        with naming(source):
            features = self.use.fitted(split.training, scale_target=last.open, comm=comm)
        _warn(split.training, features, standardized=self.use.standardize)
        network = network_options.network(
            whole, self.hidden, last, inputs=features.inputs, l1=self.limits.l1,
            l2=self.limits.decay(split.training.rows),
        )  # fmt: skip
        model = network_options.model(
            network, self.network.backend, self.network.dtype, self.seed, copies=copies(self.update) * fits,
            threads=self.network.threads, blas=self.network.blas,
        )  # fmt: skip
        model.features = features
        return model


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
    network: NetworkChoice,
    steps: StepChoice,
    rows: RowChoice,
    limits: LimitChoice,
    files: FileChoice,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
    shards: Shards = None,
) -> None:
    """Train a network and print a summary."""
    comm = bp.world()
    alone = {"--checkpoint": files.checkpoint is not None, **logs.asked, "--shards": shards is not None}
    choice.check(alone, files.out, processes=comm.size, force=files.force)
    files.check()
    logs.check(force=files.replaces)
    folder = files.run_folder()
    use.check()
    validates = rows.validates
    scoring.check(stopping=limits.stops, choosing=bool(choice.numbers) and validates)
    plan = TrainingPlan.of(network, steps, rows, limits, use)
    whole, split = plan.read(source, target, written.options_for(source))
    model = plan.model(whole, split, source, fits=max(1, len(choice.numbers)), comm=comm)
    assert model.features is not None
    parts = split.encoded(model.features, network.dtype, comm)
    printer = _Printer(as_json=as_json, comm=comm)
    printer.before(model.features, split.sentence)
    run = TrainingRun(
        whole=whole, parts=parts, model=model, batch=steps.batch(parts.training.rows), out=files.out, figure=files.figure,
        weights=rows.weights(parts, model.features), metrics=scoring.chosen(model), comm=comm,
        shards=shards_for(shards, comm),
    )  # fmt: skip
    monitor = scoring.monitor or "loss"
    settings = FitOptions(
        epochs=steps.length(parts.training.rows),
        optimizer=plan.update,
        clip_norm=limits.clip_norm,
        rule=limits.rule(monitor),
    )
    if choice.numbers:
        fits = fit_seeds(run, settings, choice.numbers, folder=choice.out_each, monitor=monitor)
        fits.save()
        printer.after(*fits.summary(), more=fits.to_json(), tables=fits.tables())
        return
    history, seconds = run.fit(
        settings, folder=folder, resume=files.resume, callbacks=logs.callbacks(parts.training) if comm.rank == 0 else []
    )
    run.save(history)
    printer.after(*run.summary(history, seconds))


class _Printer:
    """Prints what is known before the work, and the summary after it; process 0 alone does.

    On a terminal the columns are shown before the work; in a pipe nothing is written if the work fails.
    """

    def __init__(self, *, as_json: bool, comm: Comm) -> None:
        self._as_json, self._quiet = as_json, comm.rank != 0
        self._waiting: list[Table | str] = []

    def before(self, features: bp.Features, sentence: str) -> None:
        """Print what the columns are, and how many rows each part has."""
        if self._as_json or self._quiet:
            return
        self._waiting = [_column_lines(features), f"\n{sentence}\n"]
        if sys.stdout.isatty():
            show(*self._waiting)
            self._waiting = []

    def after(
        self,
        summary: dict[str, Any],
        scores: Scores,
        *,
        more: Mapping[str, Any] = MappingProxyType({}),
        tables: Sequence[Table | str] = (),
    ) -> None:
        """Print the summary and the scores; more: of several fits, for JSON, tables: for a person."""
        if self._quiet:
            return
        if self._as_json:
            print_json({**summary, **scores.to_json(), **more})
            return
        several = [*tables, ""] if tables else []
        show(*self._waiting, *several, key_value_table(summary_lines(summary)), "", *scores.tables())


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
