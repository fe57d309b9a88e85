"""Options and fixtures of the suites: `python -m pytest bench`, with `--tiny` to see only that they run."""

from __future__ import annotations

import platform
from typing import Any

import numpy as np
import pytest

import bpengine as bp
from bpengine.backend import Backend, backend_class
from bpengine.system import blas, hardware


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--tiny", action="store_true", help="the smallest size of everything: do the suites run at all?")


def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict[str, Any]) -> None:
    """Add what decides the speed: the BLAS kernel and its threads, and what limits threads."""
    machine_info["bpengine"] = {
        "versions": {"bpengine": bp.__version__, "numpy": np.__version__, "python": platform.python_version()},
        "cpu": hardware.cpu(),
        "blas": blas.library(),
        "thread_limits": hardware.thread_limits(),
    }


@pytest.fixture(params=[name for name in bp.backend_names() if backend_class(name).availability().ready])
def backend_name(request: pytest.FixtureRequest) -> str:
    """Give the name of every backend that can run here."""
    name: str = request.param
    return name


@pytest.fixture(params=["float32", "float64"])
def dtype(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def backend(backend_name: str, dtype: str) -> Backend:
    return bp.get_backend(backend_name, precision=dtype)
