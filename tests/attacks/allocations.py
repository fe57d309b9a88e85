"""Every large allocation and every write fails in turn: of fits, checkpoints, saves, loads, and readers of data.

    python -m tests.attacks.allocations --seconds 600 --seed 1

First an action runs whole, and its allocations above 1 MiB (NumPy's, and Python's own), its writes and the length of its
files are counted. Then it runs again and again, and the k-th allocation fails, or all from the k-th on; or the k-th write,
in five ways; or no file may grow beyond so many bytes. Nothing but MemoryError or an error of the project's may come of it;
models have a promised state and train on as new ones with the same parameters would, files are old or new and no drafts are
left, and the action, done once more, gives what it should. What is found is kept in `kept_allocations.json`.
"""

from __future__ import annotations

import sys
import tempfile
import time
import traceback
import warnings
from abc import ABC, abstractmethod
from collections import Counter
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import numpy as np
from bpengine_steps.disk import Cache

import bpengine as bp
from bpengine import data
from bpengine.errors import BpError
from bpengine.output.writing import ENDING
from tests.attacks.failing import HOW, Writes, allocations, files_up_to
from tests.attacks.running import read_kept, run, write_kept
from tests.attacks.trainings import BEST, Surroundings, Training, digest, state_of

KEPT = Path(__file__).with_name("kept_allocations.json")
WIDE = bp.Network(600, [bp.Dense(600, "relu"), bp.Dropout(0.2), bp.Dense(3)], "softmax_cross_entropy")  # 1.4 MB
NORMAL = bp.Network(600, [bp.Dense(500, "tanh"), bp.BatchNorm(), bp.Dense(3)], "softmax_cross_entropy", bp.L2(0.01))
ROWS, BATCH = 1200, 600  # activations of 1.4 MB
ONE, ONWARD, WRITE, LENGTH = "allocation", "allocations from", "write", "files up to"
Raised = BpError | MemoryError | None


class Case(NamedTuple):
    """What fails in which action: the number of an allocation or a write, or a length in bytes."""

    action: str
    kind: str
    number: int
    how: str = ""

    def failing(self) -> AbstractContextManager[Any]:
        """Return the context in which it fails."""
        if self.kind == WRITE:
            return Writes(self.number, self.how)
        if self.kind == LENGTH:
            return files_up_to(self.number)
        return allocations(self.number, sys.maxsize if self.kind == ONWARD else self.number)


class Action(ABC):
    """Something that may fail: `run` does it, `look` says what is wrong afterwards, None for nothing."""

    writes = True

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def prepare(self) -> object:
        """Make what it starts from, where it starts from something."""
        return None

    @abstractmethod
    def run(self) -> Any:
        """Do it; return what it gives as something that can be compared."""

    @abstractmethod
    def look(self, raised: Raised) -> str | None:
        """Say what is wrong."""


class Fit(Action):
    """A fit with a checkpoint after each epoch."""

    training: Training

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.states = self.training.states(folder)
        self.rows = self.training.data(folder)

    def prepare(self) -> None:
        self.model = self.training.model()
        (self.folder / "checkpoint").unlink(missing_ok=True)

    def run(self) -> Any:
        callback = bp.Checkpoint(self.folder / "checkpoint")
        return digest(self.training.fit(self.model, *self.rows, callbacks=[callback]).loss)

    def look(self, raised: Raised) -> str | None:
        if state_of(self.model) not in self.states:
            return "the model has a state that is that after no step"
        path = self.folder / "checkpoint"
        if path.exists() and state_of(bp.load(path)) not in self.states:
            return "the checkpoint has a state that is that after no step"
        return self.training.goes_on(self.model, *self.rows)


class AsWritten(Fit):
    training = Training("as written", WIDE, ROWS, BATCH, epochs=2, settings={"stop": BEST})


class Normal(Fit):
    training = Training("clipped", NORMAL, ROWS, BATCH, epochs=1, settings={"clip_norm": 0.5, "optimizer": "momentum"})


class Compiled(Fit):
    training = Training("compiled", WIDE, ROWS, BATCH, epochs=2, compiled=True, settings={"stop": BEST})


class Mapped(Fit):
    training = Training("mapped", WIDE, ROWS, BATCH, epochs=2, mapped=True)


