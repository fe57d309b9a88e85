"""Options for the scores to compute, and the printing of scores."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Annotated

import typer

import bpengine as bp
from bpengine.errors import ConfigError
from bpengine.i18n.language import localized
from bpengine.training.metrics.choice import AnyMetric, choose_metrics, watched
from bpengine.training.metrics.known_metrics import known
from bpengine.training.rows import evaluated_names, unit_of

Metrics = Annotated[
    str | None,
    typer.Option(
        metavar="A,B",
        help="Further scores, separated by commas. Classes: precision, recall, f1 (also f1_macro, f1_weighted, f1_micro), "
        "balanced_accuracy, roc_auc, log_loss, top_3, confusion_matrix. Values: r2, mae.  [default: none]",
    ),
]


@dataclass(frozen=True, kw_only=True)
class Scoring:
    """The scores that training computes, and the one that a stopping rule watches."""

    metrics: Metrics = None
    monitor: Annotated[
        str | None,
        typer.Option(
            metavar="SCORE",
            help="What --early-stopping watches, and the best of --seeds is chosen by: a score such as f1 or accuracy of the "
            "validation rows.  [default: loss]",
        ),
    ] = None

    def check(self, *, stopping: bool, choosing: bool = False) -> None:
        """Raise ConfigError, before any work, for a score to watch without a rule that watches it.

        stopping: whether training stops early. choosing: whether one of several fits is chosen by the validation rows.
        """
        split_metrics(self.metrics)
        if self.monitor is not None and not stopping and not choosing:
            raise ConfigError(
                f"--monitor {self.monitor} requires --early-stopping N, got none. Give both, or neither; with --seeds, "
                "--validation is enough."
            )

    def chosen(self, model: bp.Model) -> tuple[str, ...]:
        """Return the names of the metrics, including the watched one.

        Raises ConfigError for one that the model's predictions do not have.
        """
        names, own = split_metrics(self.metrics), evaluated_names(model.network, unit_of(model.features))
        metrics: tuple[AnyMetric, ...] = choose_metrics(names, model.network, own)
        if self.monitor is not None:
            monitor = watched("--monitor", self.monitor, metrics, model.network, own)
            metrics += () if monitor.name in (*own, *names) else (monitor,)
        return tuple(metric.name for metric in metrics)


def split_metrics(text: str | None) -> list[str]:
    """Return names from "f1,roc_auc"; raise ConfigError where one is empty."""
    names = [] if text is None else [name.strip() for name in text.split(",")]
    if "" in names:
        raise ConfigError(f"--metrics requires names separated by commas, such as f1,roc_auc, got {text!r}.")
    return names


def score_text(name: str, value: float) -> str:
    """Return a score as text: shares with four decimals."""
    metric = known(name)
    if isinstance(value, list):
        return str(value)
    return f"{value:.4f}" if metric is not None and metric.larger_is_better else f"{value:.6g}"


def score_title(name: str, names: Collection[str], network: bp.Network) -> str:
    """Return the title of a score; names: those of the other scores.

    The title says whether a loss includes a penalty on the weights, and whether a score is on the standardised scale.
    """
    title = "loss with penalty" if name == "loss" and network.penalties else name.removesuffix("_standardised")
    standardised = name == "rmse_standardised" or (name == "loss" and "rmse_standardised" in names)
    return f"{title} (standardised)" if standardised else title


def scores_text(scores: dict[str, float], network: bp.Network) -> str:
    """Return scores as text, in the language that is set: "loss with penalty 0.1234, accuracy 0.9750"."""
    return ", ".join(
        f"{localized(score_title(name, scores, network))} {score_text(name, scores[name])}" for name in scores
    )
