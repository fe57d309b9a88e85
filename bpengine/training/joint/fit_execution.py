"""FitExecution: how a fit gets its rows on the device, its step and its epochs, alone or with other fits."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

from bpengine.backend import Backend, HostArray, State, Step
from bpengine.kernels._kernel import Array
from bpengine.training.batching import Segment, brought
from bpengine.training.reuse import CompiledNetwork
from bpengine.training.step import StepPlan, make_step


class FitExecution(Protocol):
    """What provides a fit with rows, steps and epochs.

    subset: the numbers of the rows that it trains on, counted in the whole arrays; None for all.
    """

    subset: HostArray | None

    def bring(
        self, backend: Backend, arrays: Sequence[HostArray], dtypes: Sequence[str], part: slice | HostArray
    ) -> tuple[Array, ...]:
        """Return the rows of a part of arrays, a slice or numbers of rows, on the device."""

    def step(self, compiled: CompiledNetwork, plan: StepPlan) -> Step:
        """Return the step of a plan, whose optimizer is without a rate, for batches that are not cut into shards."""

    def run_epoch(
        self, backend: Backend, step: Step, state: State, segment: Segment, rates: HostArray
    ) -> tuple[State, dict[str, HostArray]]:
        """Run the steps of a segment (see `Backend.run_epoch`)."""

    def turn(self) -> AbstractContextManager[Any]:
        """Return a context for work that is the same in all fits, so that one of them compiles it for all."""


class SingleExecution:
    """A fit by itself."""

    subset: HostArray | None = None

    def bring(
        self, backend: Backend, arrays: Sequence[HostArray], dtypes: Sequence[str], part: slice | HostArray
    ) -> tuple[Array, ...]:
        """Return the rows of a part of arrays on the device."""
        return brought(backend, arrays, dtypes, part)

    def step(self, compiled: CompiledNetwork, plan: StepPlan) -> Step:
        """Return the step, which equal networks share."""
        step: Step = compiled.steps.get(plan.key, lambda: make_step(compiled.network, plan, compiled.ops))
        return step

    def run_epoch(
        self, backend: Backend, step: Step, state: State, segment: Segment, rates: HostArray
    ) -> tuple[State, dict[str, HostArray]]:
        """Run the steps on the backend."""
        return backend.run_epoch(step, state, segment.data, segment.order, rates, whole=segment.whole)

    def turn(self) -> AbstractContextManager[Any]:
        """Return an empty context: there is no other fit."""
        return nullcontext()
