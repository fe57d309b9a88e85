"""The first minutes on an NVIDIA GPU: `python bench/gpu_first.py correct | further | bench | smallest | profile`.

Each part takes less than nine minutes; every line stands by itself, and nothing stops at the first failure. A folder as second
argument gets what is said, line by line, as PART.txt. `correct` trains networks of every kind on CuPy, compiled
from the first step, and holds parameters and losses against NumPy. `further` does so with predictions, evaluations and
gradients, the reduced precisions, rows that stay on the host, and evaluations that do not fit. `bench` says microseconds per
step, as the program runs and as `fit` takes them, beside PyTorch where that is installed, then what rows from the host and
predictions cost. `smallest` is for a sanitizer, `profile` for a profiler. GPU_FIRST=small in the environment: networks of a
few units and few steps in `bench` and `profile`, for a simulated GPU.
"""

from __future__ import annotations

import itertools
import os
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

import bpengine as bp
from bpengine.backend import get_backend

NETWORKS: dict[str, tuple[list[bp.Layer], str, dict[str, Any]]] = {
    "relu, adam": ([bp.Dense(48, "relu"), bp.Dense(32, "relu"), bp.Dense(10)], "softmax_cross_entropy", {}),
    "tanh, momentum": ([bp.Dense(40, "tanh"), bp.Dense(1)], "mean_squared_error", {"optimizer": "momentum"}),
    "batch norm, dropout": (
        [bp.BatchNorm(), bp.Dense(36, "gelu"), bp.Dropout(0.3), bp.Dense(3)],
        "mean_squared_error",
        {"optimizer": "rmsprop"},
    ),
    "layer norm, residual": (
        [bp.Dense(24, "elu"), bp.Residual([bp.Dense(24, "relu"), bp.LayerNorm()]), bp.Dense(7, "softmax")],
        "categorical_cross_entropy",
        {"optimizer": "adamw"},
    ),
    "bias columns, clip": (
        [bp.Dense(5, "leaky_relu", bias="column"), bp.Dense(3, bias="column-first")],
        "huber",
        {"optimizer": "sgd", "clip_norm": 0.1},
    ),
    "sequential": (
        [bp.Dense(5, "silu", bias=False), bp.Dense(2)],
        "sigmoid_cross_entropy",
        {"optimizer": "sgd", "update": "sequential"},
    ),
    "some frozen, step size": (
        [bp.Dense(5, "selu"), bp.Dense(4, "gelu_tanh"), bp.Dense(3)],
        "mean_absolute_error",
        {"optimizer": "adam", "only": ["1.*"], "track_step_size": True},
    ),
    "wide rows": ([bp.Dense(900, "relu"), bp.LayerNorm(), bp.Dense(300)], "softmax_cross_entropy", {}),
}
SIZES: dict[str, tuple[tuple[int, ...], int, int]] = {  # layers, batch, steps of an epoch
    "64-64-64-10, 32": ((64, 64, 64, 10), 32, 256),
    "784-512-256-10, 128": ((784, 512, 256, 10), 128, 256),
    "784-512-256-10, 1024": ((784, 512, 256, 10), 1024, 64),
    "784-512-256-10, 8192": ((784, 512, 256, 10), 8192, 16),
    "1024x4-10, 1024": ((1024, 1024, 1024, 1024, 10), 1024, 64),
    "4096x4-10, 1024": ((4096, 4096, 4096, 4096, 10), 1024, 16),
}
if os.environ.get("GPU_FIRST") == "small":  # a simulated GPU takes milliseconds for each step
    SIZES = {n: ((*(min(width, 20) for width in sizes),), min(b, 8), min(k, 6)) for n, (sizes, b, k) in SIZES.items()}


class Lines:
    """Prints what checks return, or how they fail, and writes it into a file as it comes, if there is one."""

    def __init__(self, path: Path | None = None) -> None:
        self._path, self.failed = path, 0
        if path:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("")

    def attempt(self, name: str, check: Callable[..., Any], *arguments: Any) -> None:
        """Print a line of a check that passes or fails."""
        began = time.perf_counter()
        try:
            said, mark = check(*arguments), "ok   "
        except Exception as error:
            said, mark = f"{type(error).__name__}: {error}\n{traceback.format_exc(limit=-6)}", "FAIL "
            self.failed += 1
        line = f"{mark} {name}: {said}  [{time.perf_counter() - began:.1f} s]"
        print(line, flush=True)
        if self._path:
            with self._path.open("a") as file:
                file.write(line + "\n")


