"""A choice of BLAS: every product goes to the chosen library, as it is written and compiled, with the same bits.

Most of this is shown with a library made here, whose products are recognised by their numbers: it needs no other BLAS. With
`--require-blas mkl` a missing MKL is a failure.
"""

from __future__ import annotations

import ctypes
import pickle
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bpengine_numpy import NumpyBackend
from bpengine_numpy import backend as numpy_backend
from bpengine_numpy.blas import fastest, mkl
from bpengine_numpy.blas import library_choice as choices
from bpengine_numpy.blas.blas_library import REALS, BlasLibrary, cblas, typed
from bpengine_numpy.blas.fastest import LEAST, Fastest, kind_of
from bpengine_numpy.blas.library_choice import OneLibrary
from bpengine_numpy.blas.product_call import ProductCall
from bpengine_numpy.blas.product_namespace import ProductNamespace
from bpengine_numpy.llvm_target import compiled_step
from bpengine_steps.signature import Signature, leaves

import bpengine as bp
from bpengine.backend import Availability, Backend
from bpengine.kernels._functions import LONGEST
from bpengine.system.blas_pool import BlasPool
from tests.backends.beside import run
from tests.backends.fits import FITS, rows_for
from tests.tolerances import value_rtol

MARK = 1.0 + 2.0**-8  # by which the library made here multiplies every product
F4, F8 = np.dtype(np.float32), np.dtype(np.float64)


class MarkingBlas:
    """A BLAS whose products are `MARK` times too large, and which keeps the sizes that it was asked for."""

    def __init__(self, bits: int = 64) -> None:
        self.sizes: list[tuple[int, int, int]] = []
        self._held = {dtype: self._function(dtype, real, bits) for dtype, (_, real) in REALS.items()}
        functions = {d: typed(f, REALS[d][1], bits) for d, f in self._held.items()}
        self.library = BlasLibrary(name="made", version="1", file="none", bits=bits, functions=functions)

    def _function(self, dtype: np.dtype[Any], real: Any, bits: int) -> Any:
        whole, at = (ctypes.c_int64 if bits == 64 else ctypes.c_int32), ctypes.c_void_p

        def gemm(
            order: int, left: int, right: int, rows: int, columns: int, terms: int, alpha: float, a: int, a_width: int,
            b: int, b_width: int, beta: float, y: int, y_width: int,
        ) -> None:  # fmt: skip
            assert (order, alpha, beta) == (101, 1.0, 0.0)
            self.sizes.append((rows, terms, columns))
            factors = _matrix(a, dtype, rows, terms, a_width, left), _matrix(b, dtype, terms, columns, b_width, right)
            product = factors[0].astype(np.float64) @ factors[1].astype(np.float64)
            _matrix(y, dtype, rows, columns, y_width, 111)[...] = product * MARK

        kind = ctypes.CFUNCTYPE(None, *[ctypes.c_int] * 3, *[whole] * 3, real, at, whole, at, whole, real, at, whole)
        return kind(gemm)


def _matrix(at: int, dtype: np.dtype[Any], rows: int, columns: int, width: int, how: int) -> Any:
    """Return the matrix at an address as BLAS reads it."""
    lines = (columns, rows) if how == 112 else (rows, columns)
    memory = (ctypes.c_uint8 * (((lines[0] - 1) * width + lines[1]) * dtype.itemsize)).from_address(at)
    flat = np.frombuffer(memory, dtype)
    matrix = np.lib.stride_tricks.as_strided(flat, lines, (width * dtype.itemsize, dtype.itemsize))
    return matrix.T if how == 112 else matrix


