"""Stopping rules: when a fit ends before its number of steps or epochs is reached; and the default number of epochs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from bpengine.errors import ConfigError, flag, number, whole
from bpengine.i18n.counted_nouns import count_of
from bpengine.training.metrics.choice import require_monitor
from bpengine.training.metrics.metric import Metric

SMALL, FEWEST, MOST, STEPS = 10_000, 20, 200, 400  # rows of a small table; epochs; steps at least


def default_epochs(rows: int, batch: int) -> int:
    """Return the default number of epochs: a small table needs more epochs for the same number of steps."""
    return max(FEWEST, min(MOST, MOST * SMALL // rows), math.ceil(STEPS / math.ceil(rows / batch)))


@dataclass(frozen=True)
class StepSizeBelow:
    """Stop after a step in which no parameter changed by `tolerance` or more (in plain descent: slope x learning rate).

    Raises ConfigError for a tolerance that is not above 0.
    """

    tolerance: float

    def __post_init__(self) -> None:
        number(self.tolerance, "StepSizeBelow", "a tolerance", low=0, above=True)

    def __str__(self) -> str:
        return f"step size below {self.tolerance:g}"


@dataclass(frozen=True)
class LossBelow:
    """Stop after a step whose training loss was below `value`.

    Raises ConfigError for a value that is not a finite number.
    """

    value: float

    def __post_init__(self) -> None:
        number(self.value, "LossBelow", "a value")

    def __str__(self) -> str:
        return f"loss below {self.value:g}"


@dataclass(frozen=True)
class NoImprovement:
    """Stop when the validation loss has not fallen by more than `min_delta` for `epochs` epochs.

    With `restore_best` the model goes back to the parameters of the best epoch.
    monitor: the name of the score to watch in place of the loss, such as "f1" or "accuracy", or a bp.Metric; its direction
    is known. A metric that is not among those of the fit is recorded as well.
    Raises ConfigError for fewer than 1 epoch, a negative `min_delta`, or an invalid monitor.
    """

    epochs: int
    min_delta: float = 0.0
    restore_best: bool = True
    monitor: str | Metric = "loss"

    def __post_init__(self) -> None:
        whole(self.epochs, "NoImprovement", "epochs")
        number(self.min_delta, "NoImprovement", "min_delta", low=0)
        flag(self.restore_best, "NoImprovement", "restore_best")
        require_monitor("NoImprovement", self.monitor)

    def __str__(self) -> str:
        name = self.monitor if isinstance(self.monitor, str) else self.monitor.name
        of = "" if name == "loss" else f" of {name}"
        return f"no improvement{of} on validation data for {count_of(self.epochs, 'epoch')}"


Rule = StepSizeBelow | LossBelow | NoImprovement
Kind = TypeVar("Kind", StepSizeBelow, LossBelow, NoImprovement)


@dataclass(frozen=True)
class Rules:
    """The stopping rules of one fit, sorted by where they are checked: inside the compiled step, or after an epoch."""

    step_size: StepSizeBelow | None = None
    loss: LossBelow | None = None
    validation: NoImprovement | None = None


def make_rules(stop: Rule | Sequence[Rule] | None, *, validation: bool) -> Rules:
    """Sort the rules; raise ConfigError for two of a kind, for a value that is no rule, or without its validation data."""
    rules: list[Any] = list(stop) if isinstance(stop, (list, tuple)) else [] if stop is None else [stop]
    kinds = (StepSizeBelow, LossBelow, NoImprovement)
    for rule in rules:
        if type(rule) not in kinds:
            raise ConfigError(
                f"fit requires stop to be {', '.join(k.__name__ for k in kinds)} or a list of them, got {rule!r}."
            )
        if sum(type(other) is type(rule) for other in rules) > 1:
            raise ConfigError(f"fit takes one rule of each kind, got two {type(rule).__name__}.")
    sorted_rules = Rules(_one(rules, StepSizeBelow), _one(rules, LossBelow), _one(rules, NoImprovement))
    if sorted_rules.validation and not validation:
        raise ConfigError("the rule NoImprovement requires validation data, got none. Pass validation=(x, y) to fit.")
    return sorted_rules


def _one(rules: Sequence[Rule], kind: type[Kind]) -> Kind | None:
    return next((rule for rule in rules if isinstance(rule, kind)), None)
