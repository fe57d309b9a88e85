"""Equal networks in one process share what is compiled, and nothing that belongs to a model."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import bpengine as bp
from bpengine.system import process_caches
from bpengine.system.lru_cache import LruCache
from bpengine.training import reuse
from tests.training.networks import everything, labelled

SETTINGS: dict[str, Any] = {"optimizer": bp.Adam(0.01), "batch_size": 16, "epochs": 2}
WAYS = ("numpy", "numpy, compiled", "jax")


def small(**options: Any) -> bp.Network:
    return bp.Network(5, [bp.Dense(4, "tanh", **options), bp.Dense(3)], "softmax_cross_entropy", bp.L2(1e-3))


def mixed() -> bp.Network:
    """Return a network whose steps see running statistics, a counter and a layer inside of another."""
    layers = [bp.Dense(4, "tanh"), bp.BatchNorm(), bp.Dropout(0.3), bp.Residual([bp.Dense(4)]), bp.Dense(3)]
    return bp.Network(5, layers, "softmax_cross_entropy", bp.L2(1e-3))


def model(way: str, network: bp.Network, seed: int = 0) -> bp.Model:
    model = bp.Model(network, way.partition(",")[0], seed=seed)
    if way.endswith("compiled"):
        model.backend._compiled._patience = float("-inf")
    return model


def trained(way: str, network: bp.Network, rows: Any, seed: int = 0, **more: Any) -> dict[str, np.ndarray]:
    one = model(way, network, seed)
    losses = one.fit(*rows, validation=rows, **SETTINGS | more).loss
    return {**one.parameters, **one.running, "losses": losses, "predicted": one.predict(rows[0])}


def assert_same_bits(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        np.testing.assert_array_equal(value, other[name], err_msg=name)


def shared(one: bp.Network, other: bp.Network) -> bool:
    return bp.Model(one)._shared is bp.Model(other)._shared


@pytest.mark.parametrize("way", WAYS)
def test_caches_change_no_bit(way: str, rng: np.random.Generator) -> None:
    """Compare with models trained after others, and with caches off."""
    rows = labelled(rng)
    for seed in (1, 2):
        trained(way, mixed(), rows, seed)
    again = trained(way, mixed(), rows)
    bp.clear_caches()
    assert_same_bits(again, trained(way, mixed(), rows))


def test_equal_networks_compile_once(monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator) -> None:
    from bpengine_jax.programs import Program

    compiled = list[int]()
    original = Program._compile
    monkeypatch.setattr(Program, "_compile", lambda *args: compiled.append(1) or original(*args))
    rows = labelled(rng)
    trained("jax", small(), rows)
    first = len(compiled)
    for rate in (0.1, bp.Cosine(0.1, 10), lambda step: 0.1):
        trained("jax", small(weight_init="he"), rows, 1, optimizer=bp.Adam(rate))
    assert first
    assert len(compiled) == first
    trained("jax", small(), rows, optimizer=bp.Adam(0.01, beta1=0.8))
    assert len(compiled) > first


def test_a_fit_goes_on_compiled_where_another_has_ended(
    monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    from bpengine_numpy.llvm_target.executable import Executable

    executables = list[int]()
    original = Executable.__init__
    monkeypatch.setattr(Executable, "__init__", lambda *args: executables.append(1) or original(*args))
    for seed in range(3):
        trained("numpy, compiled", small(), labelled(rng), seed)
    assert len(executables) == 2  # batches of 16, and of the 12 that are left over


def test_initialisers_are_no_part_of_what_is_compared() -> None:
    assert shared(small(), small(weight_init=np.ones((5, 4))))
    assert shared(everything(), everything())
    assert shared(mixed(), mixed())


@dataclass(frozen=True)
class Mine(bp.Layer):
    """A layer of one's own; equal instances are equal."""


def summed_forward(xp: Any, y: Any, target: Any) -> Any:
    return xp.sum(y), y


def same_forward(xp: Any, x: Any) -> Any:
    return x, x


def back(xp: Any, residual: Any, d: Any) -> Any:
    return xp.ones_like(residual) * d


