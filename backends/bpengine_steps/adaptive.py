"""When to compile: a step runs eagerly until that has taken about as much time as compiling it will take.

Where it is loaded from disk and a fit says how many steps it may take, it need not be known by then that it pays: what these
steps would take in Python counts as well. A fit that a rule ends early has lost the time of loading.

Parts that were never compiled on this machine are compiled in a thread beside the fit, so that a shorter fit loses no time.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar
from weakref import WeakKeyDictionary

import numpy as np

from bpengine.backend import HostArray, State, Step
from bpengine.errors import BackendUnavailable, ConfigError, ShapeError
from bpengine.i18n.language import localized
from bpengine.system.lru_cache import LruCache
from bpengine_steps.ir import Untraceable
from bpengine_steps.signature import Rows, Signature, leaves, rebuilt

EagerRun = Callable[[Step, State, Rows, HostArray | None, HostArray], tuple[State, dict[str, HostArray]]]
Bound = Callable[[], tuple[State, dict[str, HostArray]]]
Compiler = Callable[[Step, State, Signature], "CompiledStep"]
Pieces = Iterator[Callable[[], object] | None]
Made = TypeVar("Made")
# most signatures of one step that are kept, each with its program; most of them differ in the number of rows
SIGNATURES = 32
READY = 0.06  # about the seconds of recording a step and loading it from disk: the patience for a step that is on disk
ANOTHER = 0.015  # the same if a program of the step for another number of rows runs already
TRIED = 3  # steps in Python after which it is known how long the others take: the first may load what they all need
LOOK = 0.05  # seconds in Python after which a fit checks whether its program is ready
BINDING_SECONDS = 0.0002  # about the seconds of binding a program: it does not pay for shorter runs


class CompiledStep(Protocol):
    """A step made for one signature."""

    @property
    def missing(self) -> int:
        """The number of parts that have never been compiled on this machine."""

    def compile(self) -> None:
        """Compile what is missing."""

    def pieces(self) -> Pieces:
        """Compile what is missing piece by piece (see `Beside`)."""

    def bind(self, state: State, data: Rows, order: HostArray | None, lr: HostArray) -> Bound:
        """Return a function that runs len(lr) steps, or up to the first that reports "halt"; its call donates `state`.

        Raises Untraceable for arrays that it does not support. Nothing is changed before that function is called.
        """


class CompilingJob(Protocol):
    """Work in a thread of its own; `error` is the exception that it raised."""

    error: BaseException | None

    def is_waited_for(self) -> bool:
        """Tell whether the work is still running."""


class Beside(Protocol):
    """Does work in a thread of its own while a fit continues in Python.

    The work's iterator does one piece at a time. It yields a function, which is called and may wait, or None.
    """

    def start(self, pieces: Pieces) -> CompilingJob:
        """Start a job."""


@dataclass(kw_only=True)
class _Known:
    """The record of a step for one signature: its steps in Python and their time, its program, the job that compiles it.

    first: the time of the first run in Python. run: its steps, compiled or not. missing: whether a part of the program was
    not on disk when it was made.
    """

    spent: float = 0.0
    steps: int = 0
    first: float = 0.0
    run: int = 0
    program: CompiledStep | None = None
    job: CompilingJob | None = None
    compiled: bool = False
    refused: bool = False
    missing: bool = False

    def worth(self, steps: int) -> bool:
        """Tell whether this many steps in Python would take longer than binding the program."""
        return not self.steps or steps * self.average > BINDING_SECONDS

    @property
    def average(self) -> float:
        """Seconds that a step takes in Python."""
        return self.spent / max(self.steps, 1)

    def to_come(self, of_step: _KnownStep) -> float:
        """Return about the seconds that the steps to come would take in Python, 0 where nothing is known of them."""
        if self.steps < TRIED:
            return 0.0
        return of_step.ahead * self.run / max(of_step.run, 1) * (self.spent - self.first) / (self.steps - 1)


@dataclass
class _KnownStep:
    """The record of a step: time spent on it in Python, whether a program of it has run, and the records of its signatures.

    ahead: how many steps the fit may take yet, as far as it is known. run: those that it took, compiled or not.
    """

    spent: float = 0.0
    compiled: bool = False
    ahead: int = 0
    run: int = 0
    by_signature: LruCache[_Known] = field(default_factory=lambda: LruCache(SIGNATURES))


class CompiledEpochs:
    """Runs epochs, first through `eager`, then compiled; `patience` is the time in seconds before that.

    With a patience below 0 a step is compiled before its first run. Otherwise parts that were never compiled on this machine
    are compiled `beside` the fit, which continues in Python. If `kept()` says that something is on disk, a step of which all
    parts are on disk is compiled after `READY` seconds. `make` records a step for a signature; it raises Untraceable for a
    step that must run eagerly. `compiler` is its name in the single warning for any other exception. If compiling is
    `required`, because there is no eager form, a step that cannot be compiled raises ConfigError.
    """

    def __init__(
        self,
        eager: EagerRun,
        patience: float,
        make: Compiler,
        compiler: str,
        *,
        required: bool = False,
        beside: Beside | None = None,
        kept: Callable[[], bool] = lambda: False,
    ) -> None:
        self._eager, self._patience, self._make, self._compiler = eager, patience, make, compiler
        self._required, self._beside, self._kept = required, beside, kept
        self._known: WeakKeyDictionary[Step, _KnownStep] = WeakKeyDictionary()

    def expect(self, step: Step, steps: int) -> None:
        """Record how many steps a fit may take from now on."""
        self._of(step).ahead = steps

    def run(
        self, step: Step, state: State, data: tuple[HostArray, ...], order: HostArray | None, lr: HostArray
    ) -> tuple[State, dict[str, HostArray]]:
        """Run an epoch (see `Backend.run_epoch`)."""
        try:
            signature = Signature.of(state, data, order, lr)
        except Untraceable as error:
            self._refuse(error)
            return self._eager(step, state, data, order, lr)
        of_step = self._of(step)
        known = of_step.by_signature.get(signature, _Known)
        reports: list[dict[str, HostArray]] = []
        done, count = 0, 1
        while done < len(lr) and not (reports and reports[-1]["halt"][-1]):
            program = self._guarded(known, self._program, of_step, known, step, state, signature)
            stop = len(lr) if program or known.refused else min(done + count, len(lr))
            arguments = state, data, None if order is None else order[done:stop], lr[done:stop]
            bound = None
            if program and known.worth(len(lr) - done):
                bound = self._guarded(known, program.bind, *arguments)
                if bound is None:
                    continue
            state, report = bound() if bound else self._timed(of_step, known, step, *arguments)
            reports.append(report)
            taken = len(report["halt"])
            known.run += taken
            of_step.run += taken
            of_step.ahead = max(0, of_step.ahead - taken)
            done, count = stop, min(count * 2, max(1, int(LOOK / max(known.average, 1e-9))))
        if len(reports) == 1:
            return state, reports[0]
        return state, {name: np.concat([report[name] for report in reports]) for name in reports[0]}

    def _of(self, step: Step) -> _KnownStep:
        """Return the record of a step, which equal networks in several threads may share."""
        known = self._known.get(step)
        return self._known.setdefault(step, _KnownStep()) if known is None else known

    def _timed(
        self,
        of_step: _KnownStep,
        known: _Known,
        step: Step,
        state: State,
        data: Rows,
        order: HostArray | None,
        lr: HostArray,
    ) -> tuple[State, dict[str, HostArray]]:
        began = time.perf_counter()
        result = self._eager(step, state, data, order, lr)
        taken = time.perf_counter() - began
        known.first = known.first or taken / len(result[1]["halt"])
        known.spent, known.steps = known.spent + taken, known.steps + len(result[1]["halt"])
        of_step.spent += taken
        return result

    def _program(
        self, of_step: _KnownStep, known: _Known, step: Step, state: State, signature: Signature
    ) -> CompiledStep | None:
        """Return the step's program once compiling pays and has ended, else None."""
        if known.refused or (known.job and known.job.is_waited_for()):
            return None
        if known.compiled:
            return known.program
        if known.job and known.job.error:
            raise known.job.error
        if not self._is_time(of_step, known):
            return None
        if self._beside and self._patience >= 0 and not self._kept():
            form = rebuilt(state, dict.fromkeys(path for path, _ in leaves(state)))
            known.job = self._beside.start(self._compiling(known, step, form, signature))
            return None
        if known.program is None:
            known.program = self._make(step, state, signature)
            known.missing = known.program.missing > 0
        if self._beside and self._patience >= 0:
            if known.missing and of_step.spent < self._patience:
                return None
            if known.program.missing:
                known.job = self._beside.start(known.program.pieces())
                return None
        known.program.compile()
        known.compiled = of_step.compiled = True
        return known.program

    def _is_time(self, of_step: _KnownStep, known: _Known) -> bool:
        """Tell whether a step has run long enough in Python that recording it pays."""
        if of_step.spent >= self._patience:
            return of_step.compiled is False or known.spent + known.to_come(of_step) >= min(ANOTHER, self._patience)
        if self._patience == math.inf or not self._kept():
            return False
        cost, spent = (ANOTHER, known.spent) if of_step.compiled else (READY, of_step.spent)
        return spent + known.to_come(of_step) >= cost

    def _compiling(self, known: _Known, step: Step, form: State, signature: Signature) -> Pieces:
        """Record a step and compile it piece by piece."""
        known.program = self._make(step, form, signature)
        yield None
        yield from known.program.pieces()

    def _guarded(self, known: _Known, make: Callable[..., Made | None], *arguments: Any) -> Made | None:
        """Return what `make` returns; None where it fails, after which the step always runs in Python."""
        try:
            return make(*arguments)
        except Untraceable as error:
            known.refused = True
            self._refuse(error)
        except BackendUnavailable:  # the device is out of memory, and an eager step would need memory, too
            raise
        except (ConfigError, ShapeError):  # a mistake in the step itself, which says so where it runs as it is written
            known.refused = True
            if self._required:
                raise
        except Exception as error:  # whatever recording, compiling and binding may raise
            known.refused = True
            if self._required:
                raise ConfigError(
                    f"training in this precision requires a step that {self._compiler} can compile, got {error!r}. "
                    "Use precision='float32'."
                ) from error
            warnings.warn(
                localized(f"{self._compiler} cannot compile the training step, which goes on without: {error!r}"),
                stacklevel=2,
            )
        return None

    def _refuse(self, error: Untraceable) -> None:
        if self._required:
            raise ConfigError(
                f"training in this precision requires a step that {self._compiler} can compile, got one with {error}. "
                "Use precision='float32'."
            ) from error
