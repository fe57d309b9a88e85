"""When to compile: a step runs as it is written until that has cost about as much time as compiling it will."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar
from weakref import WeakKeyDictionary

import numpy as np

from bpengine.backend import HostArray, State, Step
from bpengine.errors import ConfigError
from bpengine.system.lru_cache import LruCache
from bpengine_steps.ir import Untraceable
from bpengine_steps.signature import Signature

EagerRun = Callable[[Step, State, Any, HostArray | None, HostArray], tuple[State, dict[str, HostArray]]]
Bound = Callable[[], tuple[State, dict[str, HostArray]]]
Compiler = Callable[[Step, State, Signature], "CompiledStep"]
Made = TypeVar("Made")
SIGNATURES = 32  # of one step that are known at a time, each with its program: numbers of rows, most of them
LOOP_SECONDS = 0.25  # what compiling one loop takes, about
BINDING_SECONDS = 0.0005  # what binding a program to memory takes, about: shorter runs are not worth it


class CompiledStep(Protocol):
    """A step made for one signature."""

    @property
    def missing(self) -> int:
        """The number of parts that have never been compiled on this machine."""

    def compile(self) -> None:
        """Compile what is missing."""

    def bind(self, state: State, data: Any, order: HostArray | None, lr: HostArray) -> Bound:
        """Return what runs len(lr) steps, or up to the first that reports "halt"; once it is called, `state` is donated.

        Raises Untraceable for arrays that it cannot take. Until what it returns is called, nothing is changed.
        """


@dataclass
class _Known:
    """What is known of a step for one signature: time spent on it in Python, steps run so, and its program."""

    spent: float = 0.0
    steps: int = 0
    program: CompiledStep | None = None
    refused: bool = False

    def worth(self, steps: int) -> bool:
        """Say whether so many steps in Python would take longer than binding the program."""
        return not self.steps or steps * self.spent / self.steps > BINDING_SECONDS


class CompiledEpochs:
    """Runs epochs, first through `eager`, then compiled; `patience` is the least time in seconds before that.

    `make` records a step for a signature; it raises Untraceable for a step that runs as it is written. `compiler` is
    its name in the one warning that is given when anything else is raised. Where it is `required`, for want of an eager
    form, a step that cannot be compiled raises ConfigError.
    """

    def __init__(
        self, eager: EagerRun, patience: float, make: Compiler, compiler: str, *, required: bool = False
    ) -> None:
        self._eager, self._patience, self._make, self._compiler = eager, patience, make, compiler
        self._required = required
        self._known: WeakKeyDictionary[Step, LruCache[_Known]] = WeakKeyDictionary()

    def run(
        self, step: Step, state: State, data: tuple[HostArray, ...], order: HostArray | None, lr: HostArray
    ) -> tuple[State, dict[str, HostArray]]:
        """Run an epoch (see `Backend.run_epoch`)."""
        try:
            signature = Signature.of(state, data, order, lr)
        except Untraceable as error:
            self._refuse(error)
            return self._eager(step, state, data, order, lr)
        known = self._of(step).get(signature, _Known)
        reports: list[dict[str, HostArray]] = []
        done, count = 0, 1
        while done < len(lr) and not (reports and reports[-1]["halt"][-1]):
            program = self._guarded(known, self._program, known, step, state, signature)
            stop = len(lr) if program or known.refused else min(done + count, len(lr))
            arguments = state, data, None if order is None else order[done:stop], lr[done:stop]
            bound = None
            if program and known.worth(len(lr) - done):
                bound = self._guarded(known, program.bind, *arguments)
                if bound is None:
                    continue
            state, report = bound() if bound else self._timed(known, step, *arguments)
            reports.append(report)
            done, count = stop, count * 2
        return state, {name: np.concat([report[name] for report in reports]) for name in reports[0]}

    def _of(self, step: Step) -> LruCache[_Known]:
        """Return what is known of a step, by signature; equal networks of several threads may share it."""
        known = self._known.get(step)
        return self._known.setdefault(step, LruCache(SIGNATURES)) if known is None else known

    def _timed(
        self, known: _Known, step: Step, state: State, data: Any, order: HostArray | None, lr: HostArray
    ) -> tuple[State, dict[str, HostArray]]:
        began = time.perf_counter()
        result = self._eager(step, state, data, order, lr)
        known.spent, known.steps = known.spent + time.perf_counter() - began, known.steps + len(result[1]["halt"])
        return result

    def _program(self, known: _Known, step: Step, state: State, signature: Signature) -> CompiledStep | None:
        """Return the step's program, once its time has come."""
        if known.refused or known.spent < self._patience:
            return None
        known.program = known.program or self._make(step, state, signature)
        if known.spent < self._patience + LOOP_SECONDS * known.program.missing:
            return None
        known.program.compile()
        return known.program

    def _guarded(self, known: _Known, make: Callable[..., Made | None], *arguments: Any) -> Made | None:
        """Return what is made; None where it is not, and never will be: the step itself runs without it."""
        try:
            return make(*arguments)
        except Untraceable as error:
            known.refused = True
            self._refuse(error)
        except Exception as error:  # whatever recording, compiling and binding may raise
            known.refused = True
            warnings.warn(
                f"{self._compiler} cannot compile the training step, which goes on without: {error!r}", stacklevel=2
            )
        return None

    def _refuse(self, error: Untraceable) -> None:
        if self._required:
            raise ConfigError(
                f"training in this precision requires a step that {self._compiler} can compile, got one with {error}. "
                "Use precision='float32'."
            ) from error
