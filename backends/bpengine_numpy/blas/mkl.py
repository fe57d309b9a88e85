"""Intel's oneMKL, from the wheel `mkl`: where it is installed, and how it is set up for this process.

Interface: the functions whose names end in _64, which take 64-bit integers whatever layer the process or its environment
has chosen for the others.
Threads: MKL's own by Intel's OpenMP, which its wheel requires (one thread without it). Their number belongs to the pool that
NumPy's library is in, so that limits hold for both; it is not reduced by MKL itself, which would change last bits.
Bits: MKL's mode of reproducible results ("CNR") with the fastest code of the processor. Without it the last bits may depend
on where arrays begin, and a compiled step has its arrays elsewhere than the same step in Python.

Source: Intel, "Developer Guide for Intel oneAPI Math Kernel Library for Linux", 2025: "Dynamically Selecting the Interface and
Threading Layer", "Using the ILP64 Interface vs. LP64 Interface", "Obtaining Numerically Reproducible Results".
"""

from __future__ import annotations

import ctypes
import os
import platform
import re
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from threading import RLock

from bpengine.backend import Availability
from bpengine.errors import BackendUnavailable
from bpengine.extras import cure
from bpengine.system.blas_pool import BLAS_POOL
from bpengine_numpy.blas.blas_library import BlasLibrary, ForeignFunction, OpenMp, address_of, cblas
from bpengine_numpy.forking import renewed_in_children

PACKAGE, OPENMP = "mkl", "intel-openmp"
FILES = {PACKAGE: r"libmkl_rt\.so\.\d+", OPENMP: r"libiomp5\.so"}
INTEL_THREADS, ONE_THREAD = 0, 1  # MKL's names of threading layers
CNR_AUTO, CNR_ALL = 2, -1  # MKL's names: the mode with the fastest code; the whole setting


class MklThreads:
    """The number of MKL's threads, for the pool of the process."""

    def __init__(self, loaded: ctypes.CDLL, path: str) -> None:
        self.filepath = path
        self._get: ForeignFunction = loaded.MKL_Get_Max_Threads
        self._set: ForeignFunction = loaded.MKL_Set_Num_Threads

    @property
    def num_threads(self) -> int:
        """The number of threads of the next product."""
        return int(self._get())

    def set_num_threads(self, num_threads: int) -> None:
        """Set it for the whole process."""
        self._set(ctypes.c_int(num_threads))


def availability() -> Availability:
    """Say whether MKL is installed, or why not and the cure."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        where = f"{sys.platform} on {platform.machine()}"
        return Availability("not installed", f"it is taken on Linux on x86_64 alone, and this is {where}.")
    if not is_installed():
        return Availability("not installed", "there is no package 'mkl'.", cure("mkl"))
    return Availability("ready", f"MKL {_version()}, {_file(PACKAGE)}")


def is_installed() -> bool:
    """Tell whether the wheel is installed."""
    return _file(PACKAGE) is not None


def library(*, sleeps: bool = False) -> BlasLibrary:
    """Return MKL, which is loaded and set up when this is first called in the process.

    sleeps: let its threads sleep at once after a product, rather than wait for the next one for 0.2 s on their cores. Only the
    first call decides, and a value of KMP_BLOCKTIME in the environment more than that.
    Raises BackendUnavailable where MKL is not installed.
    """
    with _lock:
        if not _loaded:
            _loaded.append(_load(sleeps=sleeps))
        return _loaded[0]


def _load(*, sleeps: bool) -> BlasLibrary:
    status = availability()
    path = _file(PACKAGE)
    if not status.ready or path is None:
        raise BackendUnavailable(
            f"backend 'numpy' cannot multiply by blas='mkl' here ({status.reason}): {status.detail} {status.cure}"
        )
    threads = _openmp(sleeps=sleeps)
    loaded = ctypes.CDLL(path)
    loaded.MKL_Set_Threading_Layer(ONE_THREAD if threads is None else INTEL_THREADS)
    loaded.MKL_CBWR_Set(CNR_AUTO)  # without effect where another package has called MKL before
    loaded.MKL_Set_Dynamic(0)
    pool = MklThreads(loaded, path)
    BLAS_POOL.add(pool)
    return BlasLibrary(
        name="MKL",
        version=_version(),
        file=path,
        bits=64,
        functions=cblas(loaded, "{}_64", 64),
        settings={"reproducible": int(loaded.MKL_CBWR_Get(CNR_ALL)), "openmp": threads is not None},
        openmp=None if threads is None else _shared_threads(threads, pool),
    )


def _openmp(*, sleeps: bool) -> ctypes.CDLL | None:
    """Load Intel's OpenMP, None where it is not installed.

    Its names are for all, so that MKL finds it: MKL ends the process where it does not. It reads its settings from the
    environment, at the first call.
    """
    path = _file(OPENMP)
    if path is None:
        return None
    threads, name = ctypes.CDLL(path, ctypes.RTLD_GLOBAL), "KMP_BLOCKTIME"
    sets = sleeps and name not in os.environ
    if sets:
        os.environ[name] = "0"
    threads.omp_get_max_threads()
    if sets:
        del os.environ[name]
    return threads


def _shared_threads(threads: ctypes.CDLL, pool: MklThreads) -> OpenMp:
    parallel, number = address_of(threads.GOMP_parallel), address_of(threads.omp_get_thread_num)
    return OpenMp(parallel, number, address_of(threads.omp_get_num_threads), lambda: pool.num_threads)


def _version() -> str:
    return distribution(PACKAGE).version


def _file(package: str) -> str | None:
    """Return the path of the library of a package, None where it is not installed."""
    try:
        files = distribution(package).files or ()
    except PackageNotFoundError:
        return None
    places = (Path(str(file.locate())).resolve() for file in files if re.fullmatch(FILES[package], file.name))
    return next((str(place) for place in places if place.is_file()), None)


_loaded: list[BlasLibrary] = []
_lock = RLock()
renewed_in_children(globals(), "_lock")
