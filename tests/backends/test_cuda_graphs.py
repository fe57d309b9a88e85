"""The CUDA target on what no training step was written for: every kernel of the table, and graphs that hypothesis makes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import hypothesis
import numpy as np
import pytest
from bpengine_cupy.cuda_target.codegen.program_text import CudaText, write_cuda
from bpengine_cupy.cuda_target.program import CudaProgram
from bpengine_cupy.cuda_target.target import CudaTarget
from bpengine_numpy import NumpyBackend
from bpengine_numpy.denormals import flushed
from bpengine_steps.ir import Untraceable
from bpengine_steps.plan import make_plan
from bpengine_steps.signature import Signature, leaves
from bpengine_steps.tracing import record
from hypothesis import strategies

from bpengine.backend import Backend
from tests.backends.cuda_host.player import ORDERS, Player
from tests.kernels.kernel_samples import DIMENSIONS, Case, cases, has_pair
from tests.tolerances import launch_rtol

Array = np.ndarray[Any, Any]
RATE = np.ones(1)


def text_of(step: Any, state: Any, *, dots: bool = False) -> CudaText:
    target = CudaTarget(dots=dots)
    return write_cuda(make_plan(record(step, state, Signature.of(state, (), None, RATE)), target, ordered=False))


def assert_numpys(step: Any, state: Any, *, dots: bool = False) -> None:
    """Run a step once in each order of threads, with the same bits, and compare with NumPy."""
    text, first = text_of(step, state, dots=dots), dict[Any, Array]()
    with np.errstate(all="ignore"), flushed():
        wanted = dict(leaves(Backend.run_epoch(NumpyBackend("float64"), step, state, (), None, RATE)[0]))
        for order in ORDERS.values():
            before = {path: value.copy() for path, value in leaves(state)}
            after = dict(leaves(CudaProgram(text, Player(order)).run(nested(before), (), None, RATE)[0]))
            first = first or after
            for path, want in wanted.items():
                assert after[path].tobytes() == first[path].tobytes(), f"{path} depends on the order of threads"
                scale = float(np.abs(np.nan_to_num(np.asarray(want, "f8"))).max(initial=0.0))
                np.testing.assert_allclose(after[path], want, atol=launch_rtol("float64") * scale, err_msg=str(path))


def nested(flat: dict[Any, Array]) -> dict[str, Any]:
    """Return a tree of two levels from its leaves."""
    tree: dict[str, Any] = defaultdict(dict)
    for (one, other), value in flat.items():
        tree[one][other] = value
    return dict(tree)


def called(case: Case, arguments: Sequence[Any], dy: Any) -> list[Any]:
    """Return what a kernel gives, forward and backward."""
    result = case.kernel.forward(np, *arguments, **case.options)
    if not has_pair(case.kernel):
        return list(result) if isinstance(result, tuple) else [result]
    y, residual = result
    if case.kernel.backward is None:
        return [y]
    gradients = case.kernel.backward(np, residual, dy)
    return [y, *(gradients if isinstance(gradients, tuple) else (gradients,))]


@pytest.mark.usefixtures("played")
@pytest.mark.parametrize("dims", DIMENSIONS[:2], ids=str)
def test_every_kernel_of_the_table_becomes_cuda(dims: dict[str, int], rng: np.random.Generator) -> None:
    """All in one step, so that they are compiled once; one that could not be recorded would be named."""
    state: dict[str, dict[str, Array]] = {}
    steps: dict[str, Callable[[Any], list[Any]]] = {}
    refused = {}
    for case in cases():
        arrays = dict(case.arguments(rng, dims))
        names = list(arrays)
        like = called(case, list(arrays.values()), None) if case.kernel.backward is None else None
        y = case.kernel.forward(np, *arrays.values(), **case.options)
        y = y[0] if has_pair(case.kernel) else y
        dy = None if like is not None else rng.normal(size=np.shape(y))
        results = called(case, list(arrays.values()), dy)
        held = {name: np.array(array, order="C") for name, array in arrays.items()}
        if dy is not None:
            held["dy of it"] = np.asarray(dy)
        places = [k for k, value in enumerate(results) if value is not None]
        held |= {f"result {k}": np.zeros_like(np.asarray(results[k])) for k in places}

        def run(own: Any, case: Case = case, names: list[str] = names, places: list[int] = places) -> Any:
            values = called(case, [own[name] for name in names], own.get("dy of it"))
            return {**own, **{f"result {k}": values[k] for k in places}}

        def alone(tree: Any, rows: Any, lr: Any, name: str = case.id, run: Any = run) -> Any:
            return {name: run(tree[name])}, {"halt": lr[0] != lr[0]}

        try:
            text_of(alone, {case.id: held})
        except Untraceable as error:
            refused[case.id] = str(error)
            continue
        state[case.id], steps[case.id] = held, run
    assert refused == {}

    def step(tree: Any, rows: Any, lr: Any) -> Any:
        return {name: steps[name](own) for name, own in tree.items()}, {"halt": lr[0] != lr[0]}

    assert_numpys(step, state)


# what is done to arrays (R, C), rows (C,), columns (R, 1) and single numbers; all of it is continuous
INTO: dict[str, tuple[str, Callable[..., Any]]] = {
    "sum": ("full", lambda f, g, r, c, s: f + g),
    "product of elements": ("full", lambda f, g, r, c, s: np.tanh(f) * g),
    "row": ("full", lambda f, g, r, c, s: f * np.tanh(r)),
    "column": ("full", lambda f, g, r, c, s: f - 0.5 * c),
    "number": ("full", lambda f, g, r, c, s: f * np.tanh(s) + g),
    "largest": ("full", lambda f, g, r, c, s: np.maximum(f, g)),
    "relu": ("full", lambda f, g, r, c, s: np.maximum(f, 0.0)),
    "exp": ("full", lambda f, g, r, c, s: np.exp(-abs(f))),
    "matrices": ("full", lambda f, g, r, c, s: f @ (g.T @ f) / f.size),
    "column sums": ("row", lambda f, g, r, c, s: np.sum(f * g, axis=0) / f.shape[0]),
    "row of rows": ("row", lambda f, g, r, c, s: np.tanh(r) + np.sum(g, axis=0) * 0.1),
    "row sums": ("column", lambda f, g, r, c, s: np.sum(f, axis=1, keepdims=True) / f.shape[1]),
    "row maxima": ("column", lambda f, g, r, c, s: np.max(f, axis=1, keepdims=True)),
    "mean": ("one", lambda f, g, r, c, s: np.mean(f) + 0.1 * s),
    "largest of all": ("one", lambda f, g, r, c, s: np.max(g) * 0.5),
}
Instruction = tuple[str, int, int]
INSTRUCTIONS = strategies.lists(
    strategies.tuples(strategies.sampled_from(sorted(INTO)), strategies.integers(0, 7), strategies.integers(0, 7)),
    min_size=3,
    max_size=14,
)


@pytest.mark.usefixtures("played")
@hypothesis.settings(
    max_examples=20, derandomize=True, deadline=None, database=None, phases=[hypothesis.Phase.generate],
    suppress_health_check=list(hypothesis.HealthCheck),
)  # fmt: skip
@hypothesis.given(
    instructions=INSTRUCTIONS,
    rows=strategies.sampled_from([1, 5, 24, 70]),
    columns=strategies.sampled_from([1, 4, 5, 36, 300]),
)
def test_a_graph_of_any_form_gives_numpys_numbers(instructions: list[Instruction], rows: int, columns: int) -> None:
    rng = np.random.default_rng(rows * 1000 + columns)
    start: dict[str, Any] = {
        "full": rng.normal(size=(rows, columns)), "row": rng.normal(size=columns), "column": rng.normal(size=(rows, 1)),
        "one": rng.normal(size=()),
    }  # fmt: skip

    def step(tree: Any, _: Any, lr: Any) -> Any:
        pool = {kind: [value] for kind, value in tree["now"].items()}
        for name, one, other in instructions:
            kind, function = INTO[name]
            f, g = (pool["full"][k % len(pool["full"])] for k in (one, other))
            pool[kind].append(function(f, g, *(pool[k][other % len(pool[k])] for k in ("row", "column", "one"))))
        return {"now": {kind: sum(values[1:], values[0]) for kind, values in pool.items()}}, {"halt": lr[0] != lr[0]}

    assert_numpys(
        step, {"now": start}, dots=len(instructions) % 2 == 1
    )  # half of the graphs with short products in passes


@pytest.mark.usefixtures("played")
@pytest.mark.parametrize("form", ["rows", "columns", "flat"])
def test_first_arrays_of_a_step_have_names_of_their_own(form: str, rng: np.random.Generator) -> None:
    """A single number that is among a step's first arrays is read by its number, in a pass of each form."""
    arrays: dict[str, Any] = {name: rng.normal(size=()) for name in "abc"}
    state = {"now": {**arrays, "full": rng.normal(size=(24, 5)), "row": rng.normal(size=5)}}

    def step(tree: Any, _: Any, lr: Any) -> Any:
        now = tree["now"]
        full = np.tanh(now["full"] * now["a"] + now["b"]) * now["c"]
        if form == "rows":
            full = full - np.max(full, axis=1, keepdims=True)
        row = now["row"] + np.sum(full, axis=0) if form == "columns" else now["row"]
        return {"now": {**now, "full": full, "row": row}}, {"halt": lr[0] != lr[0]}

    assert_numpys(step, state)


@pytest.mark.usefixtures("played")
@pytest.mark.parametrize("dots", [False, True])
def test_numbers_per_row_are_used_with_arrays_of_different_widths(dots: bool, rng: np.random.Generator) -> None:
    """As in a weighted loss beside a penalty for each row: two passes, where one could not run over both."""
    state = {"now": {"f": rng.normal(size=(24, 5)), "g": rng.normal(size=(24, 3)), "w": rng.normal(size=(24, 1))}}

    def step(tree: Any, _: Any, lr: Any) -> Any:
        f, g, w = (tree["now"][name] for name in "fgw")
        of_f = np.sum(f * f, axis=1, keepdims=True)
        of_g = np.sum(np.exp(g), axis=1, keepdims=True) * of_f
        new = {"f": f * of_f + np.tanh(of_g), "g": g / of_g + w, "w": w + of_f * of_g}
        return {"now": new}, {"halt": lr[0] != lr[0]}

    assert_numpys(step, state, dots=dots)
