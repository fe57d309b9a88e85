"""The same network trained with several seeds: the scores of each, their mean and spread, and the best."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.table import Table as RichTable

import bpengine as bp
from bpengine.cli.commands.train.score_table import Scores, require_scorable
from bpengine.cli.commands.train.seed_options import model_file
from bpengine.cli.commands.train.training_run import FitOptions, TrainingRun
from bpengine.cli.exit_codes import Interrupted
from bpengine.cli.output import columns
from bpengine.cli.score_options import score_text, score_title
from bpengine.i18n.counted_nouns import count_of
from bpengine.i18n.language import column_head
from bpengine.many.many_fits import spread_of
from bpengine.output.json_values import json_object

NONE = "-"  # shown in place of the score of a failed fit, and of the spread of a single score


@dataclass(frozen=True, kw_only=True)
class SeedFits:
    """The fits, in the order of the seeds, and `scores`: those of each fit on every part by name, empty where it failed.

    run: their common settings; its model is the best one. folder: where the model of every seed is saved, None for nowhere.
    """

    run: TrainingRun
    many: bp.ManyFits
    scores: tuple[dict[str, dict[str, Any]], ...]
    folder: Path | None

    @classmethod
    def of(cls, run: TrainingRun, many: bp.ManyFits, folder: Path | None) -> SeedFits:
        """Score every model; raise ConfigError where all fits have failed."""
        best = replace(run, model=many.best.model)
        scores = tuple(
            {}
            if fit.error
            else {part.name: fit.model.evaluate(part.x, part.y, metrics=run.metrics) for part in run.parts}
            for fit in many
        )
        return cls(run=best, many=many, scores=scores, folder=folder)

    def save(self) -> None:
        """Write the best model and its loss curve, and the model of every seed that did not fail, if requested."""
        self.run.save(self.many.best.history)
        if self.folder is not None:
            for fit in self.many:
                if not fit.error:
                    fit.model.save(model_file(self.folder, fit.seed))

    def summary(self) -> tuple[dict[str, Any], Scores]:
        """Return the summary and the scores of the best (see `TrainingRun.summary`)."""
        return self.run.summary(self.many.best.history, self.many.best.seconds)

    def to_json(self) -> dict[str, Any]:
        """Return the scores of every seed, their mean and spread, and which seed is best, as JSON values."""
        spread = {name: spread_of(scores) for name, scores in self._columns().items()}
        return json_object(
            {
                "seeds": [self._row(fit, scores) for fit, scores in zip(self.many, self.scores, strict=True)],
                "best_seed": self.many.best.seed,
                "best_by": {"score": self.many.watched.name, "rows": self._choosing},
                "mean": {name: values["mean"] for name, values in spread.items()},
                "spread": {name: values["spread"] for name, values in spread.items()},
                "seconds_of_all": self.many.seconds,
                "saved_each": None if self.folder is None else str(self.folder),
            }
        )

    def tables(self) -> list[RichTable | str]:
        """Return the scores of every seed as tables."""
        by_name, best = self._columns(), self.many.watched.name
        kinds = [*by_name, best]
        columns_of = [*by_name.values(), [fit.score for fit in self.many]]
        lines = [
            [str(fit.seed), f"{len(fit.history.epochs):,}", *map(_text, kinds, scores)]
            for fit, *scores in zip(self.many, *columns_of, strict=True)
        ]
        for what in ("mean", "spread"):
            lines.append([what, "", *map(_text, kinds, (spread_of(scores)[what] for scores in columns_of))])
        heads = [score_title(name, by_name, self.run.model.network) for name in by_name]
        failed = [f"Seed {fit.seed} failed: {fit.error}" for fit in self.many if fit.error]
        return [
            f"Scores of the {self._scored} rows, {count_of(len(self.many), 'seed')} in {self.many.seconds:.2f} s:",
            columns(["seed", "epochs", *heads, "chosen by"], lines, left=1),
            "",
            *failed,
            self._choice(),
            *([] if self.folder is None else [f"The model of each seed is saved in {self.folder}."]),
        ]

    @property
    def _scored(self) -> str:
        return (self.run.parts.held_out or self.run.parts.training).name

    @property
    def _choosing(self) -> str:
        """The rows whose score chooses the best seed; test rows are never used for this."""
        return (self.run.parts.validation or self.run.parts.training).name

    def _choice(self) -> str:
        seed, name = self.many.best.seed, column_head(self.many.watched.name)
        if self.many.watched.larger_is_better:
            return f"Chosen: seed {seed}, which has the highest {name} of the {self._choosing} rows."
        return f"Chosen: seed {seed}, which has the lowest {name} of the {self._choosing} rows."

    def _columns(self) -> dict[str, list[float]]:
        """Return the scores of each seed on the scored rows, by name; NaN where a fit failed."""
        first = next(scores for scores in self.scores if scores)[self._scored]
        names = [name for name, score in first.items() if not isinstance(score, list)]
        return {name: [scores[self._scored][name] if scores else math.nan for scores in self.scores] for name in names}

    def _row(self, fit: bp.OneFit, scores: dict[str, dict[str, Any]]) -> dict[str, Any]:
        saved = None if self.folder is None or fit.error else str(model_file(self.folder, fit.seed))
        return {
            "seed": fit.seed, "epochs": len(fit.history.epochs), "steps": fit.history.steps, "score": fit.score,
            "scores_by_part": scores, "seconds": fit.seconds, "stopped_by": fit.history.stopped_by, "error": fit.error,
            "saved": saved,
        }  # fmt: skip


def fit_seeds(
    run: TrainingRun, options: FitOptions, seeds: Sequence[int], *, monitor: str, folder: Path | None
) -> SeedFits:
    """Train the network of a run with each seed and score every model; after an interruption, finished models are saved.

    monitor: the score of the validation rows by which the best is chosen; without such rows it is the training loss.
    """
    training, watched = run.parts.training, run.parts.validation
    require_scorable(run.model, run.parts, run.metrics)
    many = bp.fit_many(
        run.model.network,
        training.x,
        training.y,
        seeds=seeds,
        optimizers=options.optimizer,
        weights=run.weights,
        batch_size=run.batch,
        epochs=options.epochs,
        validation=None if watched is None else (watched.x, watched.y),
        metrics=() if watched is None else run.metrics,
        monitor=monitor,
        clip_norm=options.clip_norm,
        stop=options.rule,
        backend=run.model.backend,
        dtype=run.model.dtype,
        features=run.model.features,
        progress=True,
    )
    whole = tuple(fit for fit in many if fit.history.stopped_by != "interrupted")
    if len(whole) < len(many):
        raise Interrupted(_interrupted(run, replace(many, fits=whole), len(many), folder))
    return SeedFits.of(run, many, folder)


def _interrupted(run: TrainingRun, many: bp.ManyFits, seeds: int, folder: Path | None) -> str:
    """Save the finished fits, and return a message about them."""
    ended = f"interrupted after {len(many)} of {count_of(seeds, 'seed')}"
    nowhere = run.out is None and run.figure is None and folder is None
    if nowhere or all(fit.error for fit in many):
        return f"{ended}; nothing was saved."
    SeedFits.of(run, many, folder).save()
    return f"{ended}; what was asked for is saved of these."


def _text(name: str, score: float) -> str:
    return score_text(name, score) if math.isfinite(score) else NONE
