"""Ctrl-C at every 1,000th bytecode of small fits, with callbacks, checkpoints, saves and loads.

    python -m tests.attacks.interrupts --seconds 600 --seed 1

A trace function counts bytecodes and then sends SIGINT, as Ctrl-C does: Python raises KeyboardInterrupt at the next place
where it looks for signals, after a call, at the beginning of a function, at the end of a round of a loop. Afterwards the
model has the state after some step, files are whole, threads, locks, open files and the processor's modes are as before, and
the next fit gives the bits that a new model with the same parameters gives. What is found is kept in `kept_interrupts.json`.
"""

from __future__ import annotations

import ctypes
import dis
import linecache
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cache
from itertools import count
from pathlib import Path
from random import Random
from types import CodeType, FrameType
from typing import Any, NamedTuple

from llvmlite import ir

import bpengine as bp
from bpengine.output.writing import ENDING
from bpengine.system.busy import BUSY_WATCH
from tests.attacks.native import INT, WHOLE, address, call, counters, function, place
from tests.attacks.running import read_kept, run, write_kept
from tests.attacks.trainings import BEST, LARGE, SMALL, Surroundings, Training, in_folder, state_of

EVERY = 1000  # bytecodes
CALL, OPCODE = 0, 7  # what a trace function is called for
HEARD = {"CALL", "CALL_KW", "CALL_FUNCTION_EX", "RESUME", "JUMP_BACKWARD"}  # after these Python looks for signals
ENTERED = {"BEFORE_WITH", "FOR_ITER", "LOAD_SPECIAL"}  # these may begin a function
KEPT = Path(__file__).with_name("kept_interrupts.json")
TRAININGS = {
    training.name: training
    for training in (
        Training("as written", SMALL, 10, 4, settings={"stop": BEST}),
        Training("compiled", SMALL, 10, 4, compiled=True, settings={"stop": BEST}),
        Training("lent", LARGE, 4, 2, epochs=2),
        Training("lent, nobody looks", LARGE, 4, 2, epochs=1, watched=False),
        Training("lent and compiled", LARGE, 4, 2, epochs=2, compiled=True),
        Training("mapped", SMALL, 10, 4, mapped=True),
        Training("sequential", bp.Network(3, [bp.Dense(4), bp.Dense(2)], "softmax_cross_entropy"), 6, 3,
                 settings={"update": "sequential", "stop": BEST}),
    )
}  # fmt: skip


class Place(NamedTuple):
    """Where a training was interrupted: a line of a function, when it was reached for the so-many-th time."""

    training: str
    file: str
    function: str
    line: str
    time: int = 1


class Counting:
    """Counts the bytecodes of a `with` block, and interrupts after so many: with SIGINT, as Ctrl-C does."""

    def __init__(self, after: int = sys.maxsize) -> None:
        self.after, self.count = after, 0

    def __enter__(self) -> Counting:
        COUNTS[:] = 0, self.after
        ctypes.pythonapi.PyEval_SetTrace(_tracer(), None)
        return self

    def __exit__(self, *_: object) -> None:
        ctypes.pythonapi.PyEval_SetTrace(None, None)
        self.count = int(COUNTS[0])


COUNTS = counters(2)  # bytecodes so far, and after how many to interrupt
ATTRIBUTE = ctypes.c_char_p(b"f_trace_opcodes")  # the traced code knows its address


@cache
def _tracer() -> Any:
    """Return a trace function of C: every frame is traced by bytecodes."""
    api = ctypes.pythonapi

    def body(builder: ir.IRBuilder, arguments: Any) -> Any:
        _, frame, what, _ = arguments
        with builder.if_then(builder.icmp_signed("==", what, INT(CALL))):
            text = WHOLE(ctypes.cast(ATTRIBUTE, ctypes.c_void_p).value or 0)
            call(builder, address(api.PyObject_SetAttrString), INT, [frame, text, WHOLE(id(True))])
        with builder.if_then(builder.icmp_signed("==", what, INT(OPCODE))):
            count = builder.add(builder.load(place(builder, COUNTS, 0)), WHOLE(1))
            builder.store(count, place(builder, COUNTS, 0))
            with builder.if_then(builder.icmp_signed("==", count, builder.load(place(builder, COUNTS, 1)))):
                call(builder, address(api.PyErr_SetInterrupt), ir.VoidType(), [])
        return INT(0)

    kind = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.py_object, ctypes.py_object, ctypes.c_int, ctypes.py_object)
    return kind(function(INT, [WHOLE, WHOLE, INT, WHOLE], body))


