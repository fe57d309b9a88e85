"""Kernels of one's own: a pair of functions made into a row that is in no table, with what they return checked.

The checks look at shapes and dtypes alone: a compiled step makes them when it is recorded or traced, and never again.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from bpengine.errors import ConfigError, ShapeError
from bpengine.kernels._functions import mask
from bpengine.kernels._kernel import Array, Domain, Kernel, Namespace, Shape

Function = Callable[..., Any]
Pair = tuple[Function, Function]
POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
ENDINGS = ("_forward", "_fwd")  # of a function's name, left out of its kernel's


def is_pair(spec: Any) -> bool:
    """Tell whether something is a pair of functions (forward, backward)."""
    return (
        isinstance(spec, (tuple, list))
        and len(spec) == 2
        and all(callable(part) and not isinstance(part, type) for part in spec)
    )


def takes(function: Function, who: str) -> int:
    """Return how many arguments a function can be called with by position; raise ConfigError when nobody can tell."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        raise ConfigError(f"{who} requires functions written in Python, got {function!r}. Wrap it in one.") from None
    if any(p.kind is inspect.Parameter.VAR_POSITIONAL for p in parameters):
        raise ConfigError(f"{who} requires functions with arguments that have names, got {function!r} with *arguments.")
    return sum(p.kind in POSITIONAL for p in parameters)


def check_name(name: Any, forward: Function, kind: str, taken: Mapping[str, Any]) -> str:
    """Return a name, by default that of the forward without its ending; raise ConfigError for one that cannot be kept."""
    given = getattr(forward, "__name__", "") if name is None else name
    for ending in ENDINGS if name is None else ():
        given = given.removesuffix(ending)
    if not isinstance(given, str) or not given.isidentifier():
        raise ConfigError(f"{kind} of one's own requires a name such as 'my_{kind}', got {given!r}. Pass name=...")
    if given in taken:
        raise ConfigError(f"{kind} of one's own requires a name of its own, got {given!r}, which is the engine's.")
    return given


def article(kind: str) -> str:
    """Return "a" or "an"."""
    return "an" if kind[0] in "aeiou" else "a"


def check_pair(forward: Any, backward: Any, kind: str, wanted: tuple[int, ...], form: str) -> None:
    """Raise ConfigError for something that is no function, or one with another number of arguments."""
    for function, what, counts, how in (
        (forward, "forward", wanted, form),
        (backward, "backward", (3,), f"backward(xp, residual, {'dloss' if kind == 'loss' else 'dy'})"),
    ):
        if not callable(function):
            raise ConfigError(
                f"{article(kind)} {kind} of one's own requires {what} to be a function, {how}, got {function!r}."
            )
        if (count := takes(function, f"{article(kind)} {kind} of one's own")) not in counts:
            raise ConfigError(
                f"{article(kind)} {kind} of one's own requires {how}, got a function of {count} arguments."
            )


class OwnLossResidual(NamedTuple):
    """What a loss of one's own kept, y, whose shape its gradient must have, and 0 where no row is left, else 1 or None."""

    own: Any
    y: Array
    left: Array | None


def own_loss(name: str, forward: Function, backward: Function, *, link: str | None, target: str) -> Kernel:
    """Return the row of a loss: forward(xp, y, target, weights or not) -> (loss, residual), backward -> dy."""
    who, weighted = f"loss {name!r}", takes(forward, "a loss of one's own") == 4

    def run(xp: Namespace, y: Array, target: Array, weights: Array | None = None) -> tuple[Array, Any]:
        left = None
        if weights is not None:  # where all are 0 no row is left: the loss and its gradient are 0, not 0 / 0
            empty = mask(xp, xp.sum(weights) == 0, weights)
            weights, left = weights + empty, 1.0 - empty
        with untouched([y, target, weights] if weighted else [y, target], who, "forward") as kept:
            loss, residual = _two(forward(xp, *kept), who)
        _like(loss, (), y.dtype, who, "forward", "a loss", "Sum or average over all axes: xp.sum(...).")
        return loss if left is None else left * loss, OwnLossResidual(residual, y, left)

    def back(xp: Namespace, residual: Any, dloss: Array) -> Array:
        own, y, left = residual
        with untouched([], who, "backward"):
            dy = backward(xp, own, dloss)
        _like(dy, y.shape, y.dtype, who, "backward", "dy", "It has the shape of y, the network's outputs.")
        return dy if left is None else left * dy

    if weighted:

        def fwd(xp: Namespace, y: Array, target: Array, weights: Array | None = None) -> tuple[Array, Any]:
            return run(xp, y, target, weights)

    else:

        def fwd(xp: Namespace, y: Array, target: Array) -> tuple[Array, Any]:  # type: ignore[misc]
            return run(xp, y, target)

    fwd.__name__, back.__name__ = f"{name}_fwd", f"{name}_bwd"
    labels: Shape = ("B",) if target == "classes" else ("B", "O")
    shapes: dict[str, Shape] = {"y": ("B", "O"), "target": labels, "loss": ()}
    return Kernel(
        name=name,
        kind="loss",
        forward=fwd,
        backward=back,
        shapes={**shapes, "weights": ("B",)} if weighted else shapes,
        formula={},
        flops=lambda **_: (0, 0),
        source="one's own",
        differentiable=("y",),
        outputs=("loss",),
        domain=_domain(link, target, weighted),
        output="scores" if link else "any",
        link=link,
        target=target,  # type: ignore[arg-type]
    )


