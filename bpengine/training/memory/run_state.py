"""Run state: all that a fit needs, beside its records, to continue from a step with the same numbers to the last bit."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bpengine.backend import HostArray, State, as_host
from bpengine.training.memory.spill import mapped


@dataclass(frozen=True, kw_only=True)
class OpenEpoch:
    """An epoch that has begun and not ended: the number of epochs before it, its rows and seconds so far.

    shares: the weight of each of its steps in the epoch's mean loss (steps,), in float64.
    """

    epochs: int = 0
    rows: int = 0
    shares: HostArray = field(default_factory=lambda: np.empty(0))
    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Best:
    """The epoch of the best validation score so far, and its parameters and statistics where a rule restores them.

    of: the score that is watched. lowest: its value, negated where larger is better.
    """

    lowest: float = float("inf")
    epoch: int = 0
    state: State | None = None
    of: str = "loss"

    def __getstate__(self) -> dict[str, Any]:
        """Return what a pickle holds: the same, with arrays on the host."""
        return {**vars(self), "state": None if self.state is None else mapped(as_host, self.state)}


@dataclass(frozen=True, kw_only=True)
class RunState:
    """The state of a fit after its last recorded step.

    state: "params", "running", "slots" and "counter"; at the end of a fit without the first two where the model has them.
    shift: added to a step's number, gives its number among the steps of the data's epochs, `epoch_steps` each.
    seed: that of the fit, which orders the rows. rule: the update rule, whose slots are in the state.
    stopped_by: why the fit ended, "" where it has not; at_limit: whether it was `epochs` or `steps`.
    left: the version of the model's parameters at the end of the fit, which the model has until they are changed.
    """

    state: State
    open: OpenEpoch
    best: Best
    shift: int
    epoch_steps: int
    seed: int
    rule: Any = None
    stopped_by: str = ""
    at_limit: bool = False
    left: bytes | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Return what a pickle holds: the same, with arrays on the host. A fit that continues copies them to its backend."""
        return {**vars(self), "state": mapped(as_host, self.state)}

    def shift_for(self, epoch_steps: int, step: int) -> int:
        """Return `shift` for a fit that continues with epochs of another length, so that a new one begins at `step`."""
        if epoch_steps == self.epoch_steps:
            return self.shift
        begun = -(-(step + self.shift) // self.epoch_steps)
        return begun * epoch_steps - step
