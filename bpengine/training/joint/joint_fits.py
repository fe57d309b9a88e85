"""JointFits: the fits of one call share the rows on the device and, where the backend can, run their epochs as one."""

from __future__ import annotations

import threading
from collections.abc import Hashable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np

from bpengine.backend import Backend, EpochOf, HostArray, State, Step
from bpengine.kernels._kernel import Array
from bpengine.training.batching import Segment, brought
from bpengine.training.joint.families import STRENGTHS, family, family_step, strengths
from bpengine.training.joint.fit_execution import SingleExecution
from bpengine.training.joint.request_batcher import RequestBatcher
from bpengine.training.reuse import CompiledNetwork
from bpengine.training.step import StepPlan

Ended = tuple[State, dict[str, HostArray]]


@dataclass(frozen=True, kw_only=True)
class _Request:
    """The steps that a fit, by its number, is to run next; `key` is equal for those that may run as one."""

    number: int
    key: Hashable
    step: Step
    epoch: EpochOf
    whole: int


class JointFits:
    """Fits of one call on one backend, of which `parties` run at a time, each in a thread."""

    def __init__(self, backend: Backend, parties: int) -> None:
        self.backend = backend
        self.asked_to_end = threading.Event()
        self.batcher: RequestBatcher[_Request, Ended] | None = None
        if backend.together:
            self.batcher = RequestBatcher(parties, self._run)
        self.turn = threading.RLock()
        self._lock = threading.RLock()
        self._brought: dict[Hashable, tuple[Any, tuple[Array, ...]]] = {}
        self._steps: dict[Hashable, Step] = {}
        self._rooms: dict[Step, int] = {}  # the most fits that have run a step as one

    def member(self, number: int, subset: HostArray | None = None) -> _JointExecution:
        """Return the execution of one of the fits; equal `subset`s are the same array."""
        return _JointExecution(self, number, subset)

    def leave(self) -> None:
        """Say that a thread has no more fits to run."""
        if self.batcher:
            self.batcher.leave()

    def bring(self, arrays: Sequence[HostArray], dtypes: Sequence[str], part: slice | HostArray) -> tuple[Array, ...]:
        """Return rows on the device, the same arrays for all fits that ask for the same ones."""
        key = tuple(map(id, arrays)), tuple(dtypes), repr(part) if isinstance(part, slice) else id(part)
        with self._lock:
            if key not in self._brought:  # the key's objects are kept, so that no other object gets their ids
                self._brought[key] = (arrays, part), brought(self.backend, arrays, dtypes, part)
            return self._brought[key][1]

    def step(self, compiled: CompiledNetwork, plan: StepPlan) -> Step:
        """Return the step of all networks of a family."""
        key = family(compiled.network, plan)
        with self._lock:
            if key not in self._steps:
                self._steps[key] = compiled.steps.get(
                    ("family", plan.key), lambda: family_step(compiled.network, plan, compiled.ops)
                )
            return self._steps[key]

    def ask(self, request: _Request) -> Ended:
        """Run steps together with those that the other fits request."""
        assert self.batcher is not None
        return self.batcher.ask(request)

    def _run(self, requests: Sequence[_Request]) -> list[Ended | BaseException]:
        groups: dict[Hashable, list[_Request]] = {}
        for request in sorted(requests, key=lambda request: request.number):
            groups.setdefault(request.key, []).append(request)
        answers: dict[int, Ended | BaseException] = {}
        for group in groups.values():
            for request, answer in zip(group, self._run_group(group), strict=True):
                answers[request.number] = answer
        return [answers[request.number] for request in requests]

    def _run_group(self, group: list[_Request]) -> Sequence[Ended | BaseException]:
        """Run a group's steps as one, padded to the size of the largest group so far, or to a half, a quarter ... of it."""
        first, count = group[0], len(group)
        room = self._rooms[first.step] = max(self._rooms.get(first.step, 1), count)
        while -(-room // 2) >= count and room > 1:
            room = -(-room // 2)
        epochs = [request.epoch for request in group]
        try:
            return self.backend.run_epochs(first.step, epochs, whole=first.whole, room=room)
        except Exception as error:  # raised in each of them: too little memory, a layer that cannot be compiled
            return [error] * count


class _JointExecution(SingleExecution):
    """A fit that runs with others. `subset`: see `FitExecution`."""

    def __init__(self, joint_fits: JointFits, number: int, subset: HostArray | None) -> None:
        self.subset = subset
        self._joint_fits, self._number = joint_fits, number
        self._strengths: HostArray = np.empty(0)
        self._heard = False

    def bring(
        self, backend: Backend, arrays: Sequence[HostArray], dtypes: Sequence[str], part: slice | HostArray
    ) -> tuple[Array, ...]:
        """Return rows on the device, which the fits share."""
        return self._joint_fits.bring(arrays, dtypes, part)

    def step(self, compiled: CompiledNetwork, plan: StepPlan) -> Step:
        """Return the step, which on a backend that runs fits as one is that of a family."""
        if not self._joint_fits.batcher:
            return super().step(compiled, plan)
        self._strengths = np.array(strengths(compiled.network))
        return self._joint_fits.step(compiled, plan)

    def run_epoch(
        self, backend: Backend, step: Step, state: State, segment: Segment, rates: HostArray
    ) -> tuple[State, dict[str, HostArray]]:
        """Run the steps, with those of others where possible; raise KeyboardInterrupt where all fits are asked to end."""
        if self._joint_fits.asked_to_end.is_set() and not self._heard:
            self._heard = True
            raise KeyboardInterrupt
        if not self._joint_fits.batcher:
            return super().run_epoch(backend, step, state, segment, rates)
        if self._strengths.size:
            state = {**state, STRENGTHS: backend.asarray(self._strengths, backend.dtype)}
        epoch = EpochOf(state=state, data=segment.data, order=segment.order, lr=rates)
        request = _Request(number=self._number, key=_key(step, epoch), step=step, epoch=epoch, whole=segment.whole)
        after, reports = self._joint_fits.ask(request)
        return {name: value for name, value in after.items() if name != STRENGTHS}, reports

    def turn(self) -> AbstractContextManager[Any]:
        """Return a lock where fits run as one, since all reach this place at the same time; otherwise an empty context."""
        return self._joint_fits.turn if self._joint_fits.batcher else super().turn()


def _key(step: Step, epoch: EpochOf) -> Hashable:
    """Return what is equal for epochs that may run as one: the same step, and as many rows; with an order the same rows."""
    if epoch.order is not None:
        return id(step), tuple(map(id, epoch.data)), epoch.order.shape
    return id(step), tuple(tuple(array.shape) for array in epoch.data), len(epoch.lr)
