"""Workers: threads that take one fit after another until none is left."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field

from bpengine.errors import NonFiniteError
from bpengine.model import Model
from bpengine.training.fit import FitSettings
from bpengine.training.history import History
from bpengine.training.joint.fit_execution import FitExecution
from bpengine.training.joint.joint_fits import JointFits
from bpengine.training.rows import Rows

LOOK = 0.1  # seconds between two checks whether all fits are done


@dataclass(kw_only=True)
class QueuedFit:
    """A fit to run, and its result. error: why it failed with numbers that are not finite."""

    model: Model
    settings: FitSettings
    rows: Rows
    execution: FitExecution
    history: History = field(default_factory=History)
    error: str = ""
    seconds: float = 0.0

    def run(self) -> None:
        """Train the model."""
        began = time.perf_counter()
        try:
            self.history = self.model._train(self.settings, self.rows, self.execution)
        except NonFiniteError as error:
            self.error = str(error)
            if isinstance(error.history, History):
                self.history = error.history
        self.seconds = time.perf_counter() - began


def run_all(jobs: Sequence[QueuedFit], joint_fits: JointFits, workers: int, done: Callable[[QueuedFit], None]) -> None:
    """Run all fits in so many threads; done(job) is called in this thread after each.

    On Ctrl-C running fits end after their present steps, and waiting fits do not begin. An exception of a fit, other than that
    for numbers that are not finite, ends all fits and is re-raised here.
    """
    left, lock, errors = list(range(len(jobs))), threading.Lock(), dict[int, BaseException]()
    ended: list[int] = []

    def next_one() -> int | None:
        with lock:
            return left.pop(0) if left and not errors else None

    def work() -> None:
        try:
            while (number := next_one()) is not None:
                try:
                    jobs[number].run()
                except BaseException as error:  # re-raised below, in the waiting thread
                    errors[number] = error
                    joint_fits.asked_to_end.set()
                ended.append(number)
        finally:
            joint_fits.leave()

    with ThreadPoolExecutor(workers, thread_name_prefix="bpengine fit") as pool:
        running = [pool.submit(work) for _ in range(workers)]
        shown = 0
        while shown < len(ended) or not all(thread.done() for thread in running):
            try:
                for number in ended[shown:]:
                    shown += 1
                    done(jobs[number])
                wait(running, LOOK)
            except KeyboardInterrupt:
                joint_fits.asked_to_end.set()
    if errors:
        raise errors[min(errors)]
