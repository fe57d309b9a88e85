"""The first minutes on an NVIDIA GPU: `python bench/gpu_first.py correct | smallest | bench | profile`, each below 9 min.

Every line stands by itself, and nothing stops at the first failure. `correct` trains networks of every kind on CuPy, compiled
from the first step, and holds parameters and losses against NumPy. `bench` says microseconds per step, as the
program runs and as `fit` takes them, beside PyTorch where that is installed. `smallest` is for a sanitizer, `profile` for a
profiler.
"""

from __future__ import annotations

import itertools
import sys
import time
import traceback
import warnings
from collections.abc import Callable
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


def attempt(name: str, check: Callable[..., Any], *arguments: Any) -> None:
    """Print what a check returns, or how it failed."""
    began = time.perf_counter()
    try:
        said, mark = check(*arguments), "ok   "
    except Exception as error:
        said, mark = f"{type(error).__name__}: {error}\n{traceback.format_exc(limit=-6)}", "FAIL "
    print(f"{mark} {name}: {said}  [{time.perf_counter() - began:.1f} s]", flush=True)


def targets(loss: str, rows: int, outputs: int, rng: np.random.Generator) -> Any:
    """Return random targets of the kind that a loss takes."""
    from bpengine.kernels import KERNELS

    kind = KERNELS[loss].target
    if kind == "classes":
        return rng.integers(0, outputs, rows)
    return (rng.random((rows, outputs)) < 0.5).astype(float) if kind == "binary" else rng.normal(size=(rows, outputs))


def trained(name: str, backend: str, dtype: str, batch: int | None, **more: Any) -> tuple[Any, Any]:
    """Train one of the networks; return its parameters and its history."""
    layers, loss, settings = NETWORKS[name]
    model = bp.Model(bp.Network(20, layers, loss), backend, dtype=dtype, seed=1)
    rng = np.random.default_rng(5)
    outputs = model.forward(np.zeros((2, 20))).shape[1]
    x = rng.normal(size=(1000, 20))
    history = model.fit(x, targets(loss, 1000, outputs, rng), batch_size=batch, epochs=5, **settings, **more)
    return model.parameters, history


def agrees(name: str, dtype: str, batch: int | None) -> str:
    """Compare CuPy with NumPy after five epochs, the last batch of each smaller."""
    from bpengine_cupy.cuda_target.program import CudaProgram

    runs, run = [], CudaProgram.run

    def noted(self: CudaProgram, *arguments: Any) -> Any:
        runs.append(len(self.text.calls))
        return run(self, *arguments)

    with patch.object(CudaProgram, "run", noted), warnings.catch_warnings():
        warnings.simplefilter("error")
        got, history = trained(name, "cupy", dtype, batch)
    want, expected = trained(name, "numpy", dtype, batch)
    if not runs:
        raise AssertionError("it was not compiled")
    worst = max(float(np.linalg.norm(got[k] - w) / (np.linalg.norm(w) + 1e-30)) for k, w in want.items())
    loss = abs(history.loss[-1] / expected.loss[-1] - 1)
    limit = {"float32": 1e-3, "float64": 1e-11}[dtype]
    if not (worst < limit and loss < limit) or history.steps != expected.steps:
        raise AssertionError(f"parameters {worst:.1e}, loss {loss:.1e}, steps {history.steps} of {expected.steps}")
    return f"{runs[0]} calls a step, {history.steps} steps, parameters within {worst:.1e}, loss {loss:.1e}"


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


def speed(name: str, precision: str) -> str:
    """Return microseconds per step: of the program, and of the epochs of `fit`, after the first."""
    from bpengine_cupy.cuda_target.program import CudaProgram

    sizes, batch, steps = SIZES[name]
    rng = np.random.default_rng(0)
    x, y = rng.random((steps * batch, sizes[0]), dtype=np.float32), rng.integers(0, sizes[-1], steps * batch)
    layers = [*(bp.Dense(width, "relu") for width in sizes[1:-1]), bp.Dense(sizes[-1])]
    network = bp.Network(sizes[0], layers, "softmax_cross_entropy")
    model = bp.Model(network, get_backend("cupy", precision=precision), seed=1)
    runs: list[float] = []
    epochs: list[float] = []
    calls, run = 0, CudaProgram.run

    def timed(self: CudaProgram, *arguments: Any) -> Any:
        nonlocal calls
        calls, began = len(self.text.calls), time.perf_counter()
        result = run(self, *arguments)
        runs.append(time.perf_counter() - began)
        return result

    with patch.object(CudaProgram, "run", timed):
        model.fit(
            x, y, batch_size=batch, epochs=12, optimizer=bp.Adam(1e-5),
            callbacks=lambda model, epoch: epochs.append(time.perf_counter()) or False,
        )  # fmt: skip
    program, whole = 1e6 * np.median(runs[2:]) / steps, 1e6 * np.median(np.diff(epochs)[1:]) / steps
    return f"{program:.1f} us a step, {whole:.1f} as fit takes it, {calls} calls, first epoch {runs[0]:.2f} s"


def torch_graph(name: str, precision: str) -> str:
    """Return microseconds per step of PyTorch: captured, fused Adam, the rows taken inside, the losses kept."""
    import torch

    sizes, batch, steps = SIZES[name]
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
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
        loss = torch.nn.functional.cross_entropy(net(x.index_select(0, rows)), y.index_select(0, rows))
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


def correct() -> None:
    """Hold every network against NumPy, a halt, and repeated runs against each other."""
    for name in NETWORKS:
        for dtype in ("float32", "float64"):
            for batch in (64, None):
                attempt(f"{name}, {dtype}, batch {batch}", agrees, name, dtype, batch)
    attempt("halt", halts)
    for dtype in ("float32", "float64"):
        attempt(f"repeated, {dtype}", repeats, dtype)


def main(part: str) -> None:
    """Run one part."""
    attempt("device", device)
    if part == "correct":
        correct()
    if part == "bench":
        for name in SIZES:
            for precision in ("float32", "tf32"):
                attempt(f"bpengine {name}, {precision}", speed, name, precision)
                attempt(f"torch graph {name}, {precision}", torch_graph, name, precision)
    if part == "smallest":
        attempt("relu, adam, float32, batch 64", agrees, "relu, adam", "float32", 64)
        attempt("layer norm, residual, float64, batch 64", agrees, "layer norm, residual", "float64", 64)
    if part == "profile":
        attempt("784-512-256-10, 128", speed, "784-512-256-10, 128", "float32")


if __name__ == "__main__":
    main(sys.argv[1])
