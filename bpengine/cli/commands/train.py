"""`bpengine train`: a data set or a file in, a trained network, its scores and a model file out."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

import bpengine as bp
from bpengine.cli import data_options, network_options
from bpengine.cli.commands import train_figure
from bpengine.cli.exit_codes import Interrupted
from bpengine.cli.output import key_value_table, print_json, require_writable, scores_text, show
from bpengine.cli.size_limits import copies
from bpengine.data import Dataset
from bpengine.errors import ConfigError
from bpengine.training import Optimizer

HELP = """\
Train a network on a data set or a file, score it on rows held out, and save it.

A table's targets are taken as classes when they are text or the whole numbers 0..k or 1..k, otherwise as values to
predict; --loss overrides that. The score on the held-out rows is printed at the end. .npy files are memory-mapped:
with --test-fraction 0 nothing is copied, and files larger than memory can be trained on.

\b
Examples:
  bpengine train iris --layers 16 --epochs 100 --out iris.safetensors --figure iris-loss.svg
  bpengine train people.csv --target income --loss huber --patience 10 --epochs 500
  bpengine train x.npy --target y.npy --test-fraction 0 --backend jax --batch-size 1024
  bpengine train xor --test-fraction 0 --activation tanh --learning-rate 0.05 --epochs 500
"""


def train(
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
    figure: train_figure.File = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the files given by --out and --figure.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Train a network and print a summary."""
    if out is not None:
        require_writable(out, force=force)
    if figure is not None:
        train_figure.check(figure, out, force=force)
    if patience is not None and test_fraction == 0:
        raise ConfigError("--patience requires rows held out, got --test-fraction 0. Drop one of them.")
    update, hidden = (
        network_options.optimizer(optimizer, learning_rate),
        network_options.hidden_layers(layers, activation, dropout),
    )
    named_loss = bp.Loss(loss) if loss else None
    whole = data_options.load(source, target, named_loss)
    rows, held_out = data_options.split(whole, test_fraction, seed)
    model = network_options.model(
        network_options.network(whole, hidden, named_loss, l2), backend, dtype, seed, copies=copies(update)
    )
    model.class_names = whole.class_names
    run = TrainingRun(whole, rows, held_out, model, min(batch_size, rows.rows), out, figure)
    history, seconds = run.fit(epochs, optimizer=update, clip_norm=clip_norm, patience=patience)
    run.save(history)
    summary = run.summary(history, seconds)
    print_json(summary) if as_json else show(key_value_table(_lines(summary)))


@dataclass(frozen=True)
class TrainingRun:
    """One training run: the data, whole and split, the model, the rows per step, where it is saved and drawn."""

    whole: Dataset
    rows: Dataset
    held_out: Dataset | None
    model: bp.Model
    batch: int
    out: Path | None
    figure: Path | None

    def fit(
        self, epochs: int, *, optimizer: Optimizer, clip_norm: float | None, patience: int | None
    ) -> tuple[bp.History, float]:
        """Train, and return the history and the seconds it took; an interrupted run saves what it has and ends here."""
        held_out = None if patience is None or self.held_out is None else (self.held_out.x, self.held_out.y)
        began = time.perf_counter()
        history = self.model.fit(
            self.rows.x,
            self.rows.y,
            optimizer=optimizer,
            batch_size=self.batch,
            epochs=epochs,
            validation=held_out,
            clip_norm=clip_norm,
            stop=() if patience is None else bp.NoImprovement(patience),
            progress=True,
        )
        if history.stopped_by == "interrupted":
            raise Interrupted(self._interrupted(history))
        return history, time.perf_counter() - began

    def save(self, history: bp.History) -> None:
        """Write the model file and the loss curve, if they were asked for."""
        if self.out is not None:
            self.model.save(self.out)
        if self.figure is not None:
            train_figure.save(history, self.figure)

    def _interrupted(self, history: bp.History) -> str:
        if not history.steps or (self.out is None and self.figure is None):
            return f"interrupted after {history.steps} steps; nothing was saved."
        self.save(history)
        kept = [f"the model as it was then is saved in {self.out}"] if self.out is not None else []
        kept += [f"its loss is drawn in {self.figure}"] if self.figure is not None else []
        return f"interrupted after {history.steps} steps; {', '.join(kept)}."

    def summary(self, history: bp.History, seconds: float) -> dict[str, Any]:
        """Return everything worth telling; scores are those of the held-out rows, or of all rows without any."""
        scored = self.held_out or self.rows
        network = self.model.network
        return {
            "data": self.whole.name,
            "task": self.whole.task,
            "rows": self.rows.rows,
            "held_out_rows": self.held_out.rows if self.held_out else 0,
            "features": self.whole.features,
            "outputs": network.outputs,
            "class_names": self.whole.class_names,
            "network": network.sizes,
            "loss": network.loss.name,
            "parameters": sum(value.size for value in self.model.parameters.values()),
            "backend": self.model.backend.name,
            "device": self.model.backend.device,
            "dtype": self.model.dtype,
            "epochs": len(history.epochs),
            "steps": history.steps,
            "batch_size": self.batch,
            "stopped_by": history.stopped_by,
            "seconds": seconds,
            "samples_per_second": history.rows_per_second,
            "scores_on": "held-out rows" if self.held_out else "training rows",
            "scores": self.model.evaluate(scored.x, scored.y),
            "saved": None if self.out is None else str(self.out),
            "figure": None if self.figure is None else str(self.figure),
        }


def _lines(told: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the summary for a person."""
    held_out = f", {told['held_out_rows']:,} held out" if told["held_out_rows"] else ""
    shape = "-".join(map(str, told["network"]))
    return [
        ("data", f"{told['data']}: {told['rows']:,} rows to train on{held_out}; {told['features']:,} features"),
        ("network", f"{shape}, {told['parameters']:,} parameters, {told['loss']}"),
        ("training", f"{told['epochs']:,} epochs, {told['steps']:,} steps of {told['batch_size']:,} rows"),
        ("stopped by", told["stopped_by"]),
        ("time", f"{told['seconds']:.2f} s, {told['samples_per_second']:,.0f} samples/s"),
        ("ran on", f"{told['backend']} ({told['device']}), {told['dtype']}"),
        (told["scores_on"], scores_text(told["scores"])),
        ("saved", told["saved"] or "no (--out model.safetensors would)"),
        *([("figure", told["figure"])] if told["figure"] else []),
    ]
