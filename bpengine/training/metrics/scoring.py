"""Scoring: the numbers of metrics, computed on the host from all predictions together."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from typing import Any

import numpy as np

from bpengine.backend import HostArray
from bpengine.errors import ConfigError, DataError
from bpengine.training.metrics.choice import AnyMetric
from bpengine.training.metrics.known_metrics import KnownMetric, impossible
from bpengine.training.metrics.metric import Metric
from bpengine.training.metrics.truth import Truth

Score = float | list[list[float]]


def require_scorable(metrics: Iterable[AnyMetric], truth: Truth, what: str = "the rows") -> None:
    """Raise DataError for rows in which a metric is not defined, ConfigError for weights that a function does not take."""
    for metric in metrics:
        if isinstance(metric, KnownMetric):
            if missing := metric.lacks(truth):
                raise DataError(
                    f"metric {metric.name!r} is not defined on {what}: they have {missing}. Give others, or leave it out."
                )
        elif truth.weights is not None and not metric.weighted:
            raise ConfigError(
                f"metric {metric.name!r} takes no row weights: its function is function(y_true, prediction). Give it an "
                "argument sample_weight, or leave the weights out."
            )


def scored(metrics: Iterable[AnyMetric], truth: Truth, predictions: HostArray) -> dict[str, Score]:
    """Return the scores by name: numbers, and tables as lists, a line for each true class.

    predictions: as `Model.predict` returns them, of the truth's rows. A number is NaN where one of them is not finite.
    Raises DataError for predictions that are no probabilities where a metric requires them.
    """
    return {metric.name: _score(metric, truth, predictions) for metric in metrics}


def _score(metric: AnyMetric, truth: Truth, predictions: HostArray) -> Score:
    weights: dict[str, Any] = {} if truth.weights is None else {"sample_weight": truth.weights}
    if isinstance(metric, Metric):
        # Copies: a function that writes into its arguments changes neither the user's rows nor other scores.
        copies = [np.array(argument) for argument in _arguments(metric.takes, truth, predictions)]
        own = {name: np.array(array) for name, array in weights.items()}
        return _number(metric, metric.function(*copies, **own))
    if not np.isfinite(predictions).all() and metric.larger_is_better is not None:
        return float("nan")
    if wrong := impossible(metric, truth, predictions):
        raise DataError(
            f"metric {metric.name!r} requires probabilities, got {wrong}. Use a loss with a link, such as "
            "softmax_cross_entropy."
        )
    function = getattr(importlib.import_module("sklearn.metrics"), metric.function)
    result = function(*_arguments(metric.takes, truth, predictions), **metric.options(truth), **weights)
    if metric.larger_is_better is not None:
        return float(result)
    known = 1 if truth.single else len(result)
    table: list[list[float]] = result[:known, :known].tolist()
    return table


def _arguments(takes: str, truth: Truth, predictions: HostArray) -> tuple[HostArray, HostArray]:
    if takes == "classes":
        return truth.classes, truth.chosen(predictions)
    if takes == "ranking":
        return truth.classes, truth.ranking(predictions)
    if takes in ("probabilities", "scores"):
        return truth.classes, predictions if predictions.shape[1] > 1 else predictions[:, 0]
    return truth.target, predictions


def _number(metric: Metric, value: object) -> float:
    number = np.asarray(value)
    if number.shape != () or number.dtype.kind not in "biuf":
        raise ConfigError(f"metric {metric.name!r} requires its function to return a number, got {value!r}.")
    return float(number)
