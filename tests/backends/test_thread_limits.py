"""Fits in several threads while the number of OpenBLAS's threads changes under them: same bits as alone, no hang, no crash."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.backends.beside import run

SHARED = """
import os
from concurrent.futures import ThreadPoolExecutor
from threadpoolctl import threadpool_limits

LIMITS, rounds, done = [1, 3, 2, None, 1, 2], int(sys.argv[1]), threading.Event()
alone = {seed: fit(seed) for seed in (1, 2)}
assert alone == {seed: fit(seed, AsWritten) for seed in (1, 2)}

def change():
    count = 0
    while not done.wait(0.003):
        count += 1
        os.environ["OPENBLAS_NUM_THREADS"] = str(1 + count % 3)
        threadpool_limits(LIMITS[count % len(LIMITS)] or os.cpu_count())

def train(seed, limit):
    with threadpool_limits(limit):
        return fit(seed)

other = threading.Thread(target=change)
other.start()
try:
    with ThreadPoolExecutor(2) as pool:
        for number in range(rounds):
            got = dict(zip((1, 2), pool.map(train, (1, 2), (LIMITS[number % 3], LIMITS[(number + 1) % 3]))))
            assert got == alone, (number, got, alone)
finally:
    done.set()
    other.join()
threadpool_limits(os.cpu_count())
denormals_are_what_they_are()
"""

FORKED = """
import os
from threadpoolctl import threadpool_limits

with threadpool_limits(1):
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)
    fit(1)  # on one thread: OpenBLAS's others are not started again
fit(1)
threadpool_limits(4)
fit(1)
denormals_are_what_they_are()
"""


@pytest.mark.thorough(keep=1)
@pytest.mark.parametrize("rounds", [2, 150])
def test_two_fits_in_threads_keep_their_bits_while_thread_limits_change(rounds: int, tmp_path: Path) -> None:
    run(SHARED, tmp_path, str(rounds))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_a_limit_that_is_lifted_after_a_fork_leaves_no_thread_that_flushes(tmp_path: Path) -> None:
    run(FORKED, tmp_path)
