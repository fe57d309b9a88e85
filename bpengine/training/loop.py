"""The training loop: segments of steps go to the backend; rules are checked between them; a failure restores a good state.

A fit begins with a new state, or continues from the run state of another fit or of a checkpoint.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, nullcontext
from dataclasses import InitVar, dataclass, field
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np

from bpengine.backend import Backend, HostArray, State, Step
from bpengine.distributed.comm import Comm, Solo
from bpengine.distributed.tree import Cut
from bpengine.errors import NonFiniteError
from bpengine.i18n.counted_nouns import count_of
from bpengine.kernels._kernel import Array
from bpengine.network import Network
from bpengine.training.batching import Segment, Source
from bpengine.training.checkpoints.beginning import Beginning
from bpengine.training.checkpoints.signals import Asked
from bpengine.training.history import Epoch, History
from bpengine.training.memory.run_state import Best, OpenEpoch, RunState
from bpengine.training.memory.snapshots import Snapshots
from bpengine.training.metrics.choice import AnyMetric, lowered
from bpengine.training.metrics.known_metrics import LOSS
from bpengine.training.nonfinite import first_bad
from bpengine.training.progress import Progress
from bpengine.training.schedules import Constant, Schedule
from bpengine.training.stopping import Rules

if TYPE_CHECKING:
    from bpengine.training.checkpoints.checkpointer import Checkpointer

RunEpoch = Callable[[Backend, Step, State, Segment, HostArray], tuple[State, dict[str, HostArray]]]
OnEpoch = Callable[[State, Sequence[Epoch]], tuple[bool, State]]  # whether to stop, and the state to continue with
LONGEST = 2**14  # steps in one segment when a step is a whole epoch
REPEATS = 1e-3  # relative: a replayed step gives the same loss to within this on every device
LONG_ENOUGH = 0.2  # seconds that a segment may take where a step is a whole epoch, by the steps before
# rows and seconds of a step that is a whole epoch, as its last run in this process had them: equal networks share steps
_paces: WeakKeyDictionary[Step, tuple[int, float]] = WeakKeyDictionary()


@dataclass(kw_only=True)
class Trainer:
    """Runs a fit: limits, rules, records, validation, and the return to a good state when a loss is not finite.

    validate(state) returns scores with a "loss" and with that which is `watched`;
    on_epoch(state, epochs) returns whether to stop, and the state to continue with. Either may be None. epochs_alone: on_epoch
    reads only the epochs, not the state, so it may be called later for several epochs.
    run_epoch(backend, step, state, segment, rates) runs the steps of a segment, as `Backend.run_epoch`.
    all_finite(state) says whether every parameter and statistic is finite. Every state that is given to a callback,
    validated, saved or returned has passed it. step(batch) is the step for batches of so many rows on all processes,
    cut(batch) how they are cut into shards. Processes of `comm` take the same steps: what a clock, a callback or a signal
    decides is decided for all of them, and callbacks are process 0's.
    """

    network: Network
    backend: Backend
    step: Callable[[int], Step]
    source: Source
    schedule: Schedule
    rules: Rules
    rule: Any  # the optimizer's, whose slots are in the state
    validate: Callable[[State], dict[str, Any]] | None
    on_epoch: OnEpoch | None
    all_finite: Callable[[State], bool]
    run_epoch: RunEpoch
    beginning: InitVar[Beginning]
    checkpoints: Checkpointer | None = None
    epochs_alone: bool = False
    watched: AnyMetric = LOSS
    comm: Comm = field(default_factory=Solo)
    cut: Callable[[int], Cut | None] = lambda batch: None

    def __post_init__(self, beginning: Beginning) -> None:
        self.recorder, self.best, self.stopped_by = beginning.recorder, beginning.best, beginning.stopped_by
        self.epochs, self.steps = beginning.epochs, beginning.steps
        first = self.recorder.steps, beginning.state
        self._snapshots = Snapshots(self.backend, first, self._replay, self.comm.lead)
        self._before, self._earlier = beginning.seconds, beginning.earlier
        self._at_limit = beginning.at_limit
        self._asked = Asked()  # signals that ask the process to end, for a fit on several processes without checkpoints
        self._span, self._rows = 1, 0
        self._aside = 0.0  # seconds of validation and callbacks, which do not count as training
        self._began = time.perf_counter()  # of the open epoch, less the seconds that it had taken before
        self._open = self.recorder.opened(0.0)  # the epoch that was still open when the fit ended
        self._state: State = {}  # empty while the backend has it
        self._checked = 0  # steps after which the state was found finite
        self._changed = ""  # the error that shows that the rows have been changed since they were first read
        self._shown = False  # whether a callback is running with the state
        self._progress, self._watched = Progress(show=False, log=False), False

    def run(self, progress: Progress) -> tuple[State, History]:
        """Train until a limit, a rule or Ctrl-C; return the final state and the history.

        Raises NonFiniteError, and what a callback or a file raises; `left` then returns the state that remains.
        """
        began, together = time.perf_counter(), self.comm.size > 1 and not self.checkpoints
        self._progress, self._watched = progress, self.comm.lead(progress.watched)
        progress.begin(
            self.recorder.steps, len(self.recorder.epochs), last_epoch=self.epochs, last_step=self.steps,
            epoch_steps=self.source.epoch_steps,
        )  # fmt: skip
        orders = closing(self.source.draw_ahead(self.recorder.steps + self._ahead()))
        with self._snapshots, orders, self.checkpoints or (self._asked.noted() if together else nullcontext()):
            try:
                self._run_epochs()
            except KeyboardInterrupt:
                self.stopped_by = "interrupted"
                self._state = self._state or self._recovered()
                self._open = self.recorder.opened(0.0)
            finally:
                self.comm.rest()
            self._require_finite()
            if self.checkpoints and self.stopped_by != "interrupted":
                self._write_checkpoint(self.checkpoints)
        history = self.recorder.history(self.stopped_by)
        history.end = self.run_state(self._open)
        waited = time.perf_counter() - began - self._aside
        history.rows_per_second = self._rows / waited if waited > 0 else 0.0
        return self.best.state or self._state, history

    def run_state(self, opened: OpenEpoch) -> RunState:
        """Return the run state of the fit, with the open epoch."""
        return RunState(
            state=self._state, open=opened, best=self.best, shift=self.source.shift, epoch_steps=self.source.epoch_steps,
            seed=self.source.seed, rule=self.rule, stopped_by=self.stopped_by, at_limit=self._at_limit,
        )  # fmt: skip

    def left(self) -> State | None:
        """Return the state that remains after `run` raised: that of the best epoch where a rule restores it, else the last.

        None when the model has it already, because a callback was running or no step was taken.
        """
        return self.best.state or (None if self._shown else self._state or None)

    def _run_epochs(self) -> None:
        self._state = self._snapshots.state_before(self.recorder.steps)
        if self.checkpoints:
            self.checkpoints.prepare(self._state)
        step = self.step(self.source.batch)
        self.backend.expect(step, self._ahead())
        if self.source.epoch_steps == 1 and self.comm.size == 1:
            self._span = _first_span(step, self.source.batch)
        while not self.stopped_by:
            self._began, first, rows = time.perf_counter(), self.recorder.steps, self.recorder.open_rows
            earlier, self._before = self._before, 0.0
            self._began -= earlier
            self._run_steps(first, self._until(first))
            self.backend.synchronize(*self._state["params"].values())
            elapsed = time.perf_counter() - self._began
            self._rows += self.recorder.open_rows - rows
            self._close_epochs(elapsed)
            if not self.stopped_by:
                self._look_up()

    def _ahead(self) -> int:
        """Return the number of steps that the fit may take yet."""
        epochs = None if self.epochs is None else (self.epochs - len(self.recorder.epochs)) * self.source.epoch_steps
        steps = None if self.steps is None else self.steps - self.recorder.steps
        return max(0, min(limit for limit in (epochs, steps) if limit is not None))

    def _until(self, first: int) -> int:
        """Return the step at which to stop next: the end of an epoch, or of many one-step epochs."""
        opened = first - self.recorder.open_start
        left = LONGEST if self.epochs is None else self.epochs - len(self.recorder.epochs) - opened
        together = self.source.epoch_steps == 1 and not self.validate and (not self.on_epoch or self.epochs_alone)
        stop = self.source.epoch_end(first)
        if together:
            span = self._span + -(first + self._span) % self.backend.grain
            stop = first + min(span, left)
        return stop if self.steps is None else min(stop, self.steps)

    def _run_steps(self, start: int, stop: int) -> None:
        with closing(self.source.segments(start, stop)) as segments:
            for segment in segments:
                for piece in self._pieces(segment):
                    self._run_segment(piece)
                    if self.stopped_by:
                        return
                    if self.recorder.steps < stop:  # at the end of an epoch it is closed first
                        self._look_up()
                    if self.stopped_by:
                        return

    def _pieces(self, segment: Segment) -> Iterator[Segment]:
        """Cut a segment where a checkpoint is due, and so that signals and the progress bar do not wait long."""
        start = 0
        while start < segment.steps:
            most = self.checkpoints.most_steps(self.recorder.steps) if self.checkpoints else segment.steps
            if self._watched:
                most = min(most, self.comm.lead(self._progress.most_steps()))
            stop = min(segment.steps, start + most + -(segment.start + start + most) % self.backend.grain)
            began = time.perf_counter()
            yield segment.part(start, stop)
            seconds = time.perf_counter() - began
            self._progress.took(stop - start, seconds)
            if self.checkpoints:
                self.checkpoints.took(stop - start, seconds)
            start = stop

    def _look_up(self) -> None:
        """Write a checkpoint where one is due, or where a process was asked to end; then raise RunInterrupted.

        Without checkpoints, all processes are interrupted together when one of them is asked to end.
        """
        if self.checkpoints:
            if self.checkpoints.is_due(self.recorder.steps):
                self._require_finite()
                self._open = self.recorder.opened(time.perf_counter() - self._began if self.recorder.open_rows else 0.0)
                self._write_checkpoint(self.checkpoints)
        elif self.comm.any(bool(self._asked.number)):
            self.stopped_by = "interrupted"

    def _write_checkpoint(self, checkpoints: Checkpointer) -> None:
        epochs = self.recorder.epochs.columns()
        checkpoints.write(self.recorder.steps, self.run_state(self._open), self.recorder.columns(), epochs)

    def _run_segment(self, segment: Segment) -> None:
        done = self.recorder.steps
        self._snapshots.note(done, self._state, self._is_finite)
        before, self._state = self._state, {}  # the backend may reuse its memory
        state, reports, rates = self._run(segment, before, done)
        shares = reports.pop("share", None)  # with shards, only the step knows the weight of the whole batch
        self.recorder.add(
            reports, rates, segment.batch, segment.shares if shares is None else shares.astype(float).reshape(-1)
        )
        self._state = state
        if not np.isfinite(reports["loss"][-1]):
            raise self._failure()
        self._progress.stepped(self.recorder.steps, segment.batch * len(reports["loss"]), float(reports["loss"][-1]))
        self.stopped_by = self._fired(reports)

    def _run(self, segment: Segment, state: State, first: int) -> tuple[State, dict[str, HostArray], HostArray]:
        if type(self.schedule) is Constant:
            rates = np.full(segment.steps, float(self.schedule.value))
        else:  # a copy, for a schedule of one's own may keep its array
            rates = np.array(self.schedule(np.arange(first, first + segment.steps)))
        cast = rates.astype(self.backend.dtype)
        return *self._run_epoch(segment, state, cast), rates

    def _run_epoch(self, segment: Segment, state: State, rates: HostArray) -> tuple[State, dict[str, HostArray]]:
        step = self.step(segment.batch)
        return self.run_epoch(self.backend, step, state, segment, rates)

    def _replay(self, state: State, start: int, stop: int) -> State:
        """Run the steps from start to stop once more; record the first one whose loss differs now."""
        if start < stop:
            with closing(self.source.segments(start, stop)) as segments:
                for segment in segments:
                    state, reports, _ = self._run(segment, state, start)
                    self._compare(reports["loss"], start)
                    start += segment.steps
        return state

    def _compare(self, now: HostArray, start: int) -> None:
        then = self.recorder.losses(start, len(now))
        # A replay must repeat the recorded losses; where it does not, the rows have been changed from outside
        # meanwhile.
        other = np.flatnonzero(~np.isclose(now[: len(then)], then, rtol=REPEATS, atol=0.0, equal_nan=True))
        if other.size and not self._changed:
            k = int(other[0])
            self._changed = f"Step {start + k + 1} gives the loss {now[k]:.6g} now and gave {then[k]:.6g}"

    def _state_before(self, step: int) -> tuple[int, State]:
        """Return a step's number and the state before it; those of the last snapshot if the rows have been changed."""
        state = self._snapshots.state_before(step)
        return self._snapshots.last(step) if self._changed else (step, state)

    def _recovered(self) -> State:
        """Return the state after the recorded steps; on a second Ctrl-C, return the last snapshot instead.

        Also the last snapshot if the rows have been changed, so that a replay gives another state. The record then ends with
        it.
        """
        try:
            step, state = self._state_before(self.recorder.steps)
        except KeyboardInterrupt:
            # A second Ctrl-C during the replay: the newest snapshot needs no computation.
            step, state = self._snapshots.last(self.recorder.steps)
        self.recorder.cut(step)
        return state

    def _fired(self, reports: dict[str, HostArray]) -> str:
        """Name the rule that halted the run or the limit that is reached; rules are compared in the step's own dtype."""
        if reports["halt"][-1]:
            loss, rule = reports["loss"][-1], self.rules.loss
            return str(rule if rule and loss < loss.dtype.type(rule.value) else self.rules.step_size)
        self._at_limit = self.recorder.steps == self.steps
        return count_of(self.recorder.steps, "step") if self._at_limit else ""

    def _close_epochs(self, seconds: float) -> None:
        """Record the epochs that have just run, validate, call callbacks and check rules."""
        open_steps = self.recorder.steps - self.recorder.open_start
        count = open_steps if self.source.epoch_steps == 1 else min(open_steps, 1)
        if not count:
            return
        if self.validate or self.on_epoch:
            self._require_finite()
        state = self._state
        if self.source.epoch_steps == 1:
            self._span = self.comm.lead(max(self._span // 2, _steps_in(LONG_ENOUGH, count, seconds)))
            _paces[self.step(self.source.batch)] = self.source.batch, seconds / count
        began = time.perf_counter()
        scores = self.validate(state) if self.validate else None
        self._aside += time.perf_counter() - began
        over = self.source.epoch_end(self.recorder.steps - 1) == self.recorder.steps
        unclosed = None if over else self.recorder.opened(seconds)
        self.recorder.close(count, seconds, scores)
        self._open = unclosed or self.recorder.opened(0.0)
        epoch = self.recorder.epochs[-1]
        self._progress.update(self.recorder.steps, epoch)
        # only for callbacks: each epoch becomes an object of its own, which for one-step epochs takes longer than the steps
        stop = self.on_epoch is not None and self._show(self.recorder.epochs[len(self.recorder.epochs) - count :])
        # every whole epoch counts for the rule, also one at which the fit ends: it may be the best, and a resumed fit goes on
        ended = scores is not None and over and self._no_improvement(state, scores[self.watched.name], epoch.number)
        if self.stopped_by and not (self._at_limit and ended):
            return
        if stop:
            self.stopped_by = "callback"
        elif ended:
            self.stopped_by, self._at_limit = str(self.rules.validation), False
        elif epoch.number == self.epochs:
            self.stopped_by, self._at_limit = count_of(self.epochs, "epoch"), True

    def _show(self, epochs: Sequence[Epoch]) -> bool:
        """Call the callbacks, and continue with the state they leave; return whether one of them stops the fit."""
        if self.on_epoch is None:
            return False
        stop, state = False, self._state
        if self.comm.rank == 0:
            self._shown, began = True, time.perf_counter()
            stop, state = self.on_epoch(self._state, epochs)
            self._shown, self._aside = False, self._aside + time.perf_counter() - began
        stop = self.comm.lead(stop)
        if self.comm.lead(state is not self._state):
            self._state = state = self._shared(state)
            self._snapshots.keep(self.recorder.steps, state)  # a replay would not give a state that a callback changed
        return stop

    def _shared(self, state: State) -> State:
        """Return a state with process 0's parameters and running statistics."""
        if self.comm.size == 1:
            return state
        to_numpy, bring = self.backend.to_numpy, self.backend.asarray
        kinds = {
            k: {n: bring(self.comm.share(to_numpy(a))) for n, a in state[k].items()} for k in ("params", "running")
        }
        return {**state, **kinds}

    def _no_improvement(self, state: State, score: float, number: int) -> bool:
        rule = self.rules.validation
        if rule is None:
            return False
        lowest = lowered(self.watched, score)
        if lowest < self.best.lowest - rule.min_delta:
            kept = {name: state[name] for name in ("params", "running")}
            # The backend may write into the state in the next step, so the best state is a copy.
            own = self.backend.copy(kept) if rule.restore_best else None
            self.best = Best(of=self.watched.name, lowest=lowest, epoch=number, state=own)
        return number - self.best.epoch >= rule.epochs

    def _require_finite(self) -> None:
        """Raise NonFiniteError when the last update has left a parameter or a statistic that is not finite."""
        if not self._is_finite():
            raise self._bad_update(self.recorder.steps)

    def _is_finite(self) -> bool:
        if self._checked != self.recorder.steps and not self.all_finite(self._state):
            return False
        self._checked = self.recorder.steps
        return True

    def _failure(self) -> NonFiniteError:
        """Restore the state before the last step with a finite loss, and name the first bad array of the failing step."""
        bad = self.recorder.steps - 1
        if bad and bad == self._snapshots.first and (known := self._earlier(bad)):
            self._snapshots.go_back(*known)
        good = max(bad - 1, self._snapshots.first)
        self._state = {}
        step, state = self._state_before(good)
        if self._changed:
            return self._data_changed(step, state)
        if not self.all_finite(state):
            return self._bad_update(good)
        # The loss may be the first sign of an array that went bad one step earlier, so that step is searched first. The cause
        # is the same on all processes, and so is what follows.
        cause = self._first_bad(state, good) if good < bad else None
        cause = cause or self._first_bad(self._replay(self.backend.copy(state), good, bad), bad)
        history = self.recorder.history("loss not finite")
        kept = self._kept(good)
        if good < bad:
            kept = (
                f"the parameters it had before step {good + 1}, the last with a finite loss ({history.loss[good]:.6g})"
            )
        problem = (
            f"a finite loss, got {history.loss[bad]} at step {bad + 1}. First bad array: "
            f"{cause or 'none when run kernel by kernel'}"
        )
        return self._error(problem, kept, history, bad, state)

    def _bad_update(self, step: int) -> NonFiniteError:
        """Restore the last state whose numbers are all finite; those before `step` are not.

        A number that is not finite stays so, whatever is added to it: bisection finds the step in which it first occurs.
        """
        self._state = {}
        good, bad = self._snapshots.first, step
        # Each probe replays from a snapshot, so bisection costs log2(steps) replays and no state has to be kept per
        # step.
        while bad - good > 1:
            middle = (good + bad) // 2
            good, bad = (middle, bad) if self.all_finite(self._snapshots.state_before(middle)) else (good, middle)
        good, state = self._state_before(good)
        if self._changed:
            return self._data_changed(good, state)
        cause = self._first_bad(state, good)
        array = self._first_bad(self._snapshots.state_before(bad), good)
        history = self.recorder.history("parameters not finite")
        origin = f"First bad array: {cause}" if cause else "The gradient was finite, the update was not"
        problem = (
            f"finite parameters, got {array or 'a number that is not finite'} after step {good + 1}, whose loss was "
            f"{history.loss[good]:.6g}. {origin}"
        )
        return self._error(problem, self._kept(good), history, good, state)

    def _data_changed(self, step: int, state: State) -> NonFiniteError:
        """Return the error for rows that were changed during the fit; only the last snapshot is certain."""
        history = self.recorder.history("loss not finite")
        problem = (
            f"data that do not change and finite numbers, got neither. {self._changed}: the rows have changed since. "
            "Do not write into arrays or mapped files that a fit reads"
        )
        return self._error(problem, self._kept(step), history, step, state)

    @staticmethod
    def _kept(step: int) -> str:
        return f"the parameters it had before step {step + 1}" if step else "its initial parameters"

    def _error(self, problem: str, kept: str, history: History, step: int, state: State) -> NonFiniteError:
        """Return the error with its hint; from now on `left` returns `state`, or that of the best epoch."""
        if self.best.state:
            kept = f"the parameters of its best epoch, {self.best.epoch}"
        error = NonFiniteError(
            f"training requires {problem}. The model keeps {kept}. "
            f"Lower the learning rate (now {history.learning_rate[step]:g}), set clip_norm, or scale the data."
        )
        self._state = state
        error.history, error.good_state = history, self.left()
        return error

    def _first_bad(self, state: State, step: int) -> str | None:
        rows, batch = self._rows_of(step)
        return self.comm.first(first_bad(self.network, self.backend, state, rows, self.cut(batch)))

    def _rows_of(self, step: int) -> tuple[tuple[Array, ...], int]:
        """Return this process's rows of a step, and the number of the step's rows on all processes."""
        with closing(self.source.segments(step, step + 1)) as segments:
            segment = next(segments)
        order = segment.order
        rows = segment.data if order is None else tuple(self.backend.take(a, order[0]) for a in segment.data)
        return rows, segment.batch


def _first_span(step: Step, rows: int) -> int:
    """Return how many steps of so many rows may be run together at first: one, unless a fit before says how long they take."""
    known, seconds = _paces.get(step, (0, 0.0))
    return _steps_in(LONG_ENOUGH, 1, seconds) if known == rows else 1


def _steps_in(seconds: float, steps: int, taken: float) -> int:
    """Return how many steps fit into `seconds`, after so many that have taken `taken`; at least 1, at most LONGEST."""
    return max(1, int(min(steps * seconds / max(taken, 1e-9), LONGEST)))
