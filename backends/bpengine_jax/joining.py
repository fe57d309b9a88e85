"""Joining: JAX is connected to the processes of an MPI job, if it has an accelerator, before it looks for devices."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from inspect import signature

import jax

from bpengine.system.launcher import launched

SECONDS = 10  # seconds that JAX waits for a process that does not answer, or does not end


@dataclass
class Joining:
    """Whether JAX was connected, or why not; one object for the process, since JAX can be connected once."""

    tried: bool = False
    refusal: str = ""

    def join(self, *, needed: bool | None = None) -> None:
        """Connect JAX to the processes of an MPI job; do nothing in any other process, or a second time.

        needed: whether XLA exchanges sums; by default if JAX will look for an accelerator. On a CPU the processes use only
        MPI, since JAX would handle their end and signals itself.
        """
        if self.tried or launched()[1] == 1 or not (expects_accelerator() if needed is None else needed):
            return
        self.tried = True
        try:
            jax.distributed.initialize(cluster_detection_method="mpi4py", **_waits())
        except (RuntimeError, ValueError, ImportError) as error:  # JAX was in use before, or mpi4py is missing
            self.refusal = f" ({error})"


def _waits() -> dict[str, int]:
    """Return for how long JAX waits, by the arguments that this version has: 0.8 has none for the end of a job."""
    known = signature(jax.distributed.initialize).parameters
    return {name: SECONDS for name in ("heartbeat_timeout_seconds", "shutdown_timeout_seconds") if name in known}


def expects_accelerator() -> bool:
    """Return whether JAX will look for anything but a CPU, from its settings: querying JAX would initialise its devices."""
    platforms = jax.config.jax_platforms
    if platforms:
        return bool(platforms.split(",")[0] != "cpu")
    return any(find_spec(name) is not None for name in ("jax_plugins", "libtpu"))


joining = Joining()