class Parts(Fit):
    training = Training("accumulated", WIDE, ROWS, BATCH // 2, epochs=1, settings={"accumulate": 2})


class Resumed(Fit):
    """A fit with a run folder, and what goes on from it."""

    training = Training("resumed", WIDE, ROWS, BATCH, epochs=2, settings={"stop": BEST})

    def prepare(self) -> None:
        self.model = self.training.model()
        self.where = self.folder / "run"
        for file in self.where.iterdir() if self.where.is_dir() else ():
            file.unlink()

    def run(self) -> Any:
        return self._fit(self.model, resume=False)

    def _fit(self, model: bp.Model, *, resume: bool) -> Any:
        run = bp.RunFolder(self.where, every=1)
        return digest(self.training.fit(model, *self.rows, run=run, resume=resume).loss)

    def look(self, raised: Raised) -> str | None:
        if state_of(self.model) not in self.states:
            return "the model has a state that is that after no step"
        last, plain = self.training.model(), self.training.model()
        wanted = digest(self.training.fit(plain, *self.rows).loss)
        if self._fit(last, resume=True) != wanted or state_of(last) != state_of(plain):
            return "what goes on from the folder has other numbers than a fit that nothing disturbed"
        return self.training.goes_on(self.model, *self.rows)


class Save(Action):
    """A save over an older file."""

    def prepare(self) -> None:
        self.path = self.folder / "model"
        self.old, self.model = bp.Model(WIDE, seed=5), bp.Model(WIDE, seed=6)
        if not self.path.exists() or state_of(bp.load(self.path)) != state_of(self.old):
            self.old.save(self.path)

    def run(self) -> Any:
        self.model.save(self.path)

    def look(self, raised: Raised) -> str | None:
        there = state_of(bp.load(self.path))
        if there not in (state_of(self.old), state_of(self.model)):
            return "the file has neither the old nor the new model"
        return "the file is old, and nothing was raised" if there == state_of(self.old) and raised is None else None


class Load(Action):
    """Loads, and parameters taken over from a file."""

    def prepare(self) -> None:
        path = self.path = self.folder / "loaded"
        if not path.exists():
            bp.Model(WIDE, seed=7).save(path)
        self.model = bp.Model(WIDE, seed=8)
        self.before = state_of(self.model)

    def run(self) -> Any:
        loaded = bp.load(self.path)
        self.model.load_parameters(self.path)
        return state_of(loaded)

    def look(self, raised: Raised) -> str | None:
        wanted = {self.before, state_of(bp.Model(WIDE, seed=7))}
        return (
            None if state_of(self.model) in wanted else "the model has neither its old parameters nor those of the file"
        )


class Uses(Action):
    """What a model is asked for, which leaves it as it is, and steps of a loop of one's own."""

    def prepare(self) -> None:
        self.model = bp.Model(WIDE, seed=9)
        draw = np.random.default_rng(3)
        self.x, self.y = draw.normal(size=(ROWS, 600)).astype(np.float32), draw.integers(0, 3, ROWS)
        self.before = state_of(self.model)

    def run(self) -> Any:
        model, x, y = self.model, self.x, self.y
        loss, gradients = model.loss_and_gradients(x, y)
        arrays = [model.predict(x), model.forward(x), *model.evaluate(x, y).values(), loss, *gradients.values()]
        assert state_of(model.to("numpy")) == self.before
        twin = bp.Model(WIDE, seed=9)
        twin.apply_gradients(gradients)
        twin.parameters = {"0.weight": gradients["0.weight"]}
        return digest(*arrays, *twin.parameters.values())

    def look(self, raised: Raised) -> str | None:
        return None if state_of(self.model) == self.before else "the model has other parameters"


class Read(Action):
    """Files of every kind that is read."""

    def prepare(self) -> None:
        if (self.folder / "x.npy").exists():
            return
        draw = np.random.default_rng(4)
        x = draw.normal(size=(5000, 70)).astype(np.float32)
        np.save(self.folder / "x.npy", x)
        np.save(self.folder / "x64.npy", np.asfortranarray(x.astype(np.float64)))
        np.save(self.folder / "y.npy", np.arange(len(x)) % 3)
        np.savez(self.folder / "both.npz", x=x, y=np.arange(len(x)) % 3)
        rows = [",".join([*(f"{v:.4f}" for v in row[:30]), "abc"[k % 3]]) for k, row in enumerate(x)]
        (self.folder / "t.csv").write_text("\n".join([",".join(f"c{k}" for k in range(31)), *rows]), encoding="utf-8")
        pixels = draw.integers(0, 256, (2000, 28, 28), dtype=np.uint8)
        head = b"\0\0\x08\x03" + np.array(pixels.shape, ">i4").tobytes()
        (self.folder / "images-idx3-ubyte").write_bytes(head + pixels.tobytes())
        labels = b"\0\0\x08\x01" + np.array([2000], ">i4").tobytes() + bytes(k % 10 for k in range(2000))
        (self.folder / "labels-idx1-ubyte").write_bytes(labels)

    def run(self) -> Any:
        at = self.folder
        datasets = [
            data.load(at / "x.npy", target=at / "y.npy"),
            data.load(at / "x64.npy", target=at / "y.npy", mmap=False),
            data.load(at / "both.npz"),
            data.load(at / "t.csv", target="c30"),
            data.load(at / "images-idx3-ubyte", target=at / "labels-idx1-ubyte", scale=True),
            data.generate("blobs", 200_000),
        ]
        return digest(*(array for one in datasets for array in (one.x, one.y)))

    def look(self, raised: Raised) -> str | None:
        return None


class WriteData(Action):
    """A synthetic set written to two files, over older ones."""

    def prepare(self) -> None:
        if not hasattr(self, "old"):
            self.new = self._written(2)
            self.old = self._written(1)
        elif self._there() != self.old:
            self._written(1)

    def _written(self, seed: int) -> str:
        data.write("blobs", 100_000, self.folder / "set", seed=seed, chunk_rows=30_000)
        return self._there()

    def _there(self) -> str:
        return digest(*(np.load(self.folder / f"set_{name}.npy") for name in "xy"))

    def run(self) -> Any:
        self._written(2)

    def look(self, raised: Raised) -> str | None:
        return None if self._there() in (self.old, self.new) else "the files are neither old nor new"


class Keep(Action):
    """Code put into the cache: which says in a warning what it cannot do, and raises nothing."""

    def prepare(self) -> None:
        self.cache = Cache(self.folder / "cache")
        self.content = np.random.default_rng(1).bytes(3_000_000)
        self.cache.put("key", b"old")

    def run(self) -> Any:
        self.cache.put("key", self.content)

    def look(self, raised: Raised) -> str | None:
        if isinstance(raised, BpError):
            return f"the cache raised {raised!r}"
        content = self.cache.get("key")
        wrong = content is not None and content not in (b"old", self.content)
        return "the cache gives what nobody put there" if wrong else None


ACTIONS: dict[str, type[Action]] = {
    kind.__name__: kind
    for kind in (AsWritten, Compiled, Mapped, Normal, Parts, Resumed, Save, Load, Uses, Read, WriteData, Keep)
}


@dataclass
class Report:
    """What came of an attack."""

    seed: int
    done: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    counted: dict[str, str] = field(default_factory=dict)
    rounds: int = 0
    failures: dict[Case, str] = field(default_factory=dict)

    def __str__(self) -> str:
        counted = "\n".join(f"  {name}: {text}" for name, text in self.counted.items())
        summary = f"{sum(self.done.values())} failures injected ({dict(self.done)}), seed {self.seed}"
        summary = (
            f"{summary}, {self.rounds} whole rounds; {dict(self.outcomes)}; {len(self.failures)} failures\n{counted}"
        )
        return "\n".join([summary, *(f"{case!r}\n{text}" for case, text in self.failures.items())])


class Ground:
    """The actions as they are when nothing fails."""

    def __init__(self, folder: Path, names: tuple[str, ...] = tuple(ACTIONS)) -> None:
        self.actions: dict[str, Action] = {}
        self.expected: dict[str, Any] = {}
        self.cases: list[Case] = []
        self.counted: dict[str, str] = {}
        for name in names:
            (folder / name).mkdir()
            self.actions[name] = ACTIONS[name](folder / name)
            self._count(name, self.actions[name])

    def _count(self, name: str, action: Action) -> None:
        action.prepare()
        with allocations() as large, Writes() as writes:
            self.expected[name] = action.run()
            many = large()
        longest = max((p.stat().st_size for p in action.folder.rglob("*") if p.is_file()), default=0)
        self.counted[name] = f"{many} allocations, {writes.count} writes, files up to {longest:,} bytes"
        self.cases += [Case(name, kind, k) for kind in (ONE, ONWARD) for k in range(1, many + 1)]
        self.cases += [Case(name, WRITE, k, how) for how in HOW for k in range(1, writes.count + 1)]
        if writes.count:
            self.cases += [Case(name, LENGTH, size) for size in {0, 1, 100, 5000, longest // 2, longest - 1}]

    def problem(self, case: Case) -> tuple[str | None, str]:
        """Let something fail; say what is wrong afterwards, None for nothing, and what was raised."""
        action = self.actions[case.action]
        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("always")
            try:
                action.prepare()
                surroundings = Surroundings()
                outcome, wrong = self._failed(case, action)
                wrong = wrong or surroundings.changed() or self._again(case, action)
            except KeyboardInterrupt:
                raise
            except BaseException:  # a library written in Rust panics with one
                return traceback.format_exc()[-3000:], "failed"
        other = [
            str(w.message)
            for w in heard
            if "cannot compile" not in str(w.message) and "cannot be kept" not in str(w.message)
        ]
        return wrong or (f"a warning: {other}" if other else None), outcome

    def _failed(self, case: Case, action: Action) -> tuple[str, str | None]:
        raised: Raised = None
        try:
            with case.failing():
                outcome = action.run()
        except MemoryError as error:
            raised = error.with_traceback(None)
        except BpError as error:
            raised = error.with_traceback(None)
        if raised is None and outcome != self.expected[case.action]:
            return "", "nothing was raised, and the result is another"
        if isinstance(raised, MemoryError) and case.kind in (WRITE, LENGTH):
            return "", f"no allocation failed, and this was raised: {raised!r}"
        left = [str(p) for p in action.folder.rglob(f"*{ENDING}") if case.kind in (ONE, ONWARD)]
        return type(raised).__name__ if raised else "done", action.look(raised) or (
            f"left behind: {left}" if left else None
        )

    def _again(self, case: Case, action: Action) -> str | None:
        action.prepare()
        again = action.run() == self.expected[case.action]
        left = [str(p) for p in action.folder.rglob(f"*{ENDING}")]
        return None if again and not left else f"done once more, the result is another, or drafts are left: {left}"


def smaller(ground: Ground, case: Case) -> Case:
    """Return the first number at which the same goes wrong."""
    alike = (
        other
        for other in ground.cases
        if other[:2] == case[:2] and other.how == case.how and other.number < case.number
    )
    return next((other for other in alike if ground.problem(other)[0]), case)


def attack(
    seconds: float, seed: int, first: int = 0, most: int = sys.maxsize, names: tuple[str, ...] = tuple(ACTIONS)
) -> Report:
    """Let things fail for so many seconds, or so many times: in a round every case comes once, in an order of the seed's."""
    with tempfile.TemporaryDirectory(prefix="bpengine-attack-") as folder:
        return attack_on(Ground(Path(folder), names), seconds, seed, first, most)


def attack_on(ground: Ground, seconds: float, seed: int, first: int = 0, most: int = sys.maxsize) -> Report:
    """Let things fail in the actions of a ground, as `attack` does."""
    report, end, number = Report(seed, counted=ground.counted), time.monotonic() + seconds, first
    while time.monotonic() < end and sum(report.done.values()) < most:
        turn, within = divmod(number, len(ground.cases))
        case = Random(f"{seed} {turn}").sample(ground.cases, len(ground.cases))[within]
        wrong, outcome = ground.problem(case)
        report.done[case.kind] += 1
        report.outcomes[outcome] += 1
        if wrong and not any(known[:2] == case[:2] and known.how == case.how for known in report.failures):
            report.failures[smaller(ground, case)] = f"--seed {seed} --number {number}: {case!r}: {wrong}"
        number += 1
    report.rounds = (number - first) // len(ground.cases)
    return report


def kept() -> list[Case]:
    """Return the cases that were found to be wrong once."""
    return [Case(*case) for case in read_kept(KEPT)]


def keep(cases: list[Case]) -> None:
    """Add cases to those that are kept."""
    write_kept(KEPT, [*kept(), *cases])


if __name__ == "__main__":
    sys.exit(run("allocations", __doc__, attack, lambda report: keep(list(report.failures))))
