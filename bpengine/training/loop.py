"""The training loop: segments of steps handed to the backend, rules checked between them, nothing lost on a failure."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from bpengine.backend import Backend, HostArray, State, Step
from bpengine.errors import NonFiniteError
from bpengine.network import Network
from bpengine.training.batching import Segment, Source
from bpengine.training.diagnosis import first_bad
from bpengine.training.history import Epoch, History, Recorder
from bpengine.training.progress import Progress
from bpengine.training.schedules import Schedule
from bpengine.training.stopping import Rules

LONGEST = 1024  # steps in one go when a step is a whole epoch
LONG_ENOUGH = 0.2  # seconds after which such a run of steps is not made longer


class _Past(NamedTuple):
    """A segment that was run, with the state before it: enough to run any part of it again, exactly."""

    first: int
    state: State
    segment: Segment
    rates: HostArray


@dataclass
class Trainer:
    """Runs a fit: limits, rules, records, validation, and the way back when a loss is not finite.

    validate(state) returns scores with a "loss"; on_epoch(state, epoch) returns whether to stop. Either may be None.
    """

    network: Network
    backend: Backend
    step: Step
    source: Source
    schedule: Schedule
    rules: Rules
    seed: int
    shuffle: bool
    epochs: int | None
    steps: int | None
    validate: Callable[[State], dict[str, float]] | None
    on_epoch: Callable[[State, Epoch], bool] | None
    recorder: Recorder = field(default_factory=Recorder)
    stopped_by: str = ""

    def __post_init__(self) -> None:
        self._recent: deque[_Past] = deque(maxlen=2)
        self._best: tuple[float, int, State | None] = (float("inf"), 0, None)
        self._span = 1
        self._state: State = {}

    def run(self, state: State, progress: Progress) -> tuple[State, History]:
        """Train until a limit or a rule ends it, or Ctrl-C; return the final state and the history.

        Raises NonFiniteError; `good_state` of the error is then the last state whose loss was finite.
        """
        self._state, rows, seconds = state, 0, 0.0
        try:
            while not self.stopped_by:
                began, first = time.perf_counter(), self.recorder.steps
                for segment in self._segments():
                    self._run_segment(segment)
                    if self.stopped_by:
                        break
                self.backend.synchronize(*self._state["params"].values())
                elapsed = time.perf_counter() - began
                rows, seconds = rows + self.recorder.rows_since(first), seconds + elapsed
                self._close_epochs(first, elapsed, progress)
        except KeyboardInterrupt:
            self.stopped_by = "interrupted"
        if self.rules.validation and self.rules.validation.restore_best and self._best[2] is not None:
            self._state = self._best[2]
        return self._state, self.recorder.history(self.stopped_by, rows / seconds if seconds else 0.0)

    def _segments(self) -> Iterable[Segment]:
        """Return the next epoch, or many epochs at once when a step is a whole epoch and nobody looks in between."""
        epoch = len(self.recorder.epochs)
        if self.source.batch < self.source.rows:
            return self.source.epoch(self.seed, epoch, shuffle=self.shuffle)
        (segment,) = self.source.epoch(self.seed, epoch, shuffle=False)
        left = LONGEST if self.epochs is None else self.epochs - epoch
        span = 1 if self.validate or self.on_epoch else min(self._span, left)
        return [Segment(segment.data, None, span)]

    def _run_segment(self, segment: Segment) -> None:
        done = self.recorder.steps
        if self.steps is not None:
            segment = segment.part(0, self.steps - done)
        rates = self.schedule(np.arange(done, done + segment.steps))
        state, self._state = self._state, self.backend.copy(self._state)  # the first is dead after the run
        self._recent.append(_Past(done, self._state, segment, rates))
        self._state, reports = self._run(segment, state, rates)
        self.recorder.add(reports, rates, segment.batch)
        if not np.isfinite(reports["loss"][-1]):
            raise self._failure()
        self.stopped_by = self._fired(reports)

    def _run(self, segment: Segment, state: State, rates: HostArray) -> tuple[State, dict[str, HostArray]]:
        return self.backend.run_epoch(self.step, state, segment.data, segment.order, rates.astype(self.backend.dtype))

    def _fired(self, reports: dict[str, HostArray]) -> str:
        """Name the rule that halted the run or the limit that is reached; rules are compared in the step's own dtype."""
        if reports["halt"][-1]:
            loss, rule = reports["loss"][-1], self.rules.loss
            return str(rule if rule and loss < loss.dtype.type(rule.value) else self.rules.step_size)
        return f"{self.steps} steps" if self.recorder.steps == self.steps else ""

    def _close_epochs(self, first: int, seconds: float, progress: Progress) -> None:
        """Record the epochs that have just run, validate, and let callbacks and rules have their say."""
        count = self.recorder.steps - first if self.source.batch >= self.source.rows else 1
        if not count:
            return
        state = self._state
        self._span = min(LONGEST, self._span * 4) if seconds < LONG_ENOUGH else self._span
        scores = self.validate(state) if self.validate else None
        self.recorder.close(count, first, seconds, scores)
        epoch = self.recorder.epochs[-1]
        progress.update(epoch.number if self.epochs else self.recorder.steps, epoch)
        stop = self.on_epoch(state, epoch) if self.on_epoch else False
        if self.stopped_by:
            return
        if stop:
            self.stopped_by = "callback"
        elif scores and self._no_improvement(state, scores["loss"], epoch.number):
            self.stopped_by = str(self.rules.validation)
        elif epoch.number == self.epochs:
            self.stopped_by = f"{self.epochs} epochs"

    def _no_improvement(self, state: State, loss: float, number: int) -> bool:
        rule = self.rules.validation
        if rule is None:
            return False
        if loss < self._best[0] - rule.min_delta:
            self._best = (loss, number, self.backend.copy(state) if rule.restore_best else None)
        return number - self._best[1] >= rule.epochs

    def _failure(self) -> NonFiniteError:
        """Go back to the last step with a finite loss, and run the failing one kernel by kernel to name the cause."""
        bad = self.recorder.steps - 1
        good = max(bad - 1, 0)
        state = self._state_before(good)
        cause = first_bad(self.network, self.backend, state, self._rows_of(good)) if good < bad else None
        cause = cause or first_bad(self.network, self.backend, self._state_before(bad), self._rows_of(bad))
        history = self.recorder.history("loss not finite")
        kept = (
            f"the parameters it had before step {good + 1}, the last with a finite loss ({history.loss[good]:.6g})"
            if bad
            else "its initial parameters"
        )
        error = NonFiniteError(
            f"training requires a finite loss, got {history.loss[bad]} at step {bad + 1}. First bad array: "
            f"{cause or 'none when run kernel by kernel'}. The model keeps {kept}. "
            f"Lower the learning rate (now {history.learning_rate[bad]:g}), set clip_norm, or scale the data."
        )
        error.history, error.good_state = history, state
        return error

    def _past(self, step: int) -> _Past:
        return next(past for past in reversed(self._recent) if past.first <= step)

    def _state_before(self, step: int) -> State:
        past = self._past(step)
        state, part = self.backend.copy(past.state), past.segment.part(0, step - past.first)
        return self._run(part, state, past.rates[: part.steps])[0] if part.steps else state

    def _rows_of(self, step: int) -> tuple[object, ...]:
        past = self._past(step)
        data, order = past.segment.data, past.segment.order
        return data if order is None else tuple(self.backend.take(a, order[step - past.first]) for a in data)
