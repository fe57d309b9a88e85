"""Object code: kept in files on disk, compiled if missing, loaded into the process by LLVM.

LLVM does not check object files, so `bpengine_steps.disk` checks every file first. A file's key has everything that its
code depends on: the text, the versions of the compiler, and the processor.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.resources import files
from threading import Lock
from typing import Any, TypeAlias
from weakref import WeakValueDictionary

import llvmlite
import llvmlite.binding as llvm
import numpy as np
from bpengine_steps.disk import Cache, user_cache
from bpengine_steps.ir import Untraceable

from bpengine_numpy.llvm_target.object_code.llvm_build import build
from bpengine_numpy.llvm_target.object_code.machine_code import Code, features, target_machine

ExecutionEngine: TypeAlias = Any  # of llvmlite, which has no type annotations
FORMAT = 1  # version of the content of a file
OWN_FILES = (  # versions on which all object code depends
    "object_code/llvm_build.py",
    "object_code/machine_code.py",
)


def addresses(source: str) -> tuple[int, ...]:
    """Return the addresses of the functions that a text calls FUNCTIONS, compiled now unless done before."""
    key = key_of(source)
    with one_at_a_time(key):
        if key not in _loaded:
            _loaded[key] = _kept(key) or _built(source, key)
        return _loaded[key]


def on_disk(source: str) -> bool:
    """Tell whether a text has been compiled on this machine."""
    key = key_of(source)
    return key in _loaded or store().has(key)


def store() -> Cache:
    """Return the cache of object code."""
    return user_cache("loops")


def key_of(source: str) -> str:
    """Return the key of a text's code: everything that it depends on."""
    return f"{_surroundings()}\n{source}"


@cache
def _surroundings() -> str:
    libraries = {"llvmlite": llvmlite.__version__, "numpy": np.__version__}
    python = (platform.python_implementation(), platform.python_version())
    processor = (platform.machine(), llvm.get_process_triple(), llvm.get_host_cpu_name(), features())
    here = files("bpengine_numpy.llvm_target")
    own = [hashlib.sha256(here.joinpath(name).read_bytes()).hexdigest() for name in OWN_FILES]
    return json.dumps([FORMAT, libraries, python, processor, own])


def _kept(key: str) -> tuple[int, ...] | None:
    """Return the functions of code on disk, None if it is missing or damaged, or calls a missing function."""
    content = store().get(key)
    return None if content is None else _load(Code.unpacked(content))


def _built(source: str, key: str) -> tuple[int, ...]:
    code = build(source, f"bpengine_{hashlib.sha256(key.encode()).hexdigest()[:32]}")
    store().put(key, code.packed())
    addresses = _load(code)
    if addresses is None:
        raise Untraceable(f"code that calls {code.needs}, which this process lacks")
    return addresses


def _load(code: Code) -> tuple[int, ...] | None:
    """Load code into the process; return None when a function that it calls is missing: LLVM would end the process."""
    with _linking:
        engine = _engine()
        if any(llvm.address_of_symbol(name) is None for name in code.needs):
            return None
        engine.add_object_file(llvm.ObjectFileRef.from_data(code.binary))
        engine.finalize_object()
        addresses = tuple(int(engine.get_function_address(symbol)) for symbol in code.symbols)
    return addresses if all(addresses) else None


@cache
def _engine() -> ExecutionEngine:
    return llvm.create_mcjit_compiler(llvm.parse_assembly(""), target_machine())


_loaded: dict[str, tuple[int, ...]] = {}
# locks exist as long as a thread holds one or waits for it
_locks: WeakValueDictionary[str, Lock] = WeakValueDictionary()
_linking, _registering = Lock(), Lock()


@contextmanager
def one_at_a_time(key: str) -> Iterator[None]:
    """Let one thread at a time work on a key, while other threads for that key wait."""
    with _registering:
        lock = _locks.setdefault(key, Lock())
    with lock:
        yield


def _unlock() -> None:
    """Give a forked process new locks: locks that other threads held would never be released."""
    global _linking, _registering
    _locks.clear()
    _linking, _registering = Lock(), Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_unlock)
