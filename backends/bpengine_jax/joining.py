"""JAX joins the processes of an MPI job, where it has an accelerator: before it looks for devices, or never."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec

import jax

from bpengine.system.launcher import launched

SECONDS = 10  # that JAX waits for a process that does not answer, or does not end


@dataclass
class Joining:
    """Whether it was tried, and how it was refused; there is one, as JAX joins once in a process."""

    tried: bool = False
    refusal: str = ""

    def join(self, *, needed: bool | None = None) -> None:
        """Let JAX know the processes of an MPI job; do nothing in any other, or a second time.

        needed: whether XLA is to exchange; by default where JAX is going to look for an accelerator. On a CPU the processes
        meet by MPI alone: JAX would end them in its own way, and keep signals to itself.
        """
        if self.tried or launched()[1] == 1 or not (expects_accelerator() if needed is None else needed):
            return
        self.tried = True
        try:
            jax.distributed.initialize(
                cluster_detection_method="mpi4py", heartbeat_timeout_seconds=SECONDS, shutdown_timeout_seconds=SECONDS
            )
        except (RuntimeError, ValueError, ImportError) as error:  # JAX was in use before, or there is no mpi4py
            self.refusal = f" ({error})"


def expects_accelerator() -> bool:
    """Return whether JAX is going to look for anything but a CPU; it is not asked, for then it would look."""
    platforms = jax.config.jax_platforms
    if platforms:
        return bool(platforms.split(",")[0] != "cpu")
    return any(find_spec(name) is not None for name in ("jax_plugins", "libtpu"))


joining = Joining()
