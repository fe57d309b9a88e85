"""Trial: a self-test of undocumented interfaces: the layout of NumPy's strided loops and of OpenBLAS's queue of jobs.

A layout other than the expected one would end the process or give wrong numbers. So the installed libraries are tried once in
a separate process, and the result is kept on disk with their fingerprint. If no process can be started, or the trial fails,
the loops are not called (the step runs uncompiled), and OpenBLAS's threads are not used.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from bpengine_steps.disk import Cache

SECONDS = 20.0  # seconds allowed for a process that takes 0.3
PARTS = ("loops", "queue")
INSIDE = "BPENGINE_TRIAL"  # set in the process of a trial, which must not start another trial
CHILD = Path(__file__).with_name("trial_child.py")
CAPSULE = "numpy_1.24_ufunc_call_info"
LOOPS = {
    "capsule": CAPSULE,
    "order": [0, 1, 2],  # the loop, its context, its auxiliary data
    "unary": ["exp", "log", "tanh", "expm1"],
    "binary": ["add", "maximum"],
}


class TrialVerdict(NamedTuple):
    """The faults of the loops and of the queue, "" for none; `lasting` where a repetition would have the same result."""

    loops: str
    queue: str
    lasting: bool = True


def tried(settings: dict[str, Any], cache: Cache) -> TrialVerdict:
    """Return the result for the libraries that `settings` name, from disk if it is there."""
    key = fingerprint(settings)
    known = kept(key, cache)
    if known:
        return known
    verdict = _run(settings)
    if verdict.lasting:
        cache.put(key, json.dumps(verdict[:2]).encode())
    return verdict


def kept(key: str, cache: Cache) -> TrialVerdict | None:
    """Return the result that is on disk, None when there is none."""
    content = cache.get(key)
    return None if content is None else TrialVerdict(*json.loads(content))


def fingerprint(settings: dict[str, Any]) -> str:
    """Return the fingerprint for which a result is valid: NumPy, its files and BLAS's, and the test."""
    queue = settings.get("queue") or {}
    libraries = [_file(path) for path in (np.__file__, queue.get("library"), queue.get("file")) if path]
    test = hashlib.sha256(CHILD.read_bytes()).hexdigest()
    known = {**settings, "queue": {**queue, "jobs": 0}}  # the present number of threads does not matter
    return json.dumps(["trial", sys.version, np.__version__, libraries, known, test], sort_keys=True)


def _file(path: str) -> tuple[str, int, int]:
    try:
        status = os.stat(path)
    except OSError:
        return path, 0, 0
    return path, status.st_size, status.st_mtime_ns


def _run(settings: dict[str, Any]) -> TrialVerdict:
    python = interpreter()
    if python is None:
        return _all("not tested: this process knows of no Python to start", lasting=False)
    command = [python, "-P", str(CHILD), json.dumps({"path": sys.path, **settings})]
    try:
        ended = subprocess.run(  # nosec B603 # this Python, a module of ours
            command,
            env={**os.environ, INSIDE: "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=SECONDS,
            check=False,
        )
        said, how = ended.stdout, f"its process ended with code {ended.returncode}"
    except subprocess.TimeoutExpired as error:
        said, how = error.stdout or b"", f"no answer within {SECONDS:.0f} s"
    except OSError as error:
        return _all(f"not tested: {error}", lasting=False)
    return _judged(said, how)


def _judged(said: bytes, how: str) -> TrialVerdict:
    answers: dict[str, str] = {}
    for line in said.decode(errors="replace").splitlines():
        try:
            what, trouble = json.loads(line)
        except (ValueError, TypeError):  # output of a module that is loaded at every start of Python
            continue
        answers[str(what)] = str(trouble)
    if "started" not in answers:
        return _all(f"not tested: {how}", lasting=False)
    loops, queue = (answers.get(part, f"the self-test failed: {how}") for part in PARTS)
    return TrialVerdict(loops, queue)


def _all(trouble: str, *, lasting: bool) -> TrialVerdict:
    return TrialVerdict(trouble, trouble, lasting)


def interpreter() -> str | None:
    """Return the Python interpreter for a trial, None where there is none: in a program that embeds Python."""
    inside = getattr(sys, "frozen", False) or os.environ.get(INSIDE)
    named = sys.executable and Path(sys.executable).name.lower().startswith(("python", "pypy"))
    return sys.executable if named and not inside else None


@cache
def home(address: int) -> str | None:
    """Return the path of the library that contains an address, None where the system does not report it."""

    class Info(ctypes.Structure):
        _fields_ = (
            ("name", ctypes.c_char_p),
            ("base", ctypes.c_void_p),
            ("symbol", ctypes.c_char_p),
            ("at", ctypes.c_void_p),
        )

    try:
        info, ask = Info(), ctypes.CDLL(None).dladdr
        ask.argtypes = (ctypes.c_void_p, ctypes.c_void_p)
        return os.fsdecode(info.name) if ask(address, ctypes.addressof(info)) and info.name else None
    except (AttributeError, OSError, TypeError):  # not on Windows
        return None