def moments(work: Callable[[], object]) -> list[int]:
    """Return after how many bytecodes `work` reaches each of its instructions after which Python looks for signals.

    Each is counted when it is reached for the first time.
    """
    reached, before = dict[tuple[CodeType, int], int](), sys.gettrace()
    numbers = count(1)

    def step(frame: FrameType, event: str, arg: object) -> Any:
        frame.f_trace_opcodes = True
        if event == "opcode":
            number, code, at = next(numbers), frame.f_code, frame.f_lasti
            if dis.opname[code.co_code[at]] in HEARD | ENTERED:
                reached.setdefault((code, at), number)
        return step

    sys.settrace(step)
    try:
        work()
    finally:
        sys.settrace(before)
    return list(reached.values())


class Aiming:
    """Interrupts a `with` block at a place, by a trace function of Python's."""

    def __init__(self, place: Place) -> None:
        self._place, self._seen, self._before = place, 0, sys.gettrace()

    def __enter__(self) -> Aiming:
        sys.settrace(self._called)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(self._before)

    def _called(self, frame: FrameType, event: str, arg: object) -> Any:
        if frame.f_code.co_qualname != self._place.function:
            return None
        frame.f_trace_opcodes, before = True, ["RESUME"]

        def step(frame: FrameType, event: str, arg: object) -> Any:
            if event == "opcode":
                name, before[0] = before[0], dis.opname[frame.f_code.co_code[frame.f_lasti]]
                if name in HEARD and _line(frame) == self._place[1:4]:
                    self._seen += 1
                    if self._seen == self._place.time:
                        raise KeyboardInterrupt
            return step

        return step


def _line(frame: FrameType, number: int | None = None) -> tuple[str, str, str]:
    code = frame.f_code
    file = "/".join(Path(code.co_filename).parts[-2:])
    line = number or frame.f_lineno or code.co_firstlineno  # some instructions are of no line
    return file, code.co_qualname, linecache.getline(code.co_filename, line).strip()


def _where(error: KeyboardInterrupt) -> tuple[str, str, str]:
    """Return the place that an interruption came from."""
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    return ("", "", "") if last is None else _line(last.tb_frame, last.tb_lineno)


@dataclass
class Report:
    """What came of an attack."""

    seed: int
    interrupts: int = 0
    every: int = EVERY
    lengths: dict[str, int] = field(default_factory=dict)
    outcomes: Counter[str] = field(default_factory=Counter)
    failures: dict[Place, str] = field(default_factory=dict)

    def __str__(self) -> str:
        lengths = ", ".join(f"{name}: {length:,}" for name, length in self.lengths.items())
        summary = f"{self.interrupts} interrupts, seed {self.seed}; bytecodes: {lengths}; {dict(self.outcomes)}; "
        return "\n".join(
            [f"{summary}{len(self.failures)} failures", *(f"{p!r}\n{t}" for p, t in self.failures.items())]
        )


class Ground:
    """The trainings as they are when nobody interrupts them."""

    def __init__(self, folder: Path, names: tuple[str, ...] = tuple(TRAININGS)) -> None:
        self.folder = folder
        self.files = folder / "files"
        self.states = {name: TRAININGS[name].states(folder) for name in names}
        self.lengths: dict[str, int] = {}
        BUSY_WATCH.rest()  # its warning depends on what else the machine does, and warnings are errors here
        for name in names:
            for _ in range(2):  # what is made once, imports above all, is made by then
                counting = Counting()
                problem, _ = self.problem(name, counting)
                assert problem is None, f"{name}, without an interruption: {problem}"
            self.lengths[name] = counting.count

    def problem(self, name: str, breaker: AbstractContextManager[Any]) -> tuple[str | None, Place]:
        """Break a training off somewhere, and say what is wrong afterwards, None where nothing is, and where that was."""
        places = [Place(name, "", "", "")]
        with warnings.catch_warnings(), in_folder(self.files), Quiet():
            warnings.simplefilter("error")
            try:
                wrong = self._problem(TRAININGS[name], breaker, places)
            except Exception:
                wrong = traceback.format_exc()[-3000:]
        return wrong and f"interrupted at {places[-1]}: {wrong}", places[-1]

    def _problem(self, training: Training, breaker: AbstractContextManager[Any], places: list[Place]) -> str | None:
        x, y = training.data(self.folder)
        model, surroundings = training.model(), Surroundings()
        history = None
        try:
            with breaker:
                callbacks = [bp.Checkpoint(self.files / "checkpoint"), lambda model, epoch: None]
                history = training.fit(model, x, y, callbacks=callbacks if training.watched else ())
                model.save(self.files / "saved")
                bp.load(self.files / "saved")
        except KeyboardInterrupt as error:
            ctypes.pythonapi.PyEval_SetTrace(None, None)
            places.append(Place(training.name, *_where(error)))
        problem = self._looked_at(training, model, history)
        problem = problem or surroundings.changed()
        return problem or training.goes_on(model, x, y)

    def _looked_at(self, training: Training, model: bp.Model, history: Any) -> str | None:
        states = self.states[training.name]
        state = state_of(model)
        if state not in states:
            return "the model has a state that is that after no step"
        if history is not None and (wrong := _inconsistent(history)):
            return wrong
        best = "stop" in training.settings
        if history is not None and history.stopped_by == "interrupted" and not best and history.steps != states[state]:
            return f"the state is that after step {states[state]}, the history has {history.steps}"
        for name in ("checkpoint", "saved"):
            path = self.files / name
            if path.exists() and state_of(bp.load(path)) not in states:
                return f"{name} has a state that is that after no step"
            model.save(path)
        if left := [p.name for p in self.files.iterdir() if p.name.endswith(ENDING)]:
            return f"{left} after another save"
        return None


