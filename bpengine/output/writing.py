"""Writing: every file of the engine is written here, completely or not at all.

A file is written as a draft beside its target and takes the target's name in one step (rename), after its bytes have reached
the disk. A target that exists and is not a regular file is refused; a symbolic link stays, and the file it points to is
replaced; the new file gets the mode, and where permitted the owner, of the old one. After a failure nothing has changed.

A killed process leaves its draft behind. Drafts are recognized by their names, and the next writer of the same target removes
those that no living process holds: a writer keeps a lock on its draft, and the lock ends with the process.
Source: Pillai et al., "All file systems are not created equal", OSDI 2014 (what must reach the disk, and in which order).
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
import stat
from collections.abc import Callable, Iterator
from importlib import import_module
from io import FileIO
from pathlib import Path
from types import ModuleType
from typing import Final

from bpengine.errors import BpError, WriteError, check_path
from bpengine.output.opening import PRIVATE, flush_folder, opener

locks: ModuleType | None = None  # on Windows an open file cannot be removed: there the system locks it
with contextlib.suppress(ImportError):
    locks = import_module("fcntl")

ENDING: Final = ".draft"
PathLike = str | os.PathLike[str]
UNSUPPORTED: Final = (errno.EINVAL, errno.ENOTSUP, errno.EACCES)  # the errors of systems that cannot flush a folder
ONLY_FILES: Final = "Only regular files are written; to keep nothing, ask for no file"
KINDS: Final = (
    (stat.S_ISDIR, "a folder", "Give a file name: model.safetensors"),
    (stat.S_ISCHR, "a device", ONLY_FILES),
    (stat.S_ISBLK, "a device", ONLY_FILES),
    (stat.S_ISFIFO, "a named pipe (FIFO)", ONLY_FILES),
    (stat.S_ISSOCK, "a socket", ONLY_FILES),
)


def write_whole(path: PathLike, data: bytes, *, error: type[BpError] = WriteError) -> None:
    """Write bytes to a file, replacing its content, completely or not at all.

    Raises `error` when it cannot be written; nothing is changed then.
    """
    with replacing(path, error=error) as (draft,):
        draft.write(data)


def check_target(path: PathLike, *, error: type[BpError] = WriteError) -> None:
    """Raise `error` for a path that could not be written to: before long work, without changing an existing file."""
    check_path(path, "writing")
    with _named_errors([Path(path)], error), contextlib.ExitStack() as stack:
        _draft(Path(path), stack)


def make_folder(path: PathLike) -> None:
    """Create a folder and its missing parents; their entries are on the disk when this returns.

    Raises OSError on failure.
    """
    folder = Path(os.path.abspath(path))
    missing = [above for above in (folder, *folder.parents) if not above.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for new in missing:
        _bring_to_disk(new.parent)


class Draft:
    """An unfinished file: its temporary path, its target, and the open file once there is one."""

    def __init__(self, path: Path, target: Path) -> None:
        self.path, self.target = path, target
        self.opened: FileIO | None = None
        self.was_there = _status(target) is not None
        self.kept: Path | None = None  # the old file under another name, until the new one is safe
        self.placed = False

    @property
    def file(self) -> int:
        """The descriptor of the open file."""
        assert self.opened is not None
        return self.opened.fileno()

    def write(self, data: bytes | memoryview) -> None:
        """Write all of the bytes at the end."""
        rest = memoryview(data).cast("B")
        while rest:
            rest = rest[os.write(self.file, rest) :]

    def take_mode(self) -> None:
        """Take the mode and, where permitted, the owner of the file that will be replaced."""
        if (old := _status(self.target)) is None:
            return
        own = os.fstat(self.file)
        if hasattr(os, "chown") and (own.st_uid, own.st_gid) != (old.st_uid, old.st_gid):
            with contextlib.suppress(OSError):  # only the superuser may change a file's owner
                os.chown(self.file, old.st_uid, old.st_gid)
        if stat.S_IMODE(os.fstat(self.file).st_mode) != stat.S_IMODE(old.st_mode):
            os.chmod(self.file if os.chmod in os.supports_fd else self.path, stat.S_IMODE(old.st_mode))

    def place(self) -> None:
        """Give the draft the name of its target, and keep the old file under another name until `settle`."""
        _require_regular(self.target)
        with contextlib.suppress(OSError):  # without hard links the old file cannot be restored
            beside = _beside(self.target)
            os.link(self.target, beside)
            self.kept = beside
        if locks is None and self.opened is not None:
            self.opened.close()
        os.replace(self.path, self.target)
        self.placed = True

    def undo(self) -> bool:
        """Restore the old file; return False where that fails."""
        if not self.placed:
            return True
        try:
            if self.kept is not None:
                os.replace(self.kept, self.target)
            elif self.was_there:
                return False
            else:
                os.unlink(self.target)
        except OSError:
            return False
        self.placed = False
        return True

    def close(self) -> None:
        """Remove the remaining files beside the target."""
        for left in (self.path, self.kept):
            if left is not None:
                with contextlib.suppress(OSError):
                    os.unlink(left)


@contextlib.contextmanager
def replacing(*paths: PathLike, error: type[BpError] = WriteError) -> Iterator[tuple[Draft, ...]]:
    """Yield a draft for each path; after the block they take the names of their targets, all of them or none.

    Raises `error` when they cannot be written; then nothing is changed and no draft is left, whatever the block raised.
    (A process that is killed between two renames leaves the first file new and the second old. Readers must detect that, as
    those of data sets do by their stamps.)
    """
    for path in paths:
        check_path(path, "writing")
    files = [Path(path) for path in paths]
    with _named_errors(files, error), contextlib.ExitStack() as stack:
        drafts = tuple(_draft(path, stack) for path in files)
        yield drafts
        for draft in drafts:
            draft.take_mode()
            os.fsync(draft.file)
        try:
            for draft in drafts:
                draft.place()
            for folder in {draft.target.parent for draft in drafts}:
                _bring_to_disk(folder)
        except BaseException as failure:
            changed = [draft for draft in drafts if not draft.undo()]
            if changed and isinstance(failure, OSError):
                names = ", ".join(repr(str(draft.target)) for draft in changed)
                raise error(
                    f"cannot finish writing: {failure.strerror or failure}. {names} is new already, the rest is as it was."
                ) from None
            raise


@contextlib.contextmanager
def _named_errors(paths: list[Path], error: type[BpError]) -> Iterator[None]:
    """Turn an OSError into `error`, which names the file and says that nothing was changed."""
    shown = " and ".join(repr(str(path)) for path in paths)
    try:
        yield
    except _Refused as refused:
        raise error(f"cannot write {shown}: {refused}. Nothing was changed.") from None
    except OSError as failure:
        if isinstance(failure, BpError):
            raise
        raise error(f"cannot write {shown}: {failure.strerror or failure}. Nothing was changed.") from None


class _Refused(Exception):
    """The target must not be overwritten; the text is the end of a sentence."""


def _draft(path: Path, stack: contextlib.ExitStack) -> Draft:
    """Create the draft of a file; the exit stack removes it."""
    if "\0" in str(path):
        raise _Refused("a file name has no zero bytes")
    target = Path(os.path.realpath(path))
    if missing := next((str(folder) for folder in (path.parent, target.parent) if not folder.is_dir()), None):
        raise _Refused(f"there is no folder {missing!r}. Create it first")
    _require_regular(path)
    _clear(target)
    while True:
        draft = Draft(_beside(target), target)
        stack.callback(draft.close)
        draft.opened = stack.enter_context(_new_file(draft))
        if _held(draft.file):
            return draft


def _new_file(draft: Draft) -> FileIO:
    mode = PRIVATE if draft.was_there else 0o666  # less the umask
    return open(draft.path, "x+b", buffering=0, opener=opener(mode=mode))


def _require_regular(path: Path) -> None:
    """Refuse a path that is, or points to, something other than a regular file."""
    status = _status(path)
    for is_kind, what, hint in KINDS:
        if status is not None and is_kind(status.st_mode):
            raise _Refused(f"it is {what}. {hint}")


def _status(path: Path) -> os.stat_result | None:
    try:
        return os.stat(path)
    except FileNotFoundError:
        return None


def _beside(target: Path) -> Path:
    return target.with_name(f"{_start(target)}{secrets.token_hex(8)}{ENDING}")


def _start(target: Path) -> str:
    """Return the prefix of a target's drafts: only a part of its name, since that may have the greatest length allowed."""
    digest = hashlib.sha256(os.fsencode(target.name)).hexdigest()[:12]
    return f".{target.name[:24]}.{digest}."


