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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import Any, Literal, NamedTuple, TypeAlias

Array: TypeAlias = Any  # an array of whichever library the namespace belongs to
Namespace: TypeAlias = Any  # numpy, jax.numpy, array_api_compat.cupy, array_api_strict ...
Kind = Literal["layer", "activation", "loss", "penalty", "update", "helper"]
# whose derivative is taken at a kink; "none": only the second derivative jumps
Side = Literal["left", "right", "middle", "none"]
Domain = Literal[
    "real", "nonzero", "positive", "probability", "distribution", "class", "binary", "counter", "boolean"
]  # fmt: skip
Target = Literal["values", "binary", "classes"]
Family = Literal["linear", "batch normalization", "layer normalization", "mask", "sum", "elementwise", ""]
Shape: TypeAlias = tuple[str | int, ...]
Names: TypeAlias = dict[str, Any]  # what a formula may name: arrays, options, `real`, `tiny`


@dataclass(frozen=True)
class Cost:
    """What one call of a kernel costs: floating-point operations, and array elements that must at least be moved.

    >>> cost = bp.KERNELS["dense"].cost("forward", B=128, I=784, O=512)
    >>> cost.flops, cost.bytes(itemsize=4)
    (102825984, 2271232)
    """

    flops: int
    elements: int

    def bytes(self, itemsize: int) -> int:
        """Memory traffic in bytes, each array read or written once."""
        return self.elements * itemsize


class LocalDerivative(NamedTuple):
    """The derivative dy[s, k] / dx[b, j] of a kernel's output with respect to its input, along one route.

    With b, s rows of the batch and j, k units:

    kind "element": x[b, j] -> y[b, j], derivative p[b, j];
    kind "units":   x[b, j] -> y[b, k], derivative p[j, k], the same in every row;
    kind "row":     x[b, j] -> y[b, k], derivative p[b, j] q[b, k];
    kind "batch":   x[b, j] -> y[s, j], derivative p[b, j] q[s, j].

    Derivatives along different routes (direct, through a mean, through a variance) stay separate, since their sum cancels
    and would hide how it came about.
    """

    kind: Literal["element", "units", "row", "batch"]
    p: Array
    q: Array | None = None
    route: str = "direct"


class ForwardTerms(NamedTuple):
    """A unit's output as a sum over n terms: y[b] = sum over i of left[b, i] right[i].

    left (B, n); right (n,), or (B, n) where it differs from row to row. routes: what each term is, "bias", "input", or for
    a sum of two arrays "direct" and "inner". units: the number of the input that each term comes from.
    """

    left: Array
    right: Array
    routes: tuple[str, ...]
    units: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Kernel:
    """One row of the KERNELS table: the mathematics, the code, and what tests and the cost model need to know.

    `shapes` gives the dimensions of every array argument and of the outputs by letters (B batch, I inputs, O
    outputs), as numbers, or as a letter plus a number ("I+1");
    `formula` states outputs and gradients as expressions over the argument names, `y` and `dy`, evaluated by a test;
    `flops` maps the dimensions to (forward, backward) operations, an elementary function counted as one;
    `per_row(xp, residual, d_output, ...)` is the backward before its sums over the batch: it returns the gradient of a
    parameter as (B, *shape), one summand for each row;
    `kink_at(xp, *arguments, **options)` gives the side whose derivative the backward takes at a kink, and each element's
    signed distance to it, growing with the first argument; a list of such pairs for several kinks, None where the options
    leave none;
    `option_limits` gives the allowed range of an option, as `errors.number` takes it: {"low": 0.0}.

    Fields that explanations and receipts read:

    `family` says how inputs become outputs: "linear" (a weighted sum of the units before), "batch normalization"
    (over the rows), "layer normalization" (over the units), "mask", "sum" (of arrays), "elementwise", or "";
    `local_derivatives(xp, residual, y)` gives dy/dx route by route; an activation whose family is "elementwise" needs none,
    its backward on ones is f'(x);
    `parameter_factors(xp, residual)` gives, for every parameter, what it is multiplied by in the forward, (B, inputs), None
    for ones; `transposed` names the parameters that are used transposed;
    `forward_terms(xp, residual, unit, *arguments, **options)` gives one unit's output as a sum;
    `saved_statistics` names fields of the residual that are rounded once and used twice, so that a receipt keeps them;
    `formula_names(xp, names)` gives what formulas name besides arguments and options, in the precision of `names["real"]`,
    computed in another way than the forward does; `formula_values` replaces formulas that code cannot evaluate as written;
    `opaque` says why a kernel gives no derivatives and terms; `initializer` is what "auto" draws before an activation;
    `no_onnx` says why the forward of a layer or an activation is not written as ONNX (all others are, as they stand).

    >>> kernel = bp.KERNELS["relu"]
    >>> kernel.formula["dx"], kernel.arguments
    ('dy * (x > 0)', ('x',))
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
    # the domains of arguments that do not take every real number
    domain: Mapping[str, Domain] = field(default_factory=dict)
    variants: tuple[Mapping[str, Any], ...] = ({},)  # options worth testing beside the defaults
    option_limits: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    kink: str | None = None  # where the function has no derivative, and the value the backward takes there
    kink_at: Callable[..., tuple[Side, Array] | list[tuple[Side, Array]] | None] | None = None
    per_row: Callable[..., Any] | None = (
        None  # of kernels with parameters, except where the rows of a batch depend on each other
    )
    analytic: bool = False  # complex differentiable as written: no abs, max, comparison or clip on the path
    no_backward: str | None = None  # why training through a forward-only kernel is refused
    output: Literal["any", "probabilities", "scores"] = "any"  # what an activation's output is, or a loss requires
    link: str | None = None  # of a loss on logits: the activation that turns them into predictions
    target: Target = "values"  # what a loss is compared with
    reductions: tuple[str, ...] = ()  # of a loss: allowed reductions, default first
    family: Family = ""
    local_derivatives: Callable[[Namespace, Any, Array], Sequence[LocalDerivative]] | None = None
    parameter_factors: Callable[[Namespace, Any], Mapping[str, Array | None]] | None = None
    transposed: tuple[str, ...] = ()
    forward_terms: Callable[..., ForwardTerms] | None = None
    saved_statistics: tuple[str, ...] = ()
    formula_names: Callable[[Namespace, Names], Names] | None = None
    formula_values: Mapping[str, Callable[[Namespace, Names], Array]] = field(default_factory=dict)
    opaque: str | None = None
    initializer: Literal["glorot", "he", "lecun"] = "glorot"
    no_onnx: str | None = None

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
        family="elementwise",
        **fields,
    )
