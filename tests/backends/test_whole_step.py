"""Steps of a handful of units are one function, and narrow products have functions of their own, with NumPy's bits."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from bpengine_numpy import NumpyBackend
from bpengine_numpy.background import Background
from bpengine_numpy.llvm_target import compiled_step, executable
from bpengine_numpy.llvm_target.call_table import CallTable, RunArrays
from bpengine_numpy.llvm_target.executable import Executable
from bpengine_numpy.llvm_target.interpreter import run_table
from bpengine_numpy.llvm_target.products import narrow_product, product_orders
from bpengine_numpy.llvm_target.products.product_orders import ProductForm, is_known, order_of
from bpengine_numpy.llvm_target.self_test import verdicts
from bpengine_numpy.llvm_target.whole_step import exponential, step_function
from bpengine_steps.disk import Cache
from bpengine_steps.signature import Signature, leaves

import bpengine as bp
from bpengine.backend import Backend

XOR = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], float), np.array([[0], [1], [1], [0]], float)
NARROW = [(256, 2, 2), (100, 2, 10), (17, 10, 2), (64, 4, 8)]


@pytest.fixture
def verdict_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cache]:
    """Give a test verdicts of its own, none of which is in memory."""
    cache = Cache(tmp_path)
    monkeypatch.setattr(verdicts, "store", lambda: cache)
    for known in (order_of, exponential.is_numpys):
        known.cache_clear()
    yield cache
    for known in (order_of, exponential.is_numpys):
        known.cache_clear()


def units(state: Any, rows: Any, lr: Any) -> Any:
    """Train two layers of two units, by hand."""
    x, target = rows
    hidden = 1.0 / (1.0 + np.exp(-(x @ state["w"])))
    error = hidden @ state["v"] - target
    dv, dw = hidden.T @ error, x.T @ (error @ state["v"].T * hidden * (1.0 - hidden))
    loss = np.sum(error * error)
    after = {"w": state["w"] - lr * dw, "v": state["v"] - lr * dv}
    return after, {"loss": loss, "halt": ~np.isfinite(loss)}


class Bound(NamedTuple):
    """A program of `units`, and its table of calls for one run."""

    program: Executable
    calls: CallTable
    arrays: list[Any]  # which a table does not keep alive


def bound(beside: Any = None) -> Bound:
    state = {"w": np.ones((2, 2), np.float32), "v": np.full((2, 2), 0.5, np.float32)}
    x = np.linspace(-1, 1, 8, dtype=np.float32).reshape(4, 2)
    rows, lr = (x, -x), np.full(5, 0.1, np.float32)
    program = compiled_step(units, state, Signature.of(state, rows, None, lr), beside)
    calls = CallTable(program.plan, program._functions(), dict(leaves(state)), rows, program._products)
    reports = {"loss": np.zeros(5, np.float32), "halt": np.zeros(5, bool)}
    calls.aim(RunArrays(data=rows, order=None, lr=lr, reports=reports))
    return Bound(program, calls, [state, rows, lr, reports])


class Watched(NumpyBackend):
    """Runs every epoch twice, as it is written and compiled, and demands the same bits."""

    def run_epoch(self, step: Any, state: Any, data: Any, order: Any, lr: Any, **_: Any) -> Any:
        plain = Backend.run_epoch(self, step, self.copy(state), data, order, lr)
        program = compiled_step(step, state, Signature.of(state, data, order, lr))
        compiled = program.run(state, data, order, lr)
        for (path, expected), (_, result) in zip(leaves(plain), leaves(compiled), strict=True):
            np.testing.assert_array_equal(result, expected, strict=True, err_msg=str(path))
        return compiled


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the functions that ran tables in place of the interpreter, 0 for the interpreter."""
    seen: list[int] = []

    def run(*arguments: Any) -> int:
        seen.append(arguments[-1])
        return run_table(*arguments)

    monkeypatch.setattr(executable, "run_table", run)
    return seen


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("activation", ["sigmoid", "relu", "tanh", "softplus"])
def test_a_network_of_a_handful_of_units_is_one_function(activation: str, dtype: str, calls: list[int]) -> None:
    layers = [bp.Dense(2, activation), bp.Dense(1)]
    model = bp.Model(bp.Network(2, layers, "sigmoid_cross_entropy"), Watched(dtype), dtype, seed=1)
    model.fit(*XOR, optimizer=bp.SGD(1.0), steps=300)
    assert calls
    assert all(calls)


