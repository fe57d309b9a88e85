"""Several processes: how many shards they share, and one line about a failure for all of them."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from bpengine.cli.exit_codes import end as end_alone
from bpengine.cli.exit_codes import tell
from bpengine.distributed import Comm, world
from bpengine.distributed.guard import report_failure
from bpengine.errors import ConfigError
from bpengine.system.launcher import launched

SHARDS: Final = 16
Shards = Annotated[
    int | None,
    typer.Option(
        "--shards",
        min=1,
        help="Parts of a batch whose gradients are added in one fixed order: the bits depend on them, not on the number of "
        f"processes.  [default: {SHARDS} on several processes]",
    ),
]


def shards_for(asked: int | None, comm: Comm) -> int | None:
    """Return the number of shards: what was asked for, or 16 where several processes share a batch."""
    return SHARDS if asked is None and comm.size > 1 else asked


def end(code: int, text: str) -> int:
    """Report the end of a command on several processes, once for all of them, and return the exit code.

    If only some of them fail, all are ended.
    """
    try:
        comm = world()
    except ConfigError:  # the error to report is itself that the processes cannot find each other
        return end_alone(code, text) if launched()[0] == 0 else code
    return report_failure(comm, code, text, tell)
