"""Choice: the requested metrics, checked against the network before anything is computed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

from bpengine.data.validation.options import optional
from bpengine.errors import ConfigError, items, unknown
from bpengine.network import Network
from bpengine.training.metrics.known_metrics import KnownMetric, known, names
from bpengine.training.metrics.metric import Metric
from bpengine.training.metrics.truth import CLASSES, REGRESSION, task_of

Asked: TypeAlias = str | Metric | Callable[..., object]
AnyMetric: TypeAlias = Metric | KnownMetric


def choose_metrics(
    asked: Asked | Sequence[Asked] | None, network: Network, own: Sequence[str]
) -> tuple[AnyMetric, ...]:
    """Return the metrics to compute in addition to those of every evaluation, whose names are `own`.

    Raises ConfigError for an unknown name, a metric of another task, two of one name, a value that is no metric, and where
    scikit-learn is missing.
    """
    metrics = [_metric(one, names(task_of(network), own)) for one in listed(asked)]
    seen: set[str] = set()
    for metric in metrics:
        if metric.name in seen:
            raise ConfigError(
                f"metrics require a name for each, got two called {metric.name!r}. Metric(function, name=...) gives another."
            )
        seen.add(metric.name)
        _require_task(metric, network, own)
    return tuple(metric for metric in metrics if isinstance(metric, Metric) or metric.name not in own)


def watched(
    who: str, monitor: str | Metric, chosen: Iterable[AnyMetric], network: Network, own: Sequence[str]
) -> AnyMetric:
    """Return the metric that a rule watches: one of the `chosen` by its name, one of the table, or a custom one.

    Raises ConfigError for an unknown one, one with the name of another, and one without a direction.
    """
    by_name: dict[str, AnyMetric] = {metric.name: metric for metric in chosen}
    name = monitor if isinstance(monitor, str) else monitor.name
    metric = by_name.get(name) or (known(monitor) if isinstance(monitor, str) else monitor)
    if metric is None:
        raise unknown(f"metric that {who} watches:", name, {*by_name, *names(task_of(network), own)})
    if isinstance(monitor, Metric) and metric != monitor:
        raise ConfigError(
            f"metrics require a name for each, got two called {name!r}: that which {who} watches, and another."
        )
    require_direction(who, metric)
    _require_task(metric, network, own)
    return metric


def monitored(who: str, monitor: object) -> AnyMetric:
    """Return what is watched where the metrics of a fit are not known; raise ConfigError where its direction is not."""
    require_monitor(who, monitor)
    metric: AnyMetric | None = monitor if isinstance(monitor, Metric) else known(str(monitor))
    if metric is None:
        raise unknown(f"metric that {who} watches:", monitor, names())
    require_direction(who, metric)
    return metric


def lowered(metric: AnyMetric, score: float) -> float:
    """Return a score as a number of which lower is better: negated where larger is better."""
    return -score if metric.larger_is_better else score


def require_monitor(who: str, monitor: object) -> None:
    """Raise ConfigError for a monitor that is neither a name nor a Metric."""
    if not isinstance(monitor, (str, Metric)):
        raise ConfigError(f"{who} requires monitor to be the name of a metric or a bp.Metric, got {monitor!r}.")


def require_direction(who: str, metric: AnyMetric) -> None:
    """Raise ConfigError for a metric that does not say whether larger is better."""
    if metric.larger_is_better is not None:
        return
    if isinstance(metric, KnownMetric):
        raise ConfigError(f"{who} requires a number to watch, got {metric.name!r}, which is a table.")
    raise ConfigError(
        f"{who} requires to know whether a larger or a smaller {metric.name!r} is better. Say it: "
        f"bp.Metric({metric.name}, larger_is_better=False)."
    )


def listed(asked: Asked | Sequence[Asked] | None) -> list[Asked]:
    """Return the requested metrics, one or several, as a list."""
    if asked is None:
        return []
    return [asked] if isinstance(asked, (str, Metric)) or callable(asked) else items(asked, "evaluation", "metrics")


def _metric(asked: Asked, possible: Sequence[str]) -> AnyMetric:
    if isinstance(asked, str):
        row = known(asked)
        if row is None:
            raise unknown("metric", asked, possible)
        return row
    return asked if isinstance(asked, Metric) else Metric(asked)


def _require_task(metric: AnyMetric, network: Network, own: Sequence[str]) -> None:
    """Raise ConfigError for a metric of another task than the network's, and where a library is missing."""
    task = task_of(network)
    if isinstance(metric, Metric):
        if metric.takes == "classes" and task == REGRESSION:
            raise ConfigError(
                f"metric {metric.name!r} takes classes, got a network for {task} (loss {network.loss.name!r}). Leave out "
                "takes='classes': its function then gets what predict returns."
            )
        return
    if task not in metric.tasks or (not metric.function and metric.name not in own):
        raise ConfigError(
            f"metric {metric.name!r} requires {_wanted(metric.tasks)}, got a network for {task} (loss "
            f"{network.loss.name!r}). Possible are: {', '.join(names(task, own))}."
        )
    if metric.function:
        optional("sklearn.metrics", f"metric {metric.name!r}", "sklearn")


def _wanted(tasks: tuple[str, ...]) -> str:
    """Return what a metric of these tasks requires, in words."""
    names = {CLASSES: "classes to predict", CLASSES[:2]: "one class for each row", (REGRESSION,): "values to predict"}
    return names.get(tasks) or " or ".join(tasks)
