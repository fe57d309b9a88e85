"""Evaluations, predictions and gradients as CUDA programs, played on the CPU: the answers are NumPy's."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial, reduce
from typing import Any

import numpy as np
import pytest
from bpengine_cupy.cuda_target.codegen.program_text import write_cuda
from bpengine_cupy.cuda_target.program import CudaProgram
from bpengine_cupy.cuda_target.target import CudaTarget
from bpengine_numpy import NumpyBackend
from bpengine_numpy.denormals import flushed
from bpengine_numpy.llvm_target.executable import Executable
from bpengine_numpy.llvm_target.target import LlvmTarget
from bpengine_steps.functions import CompiledFunction, RecordedFunction, compiled_function, mapped, record_function
from bpengine_steps.plan import make_plan
from bpengine_steps.signature import leaves

import bpengine as bp
from bpengine.training import evaluation
from bpengine.training.updates.update import all_finite
from tests.backends.cuda_host.player import Player
from tests.backends.fits import FITS, rows_for
from tests.tolerances import agreement_rtol

LONGEST = 16  # terms of the longest sum in these networks, but for the loss over the rows


def as_recorded(record: Callable[[], RecordedFunction]) -> RecordedFunction:
    return record()


class Played(NumpyBackend):
    """Functions are compiled as CUDA C and played; training is NumPy's."""

    def __init__(self, dtype: str = "float64") -> None:
        super().__init__(precision=dtype)
        self.players: list[Player] = []
        self.programs: list[CudaProgram] = []

    def compile(self, step: Any, *, donate: Any = ()) -> Any:
        run = CompiledFunction(step, as_recorded, self._program, kind=np.ndarray, compiler="CUDA")

        def call(*args: Any, **options: Any) -> Any:
            with np.errstate(all="ignore"), flushed():
                return run(*args, **options)

        return call

    def _program(self, recorded: RecordedFunction) -> CudaProgram:
        self.players.append(Player())
        text = write_cuda(make_plan(recorded.step, CudaTarget(), ordered=False))
        self.programs.append(CudaProgram(text, self.players[-1]))
        return self.programs[-1]

    @property
    def replays(self) -> list[int]:
        return [player.replays for player in self.players]