def _inconsistent(history: Any) -> str | None:
    lengths = {len(history.loss), len(history.learning_rate), history.steps}
    if history.step_size is not None:
        lengths.add(len(history.step_size))
    epochs = list(history.epochs)
    if len(lengths) > 1 or (epochs and epochs[-1].steps > history.steps):
        return f"the history does not fit together: {lengths}, {epochs}"
    return None


class Quiet:
    """Keeps to itself that an interruption within a finalizer is lost, and that a file was closed when it was freed."""

    def __enter__(self) -> None:
        self._before, sys.unraisablehook = sys.unraisablehook, self._hear

    def __exit__(self, *_: object) -> None:
        sys.unraisablehook = self._before

    def _hear(self, unraisable: Any) -> None:
        if not isinstance(unraisable.exc_value, KeyboardInterrupt | ResourceWarning):
            self._before(unraisable)


def case(ground: Ground, seed: int, number: int, every: int = EVERY) -> tuple[str, int]:
    """Return the training of a case, and after how many bytecodes it is interrupted: one round takes all of them."""
    each = [(name, k) for name, length in ground.lengths.items() for k in range(-(-length // every))]
    turn, within = divmod(number, len(each))
    shuffled = Random(f"{seed} order {turn}").sample(each, len(each))
    name, k = shuffled[within]
    return name, k * every + Random(f"{seed} {turn} {name}").randrange(every)


def attack(
    seconds: float, seed: int, first: int = 0, most: int = sys.maxsize, names: tuple[str, ...] = tuple(TRAININGS)
) -> Report:
    """Interrupt trainings for so many seconds, or so many times."""
    with tempfile.TemporaryDirectory(prefix="bpengine-attack-") as folder:
        return attack_on(Ground(Path(folder), names), seconds, seed, first, most)


def attack_on(ground: Ground, seconds: float, seed: int, first: int = 0, most: int = sys.maxsize) -> Report:
    """Interrupt the trainings of a ground for so many seconds, or so many times."""
    report, end, number = Report(seed, lengths=ground.lengths), time.monotonic() + seconds, first
    while time.monotonic() < end and report.interrupts < most:
        name, count = case(ground, seed, number)
        counting = Counting(count)
        wrong, there = ground.problem(name, counting)
        report.interrupts += 1
        report.outcomes["raised" if there.file else "ended the fit, or came too late"] += 1
        if wrong:
            there = smallest(ground, there)
            report.failures[there] = f"--seed {seed} --number {number}, after {count} bytecodes: {wrong}"
        number += 1
    return report


def smallest(ground: Ground, there: Place) -> Place:
    """Return the first time that an interruption at this place does harm, of the first ten."""
    for k in range(1, 11) if there.file else ():
        nearer = there._replace(time=k)
        if ground.problem(there.training, Aiming(nearer))[0]:
            return nearer
    return there


def kept() -> list[Place]:
    """Return the places at which an interruption did harm once."""
    return [Place(*place) for place in read_kept(KEPT)]


def keep(places: list[Place]) -> None:
    """Add places to those that are kept."""
    write_kept(KEPT, [*kept(), *places])


if __name__ == "__main__":
    sys.exit(run("interrupts", __doc__, attack, lambda report: keep(list(report.failures))))
