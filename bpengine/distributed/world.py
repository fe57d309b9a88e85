"""The world: the processes that this one was started with by mpiexec or srun, or this process alone."""

from __future__ import annotations

import sys
from functools import cache
from types import TracebackType

from bpengine.distributed.comm import Comm, Solo
from bpengine.distributed.guard import report_error
from bpengine.errors import ConfigError
from bpengine.extras import cure
from bpengine.system.launcher import launched


@cache
def world() -> Comm:
    """Return the processes that this one was started with by `mpiexec` or `srun`, or this process alone.

    The same object each time. In an MPI job, an exception that nothing catches ends all processes, with one message.
    Raises ConfigError in an MPI job without mpi4py: otherwise n separate trainings would write the same file.

    >>> world().size
    1
    """
    _, size = launched()
    if size == 1:
        return Solo()
    try:
        from bpengine.distributed.mpi import MpiComm

        comm = MpiComm()
    except ImportError as error:
        raise ConfigError(
            f"{size} processes that train together require mpi4py, got: {error}. Each would train by itself. "
            f"{cure('mpi')}"
        ) from None
    if comm.size != size:
        raise ConfigError(
            f"mpi4py requires to be started by the MPI that it was built for: the launcher says {size} processes, MPI says "
            f"{comm.size}. Use that MPI's mpiexec (bpengine doctor says which), or install mpi4py for this one."
        )
    _end_all_on_exceptions(comm)
    return comm


def _end_all_on_exceptions(comm: Comm) -> None:
    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        report_error(comm, error)

    sys.excepthook = hook
