"""The checkpointer of a fit: when a checkpoint is due, what is in it, and how a run state is restored from it."""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from bpengine.backend import Backend, HostArray, State
from bpengine.distributed.alike import compare_states, digest_of
from bpengine.distributed.comm import Comm, Solo
from bpengine.errors import BpError, ConfigError, RunInterrupted
from bpengine.i18n.language import localized
from bpengine.kernels._kernel import Array
from bpengine.training.checkpoints.checkpoint_file import CheckpointContents
from bpengine.training.checkpoints.fit_identity import first_difference
from bpengine.training.checkpoints.run_folder import RunFolder
from bpengine.training.checkpoints.signals import Asked
from bpengine.training.checkpoints.store import Store
from bpengine.training.checkpoints.writer import Writer
from bpengine.training.memory.run_state import Best, OpenEpoch, RunState
from bpengine.training.memory.spill import mapped

SLICE: Final = 0.5  # about the seconds of a run of steps: a process that is asked to end does so within this time
FIRST: Final = 16  # steps of the first run, whose speed is not known
GROWTH: Final = 4  # times that a run may be longer than the one before


@dataclass(frozen=True, kw_only=True)
class Resumed:
    """A checkpoint that a fit continues from: its run state, with arrays on the host, and its records."""

    step: int
    run_state: RunState
    record: dict[str, HostArray]
    epochs: dict[str, HostArray]


