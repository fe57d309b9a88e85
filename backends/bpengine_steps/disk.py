"""Compiled code is kept on disk, in the user's cache folder, and checked before it is used.

Files there are read and written by several processes at once, truncated by full disks and crashes, and damaged by failing
disks. Damaged machine code ends the process, so a file is used only if its checksum is right; any other counts as missing,
and its content is compiled again and replaces it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import stat
import struct
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from bpengine.backend import CacheState
from bpengine.i18n.language import localized
from bpengine.output.opening import AT_ONCE, PRIVATE, opener

Notes = tuple[tuple[str, str], ...]
MAGIC = b"bpcache1"
_HEADER = struct.Struct("<8s32sQ32s")  # MAGIC, digest of the key, length of the content, checksum of all of these
LIMIT = 256 << 20  # the most bytes of all files of a folder
# the most files of a folder: listing this many takes some hundredths of a second, once in a process that writes
MOST = 8192
LARGEST = 64 << 20  # the most bytes of one file: a longer one was not written by this module
TIDY = 100  # files written between two checks of the folder's size
STALE = 3600.0  # seconds after which a draft counts as left by a process that has ended
_SUFFIX, _DRAFT = ".bin", ".draft"
_NO_FOLDER = "no cache folder is known, for the user has no home folder"


def sealed(key: str, content: bytes) -> bytes:
    """Return the bytes of a file: a header with the key's digest and a checksum of everything, then the content."""
    digest = _digest(key.encode())
    begin = MAGIC + digest + struct.pack("<Q", len(content))
    return _HEADER.pack(MAGIC, digest, len(content), _digest(begin + content)) + content


def unsealed(key: str, data: bytes) -> bytes | None:
    """Return the content of a file, None unless it is complete, undamaged and belongs to this key."""
    content = data[_HEADER.size :]
    return content if data == sealed(key, content) else None


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=32).digest()


class _Found(NamedTuple):
    path: Path
    size: int
    used: float


class Cache:
    """A folder of files by key, of limited size and number: the least recently used ones are removed first.

    `folder` is None where the user has none. No method but `clear` raises OSError: a file that cannot be read counts as
    missing, and the first failed write gives a warning with the folder and the cure, unless the cache is `quiet`.
    """

    def __init__(
        self, folder: Path | None, limit: int = LIMIT, notes: Callable[[], Notes] = tuple, *, quiet: bool = False
    ) -> None:
        self.folder, self._limit, self._notes = folder, limit, notes
        self._written, self._warned = 0, quiet

    def path(self, key: str) -> Path | None:
        """Return the path of a key's file, which need not exist."""
        return self.folder / f"{_digest(key.encode()).hex()[:32]}{_SUFFIX}" if self.folder else None

    def has(self, key: str) -> bool:
        """Tell whether a file of this key exists, valid or not."""
        path = self.path(key)
        return path is not None and path.is_file()

    def get(self, key: str) -> bytes | None:
        """Return the content of a key, None where it is missing or damaged."""
        path = self.path(key)
        if path is None:
            return None
        try:
            content = unsealed(key, _read(path))
        except OSError:
            return None
        if content is not None:
            with contextlib.suppress(OSError):  # a folder that can only be read
                os.utime(path)
        return content

    def put(self, key: str, content: bytes) -> None:
        """Write the content of a key, replacing any earlier one."""
        path = self.path(key)
        try:
            if path is None:
                raise OSError(_NO_FOLDER)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, sealed(key, content))
            if self._written % TIDY == 0:
                self._tidy()
            self._written += 1
        except OSError as error:
            self._tell(error)

    def clear(self) -> int:
        """Remove all files, and return how many there were. Raises OSError for one that cannot be removed."""
        files = list(self._files())
        for file in files:
            file.path.unlink(missing_ok=True)
        return len(files)

    def state(self) -> CacheState:
        """Return the facts about the folder that `bpengine doctor` shows."""
        files = list(self._files())
        return CacheState(
            folder=str(self.folder) if self.folder else "",
            files=len(files),
            size=sum(file.size for file in files),
            limit=self._limit,
            trouble=_trouble(self.folder),
            cure=cure(self.folder),
            notes=self._notes(),
        )

    def _tidy(self) -> None:
        """Remove files that were not written here and, beyond the limit, the least recently used ones."""
        now, ours = time.time(), list[_Found]()
        for file in self._files():
            draft = file.path.suffix == _DRAFT
            if file.size > LARGEST or (draft and now - file.used > STALE):  # a draft of a process that has ended
                _remove(file)
            elif not draft:
                ours.append(file)
        excess, many = sum(file.size for file in ours) - self._limit, len(ours) - MOST
        for number, file in enumerate(sorted(ours, key=lambda file: file.used)):
            if excess > 0 or number < many:
                _remove(file)
                excess -= file.size

    def _files(self) -> Iterator[_Found]:
        for folder, _, names in os.walk(self.folder) if self.folder else ():
            for name in names:
                path = Path(folder, name)
                with contextlib.suppress(OSError):  # another process has just removed it
                    status = path.lstat()
                    yield _Found(path, status.st_size, status.st_mtime)

    def _tell(self, error: OSError) -> None:
        if self._warned:
            return
        self._warned = True
        where = f"in {self.folder}" if self.folder else "on disk"
        text = f"compiled code cannot be kept {where}: {error}. It is kept for this process alone."
        with contextlib.suppress(UserWarning):  # where warnings are errors: a missing cache must not end training
            warnings.warn(localized(f"{text} {cure(self.folder)}"), stacklevel=2)


