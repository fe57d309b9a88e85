"""What a process keeps does not grow with how long, or how often, it trains."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

import bpengine as bp
from bpengine.system.lru_cache import LruCache
from bpengine.training import Epoch
from bpengine.training.history import Recorder

EPOCHS = """
import resource
import numpy as np, bpengine as bp
from bpengine.training.history import Recorder
recorder, one = Recorder(), np.ones(1)
def train(epochs):
    for _ in range(epochs):
        recorder.add({"loss": one, "step_size": one}, one, 4, one)
        recorder.close(1, 0.1, None)
train(1000)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
train(100_000)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="resident memory is counted in other units elsewhere")
def test_history_of_one_step_epochs_takes_little_memory() -> None:
    """Seven columns of eight bytes: three for each step, four for each epoch; twice that as they grow, and some more."""
    run = subprocess.run([sys.executable, "-c", EPOCHS], capture_output=True, text=True, check=True)
    assert int(run.stdout) < 100_000 * 7 * 8 * 2.5 + 2**21


def test_epochs_are_a_sequence() -> None:
    recorder, one = Recorder(), np.ones(1)
    for k in range(3):
        recorder.add({"loss": one * k}, one, 4, one)
        recorder.close(1, 0.5, {"loss": float(k)})
    history = recorder.history("")
    epochs = history.epochs
    assert epochs[-1] == Epoch(number=3, steps=3, loss=2.0, learning_rate=1.0, seconds=0.5, validation={"loss": 2.0})
    assert [e.number for e in epochs] == [1, 2, 3]
    assert epochs[1:] == list(epochs)[1:]
    assert epochs == list(epochs)
    with pytest.raises(IndexError):
        epochs[3]
    recorder.cut(2)
    assert [len(recorder.epochs), len(epochs), recorder.steps] == [2, 3, 2]
    recorder.add({"loss": one * 9}, one, 4, one)
    recorder.close(1, 0.5, {"loss": 9.0})
    assert (history.loss[2], epochs[2].loss, recorder.epochs[2].loss) == (2.0, 2.0, 9.0)


def test_steps_are_kept_for_the_last_settings_only() -> None:
    computed = list[int]()
    recent = LruCache[int](3)
    for key in (1, 2, 3, 1, 4, 1, 2):
        recent.get(key, lambda key=key: computed.append(key) or key)
    assert computed == [1, 2, 3, 4, 2]
    assert len(recent) == 3


def test_compiled_steps_of_other_settings_are_freed() -> None:
    model = bp.Model(bp.Network(1, [bp.Dense(1)], "mean_squared_error"))
    model._shared.steps.most = 4
    for k in range(8):
        model.fit([[1.0]], [1.0], steps=1, clip_norm=1.0 + k)
    assert len(model._shared.steps) == 4
