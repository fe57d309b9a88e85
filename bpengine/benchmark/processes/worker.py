"""A contender's process: `python -m bpengine.benchmark.processes.worker MODULE:CLASS ARGUMENT DEVICE` answers JSON lines.

    {"do": "load", "workload": {...}, "folder": "..."}              read the sample, build, train an epoch, compile the rest
    {"do": "turn", "steps": 128}                                    start from the initial weights, train, compute the loss
    {"do": "launches", "warm": 2}                                   count kernels and launches of a step, on a GPU
    {"do": "memory", "workload": {...}, "folder": "...", "warm": 2} measure how much memory training takes

An exception is answered as {"error": "..."}. Between two requests the process waits for a line and does nothing.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, TextIO

from bpengine.benchmark.inputs import Sample, load_sample
from bpengine.benchmark.peers import launches
from bpengine.benchmark.peers.peer import Peer
from bpengine.benchmark.processes import rss
from bpengine.benchmark.workloads import Workload
from bpengine.errors import in_english

GLANCE, SETTLED_AFTER = 0.01, 1.0  # seconds


class Worker:
    """One contender; its peer is replaced by each "load"."""

    def __init__(self, code: str, argument: str, device: str) -> None:
        module, _, kind = code.partition(":")
        self._kind: type[Peer] = getattr(import_module(module, "bpengine.benchmark.peers"), kind)
        self._argument, self._device = argument, device
        self._peer: Peer | None = None

    def about(self) -> dict[str, Any]:
        """Return the versions of the libraries this contender runs on, and how it uses them."""
        return self._kind.about(self._argument, self._device)

    def load(self, workload: dict[str, Any], folder: str) -> dict[str, Any]:
        """Build the peer and train one epoch; return the seconds of both together."""
        self._peer = None
        gc.collect()
        sample = load_sample(Workload.from_dict(workload), Path(folder))
        begin = time.perf_counter()
        self._peer = self._kind(sample, self._argument, self._device)
        self._peer.reset()
        self._peer.timed(sample.workload.epoch_steps)
        first_seconds = time.perf_counter() - begin
        self._peer.compile_ahead()
        return {"first_seconds": first_seconds}

    def turn(self, steps: int) -> dict[str, Any]:
        """Train from the initial weights; return the seconds, the loss of the weights, and the memory now held."""
        if self._peer is None:
            raise RuntimeError("no workload is loaded")
        self._peer.reset()
        gc.collect()
        seconds = self._peer.timed(steps)
        times = {"seconds": seconds, "device_seconds": self._peer.device_seconds()}
        return {**times, "loss": self._peer.loss(), "resident": rss.now()}

    def launches(self, warm: float) -> dict[str, Any]:
        """Train an epoch of the loaded workload; return the kernels and launches of a step.

        It is trained for `warm` seconds first, so that a contender that compiles while it trains has finished compiling.
        """
        if self._peer is None:
            raise RuntimeError("no workload is loaded")
        peer, steps = self._peer, self._peer.workload.steps or self._peer.workload.epoch_steps
        end = time.perf_counter() + warm
        while time.perf_counter() < end:
            peer.reset()
            peer.timed(steps)
        peer.reset()
        return {"launches": launches.count(lambda: peer.timed(steps), steps)}

    def memory(self, workload: dict[str, Any], folder: str, warm: float) -> dict[str, Any]:
        """Return by how much resident memory grows, at its peak, when a workload is trained, without the compiler's share.

        It is trained twice. The first time starts the library's threads and fills its caches of compiled code and the
        buffers of its matrix products, which stay; the memory of the training itself is freed.
        """
        sample = load_sample(Workload.from_dict(workload), Path(folder))
        self._warm(sample, warm)
        self._peer = None
        before = rss.settled()
        peer = self._peer = self._warm(sample, warm)
        peer.reset()
        rss.settled()
        with rss.PeakMemory() as memory:
            peer.timed(sample.workload.epoch_steps)
        growth = None if memory.peak is None or before is None else memory.peak - before
        return {"growth": growth, "device": peer.device_memory()}

    def _warm(self, sample: Sample, seconds: float) -> Peer:
        """Return a peer that has trained for `seconds`, so that compiling during training has finished."""
        peer, steps = self._kind(sample, self._argument, self._device), sample.workload.epoch_steps
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            peer.reset()
            peer.timed(steps)
            steps *= 2
        return peer

    def answer(self, do: str, **arguments: Any) -> dict[str, Any]:
        """Process one request."""
        actions: dict[str, Callable[..., dict[str, Any]]] = {
            "load": self.load,
            "turn": self.turn,
            "memory": self.memory,
            "launches": self.launches,
        }
        try:
            return actions[do](**arguments)
        except Exception as error:  # a contender that fails on one workload may succeed on the next
            return {"error": f"{type(error).__name__}: {in_english(error)}"}


def main(code: str, argument: str, device: str) -> None:
    """Answer one line for every line on standard input."""
    replies = _private_output()
    worker = Worker(code, argument, device)
    _say(replies, {"about": worker.about()})
    used = time.process_time()
    for line in sys.stdin:
        idle = time.process_time() - used  # CPU time of this process between two requests
        answer = worker.answer(**json.loads(line))
        settle()
        _say(replies, {**answer, "idle_cpu_seconds": idle})
        used = time.process_time()


def settle() -> None:
    """Wait until this process's threads are idle: those of OpenBLAS spin for a tenth of a second."""
    end = time.perf_counter() + SETTLED_AFTER
    while time.perf_counter() < end:
        used = time.process_time()
        time.sleep(GLANCE)
        if time.process_time() - used < GLANCE / 10:
            return


def _private_output() -> TextIO:
    """Reserve standard output for answers: text that a library prints goes to standard error."""
    kept = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return kept


def _say(replies: TextIO, reply: dict[str, Any]) -> None:
    print(json.dumps(reply), file=replies, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
