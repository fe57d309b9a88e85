"""Learning-rate schedules: pure functions of the step number (0 for the first step of a fit)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from bpengine.errors import ConfigError, number, whole

HostArray: TypeAlias = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Schedule:
    """Base: maps step numbers (steps,) to learning rates (steps,), in float64."""

    def __call__(self, step: HostArray) -> HostArray:
        """Return the learning rate of each step."""
        raise ConfigError(f"{type(self).__name__} does not say what its rate is. Give it a __call__(step).")


def rate(value: object, who: str) -> float:
    """Return a learning rate as a float, or raise ConfigError when it is negative or not a finite number."""
    if isinstance(value, (int, float)) and value < 0:
        raise ConfigError(
            f"{who} requires a learning rate of at least 0, got {value!r}. The sign of the descent is built in."
        )
    return number(value, who, "a learning rate", low=0)


@dataclass(frozen=True)
class Constant(Schedule):
    """The same rate at every step."""

    value: float

    def __post_init__(self) -> None:
        rate(self.value, "Constant")

    def __call__(self, step: HostArray) -> HostArray:
        """Return `value`."""
        return np.full(np.shape(step), float(self.value))


@dataclass(frozen=True)
class StepDecay(Schedule):
    """initial * factor^floor(step / every).

    Raises ConfigError for an invalid rate, or an `every` below 1.
    """

    initial: float
    every: int
    factor: float = 0.5

    def __post_init__(self) -> None:
        rate(self.initial, "StepDecay")
        rate(self.factor, "StepDecay")
        whole(self.every, "StepDecay", "every")

    def __call__(self, step: HostArray) -> HostArray:
        """Return the rate, one factor lower every `every` steps."""
        return self.initial * self.factor ** (np.asarray(step) // self.every).astype(float)


@dataclass(frozen=True)
class Exponential(Schedule):
    """initial * factor^(step / every), as a smooth curve.

    Raises ConfigError for an invalid rate, or an `every` below 1.
    """

    initial: float
    every: int
    factor: float = 0.5

    def __post_init__(self) -> None:
        rate(self.initial, "Exponential")
        rate(self.factor, "Exponential")
        whole(self.every, "Exponential", "every")

    def __call__(self, step: HostArray) -> HostArray:
        """Return the rate."""
        return self.initial * self.factor ** (np.asarray(step) / self.every)


@dataclass(frozen=True)
class Cosine(Schedule):
    """Half a cosine from `initial` to `final` over `steps` steps, then `final`.

    Source: Loshchilov, Hutter, "SGDR", ICLR 2017, equation 5, without restarts.
    Raises ConfigError for an invalid rate, or fewer than 1 step.
    """

    initial: float
    steps: int
    final: float = 0.0

    def __post_init__(self) -> None:
        rate(self.initial, "Cosine")
        rate(self.final, "Cosine")
        whole(self.steps, "Cosine", "steps")

    def __call__(self, step: HostArray) -> HostArray:
        """Return the rate."""
        done = np.minimum(np.asarray(step) / self.steps, 1.0)
        return self.final + (self.initial - self.final) * 0.5 * (1.0 + np.cos(np.pi * done))


@dataclass(frozen=True)
class WarmUp(Schedule):
    """A straight line from near 0 over `steps` steps to the rate that `then` starts with; afterwards `then`.

    `then` is a number or a schedule; its own step 0 is the first step after the warm-up. Step s has the share
    (s + 1) / (steps + 1) of the rate, so that the rate of no step is 0.
    Raises ConfigError for fewer than 1 step.
    """

    steps: int
    then: float | Schedule

    def __post_init__(self) -> None:
        whole(self.steps, "WarmUp", "steps")
        object.__setattr__(self, "then", make_schedule(self.then, "WarmUp"))

    def __call__(self, step: HostArray) -> HostArray:
        """Return the rate."""
        assert isinstance(self.then, Schedule)
        step = np.asarray(step)
        return self.then(np.maximum(step - self.steps, 0)) * np.minimum((step + 1) / (self.steps + 1), 1.0)


@dataclass(frozen=True)
class Custom(Schedule):
    """Any function of one step number."""

    function: Callable[[int], float]

    def __call__(self, step: HostArray) -> HostArray:
        """Return the function's rates, checked one by one."""
        return np.array([rate(self.function(int(s)), "the schedule") for s in np.atleast_1d(step)])


def make_schedule(spec: object, who: str) -> Schedule:
    """Return a schedule from a number, a schedule, or a function of the step number."""
    if isinstance(spec, Schedule):
        return spec
    return Custom(spec) if callable(spec) else Constant(rate(spec, who))
