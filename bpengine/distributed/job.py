"""A job: a command on several processes of this machine, started by mpiexec, and started again after a crash."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from types import FrameType
from typing import IO, Any, Final, TextIO

from bpengine.distributed.guard import ENDED, INTERRUPTED, MISTAKE
from bpengine.distributed.watch import HEARTBEAT, RESTING, STUCK, limit, recorded_exit_code
from bpengine.errors import ConfigError
from bpengine.i18n.counted_nouns import count_of
from bpengine.system.launcher import mpiexec

DONE: Final = 0
FINAL: Final = (DONE, MISTAKE, INTERRUPTED)  # exit codes after which the job is not restarted
THREADS: Final = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
# Open MPI refuses more processes than cores unless it is told otherwise; the names are those of versions 5 and 4.
OPEN_MPI: Final = {
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe", "OMPI_MCA_rmaps_base_oversubscribe": "1",
}  # fmt: skip
FORWARDED: Final = ("SIGINT", "SIGTERM", "SIGUSR1")
LOOK: Final = 0.05  # seconds between two checks of the job
LATE: Final = (1.25, 2.0)  # the job counts as stuck after this multiple of the limit of a wait, plus this many seconds
READ: Final = 2.0  # seconds for reading what an ended job has written
GRACE: Final = 10.0  # seconds in which a job that is asked to end may write its checkpoint
# messages of MPICH and Open MPI about a job that ended itself; the message above them says why
NOISE: Final = re.compile(
    r"^(=+$|=\s|\s*$|-{20,}|Killed|Abort\(|application called MPI_Abort|YOUR APPLICATION TERMINATED|This typically refers|"
    r"Please see the FAQ|\[proxy|\[mpiexec|MPI_ABORT was invoked|with errorcode|NOTE: invoking|You may or may not|"
    r"exactly when Open MPI|internal_Abort|prterun |\"abort\"\. This may have caused|terminated by signals sent by prterun|"
    r"thus causing the job to be terminated|signal \d+ \([A-Z]\w+\)\.$|\[\S+:\d+\] PMIX ERROR|"
    r" +(Proc: \[\[|Errorcode: |Process name: \[|Exit code: +\d+$))"
)
WAITED: Final = re.compile(r"^bpengine: process (\d+) of (\d+) waited ")
Say = Callable[[str], object]


@dataclass(frozen=True, kw_only=True)
class Job:
    """A command on `processes` of this machine: `restarts` times more after a crash, then with the arguments `again`.

    Each process has one BLAS thread unless the environment says otherwise: the last bits depend on their number, which must
    not depend on the number of processes. say(text) prints a message of the job itself.
    """

    processes: int
    command: Sequence[str]
    say: Say
    restarts: int = 0
    again: Sequence[str] = ()

    def run(self) -> int:
        """Run the command until it is done, and return the exit code of the last attempt.

        An attempt ends with 0 (done), 2 (a mistake), 130 (Ctrl-C), 75 (asked to end), 124 (stuck) or otherwise (a crash). The
        first three are final, and so is 75 where this process was asked to end; the others are started again.
        Raises ConfigError where there is no mpiexec.
        """
        start = mpiexec()
        if start is None:
            raise ConfigError(
                "launch requires mpiexec, which was not found. Install an MPI, such as: pip install mpich"
            )
        seconds = limit()  # an invalid variable is reported before anything starts
        with tempfile.NamedTemporaryFile(prefix="bpengine-heartbeat-") as beats:
            for attempt in range(self.restarts + 1):
                began = time.monotonic()
                command = [start, "-n", str(self.processes), *self.command, *(self.again if attempt else ())]
                one = _Attempt(command, beats.name, seconds, self.say)
                code = one.run()
                if code in FINAL or one.asked or attempt == self.restarts:
                    break
                self.say(
                    f"attempt {attempt + 1} of {self.restarts + 1} ended with {code} after "
                    f"{time.monotonic() - began:.1f} s; starting again."
                )
        return code


class _Attempt:
    """One run of mpiexec. `asked`: whether this process was asked to end during it."""

    def __init__(self, command: Sequence[str], beats: str, seconds: float, say: Say) -> None:
        self._command, self._beats, self._seconds, self._say = command, beats, seconds, say
        self._printed = 0  # lines that were printed on stderr
        self._lines = SimpleQueue[tuple[str, TextIO]]()  # each with the stream that it is for
        self._waited: dict[
            int, int
        ] = {}  # the processes that reported that they waited too long, and the number of all
        self.asked = False

    def run(self) -> int:
        """Run it to its end, and return its exit code."""
        os.truncate(self._beats, 0)  # the exit code of the attempt before
        os.utime(self._beats, RESTING)
        usual = dict.fromkeys(THREADS, "1") | OPEN_MPI
        # Open MPI gives its processes a terminal even where this process writes to a pipe: no colours there
        environment = usual | os.environ | {HEARTBEAT: self._beats, "TERM": "dumb"}
        job = subprocess.Popen(  # nosec B603 # a program of ours, started without a shell
            self._command,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        readers = [self._reader(job.stdout, sys.stdout), self._reader(job.stderr, sys.stderr)]
        try:
            with self._forwarding(job):
                stale = self._wait(job)
        finally:
            _end(job)
            for reader in readers:
                reader.join(READ)
        self._print()
        recorded = recorded_exit_code(self._beats)
        return self._ended(job.returncode if recorded is None else recorded, stale=stale)

    def _wait(self, job: subprocess.Popen[str]) -> bool:
        """Print until the job ends; kill it, and return True, when no step was taken for too long."""
        while job.poll() is None:
            self._print()
            time.sleep(LOOK)
            last = os.stat(self._beats).st_mtime
            if last and time.time() - last > LATE[0] * self._seconds + LATE[1]:
                self._say(f"no step for {self._seconds:g} s; the job is killed.")
                with suppress(ProcessLookupError):
                    os.killpg(job.pid, signal.SIGKILL)  # the processes of an mpiexec that is killed are killed
                job.wait()
                return True
        return False

    def _ended(self, code: int, *, stale: bool) -> int:
        """Report why the job ended, if none of its processes did, and return the exit code."""
        if stale:
            return STUCK
        if self._waited:
            every = set(range(max(self._waited.values())))
            stuck = ", ".join(map(str, sorted(every - set(self._waited)))) or "unknown"
            if len(self._waited) == 1:
                self._say(f"process {min(self._waited)} waited in vain; stuck: process {stuck}.")
            else:
                self._say(f"{count_of(len(self._waited), 'process')} waited in vain; stuck: process {stuck}.")
        elif code and code not in FINAL and code != ENDED and not self._printed:
            number = -code if code < 0 else code - 128 if code > 128 else code
            self._say(f"a process was killed (signal {number}); the others were ended.")
        return 128 - code if code < 0 else code

    def _reader(self, stream: IO[str] | None, target: TextIO) -> threading.Thread:
        """Start a thread that reads a pipe. It prints nothing itself: an error would end the thread, and nothing else."""

        def read(pipe: IO[str]) -> None:
            with pipe:
                for line in pipe:
                    self._lines.put((line.replace("\0", ""), target))  # which Open MPI appends to its messages

        assert stream is not None
        reader = threading.Thread(target=read, args=(stream,), daemon=True)
        reader.start()
        return reader

    def _print(self) -> None:
        """Print what the processes have written, without MPI's messages about their end."""
        with suppress(Empty):
            while True:
                self._pass_on(*self._lines.get_nowait())

    def _pass_on(self, line: str, target: TextIO) -> None:
        waited = WAITED.match(line)
        if waited:
            self._waited[int(waited[1])] = int(waited[2])
        elif not NOISE.match(line):
            messages = target is sys.stderr  # which, unlike the output, a job can do without
            self._printed += messages
            with suppress(OSError) if messages else nullcontext():
                target.write(line)
                target.flush()

    @contextmanager
    def _forwarding(self, job: subprocess.Popen[str]) -> Iterator[None]:
        """Forward signals that ask this process to end to mpiexec, which forwards them to the others."""

        def forward(number: int, frame: FrameType | None) -> None:
            self.asked = True
            with suppress(ProcessLookupError):
                os.kill(job.pid, number)

        if threading.current_thread() is not threading.main_thread():
            yield
            return
        numbers = [getattr(signal, name) for name in FORWARDED if hasattr(signal, name)]
        before: dict[int, Any] = {number: signal.signal(number, forward) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _end(job: subprocess.Popen[str]) -> None:
    """Ask a job to end that still runs because its output cannot be printed; kill it if it does not."""
    if job.poll() is None:
        job.terminate()
        try:
            job.wait(GRACE)
        except subprocess.TimeoutExpired:
            os.killpg(job.pid, signal.SIGKILL)
            job.wait()
