"""OpenBLAS's queue of jobs, where NumPy multiplies with OpenBLAS, and whether it may be used.

It is not in OpenBLAS's manual, but its form is the same in every 0.3 (common_thread.h and driver/others/blas_server.c of its
source). That form is what a self-test confirms before the first use. Its symbol is public unless a build hides it, as those in
NumPy's wheels do from 2.5 on: there, as with any other library, compiled loops have one thread.
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

ForeignFunction: TypeAlias = Any  # of a shared library: ctypes makes its class when the library is loaded
KNOWN = "OpenBLAS 0.3."
JOB = 32  # integers per job: room for its lock, condition, mode and status, which OpenBLAS fills in
ROUTINE, ARGUMENTS, NEXT = 0, 3, 8  # where a job keeps them; all else is 0
_PTHREADS = 1  # what openblas_get_parallel says: 0 no threads, 2 OpenMP
_NAMES = [(prefix, suffix) for prefix in ("scipy_", "") for suffix in ("64_", "_64", "")]  # how builds decorate them
_TRIED = 16  # jobs of a trial, at most


class Library(NamedTuple):
    """Where `exec_blas` lies, a function that gives the number of threads, and what a trial is told."""

    execute: int
    threads: ForeignFunction
    settings: dict[str, Any]


@cache
def library() -> Library | None:
    """Return what is needed of the OpenBLAS that NumPy multiplies with, None if it is another library or hides it."""
    core = import_module("numpy._core._multiarray_umath").__file__
    loaded = ctypes.CDLL(core)  # a symbol is looked for in all that it was linked with
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
    """Return the verdict of the self-test, which is run unless it was before."""
    with one_at_a_time("trial"):
        return trial.tried(_settings(), store())


def fingerprint() -> str:
    """Return what a test of NumPy or OpenBLAS on this machine holds for."""
    return trial.fingerprint(_settings())


def is_tested() -> bool:
    """Say whether there is a verdict: then it is at hand, and no process is started for it."""
    return verdict.cache_info().currsize > 0 or trial.kept(fingerprint(), store()) is not None


def notes() -> Notes:
    """Return the verdict in words, of what was tested on this machine before and is kept."""
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
    """Return one of OpenBLAS's functions, under whichever name a build gives it."""
    names = (f"{prefix}openblas_{name}{suffix}" for prefix, suffix in _NAMES)
    return next((getattr(loaded, name) for name in names if hasattr(loaded, name)), None)
