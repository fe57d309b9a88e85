"""An epoch in windows of a fixed number of steps: the device never waits for the host inside one."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np
from jax import lax
from jax import numpy as jnp

from bpengine.backend import HostArray, State, Step
from bpengine.kernels._kernel import Array
from bpengine_jax.epoch_plan import EpochPlan
from bpengine_jax.programs import Program
from bpengine_jax.shard_loop import SharedStep

AHEAD = 1  # number of windows that are started before the halts of the first of them are read

Item = TypeVar("Item")
Reports = dict[str, HostArray]


class Started(NamedTuple):
    """A started window: the state before it, which is kept until its halts are read, the state after it, its reports."""

    begin: State
    end: State
    reports: dict[str, Array]


class Windows:
    """Run a step (state, data, order, lr) -> (state, reports) as `Backend.run_epoch` does, compiled once per length."""

    def __init__(self, step: Step, plan: EpochPlan) -> None:
        self._plan = plan
        self._window = compiled_epoch(
            step, build_window(step, plan)
        )  # nothing is donated, since a window may have to be run again

    def __call__(
        self, state: State, data: tuple[Array, ...], order: HostArray | None, lr: HostArray, whole: int
    ) -> tuple[State, Reports]:
        """Run the windows up to the step that halts; `state` must not be used afterwards."""
        done: list[Reports] = []
        for window in _late(self._start(state, data, order, lr), AHEAD):
            reports = {name: np.asarray(values) for name, values in window.reports.items()}
            halted, state = reports["halt"].any(), window.end
            if halted:  # the window's reports stay: the shorter rerun may round differently
                count = int(np.argmax(reports["halt"])) + 1
                state = self._again(window, data, order, lr, sum(len(r["halt"]) for r in done), count)
                reports = {name: values[:count] for name, values in reports.items()}
            done.append(reports)
            _free(window.begin, state)
            if halted:
                break
        return state, {name: np.concatenate([reports[name] for reports in done]) for name in done[0]}

    def _again(
        self, window: Started, data: tuple[Array, ...], order: HostArray | None, lr: HostArray, first: int, count: int
    ) -> State:
        """Return the state after `count` steps of a window that began at step `first`."""
        if count == len(window.reports["halt"]):
            return window.end
        steps = slice(first, first + count)
        state = window.begin
        for part in self._start(state, data, None if order is None else order[steps], lr[steps]):
            state = part.end
        return state

    def _start(
        self, state: State, data: tuple[Array, ...], order: HostArray | None, lr: HostArray
    ) -> Iterator[Started]:
        start = 0
        for length in cut(len(lr), self._plan.windows):
            steps = slice(start, start + length)
            end, reports = self._window(state, data, None if order is None else order[steps], lr[steps])
            for values in reports.values():
                values.copy_to_host_async()
            yield Started(state, end, reports)
            state, start = end, start + length


def compiled_epoch(step: Step, epoch: Callable[..., Any], donate: Sequence[int] = ()) -> Callable[..., Any]:
    """Compile (state, data, order, ...) -> results of a step, which several processes may share."""
    if isinstance(step, SharedStep):
        return step.transport.compiled(epoch, donate)
    return Program(epoch, donate)


def build_window(step: Step, plan: EpochPlan) -> Callable[..., Any]:
    """Return (state, data, order, lr) -> (state, reports) for len(lr) steps, whatever their reports are."""

    def window(state: State, data: tuple[Array, ...], order: Array | None, lr: Array) -> tuple[State, dict[str, Array]]:
        together = order is not None and plan.steps_at_once(data, order.shape) == len(lr)
        scanned = order
        if together:
            scanned = take(data, order)

        def one_step(state: State, seen: tuple[Array, ...]) -> tuple[State, dict[str, Array]]:
            rows, rate = seen
            if order is None:
                rows = data
            elif not together:
                rows = take(data, rows)
            return step(state, rows, rate)

        ended, reports = lax.scan(one_step, state, (scanned, lr[:, None]), unroll=min(plan.unroll, len(lr)))
        return ended, reports

    return window


def cut(steps: int, lengths: tuple[int, ...]) -> Iterator[int]:
    """Cut a number of steps into as many of the longest windows as fit, then of the next; the last length is 1."""
    for length in lengths:
        count, steps = divmod(steps, length)
        yield from [length] * count


def take(data: tuple[Array, ...], rows: Array) -> tuple[Array, ...]:
    """Return the given rows of every array of the data."""
    return tuple(jnp.take(array, rows, axis=0, mode="clip") for array in data)


def _late(items: Iterable[Item], by: int) -> Iterator[Item]:
    """Yield each item only when `by` more of them have been drawn."""
    waiting: deque[Item] = deque()
    for item in items:
        waiting.append(item)
        if len(waiting) > by:
            yield waiting.popleft()
    yield from waiting


def _free(state: State, kept: State) -> None:
    """Delete the arrays of a state, as a donation would, except those that the next state shares."""
    alive = {id(leaf) for leaf in jax.tree.leaves(kept)}
    for leaf in jax.tree.leaves(state):
        if id(leaf) not in alive and isinstance(leaf, jax.Array):
            leaf.delete()
