"""NCCL between GPUs, played by threads: the same sums to the bit as one process, the same for all kinds of exchange."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from bpengine_cupy import CupyBackend, nccl
from bpengine_numpy import NumpyBackend

import bpengine as bp
from bpengine.distributed import exchange
from bpengine.distributed.tree import own_shards
from tests.distributed.exchanges import LENGTHS, added
from tests.distributed.threads import Nccl, ThreadComm, cupy, in_threads


@pytest.fixture(autouse=True)
def _memory_of_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nccl, "pointer", lambda array: array.ctypes.data)


def played(comm: ThreadComm, **nccl_has: Any) -> Any:
    """Return a CuPy for one of the processes, whose GPU is its own."""
    module = Nccl(comm.meeting)
    for name, value in nccl_has.items():
        setattr(module, name, value)
    return cupy(module, f"0000:00:{comm.rank:02x}.0")


@pytest.mark.parametrize("small", [0, exchange.SMALL])
@pytest.mark.parametrize("size", [2, 3, 4, 8])
def test_the_sum_is_that_of_one_process(size: int, small: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "SMALL", small)
    cases = [(shards, n) for shards in (size, 16, 17) for n in LENGTHS]

    def run(comm: ThreadComm) -> list[Any]:
        device = nccl.connected(played(comm), 0, comm)
        assert device is not None
        sums = []
        for shards, n in cases:
            roots = np.stack([root.value for root in added(own_shards(shards, comm.rank, size), n).roots])
            sums += [device.add_up(roots.copy(), shards) for _ in range(2)]  # the buffers are used again
        assert comm.queues == len(sums)
        return sums

    for sums in in_threads(size, run):
        for number, (shards, n) in enumerate(cases):
            expected = added(range(shards), n).total()
            for again in sums[2 * number : 2 * number + 2]:
                np.testing.assert_array_equal(again, expected, err_msg=f"{shards} shards, {n} elements")


class Played(NumpyBackend):
    """NumPy's backend with the adder of CuPy's; steps run as they are written."""

    adder = CupyBackend.adder
    _number = 0

    def __init__(self, comm: ThreadComm) -> None:
        super().__init__()
        self._cupy, self._connected, self._compiled = played(comm), {}, None


@pytest.mark.parametrize("size", [2, 3])
def test_a_fit_gives_the_bits_of_one_process(size: int, rng: np.random.Generator) -> None:
    x, y = rng.normal(size=(50, 6)).astype(np.float32), rng.integers(0, 3, 50)
    network = bp.Network(6, [bp.Dense(8, "tanh"), bp.Dropout(0.2), bp.Dense(3)], "softmax_cross_entropy")
    settings: dict[str, Any] = {"batch_size": 16, "epochs": 3, "shards": 6}
    alone = bp.Model(network, seed=1)
    alone.fit(x, y, **settings)

    def run(comm: ThreadComm) -> dict[str, Any]:
        model = bp.Model(network, Played(comm), seed=1)
        model.fit(x, y, comm=comm, **settings)
        assert comm.queues == 12
        return dict(model.parameters)

    for parameters in in_threads(size, run):
        for name, value in alone.parameters.items():
            np.testing.assert_array_equal(parameters[name], value, err_msg=name)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            lambda comm: played(comm, available=comm.rank != 1),
            "NCCL is missing. Install it: pip install nvidia-nccl-cu13",
        ),
        (lambda comm: cupy(Nccl(comm.meeting)), "processes 0 and 1 have the same GPU"),
    ],
    ids=["NCCL is missing on one", "one GPU"],
)
def test_all_processes_exchange_on_the_host_where_nccl_cannot(change: Any, reason: str) -> None:
    def run(comm: ThreadComm) -> Any:
        return nccl.connected(change(comm), 0, comm)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert in_threads(3, run) == [None] * 3
    (warning,) = caught
    assert str(warning.message).startswith(f"Sums go from GPU to GPU through the host: {reason}")


def test_a_communicator_that_cannot_be_made_is_one_error() -> None:
    def refuse(size: int, key: bytes, rank: int) -> Any:
        raise OSError("NCCL_ERROR_SYSTEM_ERROR: unhandled system error")

    def run(comm: ThreadComm) -> str:
        with pytest.raises(bp.BackendUnavailable, match="cannot connect the GPUs of 2 processes") as raised:
            nccl.connected(played(comm, NcclCommunicator=refuse), 0, comm)
        return str(raised.value)

    assert "unhandled system error" in in_threads(2, run)[0]