def own_activation(name: str, forward: Function, backward: Function) -> Kernel:
    """Return the row of an activation: forward(xp, x) -> (y, residual), backward(xp, residual, dy) -> dx."""
    who = f"activation {name!r}"

    def fwd(xp: Namespace, x: Array) -> tuple[Array, Any]:
        with untouched([x], who, "forward") as kept:
            y, residual = _two(forward(xp, *kept), who)
        _like(y, x.shape, x.dtype, who, "forward", "y", "An activation keeps the shape of its input.")
        return y, residual

    def bwd(xp: Namespace, residual: Any, dy: Array) -> Array:
        with untouched([dy], who, "backward") as kept:
            dx = backward(xp, residual, *kept)
        _like(dx, dy.shape, dy.dtype, who, "backward", "dx", "It has the shape of dy.")
        return dx

    fwd.__name__, bwd.__name__ = f"{name}_fwd", f"{name}_bwd"
    return Kernel(
        name=name,
        kind="activation",
        forward=fwd,
        backward=bwd,
        shapes={"x": ("B", "O"), "y": ("B", "O")},
        formula={},
        flops=lambda **_: (0, 0),
        source="one's own",
        differentiable=("x",),
    )


@contextmanager
def untouched(arrays: Sequence[Any], who: str, what: str) -> Iterator[list[Any]]:
    """Give views that cannot be written to, where the library has such; say whose code tried to."""
    given = [a.view() if _on_the_host(a) else a for a in arrays]
    for array in filter(_on_the_host, given):
        array.flags.writeable = False
    try:
        yield given
    except ValueError as error:
        if "read-only" not in str(error):
            raise
        raise ConfigError(
            f"{who} requires its {what} to leave its arguments as they are, got one that writes into them. "
            "Make a new array: y = y * 2, not y *= 2."
        ) from error


def _on_the_host(array: Any) -> bool:
    """Tell a NumPy array by its name: no array library is imported here."""
    return (type(array).__module__, type(array).__name__) == ("numpy", "ndarray")


def _two(result: Any, who: str) -> tuple[Array, Any]:
    if not isinstance(result, tuple) or len(result) != 2:
        got = f"a tuple of {len(result)}" if isinstance(result, tuple) else type(result).__name__
        raise ShapeError(f"{who} requires its forward to return two results, (output, residual), got {got}.")
    return result


def _like(value: Any, shape: tuple[int, ...], dtype: Any, who: str, where: str, what: str, hint: str) -> None:
    """Raise ShapeError for a result of another shape, or dtype, than it must have."""
    got = getattr(value, "shape", None)
    if got is None or tuple(got) != tuple(shape):
        found = type(value).__name__ if got is None else f"shape {tuple(got)}"
        raise ShapeError(f"{who} requires its {where} to return {what} of shape {tuple(shape)}, got {found}. {hint}")
    if value.dtype != dtype:
        raise ShapeError(
            f"{who} requires its {where} to return {what} of the dtype {dtype} of what it was given, got {value.dtype}. "
            "Multiply by Python numbers, not by NumPy's."
        )


def _domain(link: str | None, target: str, weighted: bool) -> dict[str, Domain]:
    """Return where the arguments of a loss are sampled, for a check without data."""
    found: dict[str, Domain] = {"weights": "positive"} if weighted else {}
    if target == "values":
        return found
    found["target"] = "class" if target == "classes" else "binary"
    if link is None:
        found["y"] = "distribution" if target == "classes" else "probability"
    return found