class Checkpointer:
    """Writes the checkpoints of one fit. To be used in a `with` block, which records signals that ask the process to end.

    fit: its name in the folder. identity: which fit it is; circumstances: what may change its last bits; settings: those of
    the model. memories: the callbacks that have a state of their own. comm: the processes that train together; each has a
    checkpointer and makes the same calls; process 0 writes, and its clock decides.
    """

    def __init__(
        self,
        folder: RunFolder,
        backend: Backend,
        *,
        fit: str,
        identity: dict[str, Any],
        circumstances: dict[str, Any],
        settings: dict[str, Any],
        memories: Sequence[Any] = (),
        comm: Comm | None = None,
    ) -> None:
        self._comm = comm or Solo()
        self._settings, self._backend, self._store = folder, backend, Store(folder, fit)
        self._identity, self._circumstances, self._model = identity, circumstances, settings
        self._memories = memories
        self._writer, self._asked, self._block = Writer(), Asked(), ExitStack()
        self._due_at = time.perf_counter() + (folder.interval or 0.0)
        self._begun = 0
        self._last: tuple[int, str] | None = None  # step and end of the newest checkpoint
        self._pace, self._longest = 0.0, FIRST

    def __enter__(self) -> Checkpointer:
        self._block.enter_context(self._asked.noted())
        self._block.callback(self._writer.close)
        return self

    def __exit__(self, *_: object) -> None:
        self._block.close()

    def begin(self, *, resume: bool) -> Resumed | None:
        """Lock the folder, and return its newest checkpoint of this fit, None for none.

        Raises ConfigError for a folder that is in use or cannot be written to, for a checkpoint of another fit, naming the
        first difference, and for one of this fit unless `resume`. Warns of other circumstances and of damaged files.
        """
        try:
            newest = self._newest()
            return None if newest is None else self._resumed_from(newest, resume=resume)
        except BaseException:
            self._block.close()
            raise

    def _newest(self) -> CheckpointContents | None:
        """Return the newest checkpoint that is whole: of several processes, process 0 locks the folder and chooses it."""
        newest, trouble = None, None
        if self._comm.rank == 0:
            try:
                self._store.prepare()
                self._block.enter_context(self._store.locked())
                newest = self._store.newest()
            except (BpError, OSError) as error:
                trouble = error
        refusal = self._comm.first(str(trouble) if trouble else None)
        if trouble or refusal:
            raise trouble or ConfigError(refusal)
        step = self._comm.lead(-1 if newest is None else newest.step)
        if self._comm.rank != 0 and step >= 0:
            newest = self._store.newest(before=step + 1)
        if self._comm.any(step >= 0 and (newest is None or newest.step != step)):
            raise ConfigError(
                f"run requires a folder that all processes see, got {str(self._store.folder)!r}, whose checkpoint of step "
                f"{step} some of them do not. Give a folder on a file system that they share."
            )
        return newest

    def _resumed_from(self, newest: CheckpointContents, *, resume: bool) -> Resumed:
        where = f"the folder {str(self._store.folder)!r} holds a checkpoint of step {newest.step}"
        if different := first_difference(self._identity, newest.identity):
            raise ConfigError(f"{where} of another fit: {different}. Give another folder, or the settings of that fit.")
        if not resume:
            raise ConfigError(
                f"{where} of this fit. Pass resume=True (--resume) to go on from it, or give another folder."
            )
        if different := first_difference(self._circumstances, newest.circumstances):
            warnings.warn(localized(f"{different}: the fit goes on, but its last bits may differ."), stacklevel=2)
        self._last = newest.step, newest.facts["stopped_by"]
        for number, memory in enumerate(self._memories):
            memory.restore(newest.facts["memories"][number] | _part(f"callbacks/{number}/", newest.arrays))
        return _resumed(newest)

    def before(self, step: int) -> tuple[int, State] | None:
        """Return the newest checkpoint before `step` and the state in it, on the backend; None for none."""
        earlier = self._store.newest(before=step)
        return None if earlier is None else (earlier.step, self.on_backend(_resumed(earlier).run_state.state))

    def on_backend(self, state: State) -> State:
        """Return a state of host arrays as new arrays on the backend."""
        brought: State = mapped(self._backend.asarray, state)
        return brought

    def prepare(self, state: State) -> None:
        """Prepare for copies of states like this one."""
        sizes = {name: (tuple(array.shape), _dtype(array)) for name, array in _flat(state).items()}
        self._writer.prepare(sizes)

    def most_steps(self, step: int) -> int:
        """Return how many steps may be run before `is_due` must be asked again."""
        every = self._settings.every
        to_next = LARGE if every is None else every - step % every
        in_time = self._longest if self._pace == 0 else int(SLICE / self._pace)
        return self._comm.lead(max(1, min(to_next, in_time, self._longest)))

    def took(self, steps: int, seconds: float) -> None:
        """Record how long a run of steps took; it determines the length of the next run."""
        self._pace, self._longest = seconds / steps, max(FIRST, GROWTH * steps)

    def is_due(self, step: int) -> bool:
        """Return whether a checkpoint is to be written after `step`."""
        settings = self._settings
        last = self._last[0] if self._last else self._begun
        by_steps = settings.every is not None and step // settings.every > last // settings.every
        by_time = settings.interval is not None and time.perf_counter() >= self._due_at
        self._share_asked()
        return bool(self._asked.number) or self._comm.lead(by_steps or by_time)

    def _share_asked(self) -> None:
        """Pass a request to end to all processes when one of them has received it."""
        if self._comm.any(bool(self._asked.number)):
            numbers = self._comm.gather(np.array([self._asked.number]))
            self._asked.number = int(max(number[0] for number in numbers))

    def write(self, step: int, run_state: RunState, record: dict[str, HostArray], epochs: dict[str, HostArray]) -> None:
        """Write a checkpoint: at once of a fit that has ended, else in a thread.

        Raises RunInterrupted once it is on the disk where the process was asked to end; WriteError where this one or the one
        before cannot be written.
        """
        self._writer.wait()
        self._share_asked()
        if self._last != (step, run_state.stopped_by):
            self._start(step, run_state, record, epochs)
            self._last = step, run_state.stopped_by
            self._due_at = time.perf_counter() + (self._settings.interval or 0.0)
        if run_state.stopped_by or self._asked.number:
            self._writer.wait()
        if self._asked.number:
            raise RunInterrupted(self._asked.number, step, str(self._store.folder))

    def _start(
        self, step: int, run_state: RunState, record: dict[str, HostArray], epochs: dict[str, HostArray]
    ) -> None:
        to_numpy, best = self._backend.to_numpy, run_state.best
        if self._comm.size > 1:
            compare_states(self._comm, digest_of({n: to_numpy(a) for n, a in _flat(run_state.state).items()}), step)
        if self._comm.rank != 0:
            return
        own, memories = _memories(self._memories)
        copies = self._writer.copied({name: to_numpy(array) for name, array in _flat(run_state.state).items()})
        arrays = {f"state/{name}": copy for name, copy in copies.items()}
        arrays |= {f"record/{name}": values for name, values in record.items()}  # views of arrays that only grow
        arrays |= {f"epochs/{name}": values for name, values in epochs.items()}
        arrays |= {"open/shares": run_state.open.shares, **own}
        facts = _facts(run_state) | {"memories": memories, "model": self._model, "epochs": list(epochs)}

        def task() -> None:
            kept = {f"best/{n}": to_numpy(a) for n, a in _flat(best.state or {}).items()}
            texts = {"facts": facts, "identity": self._identity, "circumstances": self._circumstances}
            self._store.write(CheckpointContents(step=step, arrays=arrays | kept, **texts))

        self._writer.start(task)


