"""A disk that may lose power: what a folder may hold after a cut at each moment.

The bytes of a file are safe once the file was synchronised, its name once its folder was. What came later may be there or
not, in any order (Pillai et al., "All file systems are not created equal", OSDI 2014). Of the possible states these are made:
nothing of it, all of it, all names with half of the bytes or none of them, and each change of a name alone.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

Names = dict[Path, int]  # the number of the file that a name leads to, 0 for a folder
State = dict[Path, bytes | None]  # the contents of files, None for a folder
FOLDER = 0


class Change(NamedTuple):
    """A change of names in a folder."""

    folder: Path
    apply: Callable[[Names], object]


class Cut(NamedTuple):
    """What a power cut may leave, and the files that had been written whole before, as their writer had said."""

    state: State
    written: frozenset[str]


class Disk:
    """Notes what is done below a folder; `cuts` are what a power cut may leave, at each moment."""

    def __init__(self, root: Path, patch: pytest.MonkeyPatch) -> None:
        self.root, self.cuts = root, list[Cut]()
        self.written: set[str] = set()
        self._names: Names = {}
        self._safe_names: Names = {}
        self._changes: list[Change] = []  # not safe yet
        self._files: list[bytearray] = [bytearray()]
        self._safe_bytes: list[int] = [0]
        self._open: dict[int, Path | int] = {}
        for name in ("open", "write", "fsync", "close", "replace", "link", "unlink", "mkdir"):
            patch.setattr(os, name, self._noting(getattr(os, name), getattr(self, f"_note_{name}")))

    def _noting(self, real: Callable[..., Any], note: Callable[..., None]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            value = real(*arguments, **options)
            note(value, *arguments)
            cuts = [Cut(state, frozenset(self.written)) for state in self._after_a_cut()]
            self.cuts += [cut for cut in cuts if cut not in self.cuts]
            return value

        return call

    def _change(self, path: Any, apply: Callable[[Names], object]) -> None:
        if Path(path).is_relative_to(self.root):
            apply(self._names)
            self._changes.append(Change(Path(path).parent, apply))

    def _note_open(self, descriptor: int, path: Any, *_: Any) -> None:
        path = Path(os.fsdecode(path))
        if not path.is_relative_to(self.root):
            return
        if path.is_dir():
            self._open[descriptor] = path
            return
        if path not in self._names:
            number = len(self._files)
            self._files.append(bytearray())
            self._safe_bytes.append(0)
            self._change(path, lambda names: names.update({path: number}))
        self._open[descriptor] = self._names[path]

    def _note_write(self, count: int, descriptor: int, content: Any) -> None:
        if isinstance(number := self._open.get(descriptor), int):
            self._files[number] += bytes(content)[:count]

    def _note_fsync(self, _: None, descriptor: int) -> None:
        subject = self._open.get(descriptor)
        if isinstance(subject, int):
            self._safe_bytes[subject] = len(self._files[subject])
        elif subject is not None:
            for change in self._changes:
                if change.folder == subject:
                    change.apply(self._safe_names)
            self._changes = [change for change in self._changes if change.folder != subject]

    def _note_close(self, _: None, descriptor: int) -> None:
        self._open.pop(descriptor, None)

    def _note_replace(self, _: None, source: Any, target: Any) -> None:
        # a draft is renamed within its folder: one change
        number = self._names.get(Path(source))
        if number is not None:
            self._change(target, lambda names: (names.pop(Path(source), None), names.update({Path(target): number})))

    def _note_link(self, _: None, source: Any, target: Any) -> None:
        number = self._names.get(Path(source))
        if number is not None:
            self._change(target, lambda names: names.update({Path(target): number}))

    def _note_unlink(self, _: None, path: Any, *others: Any) -> None:
        self._change(path, lambda names: names.pop(Path(path), None))

    def _note_mkdir(self, _: None, path: Any, *others: Any) -> None:
        self._change(path, lambda names: names.update({Path(path): FOLDER}))

    def _after_a_cut(self) -> Iterator[State]:
        changes = [change.apply for change in self._changes]
        yield self._state([], 0)
        for part in (0, 0.5, 1):
            yield self._state(changes, part)
        for change in changes:
            yield self._state([change], 1)

    def _state(self, changes: list[Callable[[Names], object]], part: float) -> State:
        """Return the state with these changes of names, and this part of the bytes that are not safe."""
        names = dict(self._safe_names)
        for change in changes:
            change(names)
        there = {self.root}
        for path in sorted(names):  # a folder comes before what is in it
            if path.parent in there:
                there.add(path)
        return {path: self._content(number, part) for path, number in names.items() if path in there}

    def _content(self, number: int, part: float) -> bytes | None:
        safe, content = self._safe_bytes[number], self._files[number]
        return None if number == FOLDER else bytes(content[: safe + int(part * (len(content) - safe))])


def restore(state: State, old: Path, new: Path) -> None:
    """Make below `new` what a state has below `old`."""
    new.mkdir()
    for path in sorted(state):
        content, target = state[path], new / path.relative_to(old)
        if content is None:
            target.mkdir()
        else:
            target.write_bytes(content)
