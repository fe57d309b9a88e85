"""The table of metrics by name: for which tasks, whether larger is better, and which function of scikit-learn computes it.

Those without a function are the engine's own, which are in every evaluation.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from bpengine.backend import HostArray
from bpengine.training.metrics.truth import BINARY, CLASSES, MULTICLASS, REGRESSION, Truth

AVERAGES: Final = ("macro", "weighted", "micro")
TOP: Final = re.compile(r"top_([1-9]\d*)")
NEAR_ONE: Final = 1e-5  # how far the sum of a row's probabilities may be from 1: float32 rounds them


@dataclass(frozen=True, kw_only=True)
class KnownMetric:
    """A row of the table.

    tasks: those it is for. larger_is_better: None for a table, which cannot be watched. function: of sklearn.metrics, ""
    for the engine's own; it is called with the truth, the predictions in the form that `takes` names, and `options`. takes:
    "classes"; "ranking", how likely the second of two classes is, or each class; "probabilities" or "scores" of each class;
    "values".
    lacks(truth) says what is missing in rows for which it is not defined, None where nothing is.
    """

    name: str
    tasks: tuple[str, ...]
    larger_is_better: bool | None
    takes: str = "classes"
    function: str = ""
    options: Callable[[Truth], dict[str, Any]] = lambda truth: {}
    lacks: Callable[[Truth], str | None] = lambda truth: None


def known(name: str) -> KnownMetric | None:
    """Return the metric of a name, None for one that is not known."""
    if match := TOP.fullmatch(name):
        return _top(int(match[1]))
    return _TABLE.get(name)


def names(task: str | None = None, own: Sequence[str] | None = None) -> list[str]:
    """Return the names of the metrics of a task, or of all; "top_3" stands for every number.

    own: those of the engine's own that an evaluation returns; None for all.
    """
    rows = [row for row in (*_TABLE.values(), _top(3)) if task is None or task in row.tasks]
    return [row.name for row in rows if row.function or own is None or row.name in own]


def impossible(row: KnownMetric, truth: Truth, predictions: HostArray) -> str | None:
    """Say what is wrong with predictions that a metric of probabilities cannot take, None where nothing is."""
    if row.takes != "probabilities" and (row.takes != "ranking" or truth.task != MULTICLASS):
        return None
    low, high = float(predictions.min()), float(predictions.max())
    if low < 0 or high > 1 + NEAR_ONE:
        return f"predictions from {low:g} to {high:g}"
    off = np.abs(predictions.sum(axis=1, dtype=float) - 1) if predictions.shape[1] > 1 else np.zeros(1)
    return f"rows that add up to as much as 1 +/- {off.max():g}" if off.max() > NEAR_ONE else None


def _own() -> Iterator[KnownMetric]:
    yield KnownMetric(name="loss", tasks=(*CLASSES, REGRESSION), larger_is_better=False)
    yield KnownMetric(name="accuracy", tasks=CLASSES, larger_is_better=True)
    yield KnownMetric(name="rmse", tasks=(REGRESSION,), larger_is_better=False)
    yield KnownMetric(name="rmse_standardised", tasks=(REGRESSION,), larger_is_better=False)


def _of_chosen_classes() -> Iterator[KnownMetric]:
    """Precision, recall and F1: of the second of two classes, else the mean over the classes; or the average that is named."""
    for name in ("precision", "recall", "f1"):
        for average in ("", *AVERAGES):
            yield KnownMetric(
                name=f"{name}_{average}" if average else name, tasks=CLASSES, larger_is_better=True,
                function=f"{name}_score", options=_average(average),
            )  # fmt: skip
    # The mean recall of the classes that occur is what balanced_accuracy_score computes, but that function warns of
    # predictions of a class that no row has.
    yield KnownMetric(
        name="balanced_accuracy", tasks=(BINARY, MULTICLASS), larger_is_better=True, function="recall_score",
        options=lambda truth: {"labels": np.unique(truth.classes), "average": "macro", "zero_division": 0.0},
    )  # fmt: skip
    yield KnownMetric(
        name="confusion_matrix", tasks=(BINARY, MULTICLASS), larger_is_better=None, function="confusion_matrix",
        options=lambda truth: {"labels": np.arange(max(2, truth.outputs))},  # with one class it warns; `_score` cuts it
    )  # fmt: skip


def _of_probabilities() -> Iterator[KnownMetric]:
    for name, average in (("roc_auc", "macro"), ("roc_auc_weighted", "weighted")):
        yield KnownMetric(
            name=name, tasks=CLASSES if name == "roc_auc" else CLASSES[1:], larger_is_better=True, takes="ranking",
            function="roc_auc_score", options=_one_against_the_rest(average), lacks=Truth.absent,
        )  # fmt: skip
    yield KnownMetric(
        name="log_loss", tasks=(BINARY, MULTICLASS), larger_is_better=False, takes="probabilities",
        function="log_loss", options=_labels, lacks=lambda truth: truth.single,
    )  # fmt: skip


def _top(k: int) -> KnownMetric:
    return KnownMetric(
        name=f"top_{k}", tasks=(MULTICLASS,), larger_is_better=True, takes="scores",
        function="top_k_accuracy_score", options=lambda truth: {"k": k, **_labels(truth)},
        lacks=lambda truth: None if k < truth.outputs else f"{truth.outputs} classes, of which any {k} are all",
    )  # fmt: skip


def _of_values() -> Iterator[KnownMetric]:
    yield KnownMetric(
        name="r2", tasks=(REGRESSION,), larger_is_better=True, takes="values", function="r2_score",
        lacks=lambda truth: "a single row" if len(truth.target) < 2 else None,
    )  # fmt: skip
    yield KnownMetric(
        name="mae", tasks=(REGRESSION,), larger_is_better=False, takes="values", function="mean_absolute_error"
    )


def _average(average: str) -> Callable[[Truth], dict[str, Any]]:
    def options(truth: Truth) -> dict[str, Any]:
        usual = "binary" if truth.task == BINARY else "macro"
        return {"average": average or usual, "zero_division": 0.0}

    return options


def _one_against_the_rest(average: str) -> Callable[[Truth], dict[str, Any]]:
    def options(truth: Truth) -> dict[str, Any]:
        several = {"multi_class": "ovr"} if truth.task == MULTICLASS else {}
        return {} if truth.task == BINARY else {"average": average, **several}

    return options


def _labels(truth: Truth) -> dict[str, Any]:
    return {"labels": np.arange(2 if truth.task == BINARY else truth.outputs)}


_TABLE: Final = {row.name: row for part in (_own, _of_chosen_classes, _of_probabilities, _of_values) for row in part()}
LOSS: Final = _TABLE["loss"]
