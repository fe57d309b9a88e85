"""Compiled fits in a process and in those that it starts, however it starts them: same bits, no hang, a sound cache."""

from __future__ import annotations

import multiprocessing
from importlib.util import find_spec
from pathlib import Path

import pytest
from bpengine_steps import disk

from tests.backends.beside import run

METHODS = [*multiprocessing.get_all_start_methods(), *(["loky"] if find_spec("joblib") else [])]
POOL = """
import multiprocessing

def in_child(seed):
    losses = fit(seed)
    denormals_are_what_they_are()
    return losses

if __name__ == "__main__":
    method, when, seeds = sys.argv[1], sys.argv[2], [1, 2, 3]
    if when == "warm":
        fit(0)  # the parent has compiled and multiplied before: its threads are there
    if method == "loky":
        from joblib import Parallel, delayed
        here = threading.Thread(target=fit, args=(0,))
        here.start()
        got = Parallel(n_jobs=2, backend="loky")(delayed(in_child)(seed) for seed in seeds)
        here.join()
    else:
        with multiprocessing.get_context(method).Pool(2) as pool:
            later = pool.map_async(in_child, seeds, chunksize=1)
            fit(0)
            got = later.get(400)
    assert got == [fit(seed, AsWritten) for seed in seeds], got
    assert got == [fit(seed) for seed in seeds]
    denormals_are_what_they_are()
"""


def assert_sound(folder: Path) -> None:
    files = [path for path in folder.rglob("*") if path.is_file() and "loops" in path.parts]
    assert {path.suffix for path in files} == {".bin"}
    for path in files:
        data = path.read_bytes()
        begin, content = data[: disk._HEADER.size], data[disk._HEADER.size :]
        assert begin[-32:] == disk._digest(begin[:-32] + content)


@pytest.mark.thorough
@pytest.mark.parametrize("when", ["cold", "warm"])
@pytest.mark.parametrize("method", METHODS)
def test_parent_and_children_fit_at_once(method: str, when: str, tmp_path: Path) -> None:
    run(POOL, tmp_path, method, when, XDG_CACHE_HOME=str(tmp_path / "cache"))
    assert_sound(tmp_path / "cache")
