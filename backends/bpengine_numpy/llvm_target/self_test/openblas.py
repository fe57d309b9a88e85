"""OpenBLAS's queue of jobs, where NumPy multiplies with OpenBLAS, and whether it may be used.

It is not documented, but its layout is the same in every version 0.3 (common_thread.h and driver/others/blas_server.c of the
source). A self-test confirms this layout before the first use. Its symbol is public unless a build hides it, as NumPy's wheels
do from 2.5 on: there, as with any other library, compiled loops use one thread.
"""

from __future__ import annotations

import ctypes
from functools import cache
from importlib import import_module
from typing import Any, NamedTuple, TypeAlias

from bpengine_steps.disk import Notes

from bpengine_numpy.llvm_target.object_code.loop_cache import one_at_a_time, store
from bpengine_numpy.llvm_target.self_test import trial
from bpengine_numpy.llvm_target.self_test.trial import TrialVerdict

# a function of a shared library, whose class ctypes creates when the library is loaded
ForeignFunction: TypeAlias = Any
KNOWN = "OpenBLAS 0.3."
JOB = 32  # integers per job: room for its lock, condition, mode and status, which OpenBLAS fills in
ROUTINE, ARGUMENTS, NEXT = 0, 3, 8  # positions of a job's fields; all others are 0
_PTHREADS = 1  # values of openblas_get_parallel: 0 no threads, 2 OpenMP
# prefixes and suffixes of symbols in different builds
_NAMES = [(prefix, suffix) for prefix in ("scipy_", "") for suffix in ("64_", "_64", "")]
_TRIED = 16  # jobs of a trial, at most


class Library(NamedTuple):
    """The address of `exec_blas`, a function that returns the number of threads, and the settings of a trial."""

    execute: int
    threads: ForeignFunction
    settings: dict[str, Any]


@cache
def library() -> Library | None:
    """Return the interface of the OpenBLAS that NumPy multiplies with, None for another library or a hidden symbol."""
    core = import_module("numpy._core._multiarray_umath").__file__
    loaded = ctypes.CDLL(core)  # symbols are also searched in the libraries it was linked with
    configuration, parallel = _function(loaded, "get_config"), _function(loaded, "get_parallel")
    threads, limit = _function(loaded, "get_num_threads"), _function(loaded, "set_num_threads")
    if not (configuration and parallel and threads and hasattr(loaded, "exec_blas")):
        return None
    configuration.restype = ctypes.c_char_p
    text = configuration().decode(errors="replace")
    if not text.startswith(KNOWN) or parallel() != _PTHREADS:
        return None
    execute = ctypes.cast(loaded.exec_blas, ctypes.c_void_p).value or 0
    settings = {
        **{"library": core, "file": trial.home(execute), "configuration": text, "execute": "exec_blas"},
        **{"set_threads": limit.__name__ if limit else "", "jobs": max(2, min(_TRIED, threads()))},
        **{"words": JOB, "routine": ROUTINE, "arguments": ARGUMENTS, "next": NEXT},
    }
    return Library(execute, threads, settings)


@cache
def verdict() -> TrialVerdict:
    """Return the result of the self-test, which is run unless it was run before."""
    with one_at_a_time("trial"):
        return trial.tried(_settings(), store())


def fingerprint() -> str:
    """Return the fingerprint for which a test of NumPy or OpenBLAS on this machine is valid."""
    return trial.fingerprint(_settings())


def is_tested() -> bool:
    """Tell whether there is a result, so that no process has to be started for it."""
    return verdict.cache_info().currsize > 0 or trial.kept(fingerprint(), store()) is not None


def notes() -> Notes:
    """Return the stored results of tests on this machine as text."""
    openblas, known = library(), trial.kept(fingerprint(), store())
    if known is None and store().state().trouble:
        return (("self-test", "its result cannot be stored: every process that compiles training runs it"),)
    if known is None:
        return (("self-test", "not run yet: the first training that is compiled runs it"),)
    lacking = "one: NumPy's BLAS is no OpenBLAS 0.3 that lets others use its queue"
    lent = "OpenBLAS's threads are used" if openblas else lacking
    return (
        ("NumPy's loops", f"not used, so nothing is compiled: {known.loops}" if known.loops else "used by address"),
        ("threads", f"one: {known.queue}" if openblas and known.queue else lent),
    )


def _settings() -> dict[str, Any]:
    openblas = library()
    return {"loops": trial.LOOPS} | ({"queue": openblas.settings} if openblas else {})


def _function(loaded: ctypes.CDLL, name: str) -> ForeignFunction | None:
    """Return one of OpenBLAS's functions, under the name that this build uses."""
    names = (f"{prefix}openblas_{name}{suffix}" for prefix, suffix in _NAMES)
    return next((getattr(loaded, name) for name in names if hasattr(loaded, name)), None)
