"""Results of tests of NumPy's or BLAS's bits, kept on disk with the fingerprint of the libraries and the processor."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from functools import cache
from importlib import import_module

from bpengine_numpy.llvm_target.object_code.loop_cache import key_of, one_at_a_time, store
from bpengine_numpy.llvm_target.self_test import openblas

_FORMAT = "verdict 1"
_CHOOSE = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS")  # how to multiply


def verdict(of: str, known: tuple[str, ...], test: Callable[[], str]) -> str:
    """Return the result of a test, one of `known`: from disk if it was run before, else by running it now."""
    key = _key(of)
    with one_at_a_time(key):
        kept = store().get(key)
        said = kept.decode("ascii", "replace") if kept is not None else None
        if said not in known:
            said = test()
            store().put(key, said.encode("ascii"))
    return said


def is_kept(of: str) -> bool:
    """Tell whether there is a result on disk."""
    return store().has(_key(of))


def _key(of: str) -> str:
    return f"{_FORMAT} {of} {_surroundings()}"


@cache
def _surroundings() -> str:
    # the processor features by which NumPy chooses its loops
    features = import_module("numpy._core._multiarray_umath").__cpu_features__
    chosen = {name: os.environ.get(name) for name in _CHOOSE}
    return json.dumps([openblas.fingerprint(), sorted(name for name, on in features.items() if on), chosen]) + key_of(
        ""
    )
