"""One training step against a straightforward jitted jax.grad + optax step: same network, data, weights and optimiser.

    python bench/training_step.py [--rounds 7] [--steps 20] [--batch 1024]

Each contender lives in a process of its own (two BLAS thread pools in one process disturb each other) and the processes
take turns. A round is only counted when the losses agree. Printed: median milliseconds per step, and the median of the
ratios to the optax step of the same round.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

SIZES = (784, 512, 256, 10)
ROWS = 8192
AGREEMENT = 1e-3  # of the losses after each round, relative
RATE = 1e-4  # slow enough that roundings do not grow into other losses over the rounds
FORCED = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")  # may force slow matmul kernels: taken out for every contender


def data() -> tuple[np.ndarray, np.ndarray]:
    """Return the same random images and labels in every process."""
    rng = np.random.default_rng(0)
    return rng.random((ROWS, SIZES[0]), dtype=np.float32), rng.integers(0, SIZES[-1], ROWS).astype(np.int32)


def order(steps: int, batch: int) -> np.ndarray:
    """Return the same batches in every process, (steps, batch)."""
    return np.random.default_rng(1).integers(0, ROWS, (steps, batch)).astype(np.int32)


def network() -> object:
    """Return the network that is trained."""
    import bpengine as bp

    layers = [bp.Dense(512, "relu"), bp.Dense(256, "relu"), bp.Dense(10)]
    return bp.Network(SIZES[0], layers, loss="softmax_cross_entropy")


def engine(backend_name: str, steps: int, batch: int) -> Iterator[tuple[float, float]]:
    """Yield (seconds per step, last loss) of the engine's own loop over device-resident data, round after round."""
    import bpengine as bp
    from bpengine.training.step import StepPlan, init_state, make_step

    backend = bp.get_backend(backend_name)
    ops, (params, running) = backend.ops(), network().init(0)
    bring = lambda arrays: {n: backend.asarray(a, "float32") for n, a in arrays.items()}  # noqa: E731
    plan = StepPlan(bp.Adam(RATE), tuple(params), "simultaneous", None, None, None, track_step_size=False)
    counter = backend.asarray(np.array([0, 0], dtype=np.uint32))
    state = init_state(ops, plan, bring(params), bring(running), counter)
    step, rows = make_step(network(), plan, ops), tuple(backend.asarray(a) for a in data())
    rates = np.full(steps, RATE, dtype=np.float32)
    while True:
        began = time.perf_counter()
        state, reports = backend.run_epoch(step, state, rows, order(steps, batch), rates)
        backend.synchronize(*state["params"].values())
        yield (time.perf_counter() - began) / steps, float(reports["loss"][-1])


def optax_step(steps: int, batch: int) -> Iterator[tuple[float, float]]:
    """Yield the same for jax.value_and_grad + optax.adam, jitted once, called from a Python loop."""
    import jax
    import jax.numpy as jnp
    import optax

    initial, _ = network().init(0)
    params = {name: jnp.asarray(value, dtype=jnp.float32) for name, value in initial.items()}
    x, labels = (jnp.asarray(a) for a in data())
    rule = optax.adam(RATE)

    def loss(params: dict, x: jax.Array, labels: jax.Array) -> jax.Array:
        for i in range(3):
            x = x @ params[f"{i}.weight"] + params[f"{i}.bias"]
            x = jax.nn.relu(x) if i < 2 else x
        return optax.softmax_cross_entropy_with_integer_labels(x, labels).mean()

    def step(params: dict, slots: object, x: jax.Array, labels: jax.Array) -> tuple:
        value, gradients = jax.value_and_grad(loss)(params, x, labels)
        updates, slots = rule.update(gradients, slots, params)
        return optax.apply_updates(params, updates), slots, value

    jitted, slots = jax.jit(step, donate_argnums=(0, 1)), rule.init(params)
    take = jax.jit(lambda rows: (x[rows], labels[rows]))
    while True:
        began = time.perf_counter()
        for rows in order(steps, batch):
            params, slots, value = jitted(params, slots, *take(rows))
        jax.block_until_ready(params)
        yield (time.perf_counter() - began) / steps, float(value)


CONTENDERS: dict[str, Callable[[int, int], Iterator[tuple[float, float]]]] = {
    "jax.grad + optax": optax_step,
    "bpengine numpy": lambda *size: engine("numpy", *size),
    "bpengine jax": lambda *size: engine("jax", *size),
}


def work(name: str, steps: int, batch: int) -> None:
    """Run one contender: a round for every line on standard input."""
    rounds = CONTENDERS[name](steps, batch)
    for _ in sys.stdin:
        print(*next(rounds), flush=True)


def start(name: str, args: argparse.Namespace) -> subprocess.Popen[str]:
    """Start a contender's process, without forced BLAS kernels."""
    environment = {k: v for k, v in os.environ.items() if k not in FORCED}
    command = [
        sys.executable,
        str(Path(__file__)),
        "--worker",
        name,
        "--steps",
        str(args.steps),
        "--batch",
        str(args.batch),
    ]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)


def ask(process: subprocess.Popen[str]) -> tuple[float, float]:
    """Have a contender run one round."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    seconds, loss = map(float, process.stdout.readline().split())
    return seconds, loss


def main() -> None:
    """Run the rounds and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        work(args.worker, args.steps, args.batch)
        return
    names = list(CONTENDERS)
    processes = {name: start(name, args) for name in names}
    times: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    for number in range(args.rounds + 1):  # the first round compiles and is not counted
        turn = number % len(names)  # who comes after another library is slower: all take every place
        results = {name: ask(processes[name]) for name in names[turn:] + names[:turn]}
        losses = [loss for _, loss in results.values()]
        if max(losses) - min(losses) > AGREEMENT * max(losses):
            raise SystemExit(f"the losses do not agree: {dict(zip(results, losses, strict=True))}")
        for name in names:
            times[name] += [results[name][0]] if number else []
    for process in processes.values():
        process.communicate()
    reference = times["jax.grad + optax"]
    print(
        f"{'-'.join(map(str, SIZES))}, batch {args.batch}, Adam, float32; median of {args.rounds} rounds of {args.steps} steps"
    )
    for name, taken in times.items():
        ratio = statistics.median(a / b for a, b in zip(taken, reference, strict=True))
        print(f"{name:18} {1e3 * statistics.median(taken):8.2f} ms/step   {ratio:5.2f} x the optax step")


if __name__ == "__main__":
    main()
