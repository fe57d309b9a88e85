"""A compiled step on several GPUs, played by threads: shards in one graph, the exchange behind it, the update in another."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
from bpengine_cupy import CupyBackend, nccl
from bpengine_cupy.backend import shared_program
from bpengine_cupy.cuda_target.codegen.program_text import write_cuda
from bpengine_cupy.cuda_target.program import CudaProgram
from bpengine_cupy.cuda_target.target import CudaTarget
from bpengine_numpy import NumpyBackend
from bpengine_numpy.denormals import flushed
from bpengine_steps.adaptive import CompiledEpochs, CompiledStep
from bpengine_steps.plan import make_plan
from bpengine_steps.signature import Signature
from bpengine_steps.tracing import record

import bpengine as bp
from bpengine.backend import Backend
from tests.backends.cuda_host.player import Player
from tests.distributed.threads import Nccl, ThreadComm, cupy, in_threads


@pytest.fixture(autouse=True)
def _memory_of_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nccl, "pointer", lambda array: array.ctypes.data)


def fake_cupy(comm: ThreadComm) -> Any:
    """Return a CuPy for one of the processes, whose GPU is its own."""
    return cupy(Nccl(comm.meeting), f"0000:00:{comm.rank:02x}.0")


class Compiled(NumpyBackend):
    """Steps are compiled as CUDA C from the first on, and played; between processes with the adder of CuPy's."""

    _number = 0
    adder = Backend.adder  # NumPy's own records a loop over shards, which is a matter of its target

    def __init__(self, comm: ThreadComm | None = None) -> None:
        super().__init__()
        self.programs: list[CudaProgram] = []
        self.players: list[Player] = []
        self._epochs = CompiledEpochs(
            partial(Backend.run_epoch, self), float("-inf"), self._program, "CUDA", required=True
        )
        if comm is not None:
            self._cupy, self._connected = fake_cupy(comm), {}
            self.adder = partial(CupyBackend.adder, self)

    def _program(self, step: Any, state: Any, signature: Signature) -> CompiledStep:
        return shared_program(step, lambda: self._own_program(step, state, signature))

    def _own_program(self, step: Any, state: Any, signature: Signature) -> CompiledStep:
        plan = make_plan(record(step, state, signature), CudaTarget(), ordered=signature.ordered)
        self.players.append(Player())
        self.programs.append(CudaProgram(write_cuda(plan), self.players[-1]))
        return self.programs[-1]

    def run_epoch(self, step: Any, state: Any, data: Any, order: Any, lr: Any, **_: Any) -> Any:
        with np.errstate(all="ignore"), flushed():
            return self._epochs.run(step, state, data, order, lr)


NETWORK = bp.Network(6, [bp.Dense(4, "tanh"), bp.Dropout(0.2), bp.Dense(3)], "softmax_cross_entropy")


@pytest.mark.thorough(keep=2)
@pytest.mark.usefixtures("played")
@pytest.mark.parametrize(("size", "shards", "rows", "stop"), [(2, 2, 32, 1.3), (2, 4, 32, 0), (3, 6, 50, 0)])
def test_a_compiled_fit_exchanges_between_two_graphs(
    size: int, shards: int, rows: int, stop: float, rng: np.random.Generator
) -> None:
    """All processes stop after the same step, and exchange equally often also behind it: none waits for another.

    Of 50 rows the last batch leaves shards, and a process, without any.
    """
    x, y = rng.normal(size=(rows, 6)).astype(np.float32), rng.integers(0, 3, rows)
    settings: dict[str, Any] = {"batch_size": 16, "epochs": 3, "shards": shards, "stop": bp.LossBelow(stop)}
    alone = bp.Model(NETWORK, Compiled(), seed=1)
    history = alone.fit(x, y, **settings)
    assert (history.stopped_by == "3 epochs") == (not stop)

    def run(comm: ThreadComm) -> Any:
        backend = Compiled(comm)
        model = bp.Model(NETWORK, backend, seed=1)
        losses = model.fit(x, y, comm=comm, **settings).loss
        for program, player in zip(backend.programs, backend.players, strict=True):
            assert [call.outside is not None for call in program.text.calls].count(True) == 1
            assert player.graphs == 2  # shards | exchange | update
            assert player.replays == 2 * player.outings
        return dict(model.parameters), losses, sum(player.outings for player in backend.players), comm.queues

    for parameters, losses, outings, queues in in_threads(size, run):
        assert outings == queues >= history.steps
        np.testing.assert_array_equal(losses, history.loss)
        for name, value in alone.parameters.items():
            np.testing.assert_array_equal(parameters[name], value, err_msg=name)


def test_no_process_compiles_where_one_cannot(rng: np.random.Generator) -> None:
    x, y = rng.normal(size=(32, 6)).astype(np.float32), rng.integers(0, 3, 32)
    settings: dict[str, Any] = {"batch_size": 16, "epochs": 1, "shards": 2}

    class Failing(Compiled):
        def _own_program(self, step: Any, state: Any, signature: Signature) -> Any:
            raise OSError("no space left on device")

    def run(comm: ThreadComm) -> Any:
        with pytest.raises(bp.ConfigError, match="what a process cannot compile: no space left on device") as raised:
            bp.Model(NETWORK, (Failing if comm.rank else Compiled)(comm), seed=1).fit(x, y, comm=comm, **settings)
        return str(raised.value)

    assert len(set(in_threads(2, run))) == 1


@pytest.mark.usefixtures("played")
@pytest.mark.parametrize("halt_after", [2, 100])
def test_a_function_of_the_host_is_called_between_two_graphs_and_not_behind_a_halt(halt_after: int) -> None:
    backend, seen = NumpyBackend("float64"), list[float]()

    def doubled(x: Any, result: Any) -> None:
        seen.append(float(x[0, 0]))
        result[...] = 2 * x[0]

    call = backend.outside(doubled)

    def step(state: Any, rows: Any, lr: Any) -> Any:
        total = call(np.reshape(state["w"] + np.sum(rows[0], axis=0), (1, 2)))
        count = state["n"] + 1.0
        return {"w": total * lr, "n": count}, {"loss": np.sum(total), "halt": count[0] >= halt_after}

    state: Any = {"w": np.array([0.5, 1.5]), "n": np.zeros(1)}
    data, order, lr = (np.arange(12.0).reshape(6, 2),), np.arange(10).reshape(5, 2) % 6, np.full(5, 0.25)
    expected = Backend.run_epoch(backend, step, backend.copy(state), data, order, lr)
    eager, seen[:] = list(seen), []
    plan = make_plan(record(step, state, Signature.of(state, data, order, lr)), CudaTarget(), ordered=True)
    got = CudaProgram(write_cuda(plan), Player()).run(state, data, order, lr)
    assert seen == eager
    assert len(seen) == min(halt_after, 5)
    np.testing.assert_array_equal(got[0]["w"], expected[0]["w"])
    np.testing.assert_array_equal(got[1]["loss"], expected[1]["loss"])
