"""Products that do what follows them: fewer launches, the same numbers, in every order of threads."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from bpengine_cupy.cuda_target.cublaslt.library import NoAlgorithm
from bpengine_cupy.cuda_target.cublaslt.products import MatrixProduct
from bpengine_cupy.cuda_target.program import CudaProgram
from bpengine_steps.functions import compiled_function

import bpengine as bp
from tests.backends.cuda_host import played_cupy
from tests.backends.cuda_host.oracle import Disagreement, Oracle
from tests.backends.cuda_host.played_steps import NETWORKS, STEPS, Network, Training, training
from tests.backends.cuda_host.player import ORDERS, Player
from tests.tolerances import compiled_state_rtol

RELU = NETWORKS["relu, Adam"]


def mlp(layers: int) -> Network:
    """Return a multilayer perceptron with relu, softmax cross-entropy and Adam."""
    hidden = tuple(bp.Dense(16 + 4 * k, "relu") for k in range(layers - 1))
    return Network(12, (*hidden, bp.Dense(5)), "softmax_cross_entropy", 24, 5)


def names(trained: Training) -> list[str]:
    return [call.product.epilogue.name for call in trained.text.calls if call.product and call.product.epilogue]


@pytest.mark.parametrize("layers", [2, 3, 4, 6])
def test_epilogues_reduce_the_launches_of_a_step_to_the_stated_number(layers: int) -> None:
    """L layers take the head, 3 L - 1 products, the loss and the tail; without, a pass more per hidden layer and direction."""
    assert len(training(mlp(layers), "float32", epilogues=True).text.calls) == 3 * layers + 2
    assert len(training(mlp(layers), "float32").text.calls) == 5 * layers


@pytest.mark.usefixtures("played")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_as_many_calls_are_put_into_the_stream(dtype: str) -> None:
    class Counting(Player):
        ran = 0

        def _do(self, *arguments: Any) -> None:
            self.ran += 1
            super()._do(*arguments)

    for epilogues, a_step in ((True, 3 * 3 + 2), (False, 5 * 3)):
        player = Counting()
        training(mlp(3), dtype, epilogues=epilogues).play(player)
        assert player.ran == (STEPS + 1) * a_step  # one step that changes nothing comes before
        assert player.graphs == 1
        assert player.epilogues == epilogues * (STEPS + 1) * 4


@pytest.mark.usefixtures("played")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_launch_with_epilogues_writes_what_numpy_makes_of_its_operands(dtype: str) -> None:
    trained = training(RELU, dtype, epilogues=True)
    assert names(trained) == ["relu_aux_bias"] * 2 + ["drelu_bgrad"] * 2
    oracle = Oracle(trained.text)
    try:
        trained.play(oracle)
    except Disagreement as error:
        pytest.fail(str(error), pytrace=False)
    assert not oracle.unchecked
    assert oracle.worst > 0


@pytest.mark.usefixtures("played")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_training_with_epilogues_is_numpys_in_every_order_of_threads(dtype: str) -> None:
    trained = training(RELU, dtype, epilogues=True)
    wanted, losses = trained.wanted
    results = [trained.play(Player(order)) for order in ORDERS.values()]
    for state, reports in results:
        np.testing.assert_allclose(reports["loss"], losses["loss"], rtol=compiled_state_rtol(dtype, STEPS))
        for path, want in wanted.items():
            assert state[path].tobytes() == results[0][0][path].tobytes(), path
            scale = np.abs(want.astype("f8")).max(initial=0.0)
            away = np.abs(state[path].astype("f8") - want.astype("f8")).max(initial=0.0)
            assert away <= compiled_state_rtol(dtype, STEPS) * scale, path


def test_epilogues_take_over_relu_in_float32_alone() -> None:
    """Neither another activation nor a layer whose outputs something else reads; in bfloat16 nothing: a pass rounds anyway."""
    layers = (bp.Dense(9, "gelu"), bp.Residual([bp.Dense(9, "relu")]), bp.Dense(7, "relu", bias=False), bp.Dense(5))
    other = training(Network(12, layers, "softmax_cross_entropy", 24, 5), "float32", epilogues=True)
    assert names(other) == ["relu_bias"]  # of the residual block, whose way back comes from a sum
    assert not names(training(RELU, "float32", precision="bfloat16", epilogues=True))
    assert not names(training(RELU, "float32"))


@pytest.mark.usefixtures("played")
def test_backend_uses_epilogues_where_they_are_enabled(
    monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    players, calls = list[Player](), list[int]()
    played_cupy.play(monkeypatch, lambda: players.append(Player()) or players[-1])
    monkeypatch.setattr(compiled_function, "SMALL", 0)
    results = CudaProgram.results
    monkeypatch.setattr(
        CudaProgram, "results", lambda self, *a: calls.append(len(self.text.calls)) or results(self, *a)
    )
    net = bp.Network(5, [bp.Dense(6, "relu"), bp.Dense(3)], "softmax_cross_entropy")
    x, y = rng.normal(size=(40, 5)).astype(np.float32), rng.integers(0, 3, 40)
    losses, predictions, of_predict = [], [], list[int]()
    for wanted in (False, True):
        played_cupy.clear_caches()
        backend = bp.get_backend("cupy")
        backend._epilogues, backend._dots = wanted, False
        model = bp.Model(net, backend, seed=1)
        losses.append(model.fit(x, y, batch_size=20, epochs=2).loss)
        predictions.append(model.predict(x))
        of_predict.append(calls[-1])
    assert [bool(player.epilogues) for player in players] == [False, True]
    assert of_predict[1] == of_predict[0] - 1
    np.testing.assert_allclose(losses[1], losses[0], rtol=compiled_state_rtol("float32", 4))
    np.testing.assert_allclose(predictions[1], predictions[0], rtol=1e-4, atol=1e-4)


@pytest.mark.usefixtures("played")
def test_where_cublaslt_has_no_such_algorithm_a_pass_does_it(
    monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator, recwarn: pytest.WarningsRecorder
) -> None:
    class Plain(Player):
        def product(self, product: MatrixProduct, base: int) -> Any:
            if product.epilogue is not None:
                raise NoAlgorithm(f"cuBLASLt has no algorithm for {product}")
            return super().product(product, base)

    players = list[Plain]()
    played_cupy.play(monkeypatch, lambda: players.append(Plain()) or players[-1])
    backend = bp.get_backend("cupy")
    backend._epilogues = True
    net = bp.Network(5, [bp.Dense(6, "relu"), bp.Dense(3)], "softmax_cross_entropy")
    x, y = rng.normal(size=(40, 5)).astype(np.float32), rng.integers(0, 3, 40)
    got, wanted = (bp.Model(net, b, seed=1).fit(x, y, batch_size=20, epochs=1).loss for b in (backend, "numpy"))
    np.testing.assert_allclose(got, wanted, rtol=compiled_state_rtol("float32", 2))
    assert players[0].replays == 2
    assert not players[0].epilogues
    assert not recwarn.list


def test_a_mask_takes_whole_words_of_128_bits() -> None:
    wide = replace(mlp(2), layers=(bp.Dense(130, "relu"), bp.Dense(5)))
    products = [call.product for call in training(wide, "float32", epilogues=True).text.calls if call.product]
    masks = [product.epilogue for product in products if product.epilogue]
    assert [(mask.name, mask.pitch) for mask in masks] == [("relu_aux_bias", 256), ("drelu_bgrad", 256)]
    assert len({mask.mask for mask in masks}) == 1
    assert all(place % 256 == 0 for mask in masks for place in (mask.mask, mask.vector))