@pytest.mark.parametrize("optimizer", ["adam", "rmsprop", "nesterov"])
def test_small_shuffled_batches_run_in_the_function_of_the_whole_step(
    optimizer: str, calls: list[int], rng: np.random.Generator
) -> None:
    layers = [bp.Dense(5, "elu"), bp.LayerNorm(), bp.Dense(3)]
    model = bp.Model(bp.Network(4, layers, "softmax_cross_entropy"), Watched(), seed=1)
    model.fit(rng.normal(size=(29, 4)), rng.integers(0, 3, 29), batch_size=8, epochs=3, optimizer=optimizer)
    assert calls
    assert all(calls)


def test_exp_of_extreme_numbers_and_nan_calls_numpys_loop(calls: list[int]) -> None:
    """Where exp overflows, fades or is a NaN, NumPy's own loop is called, and its bits come out.

    Its numbers lie in the function's own memory (z, what exp is taken of) or in the state (y).
    """

    def step(state: Any, rows: Any, lr: Any) -> Any:
        after = {"y": np.exp(state["x"] * lr), "z": np.exp(state["x"] - lr) * 3.0, "x": state["x"]}
        return after, {"halt": ~np.isfinite(lr)[0]}

    rows = (np.ones((4, 1), np.float32),)
    far = [[1.0, 90.0], [-100.0, -88.0], [np.nan, 0.0], [np.inf, -np.inf], [87.5, -0.0]]
    for pair in [*far, [0.5, -86.0]]:
        x = np.array([pair] * 3, np.float32)
        state, lr = {"y": np.zeros_like(x), "z": np.zeros_like(x), "x": x}, np.ones(1, np.float32)
        with np.errstate(all="ignore"):
            program = compiled_step(step, state, Signature.of(state, rows, None, lr))
            after, _ = program.run(state, rows, None, lr)
            np.testing.assert_array_equal(after["y"], np.exp(x), strict=True)
            np.testing.assert_array_equal(after["z"], np.exp(x - lr) * np.float32(3), strict=True)
    assert all(calls)


def test_function_of_the_whole_step_stops_at_the_step_of_a_stopping_rule(calls: list[int]) -> None:
    layers = [bp.Dense(3, "tanh"), bp.Dense(1)]
    model = bp.Model(bp.Network(2, layers, "sigmoid_cross_entropy"), Watched(), seed=1)
    history = model.fit(*XOR, optimizer=bp.SGD(1.0), steps=2000, stop=bp.LossBelow(0.5))
    assert history.stopped_by == "loss below 0.5"
    assert 1 < history.steps < 2000
    assert all(calls)


def test_larger_steps_and_calls_of_the_host_keep_the_table(calls: list[int], rng: np.random.Generator) -> None:
    model = bp.Model(bp.Network(2, [bp.Dense(40, "tanh"), bp.Dense(1)], "mean_squared_error"), Watched(), seed=1)
    model.fit(rng.normal(size=(8, 2)), rng.normal(size=(8, 1)), steps=3)
    assert calls
    assert not any(calls)


def test_a_table_of_other_calls_is_not_run_by_the_function() -> None:
    program, calls, _ = bound()
    address = program._function(calls)
    assert address
    for row in (0, len(calls.table) - 1):
        before = calls.table[row, 0]
        calls.table[row, 0] = before + 8
        assert program._function(calls) == 0
        calls.table[row, 0] = before
    calls.table = calls.table[:-1]
    assert program._function(calls) == 0


def test_a_long_fit_has_the_function_compiled_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_function, "on_disk", lambda source: False)
    program, calls, _ = bound(Background())
    program._run(calls, 2)
    assert program._whole is not None
    assert program._whole._job is None  # it has not run for long
    monkeypatch.setattr(step_function, "WORTH", 0.0)
    program._run(calls, 2)
    end = time.monotonic() + 30
    while not program._function(calls) and time.monotonic() < end:
        time.sleep(0.01)
    assert program._function(calls)


@pytest.mark.parametrize("sizes", [(4, 2, 2), (4, 2, 1), (2, 4, 1), (1, 4, 3), (3, 7, 5)])
@pytest.mark.parametrize("dtype", ["<f4", "<f8"])
def test_a_tiny_product_has_numpys_bits_or_is_numpys(dtype: str, sizes: tuple[int, int, int]) -> None:
    def step(state: Any, rows: Any, lr: Any) -> Any:
        return {"y": state["a"] @ state["b"], "a": state["a"], "b": state["b"]}, {"halt": ~np.isfinite(lr)[0]}

    (m, k, n), draw = sizes, np.random.default_rng(1)
    for _ in range(20):
        a, b = draw.normal(size=(m, k)).astype(dtype), draw.normal(size=(k, n)).astype(dtype)
        state, rows, lr = {"y": np.zeros((m, n), dtype), "a": a, "b": b}, (np.ones((1, 1), dtype),), np.ones(1, dtype)
        after, _ = compiled_step(step, state, Signature.of(state, rows, None, lr)).run(state, rows, None, lr)
        assert after["y"].tobytes() == (a @ b).tobytes()