def _clear(target: Path) -> None:
    """Remove the drafts of this target that no living process holds."""
    start = _start(target)
    _clear_those(target.parent, lambda name: name.startswith(start))


def clear_drafts(folder: Path, part: str) -> None:
    """Remove the drafts in a folder that no living process holds, of targets with `part` in the first 24 letters of a name."""
    _clear_those(folder, lambda name: part in name)


def _clear_those(folder: Path, wanted: Callable[[str], bool]) -> None:
    with contextlib.suppress(OSError):  # a folder that may be written to but not listed
        for name in [entry for entry in os.listdir(folder) if wanted(entry) and entry.endswith(ENDING)]:
            with contextlib.suppress(OSError):
                _clear_one(folder / name)


def _clear_one(draft: Path) -> None:
    if locks is None:
        os.unlink(draft)  # refused while it is open
        return
    with open(draft, "r+b", buffering=0, opener=opener(os.O_NOFOLLOW | os.O_NONBLOCK)) as file:
        if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            locks.flock(file, locks.LOCK_EX | locks.LOCK_NB)
            os.unlink(draft)


def _held(file: int) -> bool:
    """Lock a new draft; return False where another process removed it as a stale draft."""
    if locks is None:
        return True
    try:
        locks.flock(file, locks.LOCK_EX | locks.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks: no process locks or removes drafts there
        return True
    return os.fstat(file).st_nlink > 0


def _bring_to_disk(folder: Path) -> None:
    """Flush a folder's entries to the disk, where the system and the file system support it."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    try:
        flush_folder(folder)
    except OSError as failure:
        if failure.errno not in UNSUPPORTED:
            raise
