"""The training loop: segments of steps handed to the backend, rules checked between them, nothing lost on a failure."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import InitVar, dataclass, field

import numpy as np

from bpengine.backend import Backend, HostArray, State, Step
from bpengine.errors import NonFiniteError
from bpengine.kernels._kernel import Array
from bpengine.network import Network
from bpengine.training.batching import Segment, Source
from bpengine.training.history import Epoch, History, Recorder
from bpengine.training.memory.snapshots import Snapshots
from bpengine.training.nonfinite import first_bad
from bpengine.training.progress import Progress
from bpengine.training.schedules import Schedule
from bpengine.training.stopping import Rules

OnEpoch = Callable[[State, Epoch], tuple[bool, State]]  # whether to stop, and the state to go on with
LONGEST = 2**14  # steps in one go when a step is a whole epoch
REPEATS = 1e-3  # relative: a step run again gives its loss again, on every device to within this
LONG_ENOUGH = 0.2  # seconds after which such a run of steps is not made longer


@dataclass(kw_only=True)
class Trainer:
    """Runs a fit: limits, rules, records, validation, and the way back when a loss is not finite.

    start() makes the state before the first step, anew each time. validate(state) returns scores with a "loss";
    on_epoch(state, epoch) returns whether to stop, and the state to go on with. Either of these may be None.
    all_finite(state) tells whether every parameter and statistic is finite: whatever is shown, validated, kept or returned
    has passed it.
    """

    network: Network
    backend: Backend
    step: Step
    start: InitVar[Callable[[], State]]
    source: Source
    schedule: Schedule
    rules: Rules
    epochs: int | None
    steps: int | None
    validate: Callable[[State], dict[str, float]] | None
    on_epoch: OnEpoch | None
    all_finite: Callable[[State], bool]
    recorder: Recorder = field(default_factory=Recorder)
    stopped_by: str = ""

    def __post_init__(self, start: Callable[[], State]) -> None:
        self._snapshots = Snapshots(self.backend, start, self._replay)
        self._best: tuple[float, int, State | None] = (float("inf"), 0, None)
        self._span, self._rows, self._seconds = 1, 0, 0.0
        self._state: State = {}  # empty while the backend has it
        self._checked = 0  # steps after which the state was found finite
        self._changed = ""  # how it was seen that the rows are not what they were
        self._shown = False  # whether a callback has the state in its hands

    def run(self, progress: Progress) -> tuple[State, History]:
        """Train until a limit or a rule ends it, or Ctrl-C; return the final state and the history.

        Raises NonFiniteError, and what a callback or a file raises; `left` then tells the state that remains.
        """
        with self._snapshots:
            try:
                self._run_epochs(progress)
            except KeyboardInterrupt:
                self.stopped_by = "interrupted"
                self._state = self._state or self._recovered()
            self._require_finite()
        speed = self._rows / self._seconds if self._seconds else 0.0
        return self._best[2] or self._state, self.recorder.history(self.stopped_by, speed)

    def left(self) -> State | None:
        """Return the state that remains when the run was broken off: the best one where it is to be restored.

        None when nothing better is known than what the model has: a callback has it, or it has never been given away.
        """
        return self._best[2] or (None if self._shown else self._state or None)

    def _run_epochs(self, progress: Progress) -> None:
        self._state = self._snapshots.state_before(0)
        while not self.stopped_by:
            began, first = time.perf_counter(), self.recorder.steps
            self._run_steps(first, self._until(first))
            self.backend.synchronize(*self._state["params"].values())
            elapsed = time.perf_counter() - began
            self._rows += self.recorder.open_rows
            self._seconds += elapsed
            self._close_epochs(first, elapsed, progress)

    def _until(self, first: int) -> int:
        """Return where the next epoch ends, or many epochs when a step is a whole epoch and nobody looks in between."""
        left = LONGEST if self.epochs is None else self.epochs - len(self.recorder.epochs)
        together = self.source.epoch_steps == 1 and not self.validate and not self.on_epoch
        stop = first + self.source.epoch_steps * (min(self._span, left) if together else 1)
        return stop if self.steps is None else min(stop, self.steps)

    def _run_steps(self, start: int, stop: int) -> None:
        with closing(self.source.segments(start, stop)) as segments:
            for segment in segments:
                self._run_segment(segment)
                if self.stopped_by:
                    return

    def _run_segment(self, segment: Segment) -> None:
        done = self.recorder.steps
        self._snapshots.note(done, self._state, self._require_finite)
        given, self._state = self._state, {}  # dead after the run
        state, reports, rates = self._run(segment, given, done)
        self.recorder.add(reports, rates, segment.batch, segment.shares)
        self._state = state
        if not np.isfinite(reports["loss"][-1]):
            raise self._failure()
        self.stopped_by = self._fired(reports)

    def _run(self, segment: Segment, state: State, first: int) -> tuple[State, dict[str, HostArray], HostArray]:
        rates = self.schedule(np.arange(first, first + segment.steps))
        given = rates.astype(self.backend.dtype)
        return *self.backend.run_epoch(self.step, state, segment.data, segment.order, given), rates

    def _replay(self, state: State, start: int, stop: int) -> State:
        """Run steps again that were run before; take note of the first whose loss is another now."""
        if start < stop:
            with closing(self.source.segments(start, stop)) as segments:
                for segment in segments:
                    state, reports, _ = self._run(segment, state, start)
                    self._compare(reports["loss"], start)
                    start += segment.steps
        return state

    def _compare(self, now: HostArray, start: int) -> None:
        then = self.recorder.losses(start, len(now))
        other = np.flatnonzero(~np.isclose(now[: len(then)], then, rtol=REPEATS, atol=0.0, equal_nan=True))
        if other.size and not self._changed:
            k = int(other[0])
            self._changed = f"Step {start + k + 1} gives the loss {now[k]:.6g} now and gave {then[k]:.6g}"

    def _state_before(self, step: int) -> tuple[int, State]:
        """Return the state before a step, and its number; of an earlier step where the rows are not what they were."""
        state = self._snapshots.state_before(step)
        return self._snapshots.last(step) if self._changed else (step, state)

    def _recovered(self) -> State:
        """Return the state after the steps that were recorded; for who cannot wait for that, the last one kept.

        Also the last one kept where running steps again does not lead there; the record then ends with it.
        """
        try:
            step, state = self._state_before(self.recorder.steps)
        except KeyboardInterrupt:
            step, state = self._snapshots.last(self.recorder.steps)
        self.recorder.cut(step)
        return state

    def _fired(self, reports: dict[str, HostArray]) -> str:
        """Name the rule that halted the run or the limit that is reached; rules are compared in the step's own dtype."""
        if reports["halt"][-1]:
            loss, rule = reports["loss"][-1], self.rules.loss
            return str(rule if rule and loss < loss.dtype.type(rule.value) else self.rules.step_size)
        return f"{self.steps} steps" if self.recorder.steps == self.steps else ""

    def _close_epochs(self, first: int, seconds: float, progress: Progress) -> None:
        """Record the epochs that have just run, validate, and let callbacks and rules have their say."""
        count = self.recorder.steps - first if self.source.epoch_steps == 1 else 1
        if not count:
            return
        if self.validate or self.on_epoch:
            self._require_finite()
        state = self._state
        self._span = min(LONGEST, self._span * 4) if seconds < LONG_ENOUGH else self._span
        scores = self.validate(state) if self.validate else None
        self.recorder.close(count, first, seconds, scores)
        epoch = self.recorder.epochs[-1]
        progress.update(epoch.number if self.epochs else self.recorder.steps, epoch)
        stop = self._show(epoch)
        if self.stopped_by:
            return
        if stop:
            self.stopped_by = "callback"
        elif scores and self._no_improvement(state, scores["loss"], epoch.number):
            self.stopped_by = str(self.rules.validation)
        elif epoch.number == self.epochs:
            self.stopped_by = f"{self.epochs} epochs"

    def _show(self, epoch: Epoch) -> bool:
        """Let callbacks see the state, and go on with what they make of it."""
        if self.on_epoch is None:
            return False
        self._shown = True
        stop, state = self.on_epoch(self._state, epoch)
        self._shown = False
        if state is not self._state:
            self._state = state
            self._snapshots.keep(self.recorder.steps, state)  # running the steps again does not lead here
        return stop

    def _no_improvement(self, state: State, loss: float, number: int) -> bool:
        rule = self.rules.validation
        if rule is None:
            return False
        if loss < self._best[0] - rule.min_delta:
            kept = {name: state[name] for name in ("params", "running")}
            self._best = (loss, number, self.backend.copy(kept) if rule.restore_best else None)
        return number - self._best[1] >= rule.epochs

    def _require_finite(self) -> None:
        """Raise NonFiniteError when the last update has left a parameter or a statistic that is not finite."""
        if self._checked == self.recorder.steps or self.all_finite(self._state):
            self._checked = self.recorder.steps
            return
        raise self._bad_update(self.recorder.steps)

    def _failure(self) -> NonFiniteError:
        """Go back to the last step with a finite loss, and run the failing one kernel by kernel to name the cause."""
        bad = self.recorder.steps - 1
        good = max(bad - 1, 0)
        self._state = {}
        step, state = self._state_before(good)
        if self._changed:
            return self._data_changed(step, state)
        if not self.all_finite(state):
            return self._bad_update(good)
        cause = self._first_bad(state, good) if good < bad else None
        cause = cause or self._first_bad(self._replay(self.backend.copy(state), good, bad), bad)
        history = self.recorder.history("loss not finite")
        kept = (
            f"the parameters it had before step {good + 1}, the last with a finite loss ({history.loss[good]:.6g})"
            if bad
            else "its initial parameters"
        )
        problem = (
            f"a finite loss, got {history.loss[bad]} at step {bad + 1}. First bad array: "
            f"{cause or 'none when run kernel by kernel'}"
        )
        return self._error(problem, kept, history, bad, state)

    def _bad_update(self, step: int) -> NonFiniteError:
        """Go back to the last step before which all numbers were finite; before `step` they are not.

        What is not finite stays so, whatever is added to it: so that step is found by halving.
        """
        self._state = {}
        good, bad = self._snapshots.first, step
        while bad - good > 1:
            middle = (good + bad) // 2
            good, bad = (middle, bad) if self.all_finite(self._snapshots.state_before(middle)) else (good, middle)
        good, state = self._state_before(good)
        if self._changed:
            return self._data_changed(good, state)
        cause = self._first_bad(state, good)
        array = self._first_bad(self._snapshots.state_before(bad), good)
        history = self.recorder.history("parameters not finite")
        told = f"First bad array: {cause}" if cause else "The gradient was finite, the update was not"
        problem = (
            f"finite parameters, got {array or 'a number that is not finite'} after step {good + 1}, whose loss was "
            f"{history.loss[good]:.6g}. {told}"
        )
        kept = f"the parameters it had before step {good + 1}" if good else "its initial parameters"
        return self._error(problem, kept, history, good, state)

    def _data_changed(self, step: int, state: State) -> NonFiniteError:
        """Return the error for rows that are not what they were: the last state that was kept is all that is certain."""
        history = self.recorder.history("loss not finite")
        problem = (
            f"data that stay as they are and finite numbers, got neither. {self._changed}: the rows have changed since. "
            "Do not write into arrays or mapped files that a fit reads"
        )
        kept = f"the parameters it had before step {step + 1}" if step else "its initial parameters"
        return self._error(problem, kept, history, step, state)

    def _error(self, problem: str, kept: str, history: History, step: int, state: State) -> NonFiniteError:
        """Return the error with its hint; `left` is from now on the state that is kept."""
        if self._best[2]:
            kept = f"the parameters of its best epoch, {self._best[1]}"
        error = NonFiniteError(
            f"training requires {problem}. The model keeps {kept}. "
            f"Lower the learning rate (now {history.learning_rate[step]:g}), set clip_norm, or scale the data."
        )
        self._state = state
        error.history, error.good_state = history, self.left()
        return error

    def _first_bad(self, state: State, step: int) -> str | None:
        return first_bad(self.network, self.backend, state, self._rows_of(step))

    def _rows_of(self, step: int) -> tuple[Array, ...]:
        with closing(self.source.segments(step, step + 1)) as segments:
            segment = next(segments)
        order = segment.order
        return segment.data if order is None else tuple(self.backend.take(a, order[0]) for a in segment.data)
