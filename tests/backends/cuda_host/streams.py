"""A played GPU whose streams run apart: nothing that was put into one has run before somebody waits for it, or it may run.

Two schedules between the step's stream and that of copies: copies as late as anything waits for them, steps at once; or copies
as early as they may, steps only when the host waits. What a right program computes is the same in both. Reading rows whose
copy has not arrived raises, and so does taking more memory than the device has.
"""

from __future__ import annotations

import ctypes
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import RLock
from typing import Any

import numpy as np
from bpengine_cupy.cuda_target.codegen.program_text import StepCall
from bpengine_cupy.cuda_target.program import RUN
from bpengine_cupy.cuda_target.staging import RESERVE

from tests.backends.cuda_host.player import Player, WouldNotRun

LATE, EARLY = "copies late", "copies early"


@dataclass(eq=False)
class Event:
    """A place in a stream."""

    done: bool = False


class Streams(Player):
    """`memory`: bytes of the device, beside what programs leave free. `schedule`: LATE or EARLY copies."""

    def __init__(self, memory: int = 1 << 40, schedule: str = LATE) -> None:
        super().__init__()
        self.memory, self.schedule = memory + RESERVE, schedule
        self.used = self.copied = self.most = 0
        self._steps: deque[Callable[[], bool]] = deque()  # each says whether it could run
        self._copies: deque[Callable[[], bool]] = deque()
        self._flying: list[tuple[int, int, Event | None]] = []  # where copies will arrive, and what they wait for
        self._lock = RLock()  # any thread may wait for a copy

    def empty(self, size: int) -> Any:
        if size > self.free():
            raise MemoryError(f"{size} bytes")
        self.used += size
        self.most = max(self.most, self.used)
        array = super().empty(size)
        weakref.finalize(array.base, self._give_back, size)
        return array

    def _give_back(self, size: int) -> None:
        self.used -= size

    def free(self) -> int:
        return self.memory - self.used

    def upload(self, array: Any) -> Any:
        there = self.empty(array.nbytes).view(array.dtype).reshape(array.shape)
        there[...] = array
        return there

    def _put(self, work: Callable[[], None]) -> None:
        """Put something into the step's stream."""

        def run() -> bool:
            work()
            return True

        self._put_waiting(run)

    def _put_waiting(self, work: Callable[[], bool]) -> None:
        with self._lock:
            self._steps.append(work)
            if self.schedule == LATE:
                self._drain(self._steps)

    @staticmethod
    def _drain(stream: deque[Callable[[], bool]]) -> None:
        while stream and stream[0]():
            stream.popleft()

    def _all_steps(self) -> None:
        """Run what is in the step's stream, with the copies that it waits for."""
        with self._lock:
            self._drain(self._steps)
            while self._steps:
                before = len(self._steps), len(self._copies)
                self._drain(self._copies)
                self._drain(self._steps)
                if (len(self._steps), len(self._copies)) == before:
                    raise WouldNotRun("streams that wait for each other")

    def copy(self, to: int, source: int, size: int) -> None:
        self._free("copying between owners")
        self._put(lambda: ctypes.memmove(to, source, size) and None)

    def call(self, call: StepCall, launchable: Any, memory: int, run: int) -> None:
        if self._capturing is not None:
            super().call(call, launchable, memory, run)
        else:
            self._loaded.add((call.name, memory))
            self._put(lambda: self._do(call, launchable, memory, run))

    def replay(self, graph: Any) -> None:
        self._free("replaying")
        self.replays += 1
        self._put(lambda: [call() for call in graph] and None)

    def send(self, pairs: Sequence[tuple[int, Any]], behind: Any) -> Event:
        self._free("sending")
        arrived = Event()
        places = [(to, source.nbytes, behind) for to, source in pairs]

        def run() -> bool:
            if behind is not None and not behind.done:
                return False
            for to, source in pairs:
                ctypes.memmove(to, source.ctypes.data, source.nbytes)
                self.copied += source.nbytes
            for place in places:
                self._flying.remove(place)
            arrived.done = True
            return True

        with self._lock:
            self._flying += places
            self._copies.append(run)
            if self.schedule == EARLY:
                self._drain(self._copies)
        return arrived

    def after(self, sent: Event) -> None:
        self._free("waiting for copies")

        def run() -> bool:
            while not sent.done and self._copies and self._copies[0]():
                self._copies.popleft()
            return sent.done

        self._put_waiting(run)

    def mark(self) -> Event:
        reached = Event()

        def run() -> bool:
            reached.done = True
            return True

        self._put_waiting(run)
        return reached

    def finish(self, sent: Event) -> None:
        with self._lock:
            while not sent.done:
                self._drain(self._copies)
                if not sent.done and not (self._steps and self._steps[0]()):
                    raise WouldNotRun("a copy that never arrives")
                if not sent.done:
                    self._steps.popleft()

    def look(self, address: int) -> Callable[[], bool]:
        self._free("looking")
        seen: list[bool] = []
        self._put(lambda: seen.append(bool(ctypes.c_int64.from_address(address).value)))

        def answer() -> bool:
            self._until(seen)
            return seen[0]

        return answer

    def _until(self, seen: list[bool]) -> None:
        """Run the step's stream as far as an answer needs."""
        with self._lock:
            while not seen:
                if not self._steps[0]():
                    raise WouldNotRun("streams that wait for each other")
                self._steps.popleft()
                if self.schedule == EARLY:
                    self._drain(self._copies)

    def download(self, array: Any) -> Any:
        self._all_steps()
        return super().download(array)

    def wait(self) -> None:
        super().wait()
        self._all_steps()

    def _do(self, call: StepCall, launchable: Any, memory: int, run: int) -> None:
        if call.stage.head and self._flying:
            self._require_arrived(run)
        super()._do(call, launchable, memory, run)

    def _require_arrived(self, run: int) -> None:
        """Raise where the next step's rows lie in a place that a copy is on its way to."""
        fields = np.frombuffer((ctypes.c_char * RUN.itemsize).from_address(run), RUN)[0]
        step = int(fields["next"])
        if step >= int(fields["steps"]) or fields["stop"] or not self.batch:
            return
        where = int(fields["order"]) + 4 * step * self.batch
        numbers = np.frombuffer((ctypes.c_char * (4 * self.batch)).from_address(where), np.int32)
        for data, width in zip(fields["data"], self.widths, strict=False):
            begin = int(data) + int(numbers.min()) * width
            end = int(data) + (int(numbers.max()) + 1) * width
            free_to_run = [(to, size) for to, size, behind in self._flying if behind is None or behind.done]
            if any(to < end and begin < to + size for to, size in free_to_run):
                raise WouldNotRun(f"step {step} reads rows whose copy nothing has waited for")

    batch = 0
    widths: tuple[int, ...] = ()
