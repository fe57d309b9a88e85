"""What is compiled is kept on disk, in the user's cache folder, where other processes may be reading it."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

from bpengine import writing


@cache
def cache_folder(name: str) -> Path:
    """Return the user's cache folder of this name, or one for this process where that cannot be written."""
    from platformdirs import user_cache_path  # of the extras that compile

    try:
        folder = user_cache_path("bpengine") / name
        folder.mkdir(parents=True, exist_ok=True)
        writing.check_target(folder / "probe")
        return folder
    except OSError:
        return Path(tempfile.mkdtemp(prefix=f"bpengine-{name}-"))


def write_whole(path: Path, content: bytes) -> None:
    """Write a file in one go, over one that is there. Raises WriteError, an OSError, and leaves no draft behind."""
    writing.write_whole(path, content)
