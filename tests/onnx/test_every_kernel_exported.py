"""Every kernel that a network can predict with is exported as it is written, or its row says why not."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np
import pytest

from bpengine.kernels import KERNELS
from bpengine.onnx.onnx_graph import ROWS, NoOnnxForm, OnnxGraph
from bpengine.onnx.recorded_array import RecordedArray
from bpengine.onnx.recording_namespace import FORMS, RecordingOps
from tests.kernels.kernel_samples import DIMENSIONS, Case, cases
from tests.onnx.served import assert_same, served

CASES = {case.id: case for case in cases(no_onnx=False) if case.kernel.kind in ("layer", "activation")}
REFUSED = [kernel for kernel in KERNELS.values() if kernel.no_onnx]
DTYPES = ("float32", "float64")
DIMS = DIMENSIONS[0]
FAR = (0.0, -0.0, 1e-30, -1e-30, 1e-4, -1e-4, 5.0, -5.0, 20.0, -20.0, 89.0, -89.0, 1e4, -1e4, 1e30, -1e30)


class Recorded(NamedTuple):
    """One graph of all kernels, so that it is loaded once."""

    run: Any
    fixed: dict[str, Any]  # the arrays that are the same for every row
    refusals: dict[str, NoOnnxForm]


def of_rows(case: Case, name: str) -> bool:
    """Tell whether an argument has a row for each sample."""
    return case.kernel.shapes[name][:1] == ("B",)


def arguments(case: Case, rows: int, dtype: str) -> dict[str, Any]:
    rng = np.random.default_rng(rows)
    return case.arguments(rng, {**DIMS, "B": rows}, np.dtype(dtype))


@cache
def recorded(dtype: str) -> Recorded:
    graph, inputs, outputs, fixed, refusals = OnnxGraph(FORMS), [], {}, {}, {}
    for case in CASES.values():
        arrays = arguments(case, 1, dtype)
        here = {name: f"{case.id} {name}" for name in arrays}
        fixed.update({here[name]: array for name, array in arrays.items() if not of_rows(case, name)})
        nodes = [
            graph.input(here[name], dtype, (ROWS, *array.shape[1:]))
            if of_rows(case, name)
            else graph.parameter(here[name], array)
            for name, array in arrays.items()
        ]
        taken = [RecordedArray(graph, node) for node in nodes]
        try:
            outputs[case.id] = RecordingOps(graph).forward(case.kernel)(*taken, **case.options)[0]
            inputs += [array for array, name in zip(taken, arrays, strict=True) if of_rows(case, name)]
        except NoOnnxForm as refusal:
            refusals[case.id] = refusal
    return Recorded(served(graph, inputs, outputs), fixed, refusals)


@cache
def results(dtype: str, rows: int) -> dict[str, Any]:
    """Return what the graph gives for so many rows; 0 stands for values far out."""
    rows_of = {n: taken(case, rows, dtype) for n, case in CASES.items() if n not in recorded(dtype).refusals}
    feeds = {f"{n} {a}": x for n, arrays in rows_of.items() for a, x in arrays.items() if of_rows(CASES[n], a)}
    return dict(recorded(dtype).run(feeds))


def taken(case: Case, rows: int, dtype: str) -> dict[str, Any]:
    """Return a case's arguments: of so many rows each, or of values far out, the arrays of all rows those of the graph."""
    arrays = arguments(case, rows or len(FAR), dtype)
    if rows == 0 and case.kernel.kind == "activation":
        arrays = {name: np.repeat(np.array(FAR, dtype)[:, None], DIMS["O"], axis=1) for name in arrays}
    fixed = recorded(dtype).fixed
    return {name: fixed.get(f"{case.id} {name}", array) for name, array in arrays.items()}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CASES)
def test_onnx_runtime_agrees_with_the_kernel(name: str, dtype: str) -> None:
    assert name not in recorded(dtype).refusals, f"{recorded(dtype).refusals[name]}: say no_onnx=... in its row"
    case = CASES[name]
    for rows in (1, 5, 67):
        wanted = case.kernel.forward(np, *taken(case, rows, dtype).values(), **case.options)[0]
        assert_same(results(dtype, rows)[name], wanted)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.kernel.family == "elementwise"])
def test_extreme_values_agree_element_by_element(name: str, dtype: str) -> None:
    case = CASES[name]
    with np.errstate(over="ignore"):
        wanted = case.kernel.forward(np, *taken(case, 0, dtype).values(), **case.options)[0]
    got = results(dtype, 0)[name]
    for row in range(len(FAR)):
        assert_same(got[row], wanted[row])


def test_kernels_for_training_only_say_so_in_their_row() -> None:
    assert {kernel.name for kernel in REFUSED} == {"dropout", "batch_norm"}
    for kernel in REFUSED:
        graph = OnnxGraph(FORMS)
        x = RecordedArray(graph, graph.input("x", "float32", (ROWS, 3)))
        with pytest.raises(NoOnnxForm, match=kernel.no_onnx):
            RecordingOps(graph).forward(kernel)(x)


def test_kernel_without_an_onnx_form_is_detected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(np, "tanh", np.arctan)
    recorded.cache_clear()
    assert str(recorded("float32").refusals["tanh"]) == "np.arctan"
    recorded.cache_clear()