def targets(loss: str, rows: int, outputs: int, rng: np.random.Generator) -> Any:
    """Return random targets of the kind that a loss takes."""
    from bpengine.kernels import KERNELS

    kind = KERNELS[loss].target
    if kind == "classes":
        return rng.integers(0, outputs, rows)
    return (rng.random((rows, outputs)) < 0.5).astype(float) if kind == "binary" else rng.normal(size=(rows, outputs))


def trained(name: str, backend: Any, dtype: str, batch: int | None, **more: Any) -> tuple[Any, Any]:
    """Train one of the networks; return its parameters and its history."""
    layers, loss, settings = NETWORKS[name]
    model = bp.Model(bp.Network(20, layers, loss), backend, dtype=dtype, seed=1)
    rng = np.random.default_rng(5)
    outputs = model.forward(np.zeros((2, 20))).shape[1]
    x = rng.normal(size=(1000, 20))
    history = model.fit(x, targets(loss, 1000, outputs, rng), batch_size=batch, epochs=5, **settings, **more)
    return model.parameters, history


@contextmanager
def watched() -> Iterator[list[tuple[int, float]]]:
    """Give the calls of a step, and the seconds from binding to the end, of each run of a compiled program."""
    from bpengine_cupy.cuda_target.program import CudaProgram

    runs: list[tuple[int, float]] = []
    bind = CudaProgram.bind

    def noted(self: CudaProgram, *arguments: Any) -> Callable[[], Any]:
        began = time.perf_counter()
        bound = bind(self, *arguments)

        def run() -> Any:
            result = bound()
            runs.append((len(self.text.calls), time.perf_counter() - began))
            return result

        return run

    with patch.object(CudaProgram, "bind", noted):
        yield runs


def agrees(name: str, dtype: str, batch: int | None, *, dots: bool = True) -> str:
    """Compare CuPy with NumPy after five epochs, the last batch of each smaller; `dots`: with short products in passes."""
    from bpengine_cupy import CupyBackend

    backend = CupyBackend(dtype)
    backend._dots = dots
    with watched() as runs, warnings.catch_warnings():
        warnings.simplefilter("error")
        got, history = trained(name, backend, dtype, batch)
    want, expected = trained(name, "numpy", dtype, batch)
    if not runs:
        raise AssertionError("it was not compiled")
    worst = max(float(np.linalg.norm(got[k] - w) / (np.linalg.norm(w) + 1e-30)) for k, w in want.items())
    loss = abs(history.loss[-1] / expected.loss[-1] - 1)
    limit = {"float32": 1e-3, "float64": 1e-11}[dtype]
    if not (worst < limit and loss < limit) or history.steps != expected.steps:
        raise AssertionError(f"parameters {worst:.1e}, loss {loss:.1e}, steps {history.steps} of {expected.steps}")
    return f"{runs[0][0]} calls a step, {history.steps} steps, parameters within {worst:.1e}, loss {loss:.1e}"


def epilogues(name: str, dtype: str) -> str:
    """Compare products that do what follows them with NumPy, and with passes that do it."""
    from bpengine_cupy import CupyBackend

    fused = CupyBackend(dtype)
    fused._epilogues = True
    with watched() as runs:
        got, history = trained(name, fused, dtype, 64)
    with watched() as plain:
        trained(name, "cupy", dtype, 64)
    want, expected = trained(name, "numpy", dtype, 64)
    worst = max(float(np.linalg.norm(got[k] - w) / (np.linalg.norm(w) + 1e-30)) for k, w in want.items())
    limit = {"float32": 1e-3, "float64": 1e-11}[dtype]
    if not worst < limit or history.steps != expected.steps:
        raise AssertionError(f"parameters {worst:.1e}, steps {history.steps} of {expected.steps}")
    if runs[0][0] == plain[0][0]:
        return f"cuBLASLt has no algorithm for them: {runs[0][0]} calls a step, parameters within {worst:.1e}"
    return f"{runs[0][0]} calls a step instead of {plain[0][0]}, parameters within {worst:.1e}"


def halts() -> str:
    """Compare where a stopping rule ends a run in the middle of a window."""
    steps = []
    for backend in ("numpy", "cupy"):
        _, history = trained("relu, adam", backend, "float64", 8, stop=bp.LossBelow(2.2))
        steps.append(history.steps)
    if steps[0] != steps[1]:
        raise AssertionError(f"NumPy stopped after {steps[0]} steps, CuPy after {steps[1]}")
    return f"both stopped after {steps[0]} steps"


