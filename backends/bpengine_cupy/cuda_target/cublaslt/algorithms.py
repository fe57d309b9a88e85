"""Which algorithm was chosen for a product, kept for good: whoever comes later takes the same one, and gets the same bits."""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path

from bpengine.writing import write_once


class ChosenAlgorithms:
    """Choices for one GPU and library, a file each. The first choice counts, also where two processes choose at once."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._seen = folder, dict[str, bytes]()
        with contextlib.suppress(OSError):  # what cannot be kept is known to this process alone
            folder.mkdir(parents=True, exist_ok=True)

    def get(self, key: str) -> bytes | None:
        """Return the choice for a product, None when there is none yet."""
        if key not in self._seen:
            with contextlib.suppress(OSError):
                self._seen[key] = self._path(key).read_bytes()
        return self._seen.get(key)

    def keep(self, key: str, choice: bytes) -> bytes:
        """Keep a choice unless there is one; return the one that counts."""
        try:
            write_once(self._path(key), choice)
        except OSError:
            self._seen[key] = choice
        return self.get(key) or choice

    def _path(self, key: str) -> Path:
        return self._folder / f"{hashlib.sha256(key.encode()).hexdigest()[:24]}.algorithm"