@pytest.fixture
def everything(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compile functions of any size; hold 16 rows at a time."""
    monkeypatch.setattr(compiled_function, "SMALL", 0)
    monkeypatch.setattr(evaluation, "CHUNK", 16)


def assert_close(got: Any, want: Any, dtype: str, terms: int = LONGEST) -> None:
    for (path, one), (_, other) in zip(leaves(got), leaves(want), strict=True):
        scale = np.abs(np.asarray(other, "f8")).max(initial=0.0)
        away = np.abs(np.asarray(one, "f8") - np.asarray(other, "f8")).max(initial=0.0)
        assert away <= agreement_rtol(dtype, terms) * scale, path


def network(name: str) -> tuple[bp.Network, int]:
    layers, loss, _ = FITS[name]
    net = bp.Network(4, layers, loss, [bp.L2(0.01)])
    return net, bp.Model(net).forward(np.zeros((1, 4))).shape[1]


@pytest.mark.thorough(keep=1)
@pytest.mark.usefixtures("played", "everything")
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", FITS)
def test_predictions_scores_and_gradients_agree_with_numpy(name: str, dtype: str, rng: np.random.Generator) -> None:
    net, outputs = network(name)
    backend = Played(dtype)
    model, plain = (bp.Model(net, b, dtype=dtype, seed=2) for b in (backend, NumpyBackend(precision=dtype)))
    x, y, weights = rng.normal(size=(40, 4)), rows_for(FITS[name][1], 40, outputs, rng), rng.uniform(0.5, 2, 40)
    assert_close(model.predict(x), plain.predict(x), dtype)
    assert backend.replays == [2, 1]  # 16, 16 and 8 rows
    assert_close(model.evaluate(x, y, weights), plain.evaluate(x, y, weights), dtype, 40 * LONGEST)
    assert backend.replays == [2, 1, 2, 1]
    assert_close(model.loss_and_gradients(x, y), plain.loss_and_gradients(x, y), dtype, 40 * LONGEST)
    assert backend.replays[4:] == [1]


@pytest.mark.usefixtures("played", "everything")
def test_prediction_is_one_graph_with_two_calls_per_layer(rng: np.random.Generator) -> None:
    backend = Played("float32")
    net = bp.Network(4, [bp.Dense(8, "relu"), bp.Dense(8, "tanh"), bp.Dense(3)], "softmax_cross_entropy")
    bp.Model(net, backend, seed=1).predict(rng.normal(size=(48, 4)))
    (program,) = backend.programs
    assert len(program.text.calls) <= 2 + 2 * 3
    assert backend.players[0].graphs == 1
    assert backend.replays == [3]


@pytest.mark.usefixtures("played", "everything")
def test_results_stay_as_they_are_when_the_program_runs_again(rng: np.random.Generator) -> None:
    double = Played().compile(lambda x, scale: {"twice": [x * scale, x], "none": None}, donate=())
    one, other = rng.normal(size=(2, 5, 3))
    first = double(one, 2.0)
    second = double(other, 2.0)
    np.testing.assert_array_equal(first["twice"][0], one * 2)
    np.testing.assert_array_equal(first["twice"][1], one)
    np.testing.assert_array_equal(second["twice"][0], other * 2)
    assert first["none"] is None
    np.testing.assert_array_equal(double(one, scale=2.0)["twice"][0], one * 2)
    assert not np.shares_memory(first["twice"][1], one)
    np.testing.assert_array_equal(double(one, 3.0)["twice"][0], one * 3)  # a number is a part of the program


def test_functions_are_compiled_after_enough_calls(
    monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    compiled = list[tuple[int, ...]]()

    class Program:
        def __init__(self, recorded: RecordedFunction) -> None:
            compiled.append(next(iter(recorded.step.inputs.values())).shape)

        def compile(self) -> None:
            pass

        def results(self, arguments: Any) -> list[Any]:
            return [a + 1.0 for a in arguments.values()]

    monkeypatch.setattr(compiled_function, "SMALL", 10)
    monkeypatch.setattr(compiled_function, "SHAPES", 2)
    run = CompiledFunction(lambda x: x + 1.0, as_recorded, Program, kind=np.ndarray, compiler="CUDA")
    for rows in (9, 10, 20, 30, 10):
        np.testing.assert_array_equal(run(np.ones(rows)), np.full(rows, 2.0))
    assert compiled == [(10,), (20,)]
    branching = CompiledFunction(lambda x: x if x[0] else -x, as_recorded, Program, kind=np.ndarray, compiler="CUDA")
    constant = CompiledFunction(lambda x: np.zeros(3), as_recorded, Program, kind=np.ndarray, compiler="CUDA")
    np.testing.assert_array_equal(branching(np.ones(10)), np.ones(10))
    np.testing.assert_array_equal(constant(np.ones(10)), np.zeros(3))
    assert len(compiled) == 2
    assert not recwarn.list


def test_failed_compilation_warns_once_and_runs_as_written(monkeypatch: pytest.MonkeyPatch) -> None:
    def make(recorded: RecordedFunction) -> Any:
        raise OSError("NVRTC is gone")

    monkeypatch.setattr(compiled_function, "SMALL", 0)
    run = CompiledFunction(lambda x: x + 1.0, as_recorded, make, kind=np.ndarray, compiler="CUDA")
    with pytest.warns(UserWarning, match="CUDA cannot compile an evaluation, which goes on without: OSError") as said:
        results = [run(np.ones(2)) for _ in range(3)]
    assert len(said) == 1
    np.testing.assert_array_equal(results, np.full((3, 2), 2.0))


@pytest.mark.usefixtures("played", "everything")
def test_threads_that_share_a_function_get_their_own_results() -> None:
    run = Played().compile(lambda x: x * 2.0)
    wrong = list[int]()

    def work(number: int) -> None:
        for _ in range(20):
            if not (run(np.full(500, float(number))) == 2.0 * number).all():
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_the_same_record_runs_on_numpys_target_with_numpys_bits(rng: np.random.Generator) -> None:
    """The mechanism does not depend on CUDA: what is recorded is planned for any target."""
    net, _ = network("softmax_cross_entropy")
    model = bp.Model(net, NumpyBackend("float64"), dtype="float64", seed=2)
    args = dict(model._params), rng.normal(size=(9, 4))

    def outputs(params: Any, x: Any) -> Any:
        return net.forward(model._ops, params, {}, x).y

    recorded = record_function(outputs, (args, {}), np.ndarray, "float64")
    program = Executable(make_plan(recorded.step, LlvmTarget(), ordered=False))
    arrays: dict[Any, Any] = {}
    mapped((args, {}), lambda path, leaf: arrays.update({path: leaf}))
    state: dict[Any, Any] = {}
    for path, node in recorded.step.inputs.items():
        *outer, last = path
        reduce(lambda tree, key: tree.setdefault(key, {}), outer, state)[last] = arrays.get(
            path, np.empty(node.shape, node.dtype)
        )
    after = dict(leaves(program.run(state, (), None, np.zeros(1))[0]))
    (place,) = recorded.step.changed
    np.testing.assert_array_equal(after[place], outputs(*args))


@pytest.mark.usefixtures("played", "everything")
def test_whether_all_numbers_are_finite_is_one_graph() -> None:
    """What a fit asks before its callbacks see the state: an eager test takes three launches for each array."""
    backend = Played("float32")
    finite = backend.compile(partial(all_finite, np))
    arrays = {"w": np.zeros((70, 30), np.float32), "b": np.ones(30, np.float32), "one": np.array(2, np.float32)}
    assert finite(arrays)
    for name, value in (("w", np.nan), ("b", np.inf), ("one", -np.inf), ("w", np.inf)):
        spoiled = arrays[name].copy()
        spoiled.reshape(-1)[-1] = value
        assert not finite({**arrays, name: spoiled})
    assert finite(arrays)
    assert backend.replays == [6]


@pytest.mark.usefixtures("played", "everything")
def test_all_and_any_are_recorded_over_every_axis() -> None:
    def truths(x: Any) -> dict[str, Any]:
        return {
            "rows": np.all(x > 0, axis=1, keepdims=True), "columns": np.any(x > 1, axis=0), "numbers": np.all(x),
            "any": np.any(x), "of a bool": np.any(np.isnan(x), axis=1),
        }  # fmt: skip

    backend = Played("float32")
    compiled = backend.compile(truths)
    for x in (np.array([[0.5, 2.0, np.nan], [1.0, 0.0, 3.0]]), np.zeros((2, 3)), np.full((2, 3), -2.0)):
        x = x.astype(np.float32)
        for (path, one), (_, want) in zip(leaves(compiled(x)), leaves(truths(x)), strict=True):
            np.testing.assert_array_equal(one, want, err_msg=str(path))
    assert backend.replays == [3]
