"""Contenders' processes are kept from workload to workload, and replaced when they have ended."""

from bpengine.benchmark import CONTENDERS
from bpengine.benchmark.processes.pool import Pool
from tests.benchmark import tiny


def test_a_process_that_has_ended_is_replaced_and_closed():
    with Pool([CONTENDERS["numpy"]], "cpu", ()) as pool:
        first = pool.ready(tiny.SMALL, print)["numpy"]
        assert pool.ready(tiny.WHOLE, print)["numpy"] is first
        first._process.kill()
        first._process.wait()
        second = pool.ready(tiny.SMALL, print)["numpy"]
        assert second is not first
        assert second.alive
        assert first._process.stdout.closed
        assert first._errors.closed
