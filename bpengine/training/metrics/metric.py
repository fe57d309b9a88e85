"""Metric: a custom function that scores predictions."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from bpengine.errors import ConfigError, flag, unknown
from bpengine.training.metrics.known_metrics import known

TAKES = ("predictions", "classes")


@dataclass(frozen=True)
class Metric:
    """A custom score: a function (y_true, prediction) -> number, with what a fit needs to watch it.

    function: is called with rows in both arguments. With takes="predictions" it gets what `Model.predict` returns (rows,
        outputs), values in the targets' own unit, and y_true of the same shape, or class numbers (rows,) for a loss of
        classes. With takes="classes" it gets class numbers (rows,) twice, or 0 and 1 (rows, outputs) for a yes or no per
        output: so a function of scikit-learn fits.
        Where rows have weights it is called with `sample_weight` (rows,) as well; rows with the weight 0 are left out.
    name: under which the number stands in the scores; by default the function's.
    larger_is_better: has to be said only where `NoImprovement` or `Checkpoint` watches it.

    A plain function may be given to `Model.evaluate` and `Model.fit` in place of a Metric.
    Raises ConfigError for anything that cannot be called so, has no name, or has the name of a metric of the table.

    >>> def largest_error(y_true, prediction):
    ...     return abs(y_true - prediction).max()
    >>> model = bp.Model(bp.Network(1, bp.Dense(1, weight_init=[[2.0]]), "mean_squared_error"))
    >>> metric = bp.Metric(largest_error, larger_is_better=False)
    >>> model.evaluate([[1.0], [3.0]], [[2.0], [5.5]], metrics=[metric])["largest_error"]
    0.5
    """

    function: Callable[..., object]
    name: str = field(default="", kw_only=True)
    larger_is_better: bool | None = field(default=None, kw_only=True)
    takes: str = field(default="predictions", kw_only=True)

    def __post_init__(self) -> None:
        if isinstance(self.function, type) or not callable(self.function):
            raise ConfigError(
                f"Metric requires a function of (y_true, prediction), got {self.function!r}. "
                "For example: def error(y_true, prediction): return abs(y_true - prediction).mean()."
            )
        if not _accepts(self.function, None, None):
            raise ConfigError(
                f"Metric requires a function of two arguments, (y_true, prediction), got {self.function!r} with "
                f"{inspect.signature(self.function)}."
            )
        name = self.name or getattr(self.function, "__name__", "")
        if not isinstance(name, str) or not name.isidentifier():
            raise ConfigError(
                f"Metric requires a name of letters, digits and underscores, got {name!r}. Give one: "
                "Metric(function, name='cost')."
            )
        if known(name):
            raise ConfigError(
                f"Metric requires a name that is not taken, got {name!r}. Give another: Metric(function, name='own_{name}')."
            )
        object.__setattr__(self, "name", name)
        if self.larger_is_better is not None:
            flag(self.larger_is_better, "Metric", "larger_is_better")
        if self.takes not in TAKES:
            raise unknown("kind of argument of a Metric", self.takes, TAKES)

    @property
    def weighted(self) -> bool:
        """Whether the function takes row weights, as `sample_weight`."""
        return _accepts(self.function, None, None, sample_weight=None)


def _accepts(function: Callable[..., object], *values: Any, **named: Any) -> bool:
    try:
        inspect.signature(function).bind(*values, **named)
    except ValueError:  # built in, without a signature
        return not named
    except TypeError:
        return False
    return True
