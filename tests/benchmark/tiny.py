"""Workloads small enough for a test, and contenders that misbehave, each in its own way."""

from __future__ import annotations

import os
from dataclasses import replace

from bpengine.benchmark import Contender, Workload
from bpengine.benchmark.peers.engine import PlainNumpy

SMALL = Workload("small-test", (6, 8, 5, 3), 4, epoch_steps=8)
WHOLE = Workload(
    "whole-test", (2, 2, 1), 4, optimizer="sgd", epoch_steps=1, steps=40, learning_rate=1.0, activation="sigmoid"
)
DOUBLE = replace(SMALL, name="double-test", dtype="float64", optimizer="sgd")


class WrongRate(PlainNumpy):
    """Trains with twice the learning rate."""

    def __init__(self, sample, argument, device):
        super().__init__(
            replace(sample, workload=replace(sample.workload, learning_rate=2 * sample.workload.rate)), argument, device
        )


class WrongOrder(PlainNumpy):
    """Sees the rows in another order."""

    def reset(self):
        super().reset()
        self._model.fits = 1


class Refuses(PlainNumpy):
    """Cannot build the network."""

    def __init__(self, sample, argument, device):
        raise ValueError("no such layer")


class Dies(PlainNumpy):
    """Ends its process when it is to train for the second time."""

    count = 0

    def timed(self, steps):
        Dies.count += 1
        if Dies.count > 1:
            os.write(2, b"out of luck\n")
            os._exit(3)
        return super().timed(steps)


class Sleeps(PlainNumpy):
    """Never answers."""

    def reset(self):
        import time

        time.sleep(1000)


def contender(kind: type[PlainNumpy]) -> Contender:
    """Return a contender of one of the classes above."""
    return Contender(
        kind.__name__,
        kind.__name__,
        f"{kind.__module__}:{kind.__name__}",
        needs=(),
        cure="",
        devices=("cpu",),
        argument="numpy",
    )
