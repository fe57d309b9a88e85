"""The beginning of a fit: new, where another fit ended, or at a checkpoint; the training loop treats all three alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from bpengine.backend import Backend, State
from bpengine.errors import ConfigError
from bpengine.training.history import Epochs, History, Recorder
from bpengine.training.memory.run_state import Best, OpenEpoch, RunState
from bpengine.training.memory.spill import mapped

if TYPE_CHECKING:
    from bpengine.training.checkpoints.checkpointer import Checkpointer, Resumed


@dataclass(frozen=True, kw_only=True)
class Beginning:
    """Where a fit begins.

    state() makes the state, anew each time. recorder: what was recorded before it, `recorder.steps` steps. shift: see
    `RunState`. epochs, steps: the limits, counted from the first step that is recorded. stopped_by: why the fit is over
    already, "" where it is not. seconds: how long the open epoch has taken so far. earlier(step) returns the newest known
    state from before `step`, None for none.
    """

    state: Callable[[], State]
    epochs: int | None
    steps: int | None
    recorder: Recorder = field(default_factory=Recorder)
    shift: int = 0
    best: Best = field(default_factory=Best)
    stopped_by: str = ""
    at_limit: bool = False
    seconds: float = 0.0
    earlier: Callable[[int], tuple[int, State] | None] = lambda step: None


def end_of(history: History, rule: object, shapes: dict[str, tuple[int, ...]]) -> RunState:
    """Return where the fit of a history ended, if a fit with this update rule can continue from there.

    shapes: those of the parameters to be trained. Raises ConfigError where it cannot.
    """
    end = history.end
    if end is None:
        raise ConfigError("continue_from requires the history of a fit that ended, got one of a fit that failed.")
    if end.rule != rule:
        raise ConfigError(
            f"continue_from requires the update rule of the fit it goes on from, {_shown(end.rule)}, got {_shown(rule)}. The "
            "learning rate may be another, the rule and its options may not: its moments go on."
        )
    slots = {name: [tuple(slot.shape) for slot in own] for name, own in end.state["slots"].items()}
    if slots.keys() != shapes.keys():
        raise ConfigError(
            f"continue_from requires the same trained parameters, {', '.join(slots)}, got {', '.join(shapes)}. Give `only` "
            "and `freeze` as before."
        )
    if other := next((name for name, own in slots.items() if any(shape != shapes[name] for shape in own)), None):
        raise ConfigError(
            f"continue_from requires the history of the same network, got one where {other!r} has the shape "
            f"{slots[other][0]}; here it has {shapes[other]}."
        )
    return end


def _shown(rule: object) -> str:
    name, *options = rule if isinstance(rule, tuple) else (rule,)
    settings = ", ".join(
        f"{key}={value:g}" for key, value in (options[0] if options else ()) if isinstance(value, float)
    )
    return f"{name if isinstance(name, str) else name.__name__}({settings})"


def continued(
    beginning: Beginning,
    backend: Backend,
    history: History,
    end: RunState,
    *,
    untouched: bool,
    epoch_steps: int,
    watched: str = "loss",
) -> Beginning:
    """Return the beginning of a fit that continues where `history` ended, with limits that count from there.

    beginning: that of a new fit. The parameters are those of the model. Where a rule had restored the best epoch's and they
    are `untouched` since, they are those of the last step. watched: the score whose best epoch a rule looks for; the best
    epoch of another score is dropped.
    """
    same = epoch_steps == end.epoch_steps
    best = replace(end.best, state=mapped(backend.asarray, end.best.state) if end.best.state else None)
    recorder = Recorder.of(history, end.open if same else OpenEpoch(epochs=len(history.epochs)))

    def state() -> State:
        kept = mapped(backend.asarray, end.state)  # of this backend, or of the host after a pickle
        own = kept if untouched and "params" in kept else beginning.state()
        return {"params": own["params"], "running": own["running"], "slots": kept["slots"], "counter": kept["counter"]}

    return replace(
        beginning,
        state=state,
        recorder=recorder,
        shift=end.shift_for(epoch_steps, recorder.steps),
        best=best if end.best.of == watched else Best(),
        epochs=None if beginning.epochs is None else beginning.epochs + len(recorder.epochs),
        steps=None if beginning.steps is None else beginning.steps + recorder.steps,
        seconds=end.open.seconds if same else 0.0,
    )


def resumed(beginning: Beginning, checkpoints: Checkpointer, checkpoint: Resumed) -> Beginning:
    """Return the beginning of a fit that continues from a checkpoint; `beginning` is the one it would have without.

    A fit that a limit ended continues if the limit is higher now. Raises ConfigError for a limit that lies before the
    checkpoint.
    """
    run_state, epochs = checkpoint.run_state, Epochs.from_columns(checkpoint.epochs)
    history = History(
        loss=checkpoint.record.get("loss", _NONE), learning_rate=checkpoint.record.get("rate", _NONE),
        step_size=checkpoint.record.get("step_size"), epochs=epochs,
    )  # fmt: skip
    _require_reachable(beginning, checkpoint.step, len(epochs) if run_state.stopped_by else run_state.open.epochs)
    goes_on = not run_state.stopped_by or (
        run_state.at_limit and beginning.epochs != run_state.open.epochs and beginning.steps != checkpoint.step
    )
    opened = (
        run_state.open if goes_on else replace(run_state.open, epochs=len(epochs), shares=run_state.open.shares[:0])
    )
    best = replace(run_state.best, state=checkpoints.on_backend(run_state.best.state) if run_state.best.state else None)

    def earlier(step: int) -> tuple[int, State]:
        return checkpoints.before(step) or (beginning.recorder.steps, beginning.state())

    return replace(
        beginning,
        state=lambda: checkpoints.on_backend(run_state.state),
        recorder=Recorder.of(history, opened),
        shift=run_state.shift,
        best=best,
        stopped_by="" if goes_on else run_state.stopped_by,
        at_limit=run_state.at_limit and not goes_on,
        seconds=run_state.open.seconds if goes_on else 0.0,
        earlier=earlier,
    )


_NONE = History().loss


def _require_reachable(beginning: Beginning, step: int, epochs: int) -> None:
    for name, limit, done in (("steps", beginning.steps, step), ("epochs", beginning.epochs, epochs)):
        if limit is not None and limit < done:
            raise ConfigError(
                f"resume requires {name} of at least {done}, which the checkpoint has reached, got {limit}. Give a higher "
                "limit, or another folder."
            )