@pytest.mark.parametrize("form", NARROW)
def test_narrow_products_have_numpys_bits(form: tuple[int, int, int], rng: np.random.Generator) -> None:
    """Forward, backward to the input, and the gradient of the weights."""

    def step(state: Any, rows: Any, lr: Any) -> Any:
        x, dy = rows
        y, dx, dw = x @ state["w"], dy @ state["w"].T, x.T @ dy
        return {"w": state["w"], "y": y, "dx": dx, "dw": dw}, {"halt": ~np.isfinite(lr)[0]}

    rows, inputs, units = form
    x, dy, w = (rng.normal(size=s).astype(np.float32) for s in ((rows, inputs), (rows, units), (inputs, units)))
    x[0], dy[1] = 0.0, -0.0
    state, lr = {"w": w, "y": np.zeros_like(dy), "dx": np.zeros_like(x), "dw": np.zeros_like(w)}, np.ones(1, np.float32)
    program = compiled_step(step, state, Signature.of(state, (x, dy), None, lr))
    after, _ = program.run(state, (x, dy), None, lr)
    for name, expected in {"y": x @ w, "dx": dy @ w.T, "dw": x.T @ dy}.items():
        assert after[name].tobytes() == expected.tobytes(), name
    chains = [form for form in program._forms.values() if product_orders.tested(form) == "chain"]
    assert len(program._products) == len(chains)
    assert chains or not program._forms


def test_different_order_of_products_is_detected_and_numpys_is_called(
    verdict_store: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    form = ProductForm("<f4", (64, 4, 8), (4, 1), (8, 1))
    assert narrow_product.narrow_source(form)
    numpys = np.matmul
    monkeypatch.setattr(np, "matmul", lambda a, b: numpys(a[:, ::-1], b[::-1]))
    assert product_orders.tested(form) not in ("chain", "plain")
    order_of.cache_clear()
    verdict_store.clear()
    assert narrow_product.narrow_source(form) is None


def test_different_exp_is_detected_and_numpys_is_called(verdict_store: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    assert exponential.tested()
    monkeypatch.setattr(exponential, "_BELOW", (1.0, exponential._BELOW[1] * (1 + 1e-6), exponential._BELOW[2]))
    assert not exponential.tested()
    assert not exponential.is_numpys()
    program = bound().program
    assert program._whole is not None
    assert "splat" not in program._whole.source


@pytest.mark.parametrize("damage", [b"", b"nonsense", None])
def test_damaged_verdict_is_tested_again(verdict_store: Cache, damage: bytes | None) -> None:
    form = ProductForm("<f4", (4, 2, 2), (2, 1), (2, 1))
    assert not is_known(form)
    expected = order_of(form)
    assert is_known(form)
    path = verdict_store.path(verdicts._key(product_orders._subject(form)))
    assert path is not None
    if damage is None:
        verdict_store.put(verdicts._key(product_orders._subject(form)), b"an order of tomorrow")
    else:
        path.write_bytes(damage)
    order_of.cache_clear()
    assert order_of(form) == expected
    assert verdict_store.get(verdicts._key(product_orders._subject(form))) == expected.encode()


def test_stored_verdict_is_not_tested_again(verdict_store: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    form = ProductForm("<f4", (4, 2, 2), (2, 1), (2, 1))
    expected = order_of(form)
    order_of.cache_clear()
    monkeypatch.setattr(product_orders, "tested", lambda form: "fours")
    assert order_of(form) == expected
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")  # another library, as far as anyone knows
    verdicts._surroundings.cache_clear()
    order_of.cache_clear()
    try:
        assert order_of(form) == "fours"
    finally:
        verdicts._surroundings.cache_clear()


@pytest.mark.thorough
def test_exp_has_numpys_bits_for_every_61st_float32_number() -> None:
    for first in range(0, 2**32, 2**24):
        x = np.arange(first, first + 2**24, 61, dtype=np.int64).astype(np.uint32).view(np.float32)
        x = x[np.abs(x) <= exponential.FARTHEST]
        with np.errstate(all="ignore"):
            assert exponential.exponentials(x).tobytes() == np.exp(x).tobytes(), first
