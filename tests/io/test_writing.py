"""Saving is whole or not at all: on a failure the old file stays, and nothing else is left behind."""

from __future__ import annotations

import ast
import os
import re
import socket
import stat
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bpengine as bp
from bpengine import errors, io
from bpengine.output import writing

NETWORK = bp.Network(2, [bp.Dense(1)], "mean_squared_error")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    bp.Model(NETWORK, seed=1).save(path)
    return path


def refuse(*args: Any, **options: Any) -> Any:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize(
    ("module", "function"),
    [(os, "open"), (os, "write"), (os, "fsync"), (os, "chmod"), (os, "replace"), (writing, "_bring_to_disk")],
)
def test_a_failure_leaves_the_old_file_and_nothing_else(
    path: Path, monkeypatch: pytest.MonkeyPatch, module: Any, function: str
) -> None:
    path.chmod(0o640)
    before = path.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(module, function, refuse)
        with pytest.raises(bp.ModelFileError, match=r"cannot write .*No space left on device\. Nothing was changed"):
            bp.Model(NETWORK, seed=2).save(path)
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    bp.Model(NETWORK, seed=2).save(path)
    assert path.read_bytes() != before


def test_failure_without_an_old_file_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(bp.ModelFileError, match="cannot write"):
        bp.Model(NETWORK).save(tmp_path / "new")
    assert list(tmp_path.iterdir()) == []


def test_an_interruption_leaves_the_old_file_and_nothing_else(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*args: Any) -> Any:
        raise KeyboardInterrupt

    before = path.read_bytes()
    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        bp.Model(NETWORK, seed=2).save(path)
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_missing_folder_is_named(tmp_path: Path) -> None:
    target = tmp_path / "no" / "model"
    with pytest.raises(bp.ModelFileError, match=r"there is no folder '.*no'\. Create it first") as caught:
        bp.Model(NETWORK).save(target)
    assert str(target) in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_folder_in_place_of_a_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(bp.ModelFileError, match=r"it is a folder\. Give a file name") as caught:
        bp.Model(NETWORK).save(tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_file_in_place_of_a_folder_is_refused(path: Path) -> None:
    with pytest.raises(bp.ModelFileError, match="cannot write"):
        bp.Model(NETWORK).save(path / "model")


def test_name_that_is_too_long_is_refused(tmp_path: Path) -> None:
    with pytest.raises(bp.ModelFileError, match="cannot write"):
        bp.Model(NETWORK).save(tmp_path / ("n" * 300))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664])
def test_the_mode_of_an_existing_file_is_kept(path: Path, mode: int) -> None:
    path.chmod(mode)
    bp.Model(NETWORK, seed=2).save(path)
    assert stat.S_IMODE(path.stat().st_mode) == mode


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_a_new_file_has_the_mode_of_any_new_file(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        bp.Model(NETWORK).save(tmp_path / "model")
        (tmp_path / "other").touch()
        assert os.umask(umask) == umask
    finally:
        os.umask(before)
    assert (tmp_path / "model").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_every_byte_is_written(tmp_path: Path, rng: np.random.Generator) -> None:
    data = rng.bytes(100_000)
    for _ in range(2):
        writing.write_whole(tmp_path / "bytes", data)
    assert (tmp_path / "bytes").read_bytes() == data
    assert [p.name for p in tmp_path.iterdir()] == ["bytes"]


def test_a_description_that_is_not_json_leaves_the_old_file(path: Path) -> None:
    before = path.read_bytes()
    with pytest.raises(TypeError, match="serializable"):
        io.write(path, io.Contents({"note": object()}, {}, {}, {}))
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_failed_sync_of_the_folder_restores_the_old_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def of_a_folder(file: int, real: Any = os.fsync) -> None:
        refuse() if stat.S_ISDIR(os.fstat(file).st_mode) else real(file)

    before, new = path.read_bytes(), path.with_name("new")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", of_a_folder)
        for target in (path, new):
            with pytest.raises(bp.ModelFileError, match="Nothing was changed"):
                bp.Model(NETWORK, seed=2).save(target)
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_bytes_reach_the_disk_before_the_name_and_the_name_before_the_end(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    fsync, replace = os.fsync, os.replace

    def note_fsync(number: int) -> None:
        done.append("fsync of the folder" if stat.S_ISDIR(os.fstat(number).st_mode) else "fsync")
        fsync(number)

    def note_replace(draft: Any, target: Any) -> None:
        done.append("replace")
        replace(draft, target)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(os, "replace", note_replace)
    bp.Model(NETWORK).save(path)
    assert done == ["fsync", "replace", "fsync of the folder"]


def test_failed_undo_is_reported(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "link", refuse)  # a file system without hard links
    monkeypatch.setattr(writing, "_bring_to_disk", refuse)
    with pytest.raises(bp.ModelFileError, match=r"cannot finish writing: No space .* is new already"):
        bp.Model(NETWORK, seed=2).save(path)
    assert bp.load(path).seed == 2
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def write_both(folder: Path) -> None:
    with writing.replacing(folder / "a", folder / "b") as drafts:
        for draft in drafts:
            draft.write(b"new")


def test_two_files_are_replaced_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def second(old: Any, new: Any, real: Any = os.replace) -> None:
        refuse() if str(new).endswith("b") and str(old).endswith(writing.ENDING) else real(old, new)

    for name in "ab":
        (tmp_path / name).write_bytes(b"old")
    monkeypatch.setattr(os, "replace", second)
    with pytest.raises(errors.WriteError, match=r"'.*a' and '.*b': No space left on device\. Nothing was changed"):
        write_both(tmp_path)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {"a": b"old", "b": b"old"}


@pytest.mark.skipif(os.name != "posix", reason="POSIX limits what a process may write")
def test_exceeded_file_size_limit_leaves_no_file(tmp_path: Path) -> None:
    """A real failure in the middle of a write, in a process of its own."""
    ended = run(
        "import resource, signal, sys\n"
        "from bpengine.output.writing import write_whole\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))\n"
        "write_whole(sys.argv[1], bytes(20_000))",
        tmp_path / "big",
    )
    assert "WriteError" in ended.stderr
    assert "File too large. Nothing was changed." in ended.stderr
    assert list(tmp_path.iterdir()) == []


def run(code: str, *args: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code, *map(str, args)], capture_output=True, text=True, check=False)


def special(folder: Path, kind: str) -> Path:
    path = folder / kind
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        folder = Path(tempfile.mkdtemp(dir="/tmp"))  # the path of a socket is short
        path = folder / kind
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(path))
        listener.close()
    elif kind == "device":
        path = Path(os.devnull)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(special(folder, kind.split()[-1]))
    return path


