"""The launcher: the environment variables that mpiexec and srun set for their processes, and the path of mpiexec."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Final

SIZES: Final = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "PMIX_SIZE", "MV2_COMM_WORLD_SIZE")
RANKS: Final = ("PMI_RANK", "OMPI_COMM_WORLD_RANK", "PMIX_RANK", "MV2_COMM_WORLD_RANK")


LOCAL_RANKS: Final = (
    "MPI_LOCALRANKID", "OMPI_COMM_WORLD_LOCAL_RANK", "MV2_COMM_WORLD_LOCAL_RANK", "PALS_LOCAL_RANKID", "SLURM_LOCALID",
)  # fmt: skip


def launched() -> tuple[int, int]:
    """Return (rank, size) from the environment, (0, 1) for a process that was not launched. MPI is not loaded."""
    return _largest(RANKS, 0), max(1, _largest(SIZES, 1))


def local_rank() -> int:
    """Return the number of this process among those on its machine, from the environment; 0 if it was not launched."""
    return _largest(LOCAL_RANKS, 0)


def _largest(names: tuple[str, ...], otherwise: int) -> int:
    return max((int(os.environ[name]) for name in names if os.environ.get(name, "").isdecimal()), default=otherwise)


def mpiexec() -> str | None:
    """Return the path of mpiexec: the one beside this Python, which a wheel brings, or the first on the PATH; or None."""
    places = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    return shutil.which("mpiexec", path=places)
