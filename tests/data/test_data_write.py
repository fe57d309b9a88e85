"""Writing sets larger than memory: the same values, whole or not at all, in bounded memory."""

import subprocess
import sys

import numpy as np
import pytest

from bpengine.data import generate, load
from bpengine.data.files import read_arrays, write_synthetic
from bpengine.errors import ConfigError, DataError


@pytest.mark.parametrize("chunk_rows", [None, 1000, 4096, 100_000])
@pytest.mark.parametrize("name", ["blobs", "teacher_regression"])
def test_written_rows_are_the_generated_rows(tmp_path, name, chunk_rows):
    x_file, y_file = write_synthetic.write(name, 9000, tmp_path, seed=2, chunk_rows=chunk_rows)
    assert [file.name for file in (x_file, y_file)] == [f"{name}_x.npy", f"{name}_y.npy"]
    expected, dataset = generate(name, 9000, seed=2), load(str(x_file), target=str(y_file))
    np.testing.assert_array_equal(dataset.x, expected.x)
    np.testing.assert_array_equal(dataset.y, expected.y)
    assert (dataset.task, dataset.x.dtype) == (expected.task, np.float32)
    assert isinstance(dataset.x, np.memmap)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_prefix_names_the_files(tmp_path):
    files = write_synthetic.write("parity", 10, tmp_path / "train")
    assert [file.name for file in files] == ["train_x.npy", "train_y.npy"]


def test_failure_midway_leaves_no_file(tmp_path, monkeypatch):
    real, calls = write_synthetic.drop_pages, []

    def fail_late(array):
        calls.append(len(list(tmp_path.iterdir())))
        if len(calls) == 3:
            raise OSError("no space left on device")
        real(array)

    monkeypatch.setattr(write_synthetic, "drop_pages", fail_late)
    with pytest.raises(
        DataError, match=r"cannot write .*blobs_x.npy' and .*blobs_y.npy': no space left on device. Nothing was changed"
    ):
        write_synthetic.write("blobs", 9000, tmp_path, chunk_rows=1000)
    assert calls == [2, 2, 2]
    assert list(tmp_path.iterdir()) == []


def test_interruption_leaves_the_old_files(tmp_path, monkeypatch):
    old = write_synthetic.write("blobs", 100, tmp_path)
    before = [file.read_bytes() for file in old]

    def interrupt(array):
        raise KeyboardInterrupt

    monkeypatch.setattr(write_synthetic, "drop_pages", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_synthetic.write("blobs", 200, tmp_path)
    assert [file.read_bytes() for file in old] == before
    assert len(list(tmp_path.iterdir())) == 2


def test_refused_second_file_removes_the_first(tmp_path):
    (tmp_path / "set_y.npy").mkdir()
    with pytest.raises(DataError):
        write_synthetic.write("blobs", 100, tmp_path / "set")
    assert [file.name for file in tmp_path.iterdir()] == ["set_y.npy"]


def test_missing_folder_is_named(tmp_path):
    with pytest.raises(DataError, match="nowhere"):
        write_synthetic.write("blobs", 10, tmp_path / "nowhere" / "set")


def test_settings_are_checked_before_anything_is_written(tmp_path):
    with pytest.raises(ConfigError, match="dtype float16, float32 or float64"):
        write_synthetic.write("blobs", 10, tmp_path, dtype="int8")
    assert list(tmp_path.iterdir()) == []


MEMORY = """
import pathlib, re, sys, threading, time
from bpengine.data import check_features, generate, load, write

def resident():
    return int(re.search(r"VmRSS:\\s+(\\d+)", pathlib.Path("/proc/self/status").read_text())[1]) / 1024

generate("teacher_classification", 10, features=784)
start, peak, running = resident(), 0, True

def watch():
    global peak
    while running:
        peak = max(peak, resident())
        time.sleep(0.005)

thread = threading.Thread(target=watch)
thread.start()
x, y = write("teacher_classification", 200_000, sys.argv[1], features=784)
found = load(str(x), target=str(y))
assert check_features(found.x, 784) is found.x
running = False
thread.join()
print(peak - start)
"""


@pytest.mark.thorough
@pytest.mark.skipif(sys.platform != "linux", reason="resident memory is read from /proc")
def test_memory_stays_bounded_while_writing_and_checking(tmp_path):
    result = subprocess.run([sys.executable, "-c", MEMORY, str(tmp_path)], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) > 200_000 * 784 * 4
    for file in tmp_path.iterdir():
        file.unlink()
    assert float(result.stdout) < 150, "MiB more than before"


KILLED = """
import os, sys
from bpengine.data import write
place = os.replace
def between(draft, target):
    if str(target).endswith("_y.npy"):
        os._exit(9)
    place(draft, target)
os.replace = between
write("blobs", 50, sys.argv[1], seed=2)
"""


def test_reader_detects_a_pair_left_by_a_kill_between_two_files(tmp_path):
    x_file, y_file = write_synthetic.write("blobs", 50, tmp_path, seed=1)
    old = y_file.read_bytes()
    ended = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False)
    assert ended.returncode == 9
    assert y_file.read_bytes() == old
    np.testing.assert_array_equal(np.load(x_file), generate("blobs", 50, seed=2).x)  # new, and as long as the old one
    for mmap in (True, False):
        with pytest.raises(
            DataError, match=r"blobs_x.npy and .*blobs_y.npy were not written together.* write them again"
        ):
            load(str(x_file), target=str(y_file), mmap=mmap)
    np.save(y_file, np.load(y_file))  # meant for each other
    assert load(str(x_file), target=str(y_file)).x.shape[0] == 50
    write_synthetic.write("blobs", 50, tmp_path, seed=2)
    np.testing.assert_array_equal(load(str(x_file), target=str(y_file)).y, generate("blobs", 50, seed=2).y)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_pair_that_is_written_while_it_is_read_is_refused(tmp_path, monkeypatch):
    x_file, y_file = write_synthetic.write("blobs", 50, tmp_path, seed=1)
    read = read_arrays.read_values

    def written_in_between(path, mmap):
        array = read(path, mmap)
        if path == x_file:
            write_synthetic.write("blobs", 50, tmp_path, seed=2)
        return array

    monkeypatch.setattr(read_arrays, "read_values", written_in_between)
    with pytest.raises(DataError, match="written anew while they were read"):
        load(str(x_file), target=str(y_file))


def test_the_same_set_gives_the_same_files_however_it_is_written(tmp_path):
    one = write_synthetic.write("blobs", 9000, tmp_path / "one", chunk_rows=1000)
    other = write_synthetic.write("blobs", 9000, tmp_path / "other")
    assert [file.read_bytes() for file in one] == [file.read_bytes() for file in other]
    assert load(str(one[0]), target=str(other[1])).x.shape[0] == 9000
    fewer = write_synthetic.write("blobs", 8000, tmp_path / "fewer")
    with pytest.raises(DataError, match="not written together"):
        load(str(one[0]), target=str(fewer[1]))
    for short in (b"", b"\x93NUMPY"):
        fewer[1].write_bytes(short)
        with pytest.raises(DataError, match="cannot be read as"):
            load(str(one[0]), target=str(fewer[1]))