OTHERS: dict[str, Callable[[], list[bp.Network]]] = {
    "sizes": lambda: [bp.Network(2, bp.Dense(units), "mean_squared_error") for units in (1, 2)],
    "inputs": lambda: [bp.Network(n, bp.Dense(1), "mean_squared_error") for n in (1, 2)],
    "bias": lambda: [bp.Network(2, bp.Dense(1, bias=bias), "mean_squared_error") for bias in (True, "column")],
    "loss": lambda: [bp.Network(2, bp.Dense(1), bp.Loss("huber", delta=delta)) for delta in (1.0, 2.0)],
    "reduction": lambda: [bp.Network(2, bp.Dense(1), bp.Loss("huber", how)) for how in ("sum", "mean")],
    "penalty": lambda: [bp.Network(2, bp.Dense(1), "mean_squared_error", bp.L2(s)) for s in (0.1, 0.2)],
    "signed zero": lambda: [
        bp.Network(2, [bp.Activation("leaky_relu", alpha=alpha)], "mean_squared_error") for alpha in (0.0, -0.0)
    ],
    "what is shared": lambda: [
        bp.Network(2, layers, "mean_squared_error") for layers in ([bp.Dense(2)] * 2, [bp.Dense(2), bp.Dense(2)])
    ],
    "own layer": lambda: [bp.Network(2, [bp.Dense(1), Mine()], "mean_squared_error") for _ in range(2)],
    "own loss": lambda: [bp.Network(2, bp.Dense(1), (summed_forward, back)) for _ in range(2)],
    "own activation": lambda: [
        bp.Network(2, bp.Dense(1, (same_forward, back)), "mean_squared_error") for _ in range(2)
    ],
}


@pytest.mark.parametrize("what", OTHERS)
def test_different_networks_and_own_code_are_not_shared(what: str) -> None:
    assert not shared(*OTHERS[what]())


def test_a_layer_with_a_method_of_its_own_is_not_shared() -> None:
    altered = bp.Dense(4)
    object.__setattr__(altered, "forward", lambda *arguments: None)
    assert not shared(bp.Network(8, altered, "mean_squared_error"), bp.Network(8, bp.Dense(4), "mean_squared_error"))


def test_other_kernels_compile_other_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    before = bp.Model(small())
    monkeypatch.setattr(type(before.backend), "replacements", lambda self: {"tanh_fwd": np.tanh})
    assert bp.Model(small())._shared is not before._shared


def test_a_rule_of_ones_own_is_compiled_for_its_model(rng: np.random.Generator) -> None:
    """Equal instances of a class whose rule reads what changes: a later model has the rule as it is then."""
    scale = [1.0]

    class Scaled(bp.SGD):
        def bind(self, ops: Any) -> Any:
            rule, factor = super().bind(ops), scale[0]
            return lambda w, dw, t, lr: rule(w, dw * factor, t, lr)

    rows = labelled(rng)
    for value in (1.0, 3.0):
        scale[0] = value
        mine = trained("jax", small(), rows, optimizer=Scaled(0.01))
        np.testing.assert_allclose(
            mine["1.bias"], trained("numpy", small(), rows, optimizer=bp.SGD(0.01 * value))["1.bias"], rtol=1e-4
        )


