"""Files that are opened: none stays open, and no draft is left, wherever Ctrl-C comes."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bpengine_numpy import NumpyBackend
from bpengine_steps import disk

import bpengine as bp
from bpengine.data import RowFile
from bpengine.data.features import shared_file
from bpengine.data.tables import conversion
from bpengine.output import opening, writing
from bpengine.training.checkpoints.run_folder import RunFolder
from bpengine.training.checkpoints.store import Store
from bpengine.training.memory import spill
from tests.attacks import failing
from tests.attacks.interrupts import Counting, Quiet, moments
from tests.attacks.trainings import open_files, paths_of

NETWORK = bp.Network(2, [bp.Dense(1)], "mean_squared_error")
FILES = {"model", "rows.npy", "cached"}


def folder_with_files(folder: Path) -> None:
    bp.Model(NETWORK).save(folder / "model")
    np.save(folder / "rows.npy", np.arange(6.0).reshape(3, 2))
    disk.write_whole(folder / "cached", b"content")


def write(folder: Path) -> None:
    writing.write_whole(folder / "model", (folder / "model").read_bytes())


def clear(folder: Path) -> None:
    with open(
        folder / f"{writing._start(folder / 'model')}0{writing.ENDING}", "wb"
    ):  # as many bytecodes if it is there
        pass
    writing._clear(folder / "model")


def read_rows(folder: Path) -> None:
    array = np.load(folder / "rows.npy", mmap_mode="r")
    file, read = RowFile.behind(array), np.empty((3, 2))
    assert file is not None
    file.read(np.array([[0, 3]]), read)


def lock(folder: Path) -> None:
    with Store(RunFolder(folder), "fit0").locked():
        pass


def lock_table(folder: Path) -> None:
    with conversion._alone_with(folder / "model"):
        pass


def keep_code(folder: Path) -> None:
    disk.write_whole(folder / "cached", disk._read(folder / "cached"))


def spill_arrays(folder: Path) -> None:
    with spill.SpillStore(NumpyBackend()) as store:
        store.keep([np.ones(2**18 + 1, np.float32)], "state")()


def share_rows(folder: Path) -> None:
    shared_file._created((2, 2), "float32", str(folder))


ACTIONS: dict[str, Callable[[Path], Any]] = {
    "write": write,
    "clear": clear,
    "load": lambda folder: bp.load(folder / "model"),
    "read rows": read_rows,
    "lock": lock,
    "lock a table": lock_table,
    "keep code": keep_code,
    "spill": spill_arrays,
    "share rows": share_rows,
}


@pytest.mark.skipif(not failing.possible(), reason="bytecodes are counted by CPython's own interface, on Linux")
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # of a file object that closes itself
@pytest.mark.parametrize("name", ACTIONS)
def test_wherever_it_is_interrupted_no_file_stays_open(name: str, tmp_path: Path) -> None:
    folder_with_files(tmp_path)
    action = partial(ACTIONS[name], tmp_path)
    for _ in range(2):  # what is made once is made by then
        after = moments(action)
    before, raised = open_files(), 0
    for count in after:
        with Quiet():
            raised += interrupted(action, count)
        left = open_files() - before
        assert not left, f"after {count} bytecodes: {paths_of(left)}"
    assert raised > len(after) / 2


def interrupted(action: Callable[[], Any], after: int) -> bool:
    try:
        with Counting(after):
            action()
    except KeyboardInterrupt:
        return True
    return False


@pytest.mark.skipif(not failing.possible(), reason="bytecodes are counted by CPython's own interface, on Linux")
def test_leaked_file_descriptor_is_detected(tmp_path: Path) -> None:
    """What the test above would miss if nothing were interrupted between the opening and the name."""
    path, before = str(tmp_path), open_files()

    def leaks() -> None:
        number = os.open(path, os.O_RDONLY)
        os.close(number)

    left = 0
    for after in moments(leaks):
        interrupted(leaks, after)
        left = max(left, (open_files() - before).total())
    assert left > 0
    for number in [int(name) for name in os.listdir("/proc/self/fd")]:
        if Path(f"/proc/self/fd/{number}").resolve() == tmp_path.resolve():
            os.close(number)


@pytest.mark.parametrize("nameless", [True, False])
def test_a_file_without_a_name_leaves_nothing(nameless: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    if not nameless:
        monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    with opening.nameless_file() as file:
        assert file.write(b"content") == 7
        assert file.seek(0) == 0
        assert file.read() == b"content"
        assert sys.platform == "win32" or os.listdir(tmp_path) == []
    assert os.listdir(tmp_path) == []


def test_an_opener_adds_flags_and_sets_the_mode(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with open(path, "xb", opener=opening.opener(os.O_APPEND, 0o600)) as file:
        file.write(b"a")
        file.flush()
        os.lseek(file.fileno(), 0, os.SEEK_SET)
        file.write(b"b")
    assert path.read_bytes() == b"ab"
    assert sys.platform == "win32" or path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(FileExistsError), open(path, "xb", opener=opening.opener()):
        pass
