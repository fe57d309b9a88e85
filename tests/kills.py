"""Kill fits at random moments, resume them until they are done, and compare every bit: `python -m tests.kills`.

Each killed process goes on from the newest checkpoint, is killed again, and so on until one comes to its end; its digest must
be that of a fit that was never disturbed and had no checkpoints. Prints the seed, the kills, the fits that came to an end.
"""

from __future__ import annotations

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import bpengine as bp
from tests.checkpoints.fits import compiled, fitted, network

KINDS = ("numpy", "compiled", "jax")
EPOCHS = {"numpy": 60, "compiled": 120, "jax": 120}
EVERY = 23
LONGEST = 120.0  # seconds that a process may take


def run(kind: str, folder: Path | None, begun: str = "") -> str:
    """Return the digest of the fit, with checkpoints in a folder or without any; print `begun` before it begins."""
    model = bp.Model(network(), "jax" if kind == "jax" else "numpy")
    if kind == "compiled":
        compiled(model)
    print(begun, end="", flush=True)
    where = {} if folder is None else {"run": bp.RunFolder(folder, every=EVERY), "resume": True}
    return fitted(model, epochs=EPOCHS[kind], stop=(), **where)


def started(kind: str, folder: Path) -> subprocess.Popen[str]:
    """Start a process that fits; it says "begun" before its first step, and its digest at the end."""
    command = [sys.executable, "-m", "tests.kills", "--child", str(folder), "--kinds", kind]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1])


def killed_until_done(kind: str, folder: Path, draw: random.Random, longest: float) -> tuple[int, str]:
    """Kill and resume one fit until a process comes to its end; return how often it was killed, and its digest."""
    for kills in range(1000):
        with started(kind, folder) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "begun\n"
            try:
                output, _ = process.communicate(timeout=draw.uniform(0, longest))
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                output, _ = process.communicate(timeout=LONGEST)
            if process.returncode == 0:
                return kills, output.strip()
            assert process.returncode == -signal.SIGKILL, f"exit code {process.returncode}"
    raise AssertionError("1,000 kills and no end")


def attack(kind: str, kills: int, seed: int) -> int:
    """Kill fits at least so many times; return how many of them came to an end with other bits."""
    draw, expected = random.Random(f"{kind} {seed}"), run(kind, None)
    with tempfile.TemporaryDirectory() as folder:
        with started(kind, Path(folder)) as process:
            assert process.stdout is not None
            process.stdout.readline()
            began = time.perf_counter()
            output, _ = process.communicate(timeout=LONGEST)
        longest = time.perf_counter() - began
        wrong = int(output.split()[-1] != expected)
    done = fits = 0
    while done < kills:
        with tempfile.TemporaryDirectory() as folder:
            count, digest = killed_until_done(kind, Path(folder), draw, longest)
        done, fits, wrong = done + count, fits + 1, wrong + (digest != expected)
    print(f"{kind}: {done} kills (seed {seed}), {fits} fits came to their end, {wrong} with other bits", flush=True)
    return wrong


def main() -> int:
    """Run the attack, or one fit as its child."""
    parser = argparse.ArgumentParser(prog="python -m tests.kills", description=__doc__)
    parser.add_argument("--kills", type=int, default=50, help="at least so many of each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", default=",".join(KINDS), help=f"some of {', '.join(KINDS)}")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(run(options.kinds, options.child, "begun\n"))
        return 0
    return sum(attack(kind, options.kills, options.seed) for kind in options.kinds.split(","))


if __name__ == "__main__":
    sys.exit(main())
