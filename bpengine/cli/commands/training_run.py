"""One run of `bpengine train`: it fits, saves the model and the loss curve, and sums up."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bpengine as bp
from bpengine.cli.exit_codes import Interrupted
from bpengine.data import Dataset
from bpengine.distributed import Comm
from bpengine.explain import figures
from bpengine.training import Optimizer


@dataclass(frozen=True, kw_only=True)
class TrainingRun:
    """One training run: the data, whole and split, the model, the rows per step, the files to save and draw into."""

    whole: Dataset
    rows: Dataset
    held_out: Dataset | None
    model: bp.Model
    batch: int
    out: Path | None
    figure: Path | None
    comm: Comm
    shards: int | None

    def fit(
        self,
        epochs: int,
        *,
        optimizer: Optimizer,
        clip_norm: float | None,
        patience: int | None,
        folder: bp.RunFolder | None,
        resume: bool,
    ) -> tuple[bp.History, float]:
        """Train, and return the history and the seconds it took; an interrupted run saves what it has and ends here.

        With a run folder the interruption is a RunInterrupted, and what there is stands in the checkpoint.
        """
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
            run=folder,
            resume=resume,
            shards=self.shards,
            comm=self.comm,
        )
        if history.stopped_by == "interrupted":
            raise Interrupted(self._interrupted(history))
        return history, time.perf_counter() - began

    def save(self, history: bp.History) -> None:
        """Write the model file and the loss curve, if they were asked for; process 0 does."""
        if self.comm.rank != 0:
            return
        if self.out is not None:
            self.model.save(self.out)
        if self.figure is not None:
            figures.save(figures.loss_curve(history), self.figure, force=True)

    def _interrupted(self, history: bp.History) -> str:
        if not history.steps or (self.out is None and self.figure is None):
            return f"interrupted after {history.steps} steps; nothing was saved."
        self.save(history)
        kept = [f"the model as it was then is saved in {self.out}"] if self.out is not None else []
        kept += [f"its loss is drawn in {self.figure}"] if self.figure is not None else []
        return f"interrupted after {history.steps} steps; {', '.join(kept)}."

    def summary(self, history: bp.History, seconds: float) -> dict[str, Any]:
        """Return the summary as JSON values; scores are those of the held-out rows, or of all rows where none are held out."""
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
            "shards": self.shards,
            "processes": self.comm.size,
            "stopped_by": history.stopped_by,
            "seconds": seconds,
            "samples_per_second": history.rows_per_second,
            "scores_on": "held-out rows" if self.held_out else "training rows",
            "scores": self.model.evaluate(scored.x, scored.y),
            "saved": None if self.out is None else str(self.out),
            "figure": None if self.figure is None else str(self.figure),
        }