@pytest.mark.skipif(os.name != "posix", reason="POSIX has these kinds of files")
@pytest.mark.parametrize("kind", ["pipe", "socket", "device", "folder", "link to pipe", "link to device"])
def test_only_regular_files_are_overwritten(kind: str, tmp_path: Path) -> None:
    path = special(tmp_path, kind)
    before = path.lstat()
    names = sorted(tmp_path.iterdir())
    for write in (lambda: writing.write_whole(path, b"x"), lambda: writing.check_target(path)):
        with pytest.raises(errors.WriteError, match=r"it is a (device|named pipe|socket|folder).*Nothing was changed"):
            write()
    after = path.lstat()
    assert (after.st_mode, after.st_ino, after.st_rdev) == (before.st_mode, before.st_ino, before.st_rdev)
    assert sorted(tmp_path.iterdir()) == names


def test_a_symbolic_link_stays_and_its_target_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    target, link, far = tmp_path / "there" / "model", tmp_path / "link", tmp_path / "far"
    target.write_bytes(b"old")
    target.chmod(0o640)
    link.symlink_to(Path("there") / "model")
    far.symlink_to(link)
    for content in (b"new", b"newer"):
        writing.write_whole(far, content)
        assert target.read_bytes() == content
    assert far.is_symlink()
    assert link.is_symlink()
    assert stat.S_IMODE(target.stat().st_mode) == 0o640
    assert [p.name for p in target.parent.iterdir()] == ["model"]
    target.unlink()  # a link to nothing makes what it points to
    writing.write_whole(link, b"again")
    assert target.read_bytes() == b"again"
    link.unlink()
    link.symlink_to("link")
    with pytest.raises(errors.WriteError, match=r"symbolic links.*Nothing was changed"):
        writing.write_whole(link, b"x")


def test_the_owner_is_kept_where_that_is_permitted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, owners = tmp_path / "model", []
    path.write_bytes(b"old")
    real = os.stat

    def of_another(target: Any, **options: Any) -> Any:
        there = real(target, **options)
        return os.stat_result([*there[:4], there.st_uid + 1, *there[5:]]) if Path(target) == path else there

    def chown(file: int, user: int, group: int) -> None:
        owners.append((user, group))
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "stat", of_another)
    monkeypatch.setattr(os, "chown", chown)
    writing.write_whole(path, b"new")
    assert owners == [(real(path).st_uid + 1, real(path).st_gid)]
    assert path.read_bytes() == b"new"


KILLED = """
import sys
from bpengine.output.writing import write_whole
print("ready", flush=True)
while True:
    for byte in b"ab":
        write_whole(sys.argv[1], bytes([byte]) * 3_000_000)
"""


