"""RunFolder: where a fit keeps its checkpoints, and how often it writes one."""

from __future__ import annotations

import os
from dataclasses import dataclass

from bpengine.errors import ConfigError, check_path, number, whole

SECONDS = 300.0  # seconds between two checkpoints by default


@dataclass(frozen=True)
class RunFolder:
    """A folder for the checkpoints of a fit: `model.fit(x, y, run=bp.RunFolder("run/", every=500), resume=True)`.

    path: created if it does not exist. every: steps between two checkpoints; seconds: time between two, 300 where neither is
    given; with both, whichever comes first. A checkpoint is also written when the fit ends, and when the process is asked to
    end (SIGTERM, SIGUSR1, Ctrl-C). keep: how many are kept, at least 2: the newest may come right before a step that fails.

    Raises ConfigError for settings that make no sense.

    >>> bp.RunFolder("run", every=500, keep=3)
    RunFolder(path='run', every=500, seconds=None, keep=3)
    """

    path: str | os.PathLike[str]
    every: int | None = None
    seconds: float | None = None
    keep: int = 3

    def __post_init__(self) -> None:
        check_path(self.path, "RunFolder")
        if self.every is not None:
            object.__setattr__(self, "every", whole(self.every, "RunFolder", "every"))
        if self.seconds is not None:
            object.__setattr__(self, "seconds", number(self.seconds, "RunFolder", "seconds", low=0, above=True))
        object.__setattr__(self, "keep", whole(self.keep, "RunFolder", "keep"))
        if self.keep < 2:
            raise ConfigError(
                "RunFolder requires keep of at least 2, got 1: should the newest checkpoint be damaged, or come right before "
                "a step that fails, the fit goes on from the one before."
            )

    @property
    def interval(self) -> float | None:
        """The seconds between two checkpoints, None where only steps count."""
        return SECONDS if self.every is None and self.seconds is None else self.seconds


def make_run_folder(run: RunFolder | str | os.PathLike[str] | None) -> RunFolder | None:
    """Return a RunFolder as it is, a path as one with the default settings; raise ConfigError for anything else."""
    if run is None or isinstance(run, RunFolder):
        return run
    if isinstance(run, (str, os.PathLike)):
        return RunFolder(run)
    raise ConfigError(f"fit requires run to be a bp.RunFolder or the path of a folder, got {run!r}.")
