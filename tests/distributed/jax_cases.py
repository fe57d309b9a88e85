"""Fits on JAX, on as many processes as there are: `mpiexec -n 2 python -m tests.distributed.jax_cases TRANSPORT`.

TRANSPORT is "host" (a call of the host in the compiled epoch), "device" (XLA's own collectives), or "halves" (those of long
vectors, whatever their lengths). Prints a digest per case.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from bpengine_jax import transports
from bpengine_jax.joining import joining

import bpengine as bp
from bpengine.distributed import guarded
from tests.distributed.cases import digest

NETWORK = bp.Network(20, [bp.Dense(32, "relu"), bp.Dropout(0.2), bp.Dense(5)], "softmax_cross_entropy", bp.L2(1e-3))
CASES: dict[str, dict[str, Any]] = {
    "plain": {"rows": 1024, "optimizer": bp.SGD(0.1)},
    "weights, dropout, clip, validation": {"rows": 1024, "clip_norm": 1.0, "validation": 100, "weighted": True},
    "uneven last batch": {"rows": 1000},
}


def result(rows: int, transport: str, comm: Any, *, weighted: bool = False, **settings: Any) -> str:
    """Return the digest of a fit."""
    draw = np.random.default_rng(0)
    x, y = draw.standard_normal((rows, 20)).astype("float32"), draw.integers(0, 5, rows)
    model = bp.Model(NETWORK, "jax")
    vars(model.backend)["_by_host"] = transport == "host"
    if "validation" in settings:
        settings["validation"] = (x[: settings["validation"]], y[: settings["validation"]])
    weights = np.linspace(0.5, 1.5, rows) if weighted else None
    fit = {"batch_size": 256, "epochs": 2, "shards": 16, "optimizer": bp.Adam(bp.Cosine(0.01, 50)), **settings}
    return digest(model, model.fit(x, y, weights=weights, comm=comm, **fit))


def main(transport: str) -> int:
    """Run the cases on these processes; XLA's collectives take batches that the shards divide."""
    joining.join(needed=transport != "host")
    if transport == "halves":
        transports.SMALL = 0
    comm = bp.world()

    def run(tell: Callable[..., None] = print) -> None:
        for name, case in CASES.items():
            if transport == "host" or case["rows"] % 256 == 0:
                mine = result(transport=transport, comm=comm, **case)
                if comm.rank == 0:
                    tell(f"{name}: {mine}", flush=True)

    return guarded(comm, run)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
