"""Ops: the kernels bound to one array namespace, and observers that are called for every kernel call.

`ops.dense_fwd(x, w, b)` runs the kernel `dense_fwd(xp, x, w, b)` of the KERNELS table, or a backend's faster replacement
of it. Layers, losses and update rules call only ops; they contain no mathematics themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial, wraps
from typing import Any, Concatenate, Literal, NamedTuple, ParamSpec, TypeVar

from bpengine.errors import ConfigError, unknown
from bpengine.kernels import KERNELS, Kernel
from bpengine.kernels._kernel import Array, Namespace

Replacements = Mapping[str, Callable[..., Any]]
Scope = Callable[[], AbstractContextManager[Any]]
Owner = TypeVar("Owner")
Returned = TypeVar("Returned")
Given = ParamSpec("Given")
Direction = Literal["forward", "backward"]
Rule = Callable[..., tuple[Array, ...]]  # with its options: (w, dw, *slots, t, lr) -> (new w, *new slots)
Slots = dict[str, list[Array]]


class UpdateInputs(NamedTuple):
    """What one update reads. params, gradients, slots: by parameter; t: the step number, 1, 2, ..., (1,); lr: (1,).

    Parameters without a gradient are not updated. The arrays of `slots` are the optimizer's state: moments, velocities.

    >>> one = np.ones(1)
    >>> inputs = UpdateInputs({"w": one}, {"w": one}, {"w": []}, t=one, lr=0.25 * one)
    >>> one_by_one(bp.get_backend("numpy", precision="float64").ops().sgd_update, inputs)
    ({'w': array([0.75])}, {'w': []})
    """

    params: Mapping[str, Array]
    gradients: Mapping[str, Array]
    slots: Mapping[str, list[Array]]
    t: Array
    lr: Array


class UnknownKernel(ConfigError, AttributeError):
    """An attribute of Ops that is not a kernel function.

    >>> try:
    ...     bp.get_backend("numpy").ops().relu_forward
    ... except UnknownKernel as error:
    ...     print("relu_fwd" in str(error))
    True
    """


class Ops:
    """Every kernel function as an attribute, with its namespace bound.

    `replacements` maps a function's name ("adam_update") to a callable of the same signature without `xp`. `scope()` is the
    context in which the arrays of this namespace are computed with (see `Backend.scope`).
    Raises ConfigError for a replacement of a function that no kernel has; UnknownKernel, with the nearest names, for an
    attribute that is no kernel function.

    >>> ops = bp.get_backend("numpy", precision="float64").ops()
    >>> y, residual = ops.relu_fwd(np.array([[-1.0, 2.0]]))
    >>> ops.relu_bwd(residual, np.ones((1, 2)))
    array([[0., 1.]])
    """

    scope: Scope = nullcontext

    def __init__(self, xp: Namespace, replacements: Replacements | None = None, scope: Scope = nullcontext) -> None:
        self.xp, self.scope = xp, scope
        replacements = replacements or {}
        functions = {f.__name__: f for k in KERNELS.values() for f in (k.forward, k.backward) if f}
        for name in replacements.keys() - functions.keys():
            raise unknown("kernel function to replace", name, functions)
        for name, function in functions.items():
            setattr(self, name, replacements.get(name) or partial(function, xp))

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """Refuse a kernel that does not exist, naming the nearest ones (Python calls this only for missing attributes)."""
        if name.startswith("__"):
            raise AttributeError(name)
        functions = (n for n in vars(self) if n not in ("xp", "scope") and not n.startswith("_"))
        raise UnknownKernel(str(unknown("kernel function", name, functions)))

    def forward(self, kernel: str | Kernel) -> Callable[..., Any]:
        """Return the bound forward of a kernel, given by name or as its row, which need not be in KERNELS."""
        return self._bound(_row(kernel), "forward")

    def backward(self, kernel: str | Kernel) -> Callable[..., Any]:
        """Return the bound backward of a kernel, given by name or as its row; refuse a kernel without one, saying why."""
        row = _row(kernel)
        if row.backward is None:
            raise ConfigError(f"kernel {row.name!r} has no backward: {row.no_backward or 'it is not differentiated'}")
        return self._bound(row, "backward")

    def own(self, kernel: Kernel, direction: Direction) -> Callable[..., Any]:
        """Return the function of a custom kernel, bound to the namespace."""
        return partial(getattr(kernel, direction), self.xp)

    def update_all(self, rule: Rule, inputs: UpdateInputs) -> tuple[dict[str, Array], Slots]:
        """Return every parameter that has a gradient after one update, and its slots, by name.

        rule: one of the engine's rules, bound to these ops. It works element by element, so a backend may run it on several
        parameters at once. A custom rule is run by `one_by_one`.
        """
        return one_by_one(rule, inputs)

    def at(self, place: str) -> Ops:
        """Return the ops to use inside a named place ("layer 1"): plain ops return themselves, observed ops record it."""
        return self

    def _bound(self, row: Kernel, direction: Direction) -> Callable[..., Any]:
        if KERNELS.get(row.name) is not row and not known(row, direction):
            return self.own(row, direction)
        bound: Callable[..., Any] = getattr(self, getattr(row, direction).__name__)
        return bound


def one_by_one(rule: Rule, inputs: UpdateInputs) -> tuple[dict[str, Array], Slots]:
    """Run an update rule on one parameter after the other; return the same as `Ops.update_all`.

    >>> ops, one = bp.get_backend("numpy", precision="float64").ops(), np.ones(1)
    >>> one_by_one(ops.sgd_update, UpdateInputs({"w": one}, {"w": one}, {"w": []}, t=one, lr=0.25 * one))
    ({'w': array([0.75])}, {'w': []})
    """
    params, gradients, slots, t, lr = inputs
    changed, moved = dict[str, Array](), Slots()
    for name, dw in gradients.items():
        changed[name], *moved[name] = rule(params[name], dw, *slots[name], t, lr)
    return changed, moved


def in_scope(
    method: Callable[Concatenate[Owner, Ops, Given], Returned],
) -> Callable[Concatenate[Owner, Ops, Given], Returned]:
    """Make a method whose first argument is `ops` run in their scope.

    >>> class Doubler:
    ...     @in_scope
    ...     def double(self, ops, x):
    ...         return 2.0 * x
    >>> Doubler().double(bp.get_backend("numpy").ops(), np.array([1.5]))
    array([3.])
    """

    @wraps(method)
    def run(self: Owner, ops: Ops, /, *args: Given.args, **options: Given.kwargs) -> Returned:
        with ops.scope():
            return method(self, ops, *args, **options)

    return run


def known(kernel: Kernel, direction: Direction = "forward") -> bool:
    """Tell whether a kernel's function is the one in the KERNELS table.

    >>> known(bp.KERNELS["relu"])
    True
    """
    return kernel.name in KERNELS and getattr(KERNELS[kernel.name], direction) is getattr(kernel, direction)


def _row(kernel: str | Kernel) -> Kernel:
    if isinstance(kernel, Kernel):
        return kernel
    if kernel not in KERNELS:
        raise unknown("kernel", kernel, KERNELS)
    return KERNELS[kernel]


@dataclass(frozen=True, kw_only=True)
class Call:
    """One kernel call as an observer sees it: place, function, arguments and results.

    >>> calls = []
    >>> ops = ObservedOps(bp.get_backend("numpy", precision="float64").ops(), calls.append)
    >>> y, _ = ops.at("layer 1").tanh_fwd(np.array([[0.0]]))
    >>> calls[0].place, calls[0].function, calls[0].named_results()["y"].item()
    ('layer 1', 'tanh_fwd', 0.0)
    """

    place: str
    function: str
    kernel: Kernel
    args: tuple[Any, ...]
    options: Mapping[str, Any]
    result: Any

    def named_results(self) -> dict[str, Array]:
        """Return the resulting arrays by name: outputs for a forward, "dx", "dw" ... for a backward."""
        if self.function.endswith("_bwd"):
            names = tuple(f"d{name}" for name in self.kernel.differentiable)
            values = self.result if isinstance(self.result, tuple) else (self.result,)
        else:
            names = self.kernel.outputs
            paired = self.kernel.backward is not None or self.function.endswith("_fwd")
            values = (self.result[0],) if paired else self.result if isinstance(self.result, tuple) else (self.result,)
        return {name: value for name, value in zip(names, values, strict=True) if value is not None}


Observer = Callable[[Call], None]
_OWNER = {f.__name__: k for k in KERNELS.values() for f in (k.forward, k.backward) if f}


class ObservedOps(Ops):
    """Ops that report each call to an observer. The engine has no code for them, so without an observer they cost nothing.

    >>> network = bp.Network(1, bp.Dense(1, "tanh"), "mean_squared_error")
    >>> calls = []
    >>> ops = ObservedOps(bp.get_backend("numpy", precision="float64").ops(), calls.append)
    >>> pass_through = network.forward(ops, *network.init(seed=0), np.array([[1.0]]))
    >>> [call.function for call in calls]
    ['dense_fwd', 'tanh_fwd']
    """

    def __init__(self, ops: Ops, observer: Observer, place: str = "") -> None:
        self.xp, self.scope = ops.xp, ops.scope
        self._inner, self._observer, self._place = ops, observer, place
        for name, kernel in _OWNER.items():
            setattr(self, name, partial(self._observe, kernel, name, getattr(ops, name)))

    def at(self, place: str) -> ObservedOps:
        """Return observed ops whose calls are reported as made at `place`."""
        return ObservedOps(self._inner, self._observer, place)

    def own(self, kernel: Kernel, direction: Direction) -> Callable[..., Any]:
        """Return the function of a custom kernel, observed."""
        name = getattr(kernel, direction).__name__
        return partial(self._observe, kernel, name, self._inner.own(kernel, direction))

    def _observe(
        self, kernel: Kernel, name: str, function: Callable[..., Any], *args: Any, **options: Any
    ) -> Array | tuple[Array, ...]:
        result: Array | tuple[Array, ...] = function(*args, **options)
        self._observer(Call(place=self._place, function=name, kernel=kernel, args=args, options=options, result=result))
        return result
