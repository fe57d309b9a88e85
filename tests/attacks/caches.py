"""Random damage to the cache of compiled loops, then a process that trains: the same bits as eager, no crash, all mended.

`python -m tests.attacks.caches --seconds 600 --seed 1`. `--number` runs a case of a seed again; one that fails is kept
in `kept_caches.json`, with no more damages than are needed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tests.attacks.running import read_kept, write_kept

KEPT = Path(__file__).with_name("kept_caches.json")
LIMIT = 300.0  # seconds for a process that takes two or three
Draw = np.random.Generator


class Trained(NamedTuple):
    """What a training process prints: the digest of all numbers, and the files that it used or made."""

    digest: str
    files: list[str]


def main() -> int:
    """Attack until the time is up; return 1 where a case failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--number", type=int, default=None, help="only this case of the seed")
    parser.add_argument(
        "--train", choices=("eager", "compiled"), help="what the processes of an attack are called with"
    )
    options = parser.parse_args()
    if options.train:
        print(json.dumps(train(options.train)))
        return 0
    first, most = (0, sys.maxsize) if options.number is None else (options.number, 1)
    cases, failures = attack(options.seconds, options.seed, most, first)
    print(
        f"{cases} damaged caches, seed {options.seed}: {len(failures)} failures; the others gave the numbers of eager training"
    )
    for case, text in failures.items():
        print(f"{case!r}: {text}")
    if failures:
        keep(list(failures))
    return 1 if failures else 0


class Case(NamedTuple):
    """A damaged cache: the damages of a seed and a number, all of them or those that are named."""

    seed: int
    number: int
    damages: tuple[int, ...]

    @classmethod
    def of(cls, seed: int, number: int) -> Case:
        """Return a case with all of its damages."""
        return cls(seed, number, tuple(range(int(np.random.default_rng([seed, number]).integers(1, 5)))))


class Sound:
    """What training gives, and the files that it used or made."""

    def __init__(self) -> None:
        self.expected, self.whole = run("eager"), run("compiled")
        assert self.whole.digest == self.expected.digest
        assert len(self.whole.files) > 3

    def problem(self, case: Case) -> str | None:
        """Damage a copy of the cache and train with it; say what is wrong, None for nothing."""
        home = Path(tempfile.mkdtemp(prefix="bpengine-attack-"))
        try:
            return self._problem(case, home)
        except (AssertionError, subprocess.TimeoutExpired) as error:
            return str(error)
        finally:
            shutil.rmtree(home, ignore_errors=True)

    def _problem(self, case: Case, home: Path) -> str | None:
        folder = home / "bpengine" / "loops"
        folder.mkdir(parents=True)
        copies = [Path(shutil.copy(file, folder)) for file in self.whole.files]
        done = [damage(np.random.default_rng([*case[:2], k]), folder, copies) for k in case.damages]
        if run("compiled", home).digest != self.expected.digest:
            return f"{done}: other numbers than those of eager training"
        if not all(good(copy, Path(file)) for copy, file in zip(copies, self.whole.files, strict=True)):
            return f"{done}: not mended"
        again = {Path(file) for file in run("compiled", home).files} if case.number == 0 else set(copies)
        return None if again == set(copies) else f"{done}: other files were used the second time"


def attack(seconds: float, seed: int, most: int = sys.maxsize, first: int = 0) -> tuple[int, dict[Case, str]]:
    """Damage caches for so many seconds, one case at least; return how many, and what is wrong with which."""
    until, sound, cases, failures = time.monotonic() + seconds, Sound(), 0, dict[Case, str]()
    while cases < most and (cases == 0 or time.monotonic() < until):
        case = Case.of(seed, first + cases)
        if wrong := sound.problem(case):
            failures[smaller(sound, case)] = wrong
        cases += 1
    return cases, failures


def smaller(sound: Sound, case: Case) -> Case:
    """Return a case of which every damage is needed."""
    for k in case.damages:
        fewer = case._replace(damages=tuple(other for other in case.damages if other != k))
        if fewer.damages and sound.problem(fewer):
            case = fewer
    return case


def kept() -> list[Case]:
    """Return the cases that were found to be wrong once."""
    return [Case(seed, number, tuple(damages)) for seed, number, damages in read_kept(KEPT)]


def keep(cases: list[Case]) -> None:
    """Add cases to those that are kept."""
    write_kept(KEPT, [*kept(), *cases])