@pytest.mark.skipif(os.name != "posix", reason="drafts are locked by POSIX's locks")
def test_a_kill_leaves_one_of_the_files_and_the_next_save_clears_the_rest(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    path, left = tmp_path / "model", 0
    other = tmp_path / f".other.0123456789ab.00{writing.ENDING}"  # of another target: not ours to clear
    other.touch()
    for _ in range(12):
        with subprocess.Popen([sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            child.stdout.readline()
            time.sleep(rng.uniform(0.0, 0.06))
            child.kill()
        if path.exists():
            content = path.read_bytes()
            assert content in (b"a" * 3_000_000, b"b" * 3_000_000)
        left += len(list(tmp_path.iterdir())) - path.exists() - 1
        writing.check_target(path)
        assert sorted(p.name for p in tmp_path.iterdir() if p != path) == [other.name]
    assert left > 0, "no kill left a draft: nothing was tested"


@pytest.mark.skipif(os.name != "posix", reason="drafts are locked by POSIX's locks")
def test_temporary_file_of_a_running_process_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "model"
    with writing.replacing(path) as (draft,):
        draft.write(b"slow")
        ended = run(
            "import sys; from bpengine.output.writing import write_whole; write_whole(sys.argv[1], b'fast')", path
        )
        assert ended.returncode == 0, ended.stderr
        writing.write_whole(path, b"here")
        assert path.read_bytes() == b"here"
    assert path.read_bytes() == b"slow"
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


def test_threads_that_write_one_file_leave_one_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "model"
    contents = [bytes([byte]) * 100_000 for byte in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(partial(writing.write_whole, path), contents * 5))
    assert path.read_bytes() in contents
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


def test_longest_allowed_name_is_written_and_zero_byte_refused(tmp_path: Path) -> None:
    for name in ("n" * 255, "\u00e9" * 127, "a b\n\udcff"):
        writing.write_whole(tmp_path / name, b"x")
        assert (tmp_path / name).read_bytes() == b"x"
    with pytest.raises(errors.WriteError, match="zero bytes"):
        writing.write_whole(f"{tmp_path}/a\0b", b"x")


WRITES = {"write_text", "write_bytes", "savefig", "mkstemp", "NamedTemporaryFile", "open_memmap", "savez"}
# The cache of compiled code writes its own files: whatever lies under its names is replaced, and checksums stand in for a
# sync, since code can be compiled again.
ALLOWED = {
    "backends/bpengine_steps/disk.py": {"open"},
    "backends/bpengine_cupy/cuda_target/cublaslt/algorithms.py": {"link"},
    "bpengine/benchmark/fits/fit_files.py": {"save", "savez", "write_text"},  # a temporary folder's, as below
    "bpengine/benchmark/peers/whole_fits/fit_script.py": {"savez", "write_text"},
    "bpengine/benchmark/processes/rss.py": {"write_text"},  # a counter of the system
    "bpengine/cli/exit_codes.py": {"mkstemp"},  # the traceback of a fault, under a name that nobody has
    "bpengine/distributed/job.py": {"NamedTemporaryFile"},  # whose time of change says that steps are taken
    "bpengine/distributed/watch.py": {"open"},  # the exit code, a line added to that file
    "bpengine/data/files/write_synthetic.py": {"open_memmap"},
    "bpengine/data/tables/conversion.py": {"open_memmap"},  # to read
    "bpengine/data/tables/column_writer.py": {"open"},  # in a folder that is renamed when it is complete
    "bpengine/data/tables/byte_streams.py": {"NamedTemporaryFile"},  # standard input, to be read more than once
    "bpengine/data/features/shared_file.py": {"open"},  # rows that do not fit into memory, for as long as they are used
    "bpengine/explain/figures/save.py": {"savefig"},
    "bpengine/explain/figures/shown_figure.py": {"savefig"},  # into memory
    "bpengine/benchmark/results/figure.py": {"savefig"},
    "bpengine/cli/language/help_pages.py": {"write_text"},  # into the text of a help page
    "bpengine/output/appending.py": {"open"},  # lines added to a log, whose earlier lines stay
    "bpengine/output/opening.py": {"open"},  # a file without a name
    "bpengine/training/checkpoints/store.py": {"open"},  # an empty file, which is locked
}


def test_only_the_output_package_writes_files() -> None:
    root = Path(bp.__file__).parent.parent
    packages = [root / "bpengine", *(root / "backends").glob("bpengine_*")]
    for path in [p for package in packages for p in package.rglob("*.py") if p.parts[-2:] != ("output", "writing.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            of = getattr(getattr(node.func, "value", None), "id", "")
            writes = name in WRITES or (of == "os" and name in ("replace", "rename", "link"))
            modes = [*node.args[:2], *(k.value for k in node.keywords if k.arg == "mode")]
            opens = name == "open" and any(
                isinstance(m, ast.Constant) and re.fullmatch("[wax]b?[+]?", str(m.value)) for m in modes
            )
            where = path.relative_to(root).as_posix()
            assert not (writes or opens) or name in ALLOWED.get(where, ()), f"{where}:{node.lineno} writes by {name}"
