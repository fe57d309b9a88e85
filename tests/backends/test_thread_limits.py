"""Fits in several threads while the number of OpenBLAS's threads changes under them: same bits as alone, no hang, no crash."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.backends.beside import run

# A product of several threads on cores that other programs use waits until all of its threads have had one: the work is
# counted, in rounds, steps and changes of the limit, so that a loaded machine has no more of it than a quiet one.
ROUND = 120.0  # seconds after which a round hangs, on any machine
SHARED = """
import os
from concurrent.futures import ThreadPoolExecutor
from threadpoolctl import ThreadpoolController

LIMITS, CHANGES, rounds = [1, 3, 2, None, 1, 2], 8, int(sys.argv[1])
pool_of_blas, changes, done = ThreadpoolController(), threading.Semaphore(0), threading.Event()
alone = {seed: fit(seed, epochs=1) for seed in (1, 2)}
assert alone == {seed: fit(seed, AsWritten, epochs=1) for seed in (1, 2)}

def change():
    count = 0
    while changes.acquire() and not done.wait(0.001):
        count += 1
        os.environ["OPENBLAS_NUM_THREADS"] = str(1 + count % 3)
        pool_of_blas.limit(limits=LIMITS[count % len(LIMITS)] or os.cpu_count())

def train(seed, limit):
    with pool_of_blas.limit(limits=limit or os.cpu_count()):
        return fit(seed, epochs=1)

other = threading.Thread(target=change)
other.start()
try:
    with ThreadPoolExecutor(2) as pool:
        for number in range(rounds):
            changes.release(CHANGES)
            got = dict(zip((1, 2), pool.map(train, (1, 2), (LIMITS[number % 3], LIMITS[(number + 1) % 3]))))
            assert got == alone, (number, got, alone)
            print("round", number)
finally:
    done.set()
    changes.release()
    other.join()
pool_of_blas.limit(limits=os.cpu_count())
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
@pytest.mark.parametrize("rounds", [3, 60])
def test_two_fits_in_threads_keep_their_bits_while_thread_limits_change(rounds: int, tmp_path: Path) -> None:
    printed = run(SHARED, tmp_path, str(rounds), silence=ROUND)
    assert printed.splitlines() == [f"round {number}" for number in range(rounds)]


def test_program_that_prints_nothing_for_too_long_is_ended(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"silent for 0.2 s"):
        run("threading.Event().wait()", tmp_path, silence=0.2)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_a_limit_that_is_lifted_after_a_fork_leaves_no_thread_that_flushes(tmp_path: Path) -> None:
    run(FORKED, tmp_path)