def run(how: str, home: Path | None = None) -> Trained:
    """Train in a process of its own, with warnings as errors, and another folder for caches if one is given."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    if home:
        environment["XDG_CACHE_HOME"] = str(home)
    command = [sys.executable, "-W", "error", "-m", "tests.attacks.caches", "--train", how]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=LIMIT, check=False)
    assert (ended.returncode, ended.stderr) == (0, ""), f"code {ended.returncode}, {home}: {ended.stderr}"
    return Trained(*json.loads(ended.stdout))


def train(how: str) -> Trained:
    """Train a small network; return the digest of its numbers, and the files of the cache."""
    import bpengine_numpy

    import bpengine as bp

    bpengine_numpy.NumpyBackend.patience = float("-inf" if how == "compiled" else "inf")
    draw = np.random.default_rng(0)
    x, y = draw.normal(size=(40, 5)), draw.integers(0, 3, 40)
    layers = [bp.Dense(6, "relu"), bp.Dropout(0.3), bp.Dense(3)]
    model = bp.Model(bp.Network(5, layers, "softmax_cross_entropy"), seed=1)
    history = model.fit(x, y, batch_size=10, epochs=3, optimizer="adam")
    arrays = [history.loss, *(model.parameters[name] for name in sorted(model.parameters))]
    digest = hashlib.sha256(b"".join(np.ascontiguousarray(a).tobytes() for a in arrays)).hexdigest()
    if how == "eager":
        return Trained(digest, [])
    from bpengine_numpy.llvm_target.object_code import loop_cache
    from bpengine_numpy.llvm_target.self_test import openblas, trial

    assert len(loop_cache._loaded) > 3, "nothing was compiled"
    keys = [*loop_cache._loaded, trial.fingerprint(openblas._settings())]
    return Trained(digest, [str(loop_cache.store().path(key)) for key in keys])


def good(copy: Path, original: Path) -> bool:
    """Say whether a file is as it was, or holds what is good under its key: code is compiled to the same bytes."""
    return copy.is_file() and copy.read_bytes() == original.read_bytes()


def damage(draw: Draw, folder: Path, files: list[Path]) -> str:
    """Damage the cache somehow; return what was done to which file."""
    way, file = DAMAGES[draw.integers(len(DAMAGES))], files[draw.integers(len(files))]
    if file.is_symlink() or not file.is_file():
        file.unlink(missing_ok=True)
        return f"remove {file.name}"
    other = files[draw.integers(len(files))]
    way(draw, file, other if other.is_file() and not other.is_symlink() else file)
    return f"{way.__name__} {file.name}"


def flip(draw: Draw, file: Path, other: Path) -> None:
    """Flip one to eight bits anywhere, or in the header."""
    data = bytearray(file.read_bytes())
    for _ in range(draw.integers(1, 9) if data else 0):
        place = draw.integers(min(len(data), 80) if draw.random() < 0.3 else len(data))
        data[place] ^= 1 << int(draw.integers(8))
    file.write_bytes(data)


def cut(draw: Draw, file: Path, other: Path) -> None:
    """Cut the file short."""
    file.write_bytes(file.read_bytes()[: draw.integers(file.stat().st_size + 1)])


def lengthen(draw: Draw, file: Path, other: Path) -> None:
    """Append random bytes."""
    file.write_bytes(file.read_bytes() + draw.bytes(int(draw.integers(1, 5000))))


def fill(draw: Draw, file: Path, other: Path) -> None:
    """Put random bytes, or zeros, in place of a part."""
    data = bytearray(file.read_bytes())
    first, last = sorted(draw.integers(0, len(data) + 1, 2))
    data[first:last] = bytes(last - first) if draw.random() < 0.5 else draw.bytes(int(last - first))
    file.write_bytes(data)


def swap(draw: Draw, file: Path, other: Path) -> None:
    """Put another key's file in its place, whole or behind its own header."""
    own, foreign = file.read_bytes(), other.read_bytes()
    file.write_bytes(foreign if draw.random() < 0.5 else own[:80] + foreign[80:])


def forge(draw: Draw, file: Path, other: Path) -> None:
    """Claim another length."""
    data = bytearray(file.read_bytes())
    data[40:48] = draw.bytes(8)
    file.write_bytes(data)


def remove(draw: Draw, file: Path, other: Path) -> None:
    """Remove the file."""
    file.unlink()


def pipe(draw: Draw, file: Path, other: Path) -> None:
    """Put a pipe in its place, which nobody writes to."""
    file.unlink()
    os.mkfifo(file)


def loop(draw: Draw, file: Path, other: Path) -> None:
    """Put a link to itself in its place."""
    file.unlink()
    file.symlink_to(file)


def stretch(draw: Draw, file: Path, other: Path) -> None:
    """Make it a terabyte long, of zeros that take no room."""
    with file.open("r+b") as opened:
        opened.truncate(1 << 40)


def clutter(draw: Draw, file: Path, other: Path) -> None:
    """Leave drafts and files of others behind."""
    file.with_suffix(".draft").write_bytes(draw.bytes(100))
    (file.parent / "__pycache__").mkdir(exist_ok=True)
    (file.parent / "__pycache__" / f"{file.stem}.nbi").write_bytes(draw.bytes(100))


DAMAGES: list[Callable[[Draw, Path, Path], Any]] = [
    *(flip, cut, lengthen, fill, swap, forge, remove, clutter),
    *([pipe, loop, stretch] if os.name == "posix" else []),
]

if __name__ == "__main__":
    sys.exit(main())