@pytest.fixture(params=[64, 32], ids=["ILP64", "LP64"])
def marking(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> MarkingBlas:
    """Give the library that `blas="mkl"` takes within the test."""
    own = MarkingBlas(request.param)
    monkeypatch.setattr(numpy_backend, "_choice", lambda blas, threads: OneLibrary(own.library))
    return own


class Both(NumpyBackend):
    """Runs every epoch twice, as it is written and compiled, and demands the same bits."""

    steps = 0

    def run_epoch(self, step: Any, state: Any, data: Any, order: Any, lr: Any, **_: Any) -> Any:
        plain = Backend.run_epoch(self, step, self.copy(state), data, order, lr)
        compiled = compiled_step(step, state, Signature.of(state, data, order, lr)).run(state, data, order, lr)
        for (path, expected), (_, got) in zip(leaves(plain), leaves(compiled), strict=True):
            np.testing.assert_array_equal(got, expected, strict=True, err_msg=str(path))
        Both.steps += len(lr)
        return compiled


def small_model(backend: Any, dtype: str = "float32") -> bp.Model:
    return bp.Model(bp.Network(6, [bp.Dense(5, "tanh"), bp.Dense(3)], "softmax_cross_entropy"), backend, dtype, seed=1)


@pytest.mark.parametrize("name", FITS)
def test_compiled_steps_multiply_by_the_chosen_library_with_the_bits_of_eager_ones(
    name: str, marking: MarkingBlas, rng: np.random.Generator
) -> None:
    layers, loss, settings = FITS[name]
    network = bp.Network(4, layers, loss)
    x, y = rng.normal(size=(20, 4)), rows_for(loss, 20, network.sizes[-1], rng)
    dtype, before = ("float32", "float64")[len(name) % 2], Both.steps
    marked = bp.Model(network, Both(dtype, blas="mkl"), dtype, seed=3)
    marked.fit(x, y, epochs=2, batch_size=8, **settings)
    assert Both.steps > before
    assert len(marking.sizes) >= 2 * 2 * (Both.steps - before), "both ways multiply by it"
    plain = bp.Model(network, NumpyBackend(dtype), dtype, seed=3)
    plain.fit(x, y, epochs=2, batch_size=8, **settings)
    pairs = [(marked.parameters[name], w) for name, w in plain.parameters.items()]
    assert any(not np.allclose(a, b, rtol=1e-6) for a, b in pairs), "not NumPy's numbers"


def test_a_compiled_step_has_as_many_products_as_the_step_in_python(
    marking: MarkingBlas, rng: np.random.Generator
) -> None:
    x, y = rng.normal(size=(20, 6)).astype("f4"), rng.integers(0, 3, 20)
    counted = []
    for patience in (float("inf"), float("-inf")):
        marking.sizes.clear()
        backend = type("Waiting", (NumpyBackend,), {"patience": patience})(blas="mkl")
        small_model(backend).fit(x, y, epochs=3, batch_size=20, shuffle=False)
        counted.append(sorted(marking.sizes))
    assert counted[0] == counted[1]
    assert set(counted[0]) == {(20, 6, 5), (20, 5, 3), (20, 3, 5), (5, 20, 3), (6, 20, 5)}


def test_many_rows_are_multiplied_in_blocks_by_the_chosen_library(
    marking: MarkingBlas, rng: np.random.Generator
) -> None:
    rows = LONGEST + 5
    x, y = rng.normal(size=(rows, 2)).astype("f4"), rng.normal(size=(rows, 1)).astype("f4")
    model = bp.Model(bp.Network(2, bp.Dense(1), "mean_squared_error"), Both(blas="mkl"), seed=2)
    model.fit(x, y, epochs=1, optimizer="sgd")
    assert (2, rows, 1) not in marking.sizes
    assert {size[1] for size in marking.sizes if size[0] == 2} >= {5}


def test_shards_multiply_by_the_chosen_library(marking: MarkingBlas, rng: np.random.Generator) -> None:
    x, y = rng.normal(size=(24, 6)).astype("f4"), rng.integers(0, 3, 24)
    small_model(Both(blas="mkl")).fit(x, y, epochs=1, batch_size=12, shards=3)
    assert (4, 6, 5) in marking.sizes


def first(arrays: Any) -> Any:
    return next(iter(arrays.values()))


CALLS: dict[str, Callable[[bp.Model, Any, Any], Any]] = {
    "predict": lambda model, x, y: model.predict(x),
    "evaluate": lambda model, x, y: model.evaluate(x, y)["loss"],
    "loss_and_gradients": lambda model, x, y: first(model.loss_and_gradients(x, y)[1]),
    "fit_many": lambda model, x, y: many(model, x, y)[0].model.predict(x),
}


def many(model: bp.Model, x: Any, y: Any) -> Any:
    return bp.fit_many(model.network, x, y, seeds=2, backend=model.backend, epochs=1)


@pytest.mark.parametrize("name", CALLS)
def test_everything_that_multiplies_takes_the_chosen_library(
    name: str, marking: MarkingBlas, rng: np.random.Generator
) -> None:
    x, y = rng.normal(size=(20, 6)).astype("f4"), rng.integers(0, 3, 20)
    marked = CALLS[name](small_model(NumpyBackend(blas="mkl")), x, y)
    assert marking.sizes
    plain = CALLS[name](small_model(NumpyBackend()), x, y)
    assert not np.allclose(marked, plain, rtol=1e-6)


LAYOUTS = {
    "plain": lambda draw, m, n: draw((m, n)),
    "transposed": lambda draw, m, n: draw((n, m)).T,
    "columns of a wider array": lambda draw, m, n: draw((m, n + 3))[:, 1 : n + 1],
    "rows of a wider array, transposed": lambda draw, m, n: draw((n, m + 2))[:, 2:].T,
    "every other row": lambda draw, m, n: draw((2 * m, n))[::2],
    "every other column": lambda draw, m, n: draw((m, 2 * n))[:, ::2],
    "backwards": lambda draw, m, n: draw((m, n))[::-1],
    "one row, repeated": lambda draw, m, n: np.broadcast_to(draw((1, n)), (m, n)),
}
BY_NUMPY = {"every other column", "backwards", "one row, repeated"}  # such a factor has no lines that BLAS reads


@pytest.mark.parametrize("sizes", [(3, 4, 5), (1, 4, 5), (3, 1, 5), (3, 4, 1), (1, 1, 1)])
@pytest.mark.parametrize("right", LAYOUTS)
@pytest.mark.parametrize("left", LAYOUTS)
def test_factors_of_any_layout_are_multiplied_as_they_lie(
    left: str, right: str, sizes: tuple[int, int, int], rng: np.random.Generator
) -> None:
    own, (rows, terms, columns) = MarkingBlas(), sizes
    a, b = LAYOUTS[left](rng.standard_normal, rows, terms), LAYOUTS[right](rng.standard_normal, terms, columns)
    product = ProductNamespace(OneLibrary(own.library)).matmul(a, b)
    factor = MARK if own.sizes else 1.0
    np.testing.assert_allclose(product, factor * (a @ b), rtol=value_rtol(np.float64), atol=1e-12)
    if min(sizes) > 1:
        assert bool(own.sizes) != bool({left, right} & BY_NUMPY)


def test_what_blas_does_not_take_is_multiplied_by_numpy(rng: np.random.Generator) -> None:
    own = MarkingBlas(32)
    xp, a = ProductNamespace(OneLibrary(own.library)), rng.normal(size=(4, 4))
    big = a.astype(">f8")
    pairs = [(a, a[0]), (a, a.astype("f4")), (a[:0], a), (a.astype(int), a.astype(int)), (a[None], a), (big, big)]
    for left, right in pairs:
        np.testing.assert_array_equal(xp.matmul(left, right), np.matmul(left, right))
    assert not own.sizes
    with pytest.raises(ValueError, match="matmul"):
        xp.matmul(a, a[:3])
    assert not own.library.takes(ProductCall.of((1, 2**31), (2**31, 1), (2**31, 1), (1, 1)), F8)
    assert MarkingBlas(64).library.takes(ProductCall.of((1, 2**31), (2**31, 1), (2**31, 1), (1, 1)), F8)


def numpys_openblas() -> BlasLibrary:
    """Return NumPy's own library as if it were another one; skip where that is not OpenBLAS."""
    loaded = ctypes.CDLL(import_module("numpy._core._multiarray_umath").__file__)
    for names, bits in (("scipy_{}64_", 64), ("{}64_", 64), ("scipy_{}", 32), ("{}", 32)):
        if hasattr(loaded, names.format("cblas_sgemm")):
            return BlasLibrary(name="own", version="1", file="own", bits=bits, functions=cblas(loaded, names, bits))
    (pytest.fail if choices.own() == "openblas" else pytest.skip)(
        "NumPy's BLAS has no function of CBLAS by a known name"
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_numpys_own_library_by_address_gives_numpys_bits(dtype: Any, rng: np.random.Generator) -> None:
    xp = ProductNamespace(OneLibrary(numpys_openblas()))
    x, dy, w = (rng.standard_normal(shape).astype(dtype) for shape in ((70, 33), (70, 21), (33, 21)))
    blocks = rng.standard_normal((3, 8, 9)).astype(dtype)
    for a, b in ((x, w), (dy, w.T), (x.T, dy), (blocks, np.matrix_transpose(blocks).copy())):
        np.testing.assert_array_equal(xp.matmul(a, b), a @ b, strict=True)


def test_numpys_own_library_by_address_trains_with_numpys_bits(
    monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    own = OneLibrary(numpys_openblas())
    monkeypatch.setattr(numpy_backend, "_choice", lambda blas, threads: own)
    x, y = rng.normal(size=(64, 40)), rng.integers(0, 8, 64)
    parameters = []
    for backend in (NumpyBackend(), Both(blas="mkl")):
        model = bp.Model(bp.Network(40, [bp.Dense(24, "relu"), bp.Dense(8)], "softmax_cross_entropy"), backend, seed=5)
        model.fit(x, y, epochs=3, batch_size=16)
        parameters.append(model.parameters)
    for name, expected in parameters[0].items():
        np.testing.assert_array_equal(parameters[1][name], expected, strict=True)


CALL = ProductCall.of((64, 128), (128, 1), (128, 64), (64, 1))
assert CALL is not None


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[ProductCall]:
    """Give the products that were measured; the other library is the faster one for float32. Nothing is kept elsewhere."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(fastest, "_known", {})
    monkeypatch.setattr(fastest, "verdict_store", lambda: fastest.Cache(tmp_path))
    calls: list[ProductCall] = []

    def measured(other: BlasLibrary, call: ProductCall, dtype: Any) -> bool:
        calls.append(call)
        return bool(dtype == F4)

    monkeypatch.setattr(fastest, "measured", measured)
    return calls


def test_each_product_is_measured_once_and_its_verdict_kept_on_disk(
    seen: list[ProductCall], monkeypatch: pytest.MonkeyPatch
) -> None:
    other = MarkingBlas().library
    assert CALL
    assert Fastest(other, None).library(CALL, F4) is other
    assert Fastest(other, None).library(CALL, F4) is other
    assert Fastest(other, None).library(CALL, F8) is None
    assert len(seen) == 2
    monkeypatch.setattr(fastest, "_known", {})  # another process
    assert Fastest(other, None).library(CALL, F4) is other
    assert Fastest(other, None).library(CALL, F8) is None
    assert len(seen) == 2, "kept on disk"
    Fastest(other, 1).library(CALL, F4)
    Fastest(BlasLibrary(**{**vars(other), "version": "2"}), None).library(CALL, F4)
    assert len(seen) == 4, "neither another number of threads nor another version has the same verdict"


def test_a_damaged_verdict_is_measured_again(
    seen: list[ProductCall], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    other = MarkingBlas().library
    assert CALL
    Fastest(other, None).library(CALL, F4)
    (file,) = tmp_path.glob("*.bin")
    file.write_bytes(file.read_bytes()[:-1])
    monkeypatch.setattr(fastest, "_known", {})
    assert Fastest(other, None).library(CALL, F4) is other
    assert len(seen) == 2


def test_products_of_like_sizes_share_a_verdict_and_small_ones_have_none(seen: list[ProductCall]) -> None:
    choose = Fastest(MarkingBlas().library, None)
    for rows in (65, 100, 127, 128):
        call = ProductCall.of((rows, 128), (128, 1), (128, 64), (64, 1))
        assert call
        choose.library(call, F4)
    assert [call.sizes[0] for call in seen] == [65, 128]
    small = ProductCall.of((64, 64), (64, 1), (64, 63), (63, 1))
    assert small
    assert small.operations == LEAST - 64 * 64
    assert choose.library(small, F4) is None
    assert len(seen) == 2
    turned = ProductCall.of((128, 128), (1, 128), (128, 64), (64, 1))
    assert turned
    assert kind_of(turned, F4) != kind_of(seen[1], F4)


@pytest.mark.parametrize(("own", "other", "faster"), [(1.0, 0.9, True), (1.0, 0.97, False), (1.0, 1.1, False)])
def test_the_other_library_is_taken_where_it_is_faster_by_more_than_the_margin(
    own: float, other: float, faster: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[Any] = []

    def seconds(run_it: Callable[[], object], repeats: int, clock: Any) -> float:
        order.append(run_it)
        if len(order) <= 2:
            return 1e-3
        return repeats * (own if run_it is order[0] else other)

    monkeypatch.setattr(fastest, "_seconds", seconds)
    assert CALL
    assert fastest.measured(MarkingBlas().library, CALL, F4) is faster


def test_a_noisy_measurement_keeps_numpys_own_library(monkeypatch: pytest.MonkeyPatch) -> None:
    draws = iter(np.random.default_rng(0).choice([0.5, 2.0], 4000))
    monkeypatch.setattr(fastest, "_seconds", lambda run_it, repeats, clock: float(next(draws)))
    assert CALL
    assert not fastest.measured(MarkingBlas().library, CALL, F4)


def test_fastest_gives_the_same_bits_eager_and_compiled(
    seen: list[ProductCall], monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    other = MarkingBlas()
    monkeypatch.setattr(numpy_backend, "_choice", lambda blas, threads: Fastest(other.library, threads))
    x, y = rng.normal(size=(128, 64)), rng.integers(0, 8, 128)
    network = bp.Network(64, [bp.Dense(64, "relu"), bp.Dense(8)], "softmax_cross_entropy")
    bp.Model(network, Both(blas="fastest"), seed=5).fit(x, y, epochs=2, batch_size=128)
    assert {call.sizes for call in seen} == {(128, 64, 64), (64, 128, 64)}
    assert set(other.sizes) == {(128, 64, 64), (64, 128, 64)}, "smaller products are NumPy's"


@pytest.mark.parametrize("chosen", [True, False])
def test_a_function_of_ones_own_takes_the_chosen_library_by_the_namespace_alone(
    chosen: bool, marking: MarkingBlas, rng: np.random.Generator
) -> None:
    def squares(xp: Any, x: Any) -> Any:
        return xp.matmul(x, x.T) if chosen else x @ x.T

    backend, x = Both("float64", blas="mkl"), rng.normal(size=(3, 3))

    def step(state: Any, rows: Any, rate: Any) -> Any:
        return {"a": state["a"] + squares(backend.xp, state["a"])}, {"halt": np.zeros(1, bool)}

    after, _ = backend.run_epoch(step, {"a": x.copy()}, (np.zeros((1, 3)),), None, np.ones(1))
    factor = MARK if chosen else 1.0
    np.testing.assert_allclose(after["a"], x + factor * (x @ x.T), rtol=value_rtol(np.float64))


def test_a_copy_of_a_backend_has_the_same_choice(marking: MarkingBlas) -> None:
    backend = bp.get_backend("numpy", blas="mkl", threads=2)
    assert bp.get_backend("numpy", blas="mkl", threads=2) is backend
    assert bp.get_backend("numpy", threads=2) is not backend
    for copied in (pickle.loads(pickle.dumps(backend)), bp.get_backend(backend, blas="mkl")):
        assert (copied.blas, copied.threads) == ("mkl", 2)
    with pytest.raises(bp.ConfigError, match="blas='fastest' asked for"):
        bp.get_backend(backend, blas="fastest")


def test_a_run_resumed_with_another_blas_is_warned_of(
    marking: MarkingBlas, tmp_path: Path, rng: np.random.Generator
) -> None:
    x, y = rng.normal(size=(20, 6)), rng.integers(0, 3, 20)
    small_model(NumpyBackend(blas="mkl")).fit(x, y, epochs=2, run=tmp_path / "run")
    again = small_model(NumpyBackend(blas="mkl"))
    again.fit(x, y, epochs=3, run=tmp_path / "run", resume=True)  # without a warning
    with pytest.warns(UserWarning, match="products"):
        small_model(NumpyBackend()).fit(x, y, epochs=4, run=tmp_path / "run", resume=True)


def test_numpys_own_library_by_name_is_no_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    for own, name in (("scipy-openblas", "openblas"), ("mkl-sdl", "mkl")):
        choices.own.cache_clear()
        monkeypatch.setattr("bpengine.system.blas.library", lambda own=own: {"name": own})
        assert choices.choice(name, None) is None
    with pytest.raises(bp.ConfigError, match=r"blas='openblas' .* here it multiplies by mkl-sdl"):
        choices.choice("openblas", None)
    assert choices.choice("fastest", None) is None, "MKL is NumPy's own"
    choices.own.cache_clear()


def test_what_cannot_be_chosen_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(bp.ConfigError, match="mkl"):
        NumpyBackend(blas="mlk")
    with pytest.raises(bp.ConfigError, match="BLAS"):
        bp.get_backend("numpy", blas=True)  # type: ignore[arg-type]
    with pytest.raises(bp.ConfigError, match=r"'jax' multiplies by a library of its own, got blas='mkl'"):
        bp.get_backend("jax", blas="mkl")
    missing = Availability("not installed", "No package 'mkl'.", "Install it with: pip install it")
    monkeypatch.setattr(mkl, "availability", lambda: missing)
    monkeypatch.setattr(choices, "own", lambda: "openblas")
    with pytest.raises(bp.BackendUnavailable, match=r"blas='mkl'.*No package 'mkl'.*pip install it"):
        choices.choice("mkl", None)
    assert choices.choice("fastest", None) is None


class LimitedLibrary:
    """A library whose threads can be set."""

    def __init__(self, path: str, threads: int) -> None:
        self.filepath, self.num_threads = path, threads

    def set_num_threads(self, threads: int) -> None:
        self.num_threads = threads


def test_a_library_that_is_loaded_later_has_the_limits_that_hold() -> None:
    first_one, later = LimitedLibrary("a", 4), LimitedLibrary("b", 8)
    pool = BlasPool([first_one])
    with pool.limited(1):
        pool.add(later)
        pool.add(LimitedLibrary("b", 5))
        assert (first_one.num_threads, later.num_threads, pool.threads) == (1, 1, 1)
        with pool.limited(3):
            assert later.num_threads == 1
    assert (first_one.num_threads, later.num_threads, pool.threads) == (4, 8, 8)


@pytest.fixture
def with_mkl(request: pytest.FixtureRequest) -> None:
    """Skip where MKL is missing, or fail if it is required."""
    status = mkl.availability()
    if not status.ready:
        required = "mkl" in request.config.getoption("--require-blas")
        (pytest.fail if required else pytest.skip)(f"MKL: {status.detail}")


MKL = """
import os
from concurrent.futures import ThreadPoolExecutor
from bpengine.system.blas_pool import BLAS_POOL
from bpengine_numpy.blas import mkl
from bpengine_numpy.llvm_target import blas_threads

def by(blas, kind, threads=None):
    return lambda: kind(blas=blas, threads=threads)

def shifted(array, steps):
    memory = np.empty(array.nbytes + 256, np.uint8)
    begin = -memory.ctypes.data % 64 + steps * array.itemsize
    moved = memory[begin : begin + array.nbytes].view(array.dtype).reshape(array.shape)
    moved[...] = array
    return moved

draw, xp = np.random.default_rng(0), NumpyBackend(blas="mkl").xp
for dtype in ("f4", "f8"):
    for rows, terms, columns in ((32, 64, 64), (100, 64, 32), (128, 300, 200), (5, 7, 9), (64, 1, 8), (100, 10, 32)):
        a, b = draw.standard_normal((rows, terms)).astype(dtype), draw.standard_normal((terms, columns)).astype(dtype)
        bits = {xp.matmul(shifted(a, k), shifted(b, m)).tobytes() for k in (0, 1, 4, 8) for m in (0, 3, 8)}
        assert len(bits) == 1, (dtype, rows, terms, columns)
        np.testing.assert_allclose(xp.matmul(a, b), a.astype("f8") @ b.astype("f8"), rtol=1e-3, atol=1e-4)

pool = next(one for one in BLAS_POOL._known() if one.filepath == mkl.library().file)
before = pool.num_threads
with BLAS_POOL.limited(1):
    assert pool.num_threads == 1
pool.set_num_threads(2)
alone = {}
lent, queues = [], blas_threads.on_openmp
blas_threads.LEAST = 1
blas_threads.on_openmp = lambda queue, *others: lent.append(others) or queues(queue, *others)
for threads in (1, 2):
    for blas in ("mkl", "fastest"):
        alone[blas, threads] = fit(1, by(blas, Compiled, threads), 1)
        assert alone[blas, threads] == fit(1, by(blas, AsWritten, threads), 1), (blas, threads)
assert len(set(map(tuple, (alone["mkl", 1], fit(1, by(None, Compiled, 1), 1))))) == 2, "these are not NumPy's bits"
assert {size for _, size in lent} == {2}, "MKL's threads run the passes"
with ThreadPoolExecutor(2) as threads:
    both = list(threads.map(lambda seed: fit(seed, by("mkl", Compiled, 2), 1), (1, 1)))
assert both == [alone["mkl", 2]] * 2
child = os.fork()
if not child:
    same = fit(1, by("mkl", Compiled, 2), 1) == alone["mkl", 2]
    denormals_are_what_they_are()
    os._exit(0 if same else 1)
assert os.waitpid(child, 0)[1] == 0
denormals_are_what_they_are()
pool.set_num_threads(2)
assert (xp.matmul(TINY, ONE) > 0).all(), "MKL's threads do not go on treating denormal numbers as zero"
print(before)
"""


def test_mkl_trains_with_the_same_bits_wherever_it_runs(with_mkl: None, tmp_path: Path) -> None:
    run(MKL, tmp_path, XDG_CACHE_HOME=str(tmp_path))
