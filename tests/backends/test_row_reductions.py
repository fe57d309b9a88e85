"""Reductions of short rows give NumPy's bits at every length; where a test shows otherwise, NumPy's loop is called."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from bpengine_numpy.llvm_target import compiled_step, row_reductions
from bpengine_numpy.llvm_target.row_reductions import LONGEST, RowReductions, row_reduction, source_of
from bpengine_numpy.llvm_target.rows import row_width
from bpengine_steps.signature import Signature


def reduced(how: str, rows: Any) -> tuple[Any, Any]:
    """Return a step's reduction of the last axis, and the program that made it."""

    def step(state: Any, data: Any, lr: Any) -> Any:
        return {"result": getattr(np, how)(data[0], axis=1)}, {"halt": ~np.isfinite(lr)[0]}

    state, lr = {"result": np.zeros(len(rows), rows.dtype)}, np.ones(1, rows.dtype)
    program = compiled_step(step, state, Signature.of(state, (rows,), None, lr))
    return program.run(state, (rows,), None, lr)[0]["result"], program


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("how", ["sum", "max"])
def test_every_length_has_numpys_bits(how: str, dtype: str, rng: np.random.Generator) -> None:
    ufunc = {"sum": "add", "max": "maximum"}[how]
    for length in range(1, LONGEST + 1):
        assert row_reduction(ufunc, np.dtype(dtype), length), length
    for length in (2, 7, 8, 9, 10, 15, 16, 17, 100, 127, 128, 129, 300):
        rows = (rng.normal(size=(33, length)) * 10.0 ** rng.integers(-5, 6, (33, length))).astype(dtype)
        rows[3], rows[4, 0], rows[5] = -0.0, 0.0, -abs(rows[5])
        result = reduced(how, rows)[0]
        assert result.tobytes() == getattr(np, how)(rows, axis=1).tobytes(), length


@pytest.mark.parametrize("length", [3, 8, 10, 40])
def test_signed_zeros_infinities_and_nans_agree_with_numpy(length: int, rng: np.random.Generator) -> None:
    values = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, -1.0], np.float32)
    rows = rng.choice(values, (500, length))
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(reduced("sum", rows)[0], np.sum(rows, axis=1), strict=True)
    most, expected = reduced("max", rows)[0], np.max(rows, axis=1)
    np.testing.assert_array_equal(most, expected, strict=True)
    np.testing.assert_array_equal(np.signbit(most), np.signbit(expected))


def test_bit_comparison_detects_another_order_of_additions(monkeypatch: pytest.MonkeyPatch) -> None:
    """From 129 elements on NumPy halves a row: the function, which does not, is not used."""
    monkeypatch.setattr(row_reductions, "LONGEST", 300)
    for length in (129, 130, 200, 300):
        assert row_reduction("add", np.dtype("float32"), length) == 0
        assert row_reduction("add", np.dtype("float64"), length) == 0


def test_other_reductions_call_numpys_loops() -> None:
    assert source_of("minimum", np.dtype("float32"), 10) is None
    assert source_of("add", np.dtype("float16"), 10) is None
    assert source_of("add", np.dtype("float32"), LONGEST + 1) is None
    assert RowReductions._fields == ("add", "maximum")


def test_the_function_is_one_of_what_a_program_compiles(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(row_width, "LARGEST", 0)  # of arrays that are too large for a pass of one thread
    rows = rng.normal(size=(5, 10))
    assert row_reductions.text(8) in reduced("max", rows)[1]._sources()
    assert row_reductions.text(8) not in reduced("min", rows)[1]._sources()
