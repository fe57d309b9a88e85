"""One run of `bpengine train`: it fits, saves the model and the loss curve, and sums up."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bpengine as bp
from bpengine.cli.commands.train.row_parts import RowParts
from bpengine.cli.commands.train.score_table import Scores, require_scorable
from bpengine.cli.exit_codes import Interrupted
from bpengine.data import Dataset
from bpengine.distributed import Comm
from bpengine.i18n.counted_nouns import count_of
from bpengine.training import NoImprovement, Optimizer
from bpengine.training.callbacks import Callback


@dataclass(frozen=True, kw_only=True)
class FitOptions:
    """How long and by which rules a run trains; by every seed alike."""

    epochs: int
    optimizer: Optimizer
    clip_norm: float | None
    rule: NoImprovement | None


@dataclass(frozen=True, kw_only=True)
class TrainingRun:
    """One training run: the data, whole and in parts, the model, the rows per step, the files of the model and the figure.

    metrics: the names of the scores in addition to those of every evaluation.
    """

    whole: Dataset
    parts: RowParts
    model: bp.Model
    batch: int
    out: Path | None
    figure: Path | None
    comm: Comm
    shards: int | None
    weights: Any = None
    metrics: tuple[str, ...] = ()

    def fit(
        self,
        options: FitOptions,
        *,
        folder: bp.RunFolder | None,
        resume: bool,
        callbacks: Sequence[Callback] = (),
    ) -> tuple[bp.History, float]:
        """Train, and return the history and the seconds it took; an interrupted run saves its present state and ends here.

        With a run folder the interruption is a RunInterrupted, and the state is in the checkpoint.
        """
        training, watched = self.parts.training, self.parts.validation
        require_scorable(self.model, self.parts, self.metrics)
        began = time.perf_counter()
        history = self.model.fit(
            training.x,
            training.y,
            weights=self.weights,
            optimizer=options.optimizer,
            batch_size=self.batch,
            epochs=options.epochs,
            validation=None if watched is None else (watched.x, watched.y),
            clip_norm=options.clip_norm,
            metrics=() if watched is None else self.metrics,
            stop=options.rule,
            progress=True,
            run=folder,
            resume=resume,
            callbacks=list(callbacks),
            shards=self.shards,
            comm=self.comm,
        )
        if history.stopped_by == "interrupted":
            raise Interrupted(self._interrupted(history))
        return history, time.perf_counter() - began

    def save(self, history: bp.History) -> None:
        """Write the model file and the loss curve, if requested; only process 0 writes."""
        if self.comm.rank != 0:
            return
        if self.out is not None:
            self.model.save(self.out)
        if self.figure is not None:
            from bpengine.explain import figures  # imported only with --figure: it loads all of explain

            figures.save(figures.loss_curve(history), self.figure, force=True)

    def _interrupted(self, history: bp.History) -> str:
        if not history.steps or (self.out is None and self.figure is None):
            return f"interrupted after {count_of(history.steps, 'step')}; nothing was saved."
        self.save(history)
        kept = [f"the model as it was then is saved in {self.out}"] if self.out is not None else []
        kept += [f"its loss is drawn in {self.figure}"] if self.figure is not None else []
        return f"interrupted after {count_of(history.steps, 'step')}; {', '.join(kept)}."

    def summary(self, history: bp.History, seconds: float) -> tuple[dict[str, Any], Scores]:
        """Return the summary as JSON values, and the scores.

        "scores" are those of the held-out rows, or of all rows where none are held out.
        """
        scores = Scores.of(self.model, self.parts, self.metrics)
        network, parts = self.model.network, self.parts
        features = self.model.features
        assert features is not None
        assert history.end is not None  # the time since the fit ended
        best = history.end.best
        summary = {
            "data": self.whole.name,
            "task": self.whole.task,
            "rows": parts.training.rows,
            "held_out_rows": parts.test.rows if parts.test else 0,
            "validation_rows": parts.validation.rows if parts.validation else 0,
            "features": self.whole.features,
            "inputs": network.inputs,
            "columns": [dict(zip(("name", "is", "use"), line, strict=True)) for line in features.summary()],
            "outputs": network.outputs,
            "class_names": self.model.class_names,
            "network": network.sizes,
            "loss": network.loss.name,
            "parameters": sum(value.size for value in self.model.parameters.values()),
            "backend": self.model.backend.name,
            "device": self.model.backend.device,
            "dtype": self.model.dtype,
            "epochs": len(history.epochs),
            "steps": history.steps,
            "batch_size": self.batch,
            "shards": self.shards,
            "processes": self.comm.size,
            "stopped_by": history.stopped_by,
            "monitor": best.of if best.epoch else None,
            "best_epoch": best.epoch or None,
            "seconds": seconds,
            "samples_per_second": history.rows_per_second,
            "scores_on": "held-out rows" if parts.held_out else "training rows",
            "metrics": list(self.metrics),
            "scores": scores.parts[scores.scored],
            "saved": None if self.out is None else str(self.out),
            "figure": None if self.figure is None else str(self.figure),
        }
        return summary, scores


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


def summary_lines(summary: dict[str, Any]) -> list[tuple[str, str]]:
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
