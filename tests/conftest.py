"""What all tests share: a generator seeded by the test's own name, and the array namespaces."""

from __future__ import annotations

import gc
import os
import signal
import sys
import zlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any

os.environ["JAX_ENABLE_X64"] = "1"  # before JAX is imported: tests call kernels on jax.numpy by themselves
if not any(
    a.startswith("--require-jax-platform") for a in sys.argv
):  # a quarter of the time went into optimizing programs
    os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")

# Many tests compile the same programs. All workers, and the processes that tests start, share one folder: an entry that is
# still being written is not read (JAX warns, which is ignored in pyproject.toml, and compiles).
os.environ["JAX_COMPILATION_CACHE_DIR"] = str(Path(__file__).parents[1] / ".pytest_cache" / "jax")
os.environ["JAX_PERSISTENT_CACHE_ENABLE_XLA_CACHES"] = "none"  # otherwise the keys depend on the folder's path
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"

import numpy as np
import pytest
from threadpoolctl import ThreadpoolController

from bpengine.system.busy import BUSY_WATCH
from bpengine.system.process_caches import clear_caches

BUSY_WATCH.rest()  # what else this machine does while tests run is no part of them
for name in ("LANGUAGE", "LC_ALL", "LC_MESSAGES", "LANG", "BPENGINE_LANG"):  # tests match English texts
    if os.environ.get(name, "").startswith("pt"):
        del os.environ[name]

if (
    signal.getsignal(signal.SIGINT) is signal.SIG_IGN
):  # so a shell starts what runs in the background; tests press Ctrl-C
    signal.signal(signal.SIGINT, signal.default_int_handler)

GOLDEN = 0.6180339887498949
gc.set_threshold(
    200_000, 20, 100
)  # programs that JAX keeps are hundreds of thousands of objects to walk through each time


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--require-backend",
        action="append",
        default=[],
        metavar="NAME",
        help="fail instead of skipping where this backend (jax, cupy, ...) is missing; may be repeated",
    )
    parser.addoption(
        "--require-peer",
        action="append",
        default=[],
        metavar="NAME",
        help="fail where this library that things are compared with (torch, keras, polars, ...) is missing; may be repeated",
    )
    parser.addoption(
        "--require-blas",
        action="append",
        default=[],
        metavar="NAME",
        help="fail instead of skipping where this BLAS library (mkl) is missing; may be repeated",
    )
    parser.addoption(
        "--require-browser",
        action="store_true",
        help="fail instead of skipping where Playwright or Chromium is missing",
    )

    parser.addoption("--thorough", action="store_true", help="run the tests that `make test` leaves out as well")
    parser.addoption(
        "--require-jax-platform", metavar="NAME", help="fail at once unless JAX runs on this platform (gpu)"
    )


def pytest_sessionstart(session: pytest.Session) -> None:
    """Fail before the first test when JAX does not run where it is required to."""
    wanted = session.config.getoption("--require-jax-platform")
    if wanted is None:
        return
    platform = import_module("jax").default_backend() if find_spec("jax") else "not installed"
    if platform != wanted:
        pytest.exit(f"JAX is required on the platform {wanted!r}, and is: {platform}", returncode=1)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the thorough tests out, unless they are asked for: `make test` must be done in ten minutes."""
    if config.getoption("--thorough"):
        return
    groups = defaultdict(list)
    for item in items:
        if item.get_closest_marker("thorough"):
            groups[item.nodeid.partition("[")[0]].append(item)
    able = config.getoption("--require-backend")
    left_out = {item for group in groups.values() for item in _thorough(group, able)}
    if left_out:
        config.hook.pytest_deselected(items=list(left_out))
        items[:] = [item for item in items if item not in left_out]


def pytest_collection_finish() -> None:
    """Let garbage collections pass over what is there before the first test: 1.4 million objects, a second each time."""
    gc.collect()
    gc.freeze()


def _thorough(cases: list[pytest.Item], able: Sequence[str]) -> set[pytest.Item]:
    """Return the cases of a test that are left out: all but those that its mark keeps, spread over the parameters.

    Steps of the golden section fall into every part of the list, and keep no pace with the parameter that varies fastest.
    """
    marks = [case.get_closest_marker("thorough") for case in cases]
    there = [case for case in cases if "cupy" in able or "cupy" not in case.nodeid]
    keep = min(len(there), max(mark.kwargs.get("keep", 0) for mark in marks if mark))
    kept: dict[int, None] = {}
    for k in count():
        if len(kept) == keep:
            return set(cases) - {there[i] for i in kept}
        kept[int(k * GOLDEN % 1.0 * len(there))] = None
    raise AssertionError


@pytest.fixture(autouse=True)
def _nothing_kept() -> None:
    """Let each test begin with nothing compiled in the process: what one has patched must not serve the next."""
    clear_caches()


@cache
def _libraries() -> ThreadpoolController:
    return ThreadpoolController()


@pytest.fixture(autouse=True)
def _blas_threads(request: pytest.FixtureRequest) -> Iterator[None]:
    """Let products have one thread, for those of several workers on the same cores wait for one another.

    Not in the folders whose subject threads are, and not in processes that tests start.
    """
    if request.path.relative_to(Path(__file__).parent).parts[0] in ("backends", "attacks"):
        yield
        return
    with _libraries().limit(limits=1, user_api="blas"):
        yield


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> np.random.Generator:
    """Give each test random numbers of its own, the same in any order and in parallel."""
    return np.random.default_rng(zlib.crc32(request.node.nodeid.encode()))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give each array namespace in turn to tests that want `xp`; CuPy's where that backend is required."""
    if "xp" in metafunc.fixturenames:
        gpu = ["cupy"] if "cupy" in metafunc.config.getoption("--require-backend") else []
        metafunc.parametrize("xp", ["numpy", "jax.numpy", "array_api_strict", *gpu], indirect=True)


@pytest.fixture
def xp(request: pytest.FixtureRequest) -> Any:
    """Give an array namespace; CuPy's is the one that its backend gives kernels."""
    if request.param != "cupy":
        return namespace(request, request.param)
    from bpengine_cupy.namespace import SwitchingNamespace

    return SwitchingNamespace(namespace(request, "array_api_compat.cupy"))


@pytest.fixture
def jax(request: pytest.FixtureRequest) -> Any:
    """Give JAX, the oracle."""
    return namespace(request, "jax")


def namespace(request: pytest.FixtureRequest, name: str) -> Any:
    """Import a library; where it is missing, skip, or fail if it is required."""
    library = name.split(".")[0]
    if find_spec(library) is None:
        required = library in request.config.getoption("--require-backend")
        (pytest.fail if required else pytest.skip)(f"{library} is not installed")
    return import_module(name)


@pytest.fixture(params=["numpy", "jax", "cupy"])
def backend_name(request: pytest.FixtureRequest) -> str:
    """Give the name of each backend in turn; where one cannot run, skip, or fail if it is required."""
    from bpengine.backend import backend_class

    name: str = request.param
    status = backend_class(name).availability()
    if not status.ready:
        required = name in request.config.getoption("--require-backend")
        (pytest.fail if required else pytest.skip)(f"{name}: {status.reason}")
    return name
