"""What a kernel is: the record type of the KERNELS table.

A kernel is a pure pair of functions over an array namespace `xp` (the Python array API standard):

    name_fwd(xp, *arrays, **options) -> (output, residual)
    name_bwd(xp, residual, d_output)  -> d_inputs

`d_inputs` is one array when the kernel has one differentiable input, otherwise a tuple in the order of
`differentiable`; the residual is an array, a NamedTuple of arrays and numbers, or None when the backward needs nothing.
Kernels that are not differentiated (update rules, clipping, stopping) have a forward only.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import Any, Literal, TypeAlias

Array: TypeAlias = Any  # an array of whichever library the namespace belongs to
Namespace: TypeAlias = Any  # numpy, jax.numpy, array_api_compat.cupy, array_api_strict ...
Kind = Literal["layer", "activation", "loss", "penalty", "update", "helper"]
Side = Literal["left", "right", "middle", "none"]  # which derivative is taken at a kink; "none": it is only bent there
Domain = Literal[
    "real", "nonzero", "positive", "probability", "distribution", "class", "binary", "counter", "boolean"
]  # fmt: skip
Target = Literal["values", "binary", "classes"]
Shape: TypeAlias = tuple[str | int, ...]


@dataclass(frozen=True)
class Cost:
    """What one call of a kernel costs: floating-point operations, and array elements that must at least be moved."""

    flops: int
    elements: int

    def bytes(self, itemsize: int) -> int:
        """Memory traffic in bytes, each array read or written once."""
        return self.elements * itemsize


@dataclass(frozen=True)
class Kernel:
    """One row of the KERNELS table: the mathematics, the code, and what tests and the cost model need to know.

    `shapes` gives the dimensions of every array argument and of the outputs by letters (B batch, I inputs, O
    outputs), as numbers, or as a letter plus a number ("I+1");
    `formula` states outputs and gradients as expressions over the argument names, `y` and `dy`, evaluated by a test;
    `flops` maps the dimensions to (forward, backward) operations, an elementary function counted as one;
    `per_row(xp, residual, d_output, ...)` is the backward before its sums over the batch: the gradient of a parameter comes
    back as (B, *shape), a share for each row;
    `kink_at(xp, *arguments, **options)` gives the side whose derivative the backward takes at a kink, and each element's
    signed distance to the nearest one, growing with the first argument; None where the options leave no kink.
    """

    name: str
    kind: Kind
    forward: Callable[..., Any]
    backward: Callable[..., Any] | None
    shapes: Mapping[str, Shape]
    formula: Mapping[str, str]
    flops: Callable[..., tuple[int, int]]
    source: str
    differentiable: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ("y",)
    domain: Mapping[str, Domain] = field(default_factory=dict)  # of arguments that are not just any real number
    variants: tuple[Mapping[str, Any], ...] = ({},)  # options worth testing beside the defaults
    kink: str | None = None  # where the function has no derivative, and the value the backward takes there
    kink_at: Callable[..., tuple[Side, Array] | None] | None = (
        None  # (xp, the forward's own arguments) -> that side, and
    )
    # each element's signed distance to the (nearest) kink, growing with the first argument; None where an option removes it
    per_row: Callable[..., Any] | None = (
        None  # of kernels with parameters, but where the rows of a batch see each other
    )
    analytic: bool = False  # complex differentiable as written: no abs, max, comparison or clip on the path
    no_backward: str | None = None  # why training through a forward-only kernel is refused
    output: Literal["any", "probabilities", "scores"] = "any"  # what an activation's output is, or a loss requires
    link: str | None = None  # of a loss on logits: the activation that turns them into predictions
    target: Target = "values"  # what a loss is compared with
    reductions: tuple[str, ...] = ()  # of a loss: allowed reductions, default first

    def cost(self, direction: Literal["forward", "backward"], /, **dims: int) -> Cost:
        """Return what one call costs for the given dimensions, say B=128, I=784, O=512."""
        flops = self.flops(**dims)[direction == "backward"]
        reads = [a for a in self.arguments if a in self.shapes]
        writes = list(self.outputs)
        if direction == "backward":
            reads, writes = reads + list(self.outputs), list(self.differentiable)
        return Cost(flops, sum(_elements(self.shapes[name], dims) for name in reads + writes))

    @property
    def arguments(self) -> tuple[str, ...]:
        """Names of the forward's array arguments, in order."""
        return tuple(n for n, p in self._parameters.items() if p.kind is not inspect.Parameter.KEYWORD_ONLY)[1:]

    @property
    def optional(self) -> tuple[str, ...]:
        """Names of the array arguments that may be left out."""
        return tuple(n for n in self.arguments if self._parameters[n].default is not inspect.Parameter.empty)

    @property
    def options(self) -> dict[str, Any]:
        """The forward's options (keyword-only arguments) with their defaults."""
        keyword = inspect.Parameter.KEYWORD_ONLY
        return {n: p.default for n, p in self._parameters.items() if p.kind is keyword}

    @cached_property
    def _parameters(self) -> Mapping[str, inspect.Parameter]:
        return inspect.signature(self.forward).parameters


def _elements(shape: Shape, dims: Mapping[str, int]) -> int:
    return prod(extent(d, dims) for d in shape)


def extent(dimension: str | int, dims: Mapping[str, int]) -> int:
    """Return the size of one dimension of a `Shape`: a number, a letter, or a letter plus a number ("I+1")."""
    if isinstance(dimension, int):
        return dimension
    letter, _, more = dimension.partition("+")
    return dims[letter] + int(more or 0)


def elementwise(
    name: str,
    forward: Callable[..., Any],
    backward: Callable[..., Any] | None,
    *,
    flops: tuple[int, int],
    **fields: Any,
) -> Kernel:
    """Build the row of an activation that maps each element of (B, O) on its own; `flops` are per element."""
    return Kernel(
        name=name,
        kind="activation",
        forward=forward,
        backward=backward,
        shapes={"x": ("B", "O"), "y": ("B", "O")},
        flops=lambda B, O, **_: (flops[0] * B * O, flops[1] * B * O),
        differentiable=("x",) if backward else (),
        **fields,
    )
