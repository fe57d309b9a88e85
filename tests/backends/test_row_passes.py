"""Passes that take a row at a time, with NumPy's bits: reductions of rows among their neighbours, arrays of few columns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from bpengine_numpy.llvm_target import compiled_step
from bpengine_numpy.llvm_target.codegen import Loop
from bpengine_numpy.llvm_target.executable import Executable
from bpengine_numpy.llvm_target.rows import row_width
from bpengine_numpy.llvm_target.rows.row_width import LONGEST, adds_in_this_order
from bpengine_steps.signature import Signature

Step = Callable[[Any, Any, Any], Any]
COMPILED = (2, 3, 7, 8, 9, 10, 15, 16, 17, 31, 64, 65, 100, 127, 128)  # lengths that are compiled: each takes 0.1 s


def ran(step: Step, state: dict[str, Any], *rows: Any) -> tuple[dict[str, Any], dict[str, Any], Executable]:
    """Return the state after a step as it is written, the one after it was compiled, and the program."""
    dtype = rows[0].dtype
    lr = np.full(1, 0.5, dtype)
    with np.errstate(all="ignore"):
        written, _ = step({name: array.copy() for name, array in state.items()}, rows, lr)
    program = compiled_step(step, state, Signature.of(state, rows, None, lr))
    compiled, _ = program.run({name: array.copy() for name, array in state.items()}, rows, None, lr)
    return written, compiled, program


def same(written: dict[str, Any], compiled: dict[str, Any]) -> None:
    for name, expected in written.items():
        assert np.asarray(compiled[name]).tobytes() == np.asarray(expected).tobytes(), name


def passes(program: Executable) -> list[Loop]:
    return list(program.loops.values())


def probabilities(state: Any, rows: Any, lr: Any) -> Any:
    """Every operation of softmax but exp: bias, largest of a row, differences, sums, quotients, sums of columns."""
    z = rows[0] + state["bias"]
    shifted = z - np.max(z, axis=1, keepdims=True)
    weights = shifted * shifted
    totals = np.sum(weights, axis=1, keepdims=True) + lr
    shares = weights / totals
    columns = np.sum(shares, axis=0)
    return {"bias": columns, "shares": shares, "totals": totals[:, 0]}, {"halt": ~np.isfinite(lr)[0]}


def state_of(rows: Any) -> dict[str, Any]:
    count, width = rows.shape
    dtype = rows.dtype
    bias = np.linspace(-1, 1, width).astype(dtype)
    return {"bias": bias, "shares": np.zeros((count, width), dtype), "totals": np.zeros(count, dtype)}


def uneven(rng: np.random.Generator, shape: tuple[int, int], dtype: str) -> Any:
    return (rng.normal(size=shape) * 10.0 ** rng.integers(-5, 6, shape)).astype(dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_numpy_adds_up_in_the_order_of_the_code(dtype: str) -> None:
    assert all(adds_in_this_order(np.dtype(dtype), length) for length in range(1, LONGEST + 1))


def test_bit_comparison_detects_another_order_of_additions() -> None:
    """From 129 elements on NumPy halves a row."""
    assert not any(adds_in_this_order(np.dtype(dtype), n) for dtype in ("float32", "float64") for n in (129, 136, 300))


@pytest.mark.parametrize("width", COMPILED)
def test_reductions_of_rows_are_inside_the_pass_of_their_neighbours(width: int, rng: np.random.Generator) -> None:
    rows = uneven(rng, (37, width), "float32" if width % 2 else "float64")
    written, compiled, program = ran(probabilities, state_of(rows), rows)
    same(written, compiled)
    (one,) = (loop for loop in passes(program) if any(node.op == "reduce" for node in loop.group.nodes))
    assert [node.info for node in one.group.nodes if node.op == "reduce"] == [
        ("maximum", "last"),
        ("add", "last"),
        ("add", "first"),
    ]
    assert not any(group.nodes[0].op == "reduce" for group in program.plan.groups if group.kind == "single")


@pytest.mark.thorough
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_length_has_numpys_bits_inside_a_pass(dtype: str, rng: np.random.Generator) -> None:
    for width in range(2, LONGEST + 1):
        rows = uneven(rng, (37, width), dtype)
        same(*ran(probabilities, state_of(rows), rows)[:2])


@pytest.mark.parametrize("width", [2, 3, 10, 40])
def test_signed_zeros_infinities_and_nans_agree_with_numpy(width: int, rng: np.random.Generator) -> None:
    values = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, -1.0], np.float32)

    def step(state: Any, rows: Any, lr: Any) -> Any:
        most = np.max(rows[0] * state["one"], axis=1, keepdims=True)
        return {"most": most + most * 0.0, "one": state["one"], "sign": 1.0 / most}, {"halt": ~np.isfinite(lr)[0]}

    rows = rng.choice(values, (500, width))
    column = np.zeros((500, 1), np.float32)
    written, compiled, program = ran(step, {"most": column, "one": np.ones(width, np.float32), "sign": column}, rows)
    for name, expected in written.items():
        np.testing.assert_array_equal(compiled[name], expected, strict=True)
    assert any(loop.words > 4 + len(loop.arrays) for loop in passes(program))  # it may call NumPy's own


def test_a_number_of_rows_of_two_lengths_joins_one_of_them(rng: np.random.Generator) -> None:
    """Joined, the two passes would run over arrays of two shapes."""

    def step(state: Any, rows: Any, lr: Any) -> Any:
        a, b = rows[0] * 2.0, rows[1] * 3.0
        totals = np.sum(a, axis=1, keepdims=True) + np.sum(b, axis=1, keepdims=True)
        return {"a": a / totals, "b": b - totals, "c": totals}, {"halt": ~np.isfinite(lr)[0]}

    a, b = uneven(rng, (20, 10), "float64"), uneven(rng, (20, 5), "float64")
    state = {"a": np.zeros_like(a), "b": np.zeros_like(b), "c": np.zeros((20, 1))}
    same(*ran(step, state, a, b)[:2])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_passes_over_few_columns_have_numpys_bits(dtype: str, rng: np.random.Generator) -> None:
    """Rows, columns, single numbers, transposed and strided operands, truth values, integers, sums of columns."""

    def step(state: Any, rows: Any, lr: Any) -> Any:
        x, labels = rows
        wide = x[:, ::2] + state["turned"].T + x[:, :3] * state["row"]
        chosen = np.equal(labels[:, None], np.arange(3))
        column = x[:, 1:2] * lr
        kept = np.where(chosen, wide, np.abs(wide) + column)
        whole = np.astype(labels[:, None] + np.arange(3), x.dtype)
        total = np.sum(kept * whole, axis=0)
        return {"turned": state["turned"] * 0.5, "row": total, "kept": np.sqrt(np.abs(kept)), "chosen": chosen}, {
            "halt": ~np.isfinite(lr)[0]
        }

    x, labels = uneven(rng, (23, 6), dtype), rng.integers(0, 3, 23)
    state = {
        "turned": uneven(rng, (3, 23), dtype),
        "row": uneven(rng, (1, 3), dtype)[0],
        "kept": np.zeros((23, 3), dtype),
        "chosen": np.zeros((23, 3), bool),
    }
    written, compiled, program = ran(step, state, x, labels)
    same(written, compiled)
    assert any("x i1>" in loop.source for loop in passes(program))


def test_an_array_too_large_for_one_thread_keeps_calls_of_its_own(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(row_width, "LARGEST", 4 * 37 * 10 - 1)
    rows = uneven(rng, (37, 10), "float32")
    written, compiled, program = ran(probabilities, state_of(rows), rows)
    same(written, compiled)
    assert sum(group.nodes[0].op == "reduce" for group in program.plan.groups if group.kind == "single") == 2


def test_where_numpy_adds_in_another_order_its_loop_is_called(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(row_width, "adds_in_this_order", lambda dtype, length: False)
    rows = uneven(rng, (37, 10), "float32")
    written, compiled, program = ran(probabilities, state_of(rows), rows)
    same(written, compiled)
    assert [g.nodes[0].info for g in program.plan.groups if g.kind == "single" and g.nodes[0].op == "reduce"] == [
        ("add", "last")
    ]