def repeats(dtype: str) -> str:
    """Train twice and compare the bits."""
    first, _ = trained("batch norm, dropout", "cupy", dtype, 64)
    second, _ = trained("batch norm, dropout", "cupy", dtype, 64)
    if any(not np.array_equal(first[k], second[k]) for k in first):
        raise AssertionError("two runs differ")
    return "two runs give the same bits"


def answers(name: str, dtype: str) -> str:
    """Compare predictions, evaluations and gradients, compiled, with NumPy's; the last piece of rows is smaller."""
    from bpengine_cupy.cuda_target.program import CudaProgram
    from bpengine_steps.functions import compiled_function

    from bpengine.training import evaluation

    layers, loss, _ = NETWORKS[name]
    models = [bp.Model(bp.Network(20, layers, loss), b, dtype=dtype, seed=1) for b in ("cupy", "numpy")]
    rng = np.random.default_rng(5)
    x, calls, results = rng.normal(size=(1000, 20)), [], CudaProgram.results
    y = targets(loss, 1000, models[1].forward(x[:2]).shape[1], rng)

    def noted(self: CudaProgram, *arguments: Any) -> Any:
        calls.append(len(self.text.calls))
        return results(self, *arguments)

    said: list[tuple[str, Any, Any]] = []
    with (
        patch.object(CudaProgram, "results", noted),
        patch.object(compiled_function, "SMALL", 0),
        patch.object(evaluation, "CHUNK", 384),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("error")
        said.append(("predictions", *(m.predict(x) for m in models)))
        said.append(("evaluation", *(list(m.evaluate(x, y).values()) for m in models)))
        gradients = [m.loss_and_gradients(x, y)[1] for m in models]
    said += [(f"gradient of {k}", gradients[0][k], want) for k, want in gradients[1].items()]
    if len(calls) != 7:
        raise AssertionError(f"{len(calls)} programs were run, not 7")
    away = {k: float(np.linalg.norm(np.subtract(a, b)) / (np.linalg.norm(b) + 1e-30)) for k, a, b in said}
    worst = max(away, key=lambda k: away[k])
    if not away[worst] < {"float32": 1e-4, "float64": 1e-12}[dtype]:
        raise AssertionError(f"{worst}: {away[worst]:.1e}")
    return f"{calls[0]} calls for a piece of rows, {worst} within {away[worst]:.1e}"


def reduced(name: str, precision: str) -> str:
    """Compare losses in a reduced precision with float32's; two runs give the same bits."""
    layers, loss, settings = NETWORKS[name]
    rng = np.random.default_rng(5)
    x, runs = rng.normal(size=(1000, 20)), []
    y = targets(loss, 1000, bp.Model(bp.Network(20, layers, loss)).forward(x[:2]).shape[1], rng)
    for own in ("float32", precision, precision):
        backend = get_backend("cupy", precision=own)
        model = bp.Model(bp.Network(20, layers, loss), backend, seed=1)
        runs.append(model.fit(x, y, batch_size=64, epochs=2, **settings).loss)
    if not np.array_equal(runs[1], runs[2]):
        raise AssertionError("two runs differ")
    worst = float(np.abs(runs[1] / runs[0] - 1).max())
    limit = {"tf32": 2e-2, "bfloat16": 1e-1}[precision]
    if not 0 < worst < limit:
        raise AssertionError(f"losses within {worst:.1e}, limit {limit}; 0 where nothing was rounded")
    return f"losses within {worst:.1e} of float32's, two runs give the same bits"


def staged(dtype: str, piece: int) -> str:
    """Let rows stay on the host, in pieces of so many bytes, and compare the bits with those of rows on the device."""
    from bpengine_cupy import backend as of_backend
    from bpengine_cupy.cuda_target import staging

    there, _ = trained("relu, adam", "cupy", dtype, 8)
    with (
        patch.object(of_backend, "SMALL_PART", 1 << 62),
        patch.object(staging, "RESERVE", 1 << 62),
        patch.object(staging, "PIECE_BYTES", piece),
        warnings.catch_warnings(record=True) as caught,
    ):
        warnings.simplefilter("always")
        here, _ = trained("relu, adam", "cupy", dtype, 8)
    if [w for w in caught if "stay on the host" in str(w.message)] != caught or len(caught) != 1:
        raise AssertionError(f"warnings: {[str(w.message) for w in caught]}")
    if any(not np.array_equal(here[k], there[k]) for k in there):
        raise AssertionError("other bits than with rows on the device")
    return f"pieces of {piece} bytes give the bits of rows on the device"


def in_parts(name: str, dtype: str) -> str:
    """Give programs of evaluations too little memory, and compare predictions in parts with those of all rows at once."""
    from bpengine_cupy.cuda_target.program import CudaProgram
    from bpengine_steps.functions import compiled_function

    layers, loss, _ = NETWORKS[name]
    x, sizes, taken = np.random.default_rng(5).normal(size=(1000, 20)), [], CudaProgram._taken

    def limited(self: CudaProgram, size: int) -> Any:
        if sizes and size > max(sizes) // 3:
            raise MemoryError(size)
        return taken(self, size)

    def predicted() -> Any:
        bp.clear_caches()
        return bp.Model(bp.Network(20, layers, loss), "cupy", dtype=dtype, seed=1).predict(x)

    with patch.object(compiled_function, "SMALL", 0), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with patch.object(CudaProgram, "_taken", lambda self, size: sizes.append(size) or taken(self, size)):
            whole = predicted()
        with patch.object(CudaProgram, "_taken", limited):
            parts = predicted()
    if [w for w in caught if "evaluations go on with" in str(w.message)] != caught or len(caught) != 1:
        raise AssertionError(f"warnings: {[str(w.message) for w in caught]}")
    away = float(np.linalg.norm(parts - whole) / np.linalg.norm(whole))
    if not away < {"float32": 1e-5, "float64": 1e-13}[dtype]:
        raise AssertionError(f"predictions {away:.1e}")
    return f"{str(caught[0].message).partition('go on with ')[2]}, predictions within {away:.1e}"


def between_graphs() -> str:
    """Call a function on the device between two graphs of each step, as the exchange of several GPUs is called."""
    from bpengine_cupy.cuda_target.program import CudaProgram
    from bpengine_steps.tracing import DeviceFunction, outside

    backend: Any = get_backend("cupy", precision="float64")

    def into(x: Any, result: Any) -> None:
        result[...] = x[0] + 2 * x[1]

    call = outside(DeviceFunction(into), lambda x: x[0] + 2 * x[1])

    def step(state: Any, rows: Any, lr: Any) -> Any:
        xp = backend.xp
        both = call(xp.stack([state["w"], xp.sum(rows[0], axis=0)]))
        return {"w": both * lr, "n": state["n"] + 1.0}, {"loss": xp.sum(both), "halt": state["n"][0] >= 40.0}

    def state() -> Any:
        return {"w": backend.asarray(np.array([0.5, 1.5, 2.5])), "n": backend.asarray(np.zeros(1))}

    data = (backend.asarray(np.arange(300.0).reshape(100, 3)),)
    order, lr, runs = np.arange(300).reshape(60, 5) % 100, np.full(60, 0.25), []
    run = CudaProgram.bind
    with patch.object(CudaProgram, "bind", lambda self, *a: runs.append(len(self._parts)) or run(self, *a)):
        got = backend.run_epoch(step, state(), data, order, lr)
    want = bp.backend.Backend.run_epoch(backend, step, state(), data, order, lr)
    if runs != [3]:
        raise AssertionError(f"parts of the program: {runs}")
    worst = float(np.abs(backend.to_numpy(got[0]["w"]) / backend.to_numpy(want[0]["w"]) - 1).max())
    if not worst < 1e-13 or len(got[1]["loss"]) != len(want[1]["loss"]):
        raise AssertionError(f"state {worst:.1e}, {len(got[1]['loss'])} steps of {len(want[1]['loss'])}")
    return f"two graphs and a call in each of {len(got[1]['loss'])} steps, state within {worst:.1e}"


def exchange() -> str:
    """Say how sums between several GPUs are tried: it takes as many processes."""
    import cupy

    count = cupy.cuda.runtime.getDeviceCount()
    command = f"mpiexec -n {count} python -m pytest tests/distributed -k cupy --require-backend cupy"
    return f"{count} GPUs: with two or more, run {command}" if count > 1 else "1 GPU: an exchange by NCCL needs two"


def predicting(name: str, rows: int) -> str:
    """Return microseconds for each 8,192 rows of `predict`, compiled and as it is written."""
    from bpengine_steps.functions import compiled_function

    sizes = SIZES[name][0]
    layers = [*(bp.Dense(width, "relu") for width in sizes[1:-1]), bp.Dense(sizes[-1])]
    x, said = np.random.default_rng(0).random((rows, sizes[0]), dtype=np.float32), []
    for small in (0, 1 << 62):
        with patch.object(compiled_function, "SMALL", small):
            model = bp.Model(bp.Network(sizes[0], layers, "softmax_cross_entropy"), "cupy", seed=1)
            times = []
            for _ in range(4):
                began = time.perf_counter()
                model.predict(x)
                times.append(time.perf_counter() - began)
            said.append(1e6 * min(times[1:]) / -(-rows // 8192))
    return f"{said[0]:.0f} us for 8,192 rows compiled, {said[1]:.0f} as it is written (the rows come from the host)"


def streaming(name: str) -> str:
    """Return microseconds per step where the rows lie on the device, and where they come from the host meanwhile."""
    from bpengine_cupy import backend as of_backend
    from bpengine_cupy.cuda_target import staging

    there = speed(name, "float32").partition(" ")[0]
    with (
        patch.object(of_backend, "SMALL_PART", 1 << 62),
        patch.object(staging, "RESERVE", 1 << 62),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        here = speed(name, "float32").partition(" ")[0]
    sizes, batch, _ = SIZES[name]
    copied = 4 * batch * sizes[0] / 1e6
    return f"{there} us a step from the device, {here} from the host, which copies {copied:.2f} MB for each"


def speed(name: str, precision: str, *, fused: bool = False, dots: bool = True) -> str:
    """Return microseconds per step: of the program, and of the epochs of `fit`, after the first.

    `fused`: with epilogues; `dots`: with short products in passes.
    """
    from bpengine_cupy import CupyBackend

    sizes, batch, steps = SIZES[name]
    rng = np.random.default_rng(0)
    x, y = rng.random((steps * batch, sizes[0]), dtype=np.float32), rng.integers(0, sizes[-1], steps * batch)
    layers = [*(bp.Dense(width, "relu") for width in sizes[1:-1]), bp.Dense(sizes[-1])]
    network = bp.Network(sizes[0], layers, "softmax_cross_entropy")
    backend = CupyBackend(precision)
    backend._epilogues, backend._dots = fused, dots
    model = bp.Model(network, backend, seed=1)
    epochs: list[float] = []
    with watched() as noted:
        model.fit(
            x, y, batch_size=batch, epochs=12, optimizer=bp.Adam(1e-5),
            callbacks=lambda model, epoch: epochs.append(time.perf_counter()) or False,
        )  # fmt: skip
    calls, runs = noted[0][0], [seconds for _, seconds in noted]
    program, whole = 1e6 * np.median(runs[2:]) / steps, 1e6 * np.median(np.diff(epochs)[1:]) / steps
    return f"{program:.1f} us a step, {whole:.1f} as fit takes it, {calls} calls, first epoch {runs[0]:.2f} s"


def torch_graph(name: str, precision: str) -> str:
    """Return microseconds per step of PyTorch: captured, fused Adam, the rows taken inside, the losses kept."""
    import torch

    sizes, batch, steps = SIZES[name]
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    rounded = torch.autocast("cuda", torch.bfloat16, enabled=precision == "bfloat16", cache_enabled=False)
    widths = itertools.pairwise(sizes)
    layers = [layer for i, o in widths for layer in (torch.nn.Linear(i, o), torch.nn.ReLU())][:-1]
    net = torch.nn.Sequential(*layers).cuda()
    adam = torch.optim.Adam(net.parameters(), lr=1e-5, fused=True, capturable=True)
    x = torch.rand(steps * batch, sizes[0], device="cuda")
    y = torch.randint(0, sizes[-1], (steps * batch,), device="cuda")
    order = torch.randperm(steps * batch, device="cuda").reshape(steps, batch)
    counter, losses = torch.zeros(1, dtype=torch.int64, device="cuda"), torch.zeros(steps, device="cuda")

    def step() -> None:
        rows = order.index_select(0, counter).squeeze(0)
        adam.zero_grad(set_to_none=True)
        with rounded:
            output = net(x.index_select(0, rows))
        loss = torch.nn.functional.cross_entropy(output.float(), y.index_select(0, rows))
        loss.backward()
        adam.step()
        losses.index_copy_(0, counter, loss.detach().reshape(1))
        counter.add_(1).remainder_(steps)

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    times = []
    for _ in range(9):
        torch.cuda.synchronize()
        began = time.perf_counter()
        for _ in range(steps):
            graph.replay()
        torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
    return f"{1e6 * np.median(times) / steps:.1f} us a step"


def device() -> str:
    """Return the card and the versions."""
    import cupy

    card = cupy.cuda.runtime.getDeviceProperties(0)
    driver, runtime = cupy.cuda.runtime.driverGetVersion(), cupy.cuda.runtime.runtimeGetVersion()
    versions = f"driver for CUDA {driver}, CUDA {runtime}, CuPy {cupy.__version__}, NumPy {np.__version__}"
    return f"{card['name'].decode()}, {versions}"


def correct(attempt: Callable[..., None]) -> None:
    """Hold every network against NumPy, a halt, and repeated runs against each other; a call between two graphs."""
    for name in NETWORKS:
        for dtype in ("float32", "float64"):
            for batch in (64, None):
                attempt(f"{name}, {dtype}, batch {batch}", agrees, name, dtype, batch)
    for dtype in ("float32", "float64"):
        attempt(f"epilogues, {dtype}", epilogues, "relu, adam", dtype)
        attempt(f"products by cuBLASLt alone, {dtype}", partial(agrees, dots=False), "relu, adam", dtype, 64)
    attempt("halt", halts)
    for dtype in ("float32", "float64"):
        attempt(f"repeated, {dtype}", repeats, dtype)
    attempt("between two graphs", between_graphs)
    attempt("exchange", exchange)


def further(attempt: Callable[..., None]) -> None:
    """Hold answers against NumPy, reduced precisions against float32, rows on the host against rows on the device."""
    for piece in (1, 20_000, 1 << 26):
        attempt(f"rows on the host, pieces of {piece} bytes", staged, "float32", piece)
    for dtype in ("float32", "float64"):
        attempt(f"evaluations in parts, {dtype}", in_parts, "relu, adam", dtype)
    for precision in ("tf32", "bfloat16"):
        for name in NETWORKS:
            attempt(f"{name}, {precision}", reduced, name, precision)
    for name in NETWORKS:
        for dtype in ("float32", "float64"):
            attempt(f"answers, {name}, {dtype}", answers, name, dtype)


def bench(attempt: Callable[..., None]) -> None:
    """Time steps, predictions, and steps whose rows come from the host."""
    for name in SIZES:
        for precision in ("float32", "tf32", "bfloat16"):
            attempt(f"bpengine {name}, {precision}", speed, name, precision)
            attempt(f"torch graph {name}, {precision}", torch_graph, name, precision)
        for precision in ("float32", "tf32"):
            attempt(f"with epilogues {name}, {precision}", partial(speed, fused=True), name, precision)
        attempt(f"products by cuBLASLt alone {name}", partial(speed, dots=False), name, "float32")
    for name in ("784-512-256-10, 1024", "1024x4-10, 1024"):
        attempt(f"predict {name}", predicting, name, 65_536)
        attempt(f"rows from the host {name}", streaming, name)


def smallest(attempt: Callable[..., None]) -> None:
    """Run a little of everything, for a sanitizer."""
    attempt("relu, adam, float32, batch 64", agrees, "relu, adam", "float32", 64)
    attempt("layer norm, residual, float64, batch 64", agrees, "layer norm, residual", "float64", 64)
    attempt("relu, adam, bfloat16", reduced, "relu, adam", "bfloat16")
    attempt("rows on the host", staged, "float32", 20_000)


def profile(attempt: Callable[..., None]) -> None:
    """Train one network, for a profiler."""
    attempt("784-512-256-10, 128", speed, "784-512-256-10, 128", "float32")


PARTS = {each.__name__: each for each in (correct, further, bench, smallest, profile)}


def main(part: str, folder: Path | None = None) -> int:
    """Run one part, and write what it says into a folder; return how many of its lines failed."""
    lines = Lines(folder / f"{part}.txt" if folder else None)
    lines.attempt("device", device)
    PARTS[part](lines.attempt)
    return lines.failed


if __name__ == "__main__":
    sys.exit(min(main(sys.argv[1], Path(sys.argv[2]) if len(sys.argv) > 2 else None), 1))