LARGE: Final = 2**62


def _dtype(array: Array) -> str:
    return str(array.dtype).rpartition(".")[2]


def _facts(run_state: RunState) -> dict[str, Any]:
    opened, best = run_state.open, run_state.best
    return {
        "stopped_by": run_state.stopped_by,
        "at_limit": run_state.at_limit,
        "shift": run_state.shift,
        "epoch_steps": run_state.epoch_steps,
        "seed": run_state.seed,
        "open": {"epochs": opened.epochs, "rows": opened.rows, "seconds": opened.seconds},
        "best": {"of": best.of, "lowest": float(best.lowest).hex(), "epoch": best.epoch},
        "names": {kind: list(run_state.state.get(kind, ())) for kind in ("params", "running", "slots")},
    }


def _resumed(checkpoint: CheckpointContents) -> Resumed:
    arrays, facts = checkpoint.arrays, checkpoint.facts
    best = facts["best"]
    opened = OpenEpoch(shares=arrays["open/shares"], **facts["open"])
    run_state = RunState(
        state=_state("state/", arrays, facts["names"]),
        open=opened,
        best=Best(
            of=best.get("of", "loss"), lowest=float.fromhex(best.get("lowest") or best["loss"]), epoch=best["epoch"],
            state=_state("best/", arrays, facts["names"]) or None,
        ),  # files from before other scores than the loss could be watched have "loss" alone
        **{name: facts[name] for name in ("shift", "epoch_steps", "seed", "stopped_by", "at_limit")},
    )  # fmt: skip
    epochs = {name: arrays[f"epochs/{name}"] for name in facts["epochs"]}  # a file sorts its arrays
    return Resumed(step=checkpoint.step, run_state=run_state, record=_part("record/", arrays), epochs=epochs)


def _part(start: str, arrays: Mapping[str, HostArray]) -> dict[str, HostArray]:
    return {name.removeprefix(start): array for name, array in arrays.items() if name.startswith(start)}


def _flat(state: State) -> dict[str, Any]:
    """Return the arrays of a state by name: "params/0.weight", "slots/0.weight/1", "counter"."""
    flat = {f"{kind}/{name}": a for kind in ("params", "running") for name, a in state.get(kind, {}).items()}
    slots = state.get("slots", {})
    flat |= {f"slots/{name}/{i}": slot for name, own in slots.items() for i, slot in enumerate(own)}
    return flat | ({"counter": state["counter"]} if "counter" in state else {})


def _state(start: str, arrays: Mapping[str, HostArray], names: Mapping[str, list[str]]) -> State:
    """Return the state that `_flat` flattened, its names in their order; {} for none."""
    flat = _part(start, arrays)
    if not flat:
        return {}
    state: State = {kind: {name: flat[f"{kind}/{name}"] for name in names[kind]} for kind in ("params", "running")}
    if "counter" in flat:
        state["slots"] = {name: _slots(flat, name) for name in names["slots"]}
        state["counter"] = flat["counter"]
    return state


def _slots(flat: Mapping[str, HostArray], name: str) -> list[HostArray]:
    slots: list[HostArray] = []
    while (slot := flat.get(f"slots/{name}/{len(slots)}")) is not None:
        slots.append(slot)
    return slots


def _memories(callbacks: Sequence[Any]) -> tuple[dict[str, HostArray], list[dict[str, Any]]]:
    """Return the states of callbacks: their arrays by name, and the rest as JSON values."""
    arrays: dict[str, HostArray] = {}
    rest: list[dict[str, Any]] = []
    for number, callback in enumerate(callbacks):
        state = dict(callback.state())
        own = {name: np.array(value) for name, value in state.items() if isinstance(value, np.ndarray)}
        arrays |= {f"callbacks/{number}/{name}": value for name, value in own.items()}
        rest.append({name: value for name, value in state.items() if name not in own})
    return arrays, rest
