"""The algorithm chosen for each product, kept on disk: every later process uses the same one and gets the same bits."""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path

from bpengine_steps.disk import sealed, unsealed, write_draft


class ChosenAlgorithms:
    """Choices for one GPU and library, a file each. The first choice is kept, also if two processes choose at once.

    A damaged file counts as missing, and is replaced. `folder` is None where choices cannot be stored.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder, self._seen = folder, dict[str, bytes]()

    def get(self, key: str) -> bytes | None:
        """Return the choice for a product, None when there is none yet."""
        if key not in self._seen and self._folder:
            with contextlib.suppress(OSError):
                choice = unsealed(key, self._path(self._folder, key).read_bytes())
                if choice is not None:
                    self._seen[key] = choice
        return self._seen.get(key)

    def keep(self, key: str, choice: bytes) -> bytes:
        """Store a choice unless there is one already; return the stored one."""
        known = self.get(key)
        if known is not None:
            return known
        if self._folder:
            with contextlib.suppress(OSError):  # a choice that cannot be stored holds only for this process
                self._link(key, self._path(self._folder, key), sealed(key, choice))
        return self.get(key) or self._seen.setdefault(key, choice)

    def _link(self, key: str, path: Path, content: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = write_draft(path, content)
        try:
            with contextlib.suppress(FileNotFoundError):
                if unsealed(key, path.read_bytes()) is None:
                    path.unlink()
            with contextlib.suppress(FileExistsError):
                os.link(draft, path)  # a link, unlike a rename, never replaces a file
        finally:
            draft.unlink()

    def _path(self, folder: Path, key: str) -> Path:
        return folder / f"{hashlib.sha256(key.encode()).hexdigest()[:24]}.algorithm"
