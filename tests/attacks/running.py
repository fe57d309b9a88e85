"""The command line of an attack whose cases are numbered, and the files of what it found."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from random import Random
from typing import Any


def run(name: str, about: str | None, attack: Callable[..., Any], keep: Callable[[Any], object] | None = None) -> int:
    """Run attack(seconds, seed, first=, most=) with what the command line asks for; return 1 where it has failures.

    keep: called with a report that has failures, to keep them for the tests.
    """
    parser = argparse.ArgumentParser(prog=f"python -m tests.attacks.{name}", description=about)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long [60]")
    parser.add_argument("--seed", type=int, default=None, help="[drawn, and printed]")
    parser.add_argument("--number", type=int, default=None, help="only this case of the seed, or the first of --most")
    parser.add_argument("--most", type=int, default=None, help="stop after so many cases")
    options = parser.parse_args()
    seed = Random().randrange(10**6) if options.seed is None else options.seed
    print(f"{name}, seed {seed}", flush=True)
    most = sys.maxsize if options.number is None else 1
    first, most = options.number or 0, most if options.most is None else options.most
    report = attack(options.seconds, seed, first=first, most=most)
    print(report)
    if report.failures and keep is not None:
        keep(report)
    return 1 if report.failures else 0


def read_kept(path: Path) -> list[Any]:
    """Return the cases that a file of an attack keeps, each as JSON has it."""
    cases: list[Any] = json.loads(path.read_text(encoding="ascii")) if path.exists() else []
    return cases


def write_kept(path: Path, cases: Iterable[Any]) -> None:
    """Keep cases, each once and in a line of its own."""
    lines = dict.fromkeys(f"  {json.dumps(case)}" for case in cases)
    path.write_text("[\n" + ",\n".join(lines) + "\n]\n", encoding="ascii")
