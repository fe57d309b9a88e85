"""What tests of CUDA need that have no GPU: a C++ compiler, and CuPy's NVRTC."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from tests.backends.cuda_host.player import compiler_missing


@pytest.fixture
def nvrtc(request: pytest.FixtureRequest) -> None:
    """Skip where there is no CuPy, or fail if it is required; where it is, a missing compiler is a failure."""
    if find_spec("cupy_backends") is None:
        _absent(request, "cupy is not installed")


@pytest.fixture
def played(request: pytest.FixtureRequest) -> None:
    """Skip where CUDA C cannot be built for the CPU, or fail if CuPy is required."""
    missing = compiler_missing()
    if missing:
        _absent(request, missing)


def _absent(request: pytest.FixtureRequest, what: str) -> None:
    required = "cupy" in request.config.getoption("--require-backend")
    (pytest.fail if required else pytest.skip)(what)
