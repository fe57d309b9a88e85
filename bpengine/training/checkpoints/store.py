"""The checkpoints of one fit in a folder: `fit0-step000000000500.ckpt`, the newest of them whole, the oldest removed."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import Final

from bpengine.errors import ConfigError, WriteError, in_english
from bpengine.i18n.language import localized
from bpengine.output import writing
from bpengine.training.checkpoints import checkpoint_file
from bpengine.training.checkpoints.checkpoint_file import CheckpointContents, DamagedCheckpoint
from bpengine.training.checkpoints.run_folder import RunFolder

ENDING: Final = ".ckpt"
NAME: Final = re.compile(r"(?P<fit>fit\d+(?:\+\d+)?)-step(?P<step>\d{12})\.ckpt")


class Store:
    """The files of the fit named `fit` ("fit0": a model's first) in a run folder."""

    def __init__(self, settings: RunFolder, fit: str) -> None:
        self.folder, self._keep, self._fit = Path(settings.path), settings.keep, fit

    def prepare(self) -> None:
        """Make the folder, and remove files that killed processes left incomplete; raise ConfigError on failure."""
        shown = repr(str(self.folder))
        try:
            writing.make_folder(self.folder)
        except OSError as error:
            raise ConfigError(
                f"run requires a folder that can be made, got {shown}: {error.strerror or error}. Give another path."
            ) from None
        if not os.access(self.folder, os.W_OK | os.X_OK):
            raise ConfigError(f"run requires a folder that can be written to, got {shown}. Give another path.")
        writing.clear_drafts(self.folder, "-step")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the folder; raise ConfigError where another process has locked it. The system frees a dead process's lock."""
        locks = writing.locks
        if locks is None:
            yield
            return
        with self._lock_file() as file:
            try:
                with suppress_unsupported():
                    locks.flock(file, locks.LOCK_EX | locks.LOCK_NB)
                yield
            except BlockingIOError:
                raise ConfigError(
                    f"the folder {str(self.folder)!r} is in use by another fit. Wait for its end, or give another folder."
                ) from None

    def _lock_file(self) -> FileIO:
        try:
            return open(self.folder / ".lock", "ab", buffering=0)
        except OSError as error:
            raise WriteError(f"cannot write in the folder {str(self.folder)!r}: {error.strerror or error}.") from None

    def files(self) -> list[tuple[int, Path]]:
        """Return the steps and paths of this fit's checkpoints, the oldest first."""
        return [(step, path) for fit, step, path in listed(self.folder) if fit == self._fit]

    def newest(self, before: int | None = None) -> CheckpointContents | None:
        """Return the newest checkpoint that is whole, or that of a step below `before`; warn of each damaged one."""
        for step, path in reversed(self.files()):
            if before is None or step < before:
                try:
                    return checkpoint_file.read(path)
                except DamagedCheckpoint as error:
                    warnings.warn(localized(f"{in_english(error)}. It is passed over."), stacklevel=2)
        return None

    def write(self, checkpoint: CheckpointContents) -> None:
        """Write a checkpoint, then remove the oldest beyond those kept; raise WriteError where it cannot be written."""
        checkpoint_file.write(self.folder / f"{self._fit}-step{checkpoint.step:012d}{ENDING}", checkpoint)
        for step, path in self.files()[: -self._keep]:
            if step < checkpoint.step:
                with suppress(OSError):
                    path.unlink()


@contextmanager
def suppress_unsupported() -> Iterator[None]:
    """Let a held lock raise, and suppress the error of a file system without locks."""
    try:
        yield
    except BlockingIOError:
        raise
    except OSError:
        return


def listed(folder: Path) -> list[tuple[str, int, Path]]:
    """Return fit, step and path of each checkpoint in a folder, by fit and step; raise ConfigError for no folder."""
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        raise ConfigError(f"the run folder {str(folder)!r} cannot be read: {error.strerror or error}.") from None
    matches = [match for name in names if (match := NAME.fullmatch(name))]
    return [(match["fit"], int(match["step"]), folder / match[0]) for match in matches]
