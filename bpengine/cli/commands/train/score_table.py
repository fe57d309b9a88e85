"""The scores of a trained network on every part, beside those of a predictor that ignores the inputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.table import Table as RichTable

import bpengine as bp
from bpengine.backend import HostArray
from bpengine.cli.commands.train.row_parts import Part, RowParts
from bpengine.cli.output import columns
from bpengine.cli.score_options import score_text, score_title
from bpengine.data.validation.class_names import name_text
from bpengine.training.metrics.choice import choose_metrics
from bpengine.training.metrics.scoring import require_scorable as require_scorable_rows
from bpengine.training.metrics.truth import Truth
from bpengine.training.rows import check_target, decoder_of, evaluated_names, unit_of

CLASSES = 10  # the most classes of a confusion matrix that is shown


@dataclass(frozen=True, kw_only=True)
class Scores:
    """The scores of each part by name, those of the trivial predictor, and the confusion matrix, where there is one."""

    parts: dict[str, dict[str, Any]]
    trivial: dict[str, dict[str, float]]
    predictor: str
    confusion: list[list[int]] | None
    names: tuple[str, ...]
    scored: str
    network: bp.Network

    @classmethod
    def of(cls, model: bp.Model, parts: RowParts, metrics: Sequence[str] = ()) -> Scores:
        """Score a model on every part, by the metrics as well."""
        constant = _Trivial(model, parts.training)
        last = parts.held_out or parts.training
        names = tuple(map(name_text, model.class_names or ()))
        return cls(
            parts={part.name: model.evaluate(part.x, part.y, metrics=metrics) for part in parts},
            trivial={part.name: constant.scores(part) for part in parts},
            predictor=constant.phrase,
            confusion=_confusion(model, last, len(names)) if 2 <= len(names) <= CLASSES else None,
            names=names,
            scored=last.name,
            network=model.network,
        )

    @property
    def verdict(self) -> str | None:
        """The message when the network is no better than the trivial predictor; None when it is."""
        (name, trivial), scores = next(iter(self.trivial[self.scored].items())), self.parts[self.scored]
        worse = scores[name] < trivial if name == "accuracy" else scores[name] > trivial
        return f"worse than {self.predictor} on the {self.scored} rows" if worse else None

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        return {
            "scores_by_part": self.parts, "trivial": self.trivial, "trivial_predictor": self.predictor,
            "confusion": self.confusion, "confusion_of": self.scored,
        }  # fmt: skip

    def tables(self) -> list[RichTable | str]:
        """Return the scores as tables."""
        every = list(self.parts.values())
        heads = [head for head, score in every[0].items() if not isinstance(score, list)]
        compared = next(iter(next(iter(self.trivial.values()))))
        trivial = [score_text(compared, scores[compared]) for scores in self.trivial.values()]
        lines = [
            *(
                [score_title(head, heads, self.network), *(score_text(head, scores[head]) for scores in every)]
                for head in heads
            ),
            [f"{compared} of {self.predictor}", *trivial],
        ]
        shown: list[RichTable | str] = [columns(["", *self.parts], lines, left=1)]
        if self.confusion is not None:
            rows = [[f"is {n}", *map(str, line)] for n, line in zip(self.names, self.confusion, strict=True)]
            shown += [
                f"\nConfusion matrix of the {self.scored} rows:",
                columns(["", *(f"said {n}" for n in self.names)], rows, left=1),
            ]
        elif "confusion_matrix" in every[0] and len(self.names) > CLASSES:
            shown.append(f"\nThe confusion matrix of {len(self.names)} classes is too wide to print; --json gives it.")
        return shown + ([f"\nNote: it is {self.verdict}."] if self.verdict else [])


def require_scorable(model: bp.Model, parts: RowParts, metrics: Sequence[str]) -> None:
    """Raise DataError, before the training, for a metric that is not defined on the rows of a part."""
    network, features = model.network, model.features
    chosen = choose_metrics(metrics, network, evaluated_names(network, unit_of(features)))
    for part in parts if chosen else ():
        truth = Truth.of(network, check_target(network, part.y, model.dtype), None, decoder_of(features))
        require_scorable_rows(chosen, truth, f"the {part.name} rows")


class _Trivial:
    """Predicts the most frequent class, or the mean, of the training rows."""

    def __init__(self, model: bp.Model, training: Part) -> None:
        assert model.features is not None  # `train` learns Features from every table
        self._model, self._features = model, model.features
        self._classes = model.network.loss.target == "classes" or self._features.classes is not None
        y = np.asarray(training.y)
        if self._classes and y.ndim == 1:
            counts = np.bincount(y.astype(np.int64))
            self._constant: Any = int(counts.argmax())
            names = model.class_names
            self.phrase = f"always saying {name_text(names[self._constant]) if names else self._constant}"
        else:
            self._classes = False
            self._constant = self._values(training).mean(axis=0)
            self.phrase = "saying the mean"

    def _values(self, part: Part) -> HostArray:
        y = np.asarray(part.y, np.float64).reshape(part.rows, -1)
        return self._features.decode(y)

    def scores(self, part: Part) -> dict[str, float]:
        """Return the score of a part."""
        if self._classes:
            return {"accuracy": float(np.mean(np.asarray(part.y) == self._constant))}
        values = self._values(part)
        if self._model.network.loss.target != "values":
            return {"accuracy": float(np.mean(np.all((self._constant > 0.5) == (values > 0.5), axis=1)))}
        return {"rmse": float(np.sqrt(np.mean((values - self._constant) ** 2)))}


def _confusion(model: bp.Model, part: Part, classes: int) -> list[list[int]] | None:
    """Return how many rows of each true class (lines) were predicted as each class (columns)."""
    y = np.asarray(part.y)
    if y.ndim != 1 or model.network.loss.target == "values":
        return None
    outputs = model.predict(part.x)
    said = outputs.argmax(axis=1) if outputs.shape[1] > 1 else (outputs[:, 0] > 0.5).astype(int)
    table = np.zeros((classes, classes), np.int64)
    np.add.at(table, (y.astype(np.int64), said), 1)
    rows: list[list[int]] = table.tolist()
    return rows
