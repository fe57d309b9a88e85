"""The cache on disk: a damaged file is as good as none, nothing raises, old files go first, threads and processes agree."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from bpengine_cupy.cuda_target.cublaslt.algorithms import ChosenAlgorithms
from bpengine_numpy import llvm_target
from bpengine_steps import disk
from bpengine_steps.disk import Cache, sealed, unsealed

CONTENT = bytes(range(256)) * 2


def test_every_flipped_bit_is_detected() -> None:
    data = sealed("key", CONTENT)
    assert unsealed("key", data) == CONTENT
    for place in range(len(data)):
        for bit in range(8) if place < 90 else (place % 8,):
            damaged = bytearray(data)
            damaged[place] ^= 1 << bit
            assert unsealed("key", bytes(damaged)) is None, (place, bit)


def test_truncated_extended_or_misplaced_file_is_ignored() -> None:
    data = sealed("key", CONTENT)
    assert not any(unsealed("key", data[:length]) for length in range(len(data)))
    assert unsealed("key", data + b"\0") is None
    assert unsealed("other key", data) is None
    assert unsealed("key", b"") is None
    assert unsealed("key", bytes(1000)) is None
    assert unsealed("key", sealed("key", b"")) == b""


def unreadable(path: Path) -> None:
    path.chmod(0)


def garbage(path: Path) -> None:
    path.write_bytes(b"\x7fELF" + os.urandom(300))


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def loop(path: Path) -> None:
    path.unlink()
    path.symlink_to(path)


def immense(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(1 << 40)


@pytest.mark.skipif(os.name != "posix", reason="pipes, links and sparse files of POSIX")
@pytest.mark.parametrize("damage", [unreadable, garbage, pipe, loop, immense])
def test_unreadable_file_is_replaced(damage: Callable[[Path], None], tmp_path: Path) -> None:
    cache = Cache(tmp_path / "made" / "later")
    assert cache.get("key") is None
    cache.put("key", CONTENT)
    path = cache.path("key")
    assert path is not None
    damage(path)
    assert cache.get("key") in (None, CONTENT)  # root reads everything
    cache.put("key", b"again")
    assert cache.get("key") == b"again"
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("where", ["a file", "no home"])
def test_unwritable_folder_warns_once_with_the_cure(where: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    folder = tmp_path / "file" / "loops" if where == "a file" else None
    cache = Cache(folder)
    with pytest.warns(
        UserWarning, match="cannot be kept.*this process alone.*(Make the folder writable|Set HOME)"
    ) as warned:
        assert [cache.put(key, CONTENT) for key in ("key", "other")]
    assert len(warned) == 1
    assert str(folder or "no home folder") in str(warned[0].message)
    assert cache.get("key") is None
    assert not cache.has("key")
    assert cache.state().trouble
    assert cache.clear() == 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # where warnings are errors nothing is raised either
        Cache(folder).put("key", CONTENT)


def test_full_disk_leaves_no_temporary_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(draft: Path, path: Path) -> None:
        raise OSError(28, "No space left on device")

    cache = Cache(tmp_path)
    cache.put("key", CONTENT)
    monkeypatch.setattr(Path, "replace", full)
    with pytest.warns(UserWarning, match="No space left"):
        cache.put("key", b"new")
    assert cache.get("key") == CONTENT
    assert len(list(tmp_path.iterdir())) == 1


def test_unknown_home_gives_no_cache_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platformdirs.user_cache_path", lambda name: Path("~/.cache") / name)
    assert disk.cache_folder("loops") is None


def test_least_recently_used_file_is_removed_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "TIDY", 1)
    cache = Cache(tmp_path, limit=3 * len(sealed("a", CONTENT)))
    (tmp_path / "__pycache__").mkdir()
    old = tmp_path / "__pycache__" / "of an older version.nbi"
    old.write_bytes(CONTENT)
    os.utime(old, (1, 1))
    for age, key in enumerate("abc"):
        cache.put(key, CONTENT)
        os.utime(str(cache.path(key)), (100 + age, 100 + age))
    assert not old.exists()
    assert cache.get("a") == CONTENT  # which is a use
    cache.put("d", CONTENT)
    assert [key for key in "abcd" if cache.has(key)] == ["a", "c", "d"]
    state = cache.state()
    assert (state.files, state.size, state.trouble) == (3, 3 * len(sealed("a", CONTENT)), "")
    assert cache.clear() == 3
    assert cache.state().files == 0


def test_a_folder_has_so_many_files_at_most(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "TIDY", 1)
    monkeypatch.setattr(disk, "MOST", 3)
    cache = Cache(tmp_path)
    for age, key in enumerate("abcde"):
        cache.put(key, CONTENT)
        os.utime(str(cache.path(key)), (100 + age, 100 + age))
    assert [key for key in "abcde" if cache.has(key)] == ["c", "d", "e"]


def test_temporary_files_of_ended_processes_are_removed(tmp_path: Path) -> None:
    left, fresh = tmp_path / "left.draft", tmp_path / "fresh.draft"
    left.write_bytes(CONTENT)
    fresh.write_bytes(CONTENT)
    os.utime(left, (time.time() - 2 * disk.STALE,) * 2)
    Cache(tmp_path, limit=0).put("key", CONTENT)
    assert [file.name for file in tmp_path.iterdir()] == ["fresh.draft"]


def test_threads_that_write_the_same_file_never_clash(tmp_path: Path) -> None:
    cache, contents = Cache(tmp_path), [bytes([k]) * 100_000 for k in range(8)]

    def write_and_read(content: bytes) -> bool:
        reads = []
        for _ in range(30):
            cache.put("key", content)
            reads.append(cache.get("key"))
        return all(one in contents for one in reads)

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(write_and_read, contents))
    assert len(list(tmp_path.iterdir())) == 1


WRITER = """
import sys
from pathlib import Path
from bpengine_steps.disk import Cache
cache, content = Cache(Path(sys.argv[1])), sys.argv[2].encode() * 100_000
for _ in range(100):
    cache.put("key", content)
    assert len(set(cache.get("key"))) == 1
"""


def test_processes_that_write_the_same_file_never_clash(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-W", "error", "-c", WRITER, str(tmp_path)]
    started = [subprocess.Popen([*command, letter], env=environment) for letter in "abc"]
    assert [process.wait(120) for process in started] == [0, 0, 0]
    assert len(list(tmp_path.iterdir())) == 1


def test_a_chosen_algorithm_that_is_damaged_is_chosen_again(tmp_path: Path, rng: np.random.Generator) -> None:
    ChosenAlgorithms(tmp_path).keep("product", b"first")
    (path,) = tmp_path.iterdir()
    data = bytearray(path.read_bytes())
    data[rng.integers(len(data))] ^= 1
    path.write_bytes(data)
    assert ChosenAlgorithms(tmp_path).get("product") is None
    assert ChosenAlgorithms(tmp_path).keep("product", b"second") == b"second"
    assert ChosenAlgorithms(tmp_path).keep("product", b"third") == b"second"
    assert list(tmp_path.iterdir()) == [path]


def test_whether_anything_is_kept_is_seen_without_a_list_of_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A filled folder has tens of thousands of files, and a fit asks after each epoch until it is compiled."""
    cache = Cache(tmp_path / "loops")
    monkeypatch.setattr(llvm_target, "user_cache", lambda name: cache)
    monkeypatch.setattr(os, "listdir", lambda *_: pytest.fail("listed"))
    assert not llvm_target.something_kept()
    cache.put("key", CONTENT)
    assert llvm_target.something_kept()
    cache.clear()
    assert not llvm_target.something_kept()
