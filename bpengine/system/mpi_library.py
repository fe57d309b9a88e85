"""The MPI of this machine: its launcher, and the library for which mpi4py is built.

A separate file, as each part of a machine has.
"""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec

from bpengine.system.launcher import mpiexec

SECONDS = 20.0  # seconds that MPI may take to report its version
ASK = "import mpi4py; mpi4py.rc.initialize = False; from mpi4py import MPI; print(MPI.Get_library_version())"


def facts() -> dict[str, str | None]:
    """Return "mpiexec", its path or None, and "library", the first line of its version, None without mpi4py.

    The library is loaded in a new process, since an MPI that does not fit this machine ends its process.
    """
    return {"mpiexec": mpiexec(), "library": _library() if find_spec("mpi4py") else None}


def _library() -> str:
    try:
        asked = subprocess.run(  # nosec B603 # this Python, with a text of ours
            [sys.executable, "-c", ASK], capture_output=True, text=True, timeout=SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"mpi4py does not load: {error}"
    lines = [line.strip(" \0") for line in (asked.stdout or asked.stderr).splitlines() if line.strip(" \0")]
    if asked.returncode:
        return f"mpi4py does not load: {lines[-1] if lines else asked.returncode}"
    return " ".join(lines[0].split()) if lines else "unknown"
