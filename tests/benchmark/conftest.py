"""Contenders get one thread each, and little is measured: a test asks what they compute, not how fast."""

from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True, scope="package")
def small() -> Iterator[None]:
    """Limit every library in the processes that tests start, and what is measured and warmed up."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
            patch.setenv(name, "1")
        patch.setenv("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false --xla_backend_optimization_level=0")
        patch.setattr("bpengine.benchmark.floors.roofline.LARGE", {"cpu": (64,), "gpu": (64,)})
        patch.setattr("bpengine.benchmark.floors.roofline.COPIES", {"cpu": (2**16, 2**20), "gpu": (2**20,)})
        patch.setattr("bpengine.benchmark.steps.rounds.LAZY_SECONDS", 0.0)
        yield
