"""Cold start: what a new process pays before it trains. Each round is a process."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

TRAIN = """
import numpy as np, bpengine as bp
net = bp.Network(64, [bp.Dense(64, "relu"), bp.Dense(10)], "softmax_cross_entropy")
x, y = np.ones((32, 64), np.float32), np.arange(32) % 10
assert np.isfinite(bp.Model(net, {backend!r}).fit(x, y, steps=1).loss).all()
"""
ROUNDS = 5


def run(code: str) -> None:
    subprocess.run([sys.executable, "-c", code], check=True)


def test_python_alone(benchmark: Any) -> None:
    """What the others are to be compared with."""
    benchmark.pedantic(run, args=("import numpy",), rounds=ROUNDS)


def test_import(benchmark: Any) -> None:
    benchmark.pedantic(run, args=("import bpengine",), rounds=ROUNDS)


def test_first_step(benchmark: Any, backend_name: str) -> None:
    benchmark.pedantic(run, args=(TRAIN.format(backend=backend_name),), rounds=ROUNDS)
