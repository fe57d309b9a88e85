"""The processes of a run: one for each contender and dtype, started when first needed, ended with the run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bpengine.benchmark.contenders import Contender, in_place
from bpengine.benchmark.processes.process import Process, WorkerFailed
from bpengine.benchmark.workloads import GROUP_OF, SWEEPS, Workload
from bpengine.errors import BackendUnavailable, in_english


class Pool:
    """Contenders' processes; used in a `with` block, which ends them all.

    about: each contender's description of itself. missing: why a contender does not take part.
    """

    def __init__(self, contenders: list[Contender], device: str, without: tuple[str, ...]) -> None:
        self._contenders, self.device, self._without = contenders, device, without
        self._running: dict[str, Process] = {}
        self._dtype = ""
        self.about: dict[str, dict[str, Any]] = {}
        self.missing: dict[str, str] = {c.name: c.missing for c in contenders if c.missing}

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def ready(self, workload: Workload, say: Callable[[str], None]) -> dict[str, Process]:
        """Return a running process for every contender that takes part in a workload; those of another dtype are ended.

        Raises BackendUnavailable when no contender can run at all.
        """
        if workload.dtype != self._dtype:
            self._close()
        self._dtype = workload.dtype
        taking_part = self._taking_part(workload)
        for number, contender in enumerate(taking_part, 1):
            old = self._running.get(contender.name)
            if old is None or not old.alive:
                say(in_place("starting", contender.title, number, len(taking_part)))
                self._start(contender, workload.dtype)
        if not self.about:
            raise self.nobody()
        return {c.name: self._running[c.name] for c in self._taking_part(workload)}

    @property
    def able(self) -> list[Contender]:
        """The contenders whose packages are installed, and that have not failed to start."""
        return [contender for contender in self._contenders if contender.name not in self.missing]

    def nobody(self) -> BackendUnavailable:
        """Return the error of a run in which no contender can run, with their reasons."""
        reasons = "; ".join(f"{name}: {reason.rstrip('.')}" for name, reason in self.missing.items())
        return BackendUnavailable(f"no contender can run on the {self.device.upper()}: {reasons}.")

    def _taking_part(self, workload: Workload) -> list[Contender]:
        sweep = GROUP_OF.get(workload.name) in SWEEPS
        able = [c for c in self.able if workload.dtype in c.dtypes]
        return [c for c in able if c.sweeps or not sweep]

    def fresh(self, contender: Contender, dtype: str) -> Process:
        """Return a new process, which the caller closes."""
        return Process(contender, self.device, dtype, self._without)

    def _start(self, contender: Contender, dtype: str) -> None:
        if dead := self._running.pop(contender.name, None):
            dead.close()
        try:
            process = self.fresh(contender, dtype)
        except WorkerFailed as error:
            self.missing[contender.name] = in_english(error)
            return
        self._running[contender.name] = process
        about = {"title": contender.title, **process.about, "start_seconds": process.start_seconds}
        self.about.setdefault(contender.name, about)

    def _close(self) -> None:
        for process in self._running.values():
            process.close()
        self._running = {}
