"""The cost of one training step, kernel call by kernel call: operations, matrix products, bytes moved, memory.

One step is run on NumPy and observed. Operations come from the KERNELS table, bytes from the arguments and results of each
call, each array counted once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from bpengine.backend import HostArray
from bpengine.benchmark.inputs import Sample
from bpengine.benchmark.workloads import Workload
from bpengine.kernels import Kernel
from bpengine.ops import Call, ObservedOps, Ops
from bpengine.training.step import StepPlan, init_state, make_step

FORMS = {"y": ("B", "I", "O", "nn"), "dx": ("B", "O", "I", "nt"), "dw": ("I", "B", "O", "tn")}


class Product(NamedTuple):
    """A matrix product (rows, inner) times (inner, columns); form says which factor is read transposed: nn, nt or tn."""

    rows: int
    inner: int
    columns: int
    form: str

    @property
    def flops(self) -> int:
        """Multiplications and additions."""
        return 2 * self.rows * self.inner * self.columns


@dataclass(frozen=True)
class CallCost:
    """One kernel call: where, which function, its operations, the matrix products among them, and the bytes moved."""

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
    """Bytes that a step needs at least; activations are what the forward pass keeps for the backward pass."""

    parameters: int
    optimizer_state: int
    gradients: int
    activations: int
    batch: int

    @property
    def total(self) -> int:
        """All of it."""
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
    """Run one step on the first batch and add up."""
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
    kept = _unique(call.result[1] for call in calls if call.function.endswith("_fwd"))
    inputs = {id(array) for array in (*params.values(), *rows)}
    held = Memory(
        _bytes(params.values()),
        _bytes(slots),
        _bytes(params.values()),
        _bytes(array for array in kept if id(array) not in inputs),
        _bytes(rows),
    )
    return StepCost(tuple(_costs(calls)), held)


def _plan(work: Workload) -> StepPlan:
    names = tuple(f"{i}.{name}" for i in range(len(work.sizes) - 1) for name in ("weight", "bias"))
    return StepPlan(optimizer=work.rule(), trained=names, update="simultaneous", track_step_size=False)


def _costs(calls: Iterable[Call]) -> Iterator[CallCost]:
    """Yield the cost of each call; a backward call has the dimensions of the forward call at the same place."""
    known: dict[tuple[str, str], dict[str, int]] = {}
    for call in calls:
        backward = call.function.endswith("_bwd")
        key = call.place, call.kernel.name
        if not backward:
            known[key] = _dimensions(call.kernel, call.args)
        dims = known[key]
        whole = call.kernel.cost("backward" if backward else "forward", **dims).flops
        products, left_out = _products(call, dims)
        yield CallCost(call.place, call.function, whole - left_out, products, _moved(call))


def _moved(call: Call) -> int:
    """Return the bytes of all arguments and results; a call that returns its arguments moves none."""
    arguments, everything = _unique(call.args), _unique((call.args, call.result))
    return _bytes(everything) if len(everything) > len(arguments) else 0


def _dimensions(kernel: Kernel, args: tuple[Any, ...]) -> dict[str, int]:
    """Read the letters of the kernel's shapes off its arguments; an update rule takes any shape, here as one row."""
    dims: dict[str, int] = {}
    for name, array in zip(kernel.arguments, args, strict=False):
        shape = kernel.shapes[name]
        if array is None:
            continue
        extents = (1, array.size) if kernel.kind == "update" and shape == ("I", "O") else array.shape
        if len(extents) == len(shape):
            pairs = zip(shape, extents, strict=True)
            dims |= {letter: extent for letter, extent in pairs if isinstance(letter, str) and letter.isalpha()}
    return dims


def _products(call: Call, dims: Mapping[str, int]) -> tuple[tuple[Product, ...], int]:
    """Return the matrix products of a call, and the operations of products that its options left out."""
    backward = call.function.endswith("_bwd")
    names = [f"d{name}" for name in call.kernel.differentiable] if backward else list(call.kernel.outputs)
    written = [name for name in names if "@" in call.kernel.formula.get(name, "")]
    results = call.named_results() if written else {}
    products = {name: _product(name, dims) for name in written}
    return (
        tuple(product for name, product in products.items() if name in results),
        sum(product.flops for name, product in products.items() if name not in results),
    )


def _product(name: str, dims: Mapping[str, int]) -> Product:
    rows, inner, columns, form = FORMS[name]
    return Product(dims[rows], dims[inner], dims[columns], form)


def _unique(trees: Iterable[Any]) -> list[HostArray]:
    """Return every array in nested tuples once."""
    return list({id(leaf): leaf for tree in trees for leaf in _leaves(tree)}.values())


def _leaves(tree: Any) -> Iterator[HostArray]:
    if isinstance(tree, tuple | list):
        for branch in tree:
            yield from _leaves(branch)
    elif isinstance(tree, np.ndarray | np.generic):
        yield np.asarray(tree) if isinstance(tree, np.generic) else tree


def _bytes(arrays: Iterable[HostArray]) -> int:
    return sum(array.nbytes for array in arrays)
