"""Growth: thousands of models in one process, of the same shape or of different ones, and the memory after each hundred.

    python -m tests.attacks.growth --seconds 600 --seed 1 [--kind "NumPy, same"] [--models 2000]

Each kind runs in a process of its own. The bound is 10 MB for 1,000 fits of the same shape, taken between the end of the first
hundreds, which fill what has a limit (allocators, caches), and the last. It needs some hundreds to tell: fewer are measured,
not judged. Nor are models of different shapes: each loop that none before had is compiled, and kept for the process.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from bpengine_numpy import NumpyBackend

import bpengine as bp

BOUND = 10e6  # bytes for 1,000 fits
EACH = 100  # fits between two looks
FIRST = 3  # looks before the first that counts
KINDS = ("NumPy, same", "NumPy, different", "JAX, same", "JAX, different")
RULES = ("sgd", "momentum", "nesterov", "rmsprop", "adam", "adamw")
BENDS = ("tanh", "relu", "gelu", "sigmoid", "elu", "softplus")


class Compiled(NumpyBackend):
    """Compiles from the first step on."""

    patience = float("-inf")


def network(random: Random) -> bp.Network:
    """Return a network of random sizes and activations."""
    inner: list[bp.Layer] = [
        bp.Dense(random.randrange(1, 40), random.choice(BENDS)) for _ in range(random.randrange(1, 4))
    ]
    if random.random() < 0.3:
        inner.insert(1, bp.BatchNorm())
    if random.random() < 0.3:
        inner.append(bp.Dropout(random.uniform(0.1, 0.5)))
    return bp.Network(random.randrange(1, 30), [*inner, bp.Dense(random.randrange(2, 10))], "softmax_cross_entropy")


def train(kind: str, seed: int, number: int) -> None:
    """Make a model and train it; one of NumPy's is compiled from the first step on."""
    library, _, which = kind.partition(", ")
    random = Random(f"{seed} {number}" if which == "different" else str(seed))
    net, rows = network(random), random.choice([8, 16, 32])
    draw = np.random.default_rng(0)
    x, y = draw.normal(size=(rows, net.inputs)), draw.integers(0, net.outputs, rows)
    model = bp.Model(net, Compiled() if library == "NumPy" else library.lower())
    model.fit(x, y, batch_size=rows // 2, epochs=2, optimizer=random.choice(RULES))


def resident() -> int:
    """Return the bytes of memory that this process has."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def measured(kind: str, seed: int, seconds: float, most: int, each: int = EACH) -> Iterator[int]:
    """Yield the memory before the first fit and after each so many, for so many seconds or fits."""
    end = time.monotonic() + seconds
    yield resident()
    for number in range(most):
        train(kind, seed, number)
        if number % each == each - 1:
            gc.collect()
            yield resident()
        if time.monotonic() > end:
            return


def held() -> dict[str, int]:
    """Return how much there is of what is kept for the process: texts that were compiled, their length, traced functions."""
    sizes = {}
    if objects := sys.modules.get("bpengine_numpy.llvm_target.object_code.loop_cache"):
        sizes["compiled texts"] = len(objects._loaded)
        sizes["their characters"] = sum(map(len, objects._loaded))
        sizes["locks"] = len(objects._locks)
    return sizes


@dataclass
class Report:
    """What came of an attack: the memory of each kind, and what is beyond the bound."""

    seed: int
    each: int = EACH
    sizes: dict[str, list[int]] = field(default_factory=dict)
    kept: dict[str, dict[str, int]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def add(self, kind: str, sizes: Sequence[int], kept: dict[str, int], seconds: float) -> None:
        """Add a process's answer."""
        self.sizes[kind], self.kept[kind], self.seconds[kind] = list(sizes), kept, seconds
        if (grown := growth(sizes, self.each)) is not None and grown > BOUND and kind.endswith("same"):
            self.failures.append(f"{kind}: {grown / 1e6:.1f} MB for 1,000 fits, at most {BOUND / 1e6:.0f}")

    def __str__(self) -> str:
        lines = [f"seed {self.seed}: {len(self.failures)} failures", *self.failures]
        for kind, sizes in self.sizes.items():
            grown = growth(sizes, self.each)
            rate = "too few to judge" if grown is None else f"{grown / 1e6:.1f} MB for 1,000 fits"
            row = " ".join(f"{size / 1e6:.0f}" for size in sizes)
            lines.append(
                f"{kind}: {(len(sizes) - 1) * self.each} fits in {self.seconds[kind]:.0f} s, {rate}; {self.kept[kind]}"
            )
            lines.append(f"  MB before, and after each {self.each}: {row}")
        return "\n".join(lines)


def growth(sizes: Sequence[int], each: int = EACH) -> float | None:
    """Return the growth for 1,000 fits after the first looks, None where there are too few."""
    counted = sizes[FIRST:]
    return None if len(counted) < 3 else (counted[-1] - counted[0]) / (each * (len(counted) - 1)) * 1000


def attack(seconds: float, seed: int, kinds: Sequence[str] = KINDS, most: int = 2000, each: int = EACH) -> Report:
    """Measure each kind in a process of its own, for a share of the seconds."""
    report = Report(seed, each)
    for kind in kinds:
        command = [sys.executable, "-m", "tests.attacks.growth", "--child", kind, "--seed", str(seed)]
        command += ["--seconds", str(seconds / len(kinds)), "--models", str(most), "--each", str(each)]
        began = time.monotonic()
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        if ended.returncode:
            report.failures.append(f"{kind}: code {ended.returncode}: {ended.stderr[-2000:]}")
        else:
            answer: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
            report.add(kind, answer["sizes"], answer["held"], time.monotonic() - began)
    return report


def main() -> int:
    """Run the attack, or one kind of it."""
    parser = argparse.ArgumentParser(prog="python -m tests.attacks.growth", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", choices=KINDS, action="append", help="[all of them]")
    parser.add_argument("--models", type=int, default=2000, help="of each kind [2000]")
    parser.add_argument("--each", type=int, default=EACH, help="fits between two looks [100]")
    parser.add_argument("--child", choices=KINDS, help="what the processes of an attack are called with")
    options = parser.parse_args()
    if options.child:
        sizes = list(measured(options.child, options.seed, options.seconds, options.models, options.each))
        print(json.dumps({"sizes": sizes, "held": held()}))
        return 0
    report = attack(options.seconds, options.seed, options.kind or KINDS, options.models, options.each)
    print(report)
    return 1 if report.failures else 0


if __name__ == "__main__":
    sys.exit(main())