def cure(folder: Path | None) -> str:
    """Return a sentence that says how to get a writable folder."""
    if folder is None:
        return "Set HOME to a folder that can be written, or XDG_CACHE_HOME to the absolute path of one."
    other = "" if sys.platform == "win32" else ", or set XDG_CACHE_HOME to a folder that can be written"
    return f"Make the folder writable and leave room on its disk{other}."


@cache
def user_cache(name: str) -> Cache:
    """Return the cache of this name in the user's cache folder."""
    return Cache(cache_folder(name))


def cache_folder(name: str) -> Path | None:
    """Return the user's cache folder of this name, which need not exist, None for a user without a home."""
    from platformdirs import user_cache_path  # a package of the extras that compile

    try:
        folder = user_cache_path("bpengine") / name
    except (OSError, RuntimeError, KeyError):
        return None
    return folder if folder.is_absolute() else None


def write_whole(path: Path, content: bytes) -> None:
    """Write a file atomically, over an existing one. Raises OSError, and leaves no draft behind."""
    draft = write_draft(path, content)
    try:
        draft.replace(path)
    except BaseException:  # Ctrl-C as well
        with contextlib.suppress(OSError):
            draft.unlink()
        raise


def write_draft(path: Path, content: bytes) -> Path:
    """Write a file beside its target, under a unique name. Raises OSError, and leaves no file behind."""
    draft = path.with_name(f"{path.stem}-{secrets.token_hex(8)}{_DRAFT}")
    try:
        with open(draft, "xb", opener=opener(mode=PRIVATE)) as file:
            file.write(content)
    except BaseException:  # Ctrl-C as well
        with contextlib.suppress(OSError):
            draft.unlink()
        raise
    return draft


def _remove(file: _Found) -> None:
    with contextlib.suppress(OSError):
        file.path.unlink()


def _read(path: Path) -> bytes:
    """Return the bytes of a file. Raises OSError for anything but a regular file: reading a pipe could wait for ever."""
    with open(path, "rb", opener=opener(AT_ONCE)) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode) or status.st_size > LARGEST:
            raise OSError(f"{path} is no file of a cache")
        return file.read(LARGEST)


def _trouble(folder: Path | None) -> str:
    """Return why the folder cannot be written, "" where it can."""
    if folder is None:
        return _NO_FOLDER
    try:
        # the folder is created when it is needed
        there = next(path for path in (folder, *folder.parents) if path.exists())
        os.unlink(write_draft(there / "probe", b""))
    except OSError as error:
        return str(error)
    return ""
