"""Which BLAS library multiplies NumPy's matrices, and which of its kernels it chose for this processor.

The answer decides the speed of the CPU, and NumPy itself does not give it: the library that is loaded must be asked.
"""

from __future__ import annotations

import ctypes
import importlib
from pathlib import Path
from typing import Any

import numpy as np

PREFIXES, SUFFIXES = ("", "scipy_"), ("", "64_", "_64")  # how builds of OpenBLAS decorate their names


def library() -> dict[str, Any]:
    """Return the library's name, version, kernel (the architecture it works for), threads and file, None if unknown."""
    configuration: Any = np.show_config(mode="dicts")
    built = configuration["Build Dependencies"]["blas"]
    empty = {"kernel": None, "threads": None, "file": None}
    named = {"name": built.get("name"), "version": built.get("version")}
    return {**named, **empty, **(_from_threadpoolctl() or _from_openblas())}


def _from_threadpoolctl() -> dict[str, Any]:
    """Ask threadpoolctl, which knows every BLAS, if it is installed."""
    try:
        pools = importlib.import_module("threadpoolctl").threadpool_info()
    except ImportError:
        return {}
    found = [pool for pool in pools if pool["user_api"] == "blas"]
    if not found:
        return {}
    pool = found[0]
    return {"kernel": pool.get("architecture"), "threads": pool["num_threads"], "file": pool["filepath"]}


def _from_openblas() -> dict[str, Any]:
    """Ask OpenBLAS itself through ctypes."""
    for file in _loaded():
        try:
            openblas = ctypes.CDLL(file)
        except OSError:
            continue
        name, threads = _function(openblas, "openblas_get_corename"), _function(openblas, "openblas_get_num_threads")
        if name and threads:
            name.restype = ctypes.c_char_p
            return {"kernel": name().decode(), "threads": int(threads()), "file": file}
    return {}


def _loaded() -> list[str]:
    """Return the files of BLAS libraries in this process, or, where the system does not tell, those beside NumPy."""
    try:
        files = {line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines()}
    except OSError:
        home = Path(np.__file__).parent
        files = {str(file) for folder in (home.parent / "numpy.libs", home / ".dylibs") for file in folder.glob("*")}
    return sorted(file for file in files if "blas" in Path(file).name.lower())


def _function(openblas: ctypes.CDLL, name: str) -> Any:
    variants = (f"{prefix}{name}{suffix}" for prefix in PREFIXES for suffix in SUFFIXES)
    return next((getattr(openblas, variant) for variant in variants if hasattr(openblas, variant)), None)
