"""The operations of one kernel call, and the matrix products among them, from its row of the KERNELS table."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from bpengine.backend import HostArray
from bpengine.kernels import Kernel
from bpengine.kernels._trees import Tree
from bpengine.ops import Call

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


class CountedCall(NamedTuple):
    """A kernel call, its operations, and the matrix products among them."""

    call: Call
    flops: int
    products: tuple[Product, ...]


def counted(calls: Iterable[Call]) -> Iterator[CountedCall]:
    """Yield each call with its operations.

    A backward call has the dimensions of the forward call at the same place; dimensions of omitted arguments are those of
    earlier calls at that place.
    """
    known: dict[tuple[str, str], dict[str, int]] = {}
    here: dict[str, dict[str, int]] = defaultdict(dict)
    for call in calls:
        backward = call.function.endswith("_bwd")
        key = call.place, call.kernel.name
        if not backward:
            known[key] = here[call.place] | _dimensions(call.kernel, call.args)
            here[call.place] |= known[key]
        dims = known[key]
        whole = call.kernel.flops(**dims)[backward]
        products, left_out = _products(call, dims)
        yield CountedCall(call, whole - left_out, products)


def _dimensions(kernel: Kernel, args: tuple[Any, ...]) -> dict[str, int]:
    """Read the dimensions of the kernel's shapes from its arguments; an update rule takes any shape, here as one row."""
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


def unique_arrays(trees: Iterable[Any]) -> list[HostArray]:
    """Return every distinct array in nested tuples."""
    return list({id(leaf): leaf for tree in trees for leaf in _leaves(tree)}.values())


def _leaves(tree: Tree) -> Iterator[HostArray]:
    if isinstance(tree, tuple | list):
        for branch in tree:
            yield from _leaves(branch)
    elif isinstance(tree, np.ndarray | np.generic):
        yield np.asarray(tree) if isinstance(tree, np.generic) else tree


def bytes_of(arrays: Iterable[HostArray]) -> int:
    """Return the bytes of arrays."""
    return sum(array.nbytes for array in arrays)
