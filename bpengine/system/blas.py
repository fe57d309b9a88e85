"""The BLAS library that multiplies NumPy's matrices, and which of its kernels it chose for this processor.

The kernel determines the speed on a CPU. NumPy does not report it; threadpoolctl reads it from the loaded library.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from threadpoolctl import threadpool_info


def library() -> dict[str, Any]:
    """Return the library's name, version, kernel (the architecture it works for), threads and file, None if unknown.

    name and version are those with which NumPy was built; the others are those of the library in this process.
    """
    configuration: Any = np.show_config(mode="dicts")
    built = configuration["Build Dependencies"]["blas"]
    loaded: dict[str, Any] = next((pool for pool in threadpool_info() if pool["user_api"] == "blas"), {})
    return {
        "name": built.get("name"),
        "version": built.get("version"),
        "kernel": loaded.get("architecture"),
        "threads": loaded.get("num_threads"),
        "file": loaded.get("filepath"),
    }