@pytest.mark.thorough(keep=2)
@pytest.mark.parametrize("way", WAYS)
def test_two_models_train_at_once_as_one_after_the_other(way: str, rng: np.random.Generator) -> None:
    rows, alone, together = labelled(rng), {}, dict[int, Any]()
    for seed in (0, 1):
        bp.clear_caches()
        alone[seed] = trained(way, mixed(), rows, seed)
    bp.clear_caches()
    threads = [
        threading.Thread(target=lambda s=seed: together.update({s: trained(way, mixed(), rows, s)})) for seed in alone
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for seed in alone:
        assert_same_bits(together[seed], alone[seed])


def test_a_thread_computes_in_the_precision_of_its_model(rng: np.random.Generator) -> None:
    """NumPy 2.1.0 and 2.1.1 promote float32 scalars to float64 in every thread but the first: other losses."""
    computed: list[dict[str, np.ndarray]] = []
    thread = threading.Thread(target=lambda: computed.append(trained("numpy", small(), labelled(rng))))
    thread.start()
    thread.join()
    assert {value.dtype for value in computed[0].values()} == {np.dtype("float32")}


FORKED = """
import os, sys
import numpy as np, bpengine as bp
x, y = np.random.default_rng(0).normal(size=(60, 8)), np.arange(60) % 3
def losses():
    network = bp.Network(8, [bp.Dense(4, "tanh"), bp.Dense(3)], "softmax_cross_entropy")
    return bp.Model(network).fit(x, y, batch_size=16, epochs=3).loss.tolist()
bp.get_backend("numpy")._compiled._patience = float(sys.argv[1])
before = losses()
child = os.fork()
if not child:
    os._exit(losses() != before)
assert losses() == before
assert os.waitpid(child, 0)[1] == 0
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no forks")
@pytest.mark.parametrize("patience", ["-inf", "inf"])
def test_forked_process_shares_the_cache(patience: str) -> None:
    subprocess.run([sys.executable, "-W", "error", "-c", FORKED, patience], check=True, timeout=100)


@pytest.mark.thorough(keep=2)
@pytest.mark.parametrize("way", WAYS)
def test_failed_fit_leaves_the_cache_usable(way: str, rng: np.random.Generator) -> None:
    def fail(model: bp.Model, epoch: Any) -> bool:
        raise LookupError

    rows = labelled(rng)
    alone = trained(way, small(), rows)
    bp.clear_caches()
    for more, error in (
        ({"callbacks": fail}, LookupError),
        ({"optimizer": bp.SGD(1e38), "epochs": 9}, bp.NonFiniteError),
    ):
        with pytest.raises(error):
            trained(way, small(), rows, 5, **more)
    assert_same_bits(trained(way, small(), rows), alone)


@pytest.mark.thorough(keep=2)
@pytest.mark.parametrize("way", WAYS[::-1])
def test_caches_hold_no_array_of_a_model(way: str, rng: np.random.Generator) -> None:
    """Its parameters, the array that they began as, what its rate is a function of, the rows."""
    rows, begun = labelled(rng), np.ones((5, 4))

    def rate(step: Any) -> Any:
        return 0.01 + 0.0 * step

    one = model(way, small(weight_init=begun))
    one.fit(*rows, **SETTINGS | {"optimizer": bp.Adam(rate)})
    one.evaluate(*rows)
    one.jacobian(rows[0][:2])
    one.input_gradients(*rows)
    one.per_sample_gradients(*rows)
    ends = [weakref.ref(thing) for thing in (one, begun, rate, rows[0], *one._params.values())]
    assert len(one._shared.steps)
    del one, begun, rate, rows
    gc.collect()
    assert [end() for end in ends] == [None] * len(ends)


def test_process_cache_is_bounded_and_can_be_cleared() -> None:
    networks, backends = (process_caches._by_name[name] for name in ("networks", "backends"))
    for units in range(1, reuse.NETWORKS + 4):
        bp.Model(bp.Network(1, bp.Dense(units), "mean_squared_error"))
    assert len(networks) == reuse.NETWORKS == reuse.limits()["networks"]
    assert len(backends)
    before = bp.get_backend("numpy")
    assert before is bp.get_backend("numpy", device="cpu")
    bp.clear_caches()
    assert not len(networks)
    assert not len(backends)
    assert bp.get_backend("numpy") is not before


def test_threads_that_want_one_value_get_one() -> None:
    kept, barrier, values = LruCache[object](4), threading.Barrier(4), list[object]()

    def make() -> object:
        barrier.wait()  # all of them make it
        return object()

    threads = [threading.Thread(target=lambda: values.append(kept.get("key", make))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(value) for value in values}) == 1


def test_numbers_of_numpy_and_ranges_are_settings_like_others() -> None:
    for value, other in ((np.float32(0.5), np.float32(0.25)), (range(4), range(5)), (np.int64(3), np.int32(3))):
        assert reuse.identity(value) == reuse.identity(
            type(value)(value) if isinstance(value, np.generic) else range(4)
        )
        assert reuse.identity(value) != reuse.identity(other)


def test_a_value_that_a_finaliser_drops_in_between_is_made_again() -> None:
    class Key:
        asked = 0

        def __hash__(self) -> int:
            self.asked += 1
            if self.asked % 4 == 0:
                cache.clear()
            return 7

    cache, key = LruCache[int](2), Key()
    assert [cache.get(key, lambda: 5) for _ in range(4)] == [5] * 4
    assert len(cache) <= 1
