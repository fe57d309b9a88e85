"""The guard: a failure is reported once, and a process that fails alone ends the whole job, so that none waits for it."""

from __future__ import annotations

import platform
import signal
import sys
import traceback
from collections.abc import Callable
from typing import Any, Final

from bpengine.distributed.comm import Comm
from bpengine.errors import BpError, RunInterrupted

TOGETHER: Final = 1.0  # seconds that a failed process waits for the others to fail as well
FAILED: Final = 1
MISTAKE: Final = 2
ENDED: Final = 75  # asked to end, with a checkpoint
INTERRUPTED: Final = 130
Say = Callable[[str], object]


def guarded(comm: Comm, main: Callable[[], Any]) -> int:
    """Run `main` and return its exit code; where only some processes fail, end the whole job.

    A failure on all processes (a wrong setting, a loss that is not finite) is reported by rank 0, and each returns its code: 2
    for a mistake that a BpError or an OSError names, 75 for a fit that was asked to end (130 by Ctrl-C), 1 for any other
    exception. A failure on one process is reported by that one, with its number and host, and all processes are ended.

    >>> from bpengine.distributed import Solo
    >>> guarded(Solo(), lambda: None)
    0
    """
    try:
        return int(main() or 0)
    except SystemExit as stop:
        if not stop.code:
            return 0
        code = stop.code if isinstance(stop.code, int) else FAILED
        return report_failure(comm, code, f"exit({stop.code})")
    except BaseException as error:
        return report_error(comm, error)


def report_error(comm: Comm, error: BaseException) -> int:
    """Report an exception, as `guarded` does, and return the exit code."""
    if isinstance(error, RunInterrupted):
        return report_failure(comm, INTERRUPTED if error.signal == signal.SIGINT else ENDED, str(error))
    if isinstance(error, KeyboardInterrupt):
        return report_failure(comm, INTERRUPTED, "interrupted.")
    if isinstance(error, (BpError, OSError)):
        return report_failure(comm, MISTAKE, f"error: {error}")
    return report_failure(comm, FAILED, "".join(traceback.format_exception(error)).rstrip())


def report_failure(comm: Comm, code: int, text: str, say: Say | None = None) -> int:
    """Report this process's failure, once for all that fail together, and return the exit code.

    Where the others do not fail within a second, all processes are ended. say(text) prints a message; on stderr, if it is
    left out. Without a text nothing is printed.
    """
    say = say or _on_stderr
    together = comm.all_failed(TOGETHER)
    if together and comm.rank != 0:
        return code
    where = "" if together else f"process {comm.rank} of {comm.size} on {platform.node()}: "
    if text:
        say(f"{where}{text}")
    if not together:
        comm.abort(code)
    return code


def _on_stderr(text: str) -> None:
    print(f"bpengine: {text}", file=sys.stderr, flush=True)
