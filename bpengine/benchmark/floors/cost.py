"""The cost of one training step, kernel call by kernel call: operations, matrix products, bytes moved, memory.

One step is run on NumPy and observed. Operations come from the KERNELS table, bytes from the arguments and results of each
call, each array counted once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from bpengine.benchmark.inputs import Sample
from bpengine.benchmark.workloads import Workload
from bpengine.ops import Call, ObservedOps, Ops
from bpengine.summary.call_costs import Product, bytes_of, counted, unique_arrays
from bpengine.training.step import StepPlan, init_state, make_step


@dataclass(frozen=True)
class CallCost:
    """One kernel call: its place and function, its operations, the matrix products among them, and the bytes moved."""

    place: str
    function: str
    flops: int
    products: tuple[Product, ...]
    bytes: int

    @property
    def product_flops(self) -> int:
        """The operations of its matrix products."""
        return sum(product.flops for product in self.products)


@dataclass(frozen=True)
class Memory:
    """The least bytes that a step needs; activations are the arrays that the forward pass keeps for the backward pass."""

    parameters: int
    optimizer_state: int
    gradients: int
    activations: int
    batch: int

    @property
    def total(self) -> int:
        """The sum of all."""
        return self.parameters + self.optimizer_state + self.gradients + self.activations + self.batch


@dataclass(frozen=True)
class StepCost:
    """The cost of one training step."""

    calls: tuple[CallCost, ...]
    memory: Memory

    @property
    def flops(self) -> int:
        """All operations."""
        return sum(call.flops for call in self.calls)

    @property
    def product_flops(self) -> int:
        """The operations of matrix products."""
        return sum(call.product_flops for call in self.calls)

    @property
    def bytes(self) -> int:
        """All bytes moved."""
        return sum(call.bytes for call in self.calls)

    @property
    def products(self) -> list[Product]:
        """Every matrix product of the step."""
        return [product for call in self.calls for product in call.products]


def step_cost(sample: Sample) -> StepCost:
    """Run one step on the first batch and add up its costs."""
    work = sample.workload
    network, plan = work.network(), _plan(work)
    params = {
        f"{i}.{n}": a for i, layer in enumerate(sample.initial) for n, a in zip(("weight", "bias"), layer, strict=True)
    }
    calls: list[Call] = []
    ops = ObservedOps(Ops(np), calls.append)
    state = init_state(ops, plan, params, {}, np.array([0, 0], np.uint32))
    rows = sample.x[: work.batch], sample.y[: work.batch]
    make_step(network, plan, ops)(state, rows, np.array([work.rate], work.dtype))
    slots = [slot for group in state["slots"].values() for slot in group]
    kept = unique_arrays(call.result[1] for call in calls if call.function.endswith("_fwd"))
    inputs = {id(array) for array in (*params.values(), *rows)}
    held = Memory(
        bytes_of(params.values()),
        bytes_of(slots),
        bytes_of(params.values()),
        bytes_of(array for array in kept if id(array) not in inputs),
        bytes_of(rows),
    )
    return StepCost(tuple(_costs(calls)), held)


def _plan(work: Workload) -> StepPlan:
    names = tuple(f"{i}.{name}" for i in range(len(work.sizes) - 1) for name in ("weight", "bias"))
    return StepPlan(optimizer=work.rule(), trained=names, update="simultaneous", track_step_size=False)


def _costs(calls: Iterable[Call]) -> Iterator[CallCost]:
    for call, flops, products in counted(calls):
        yield CallCost(call.place, call.function, flops, products, _moved(call))


def _moved(call: Call) -> int:
    """Return the bytes of all arguments and results; a call that returns its arguments moves none."""
    arguments, everything = unique_arrays(call.args), unique_arrays((call.args, call.result))
    return bytes_of(everything) if len(everything) > len(arguments) else 0
