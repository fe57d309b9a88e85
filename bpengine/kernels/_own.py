"""Custom kernels: a pair of functions becomes a `Kernel` outside the table, and its results are checked.

The checks look at shapes and dtypes alone: in a compiled step they run only while it is recorded or traced.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeGuard

from bpengine.errors import ConfigError, ShapeError
from bpengine.kernels._contract import NamedErrors, in_dtype, lent
from bpengine.kernels._functions import mask
from bpengine.kernels._kernel import Array, Domain, Kernel, Namespace, Shape, Target, elementwise

Function = Callable[..., Any]
Pair = tuple[Function, Function]
POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
ENDINGS = ("_forward", "_fwd")  # removed from a function's name to name its kernel


def is_pair(spec: object) -> TypeGuard[Pair]:
    """Tell whether something is a pair of functions (forward, backward)."""
    return (
        isinstance(spec, (tuple, list))
        and len(spec) == 2
        and all(callable(part) and not isinstance(part, type) for part in spec)
    )


def takes(function: Function, who: str) -> int:
    """Return how many arguments a function can be called with by position; raise ConfigError if that is unknown."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        raise ConfigError(f"{who} requires functions written in Python, got {function!r}. Wrap it in one.") from None
    if any(p.kind is inspect.Parameter.VAR_POSITIONAL for p in parameters):
        raise ConfigError(f"{who} requires functions with arguments that have names, got {function!r} with *arguments.")
    return sum(p.kind in POSITIONAL for p in parameters)


def check_name(name: str | None, forward: Function, kind: str, taken: Mapping[str, Any]) -> str:
    """Return a name, by default that of the forward without its ending; raise ConfigError if it cannot be used."""
    chosen = getattr(forward, "__name__", "") if name is None else name
    for ending in ENDINGS if name is None else ():
        chosen = chosen.removesuffix(ending)
    if not isinstance(chosen, str) or not chosen.isidentifier():
        raise ConfigError(f"{kind} of one's own requires a name such as 'my_{kind}', got {chosen!r}. Pass name=...")
    if chosen in taken:
        raise ConfigError(f"{kind} of one's own requires a name of its own, got {chosen!r}, which is the engine's.")
    return chosen


def article(kind: str) -> str:
    """Return "a" or "an"."""
    return "an" if kind[0] in "aeiou" else "a"


def check_pair(forward: object, backward: object, kind: str, wanted: tuple[int, ...], form: str) -> None:
    """Raise ConfigError for anything but functions, or for functions with another number of arguments."""
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
    """The residual of a user's loss; y, whose shape the gradient must have; `left`.

    `left` is 0 where all weights are 0, else 1; None without weights.
    """

    own: Any
    y: Array
    left: Array | None


def own_loss(name: str, forward: Function, backward: Function, *, link: str | None, target: Target) -> Kernel:
    """Return the row of a loss: forward(xp, y, target, weights or not) -> (loss, residual), backward -> dy."""
    who, weighted = f"loss {name!r}", takes(forward, "a loss of one's own") == 4

    def run(xp: Namespace, y: Array, target: Array, weights: Array | None = None) -> tuple[Array, Any]:
        left = None
        if weights is not None:  # where all are 0, the loss and its gradient are 0, not 0 / 0
            empty = mask(xp, xp.sum(weights) == 0, weights)
            weights, left = weights + empty, 1.0 - empty
        scope, arguments = lent(xp, (y, target, weights) if weighted else (y, target))
        with NamedErrors(who, "forward"), scope:
            result = forward(xp, *arguments)
        loss, residual = _two(result, who)
        loss = _like(
            xp, loss, (), y, who=who, where="forward", what="a loss", hint="Sum or average over all axes: xp.sum(...)."
        )
        return loss if left is None else left * loss, OwnLossResidual(residual, y, left)

    def back(xp: Namespace, residual: OwnLossResidual, dloss: Array) -> Array:
        own, y, left = residual
        scope, (own, dloss) = lent(xp, (own, dloss))
        with NamedErrors(who, "backward"), scope:
            dy = backward(xp, own, dloss)
        dy = _like(
            xp,
            dy,
            y.shape,
            y,
            who=who,
            where="backward",
            what="dy",
            hint="It has the shape of y, the network's outputs.",
        )
        return dy if left is None else left * dy

    def with_weights(xp: Namespace, y: Array, target: Array, weights: Array | None = None) -> tuple[Array, Any]:
        return run(xp, y, target, weights)

    def without(xp: Namespace, y: Array, target: Array) -> tuple[Array, Any]:
        return run(xp, y, target)

    fwd: Function = with_weights if weighted else without  # a kernel's arguments are read from its signature
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
        target=target,
    )


def own_activation(name: str, forward: Function, backward: Function) -> Kernel:
    """Return the row of an activation: forward(xp, x) -> (y, residual), backward(xp, residual, dy) -> dx."""
    who = f"activation {name!r}"

    def fwd(xp: Namespace, x: Array) -> tuple[Array, Any]:
        scope, (x,) = lent(xp, (x,))
        with NamedErrors(who, "forward"), scope:
            result = forward(xp, x)
        y, residual = _two(result, who)
        return _like(
            xp, y, x.shape, x, who=who, where="forward", what="y", hint="An activation keeps the shape of its input."
        ), residual

    def bwd(xp: Namespace, residual: object, dy: Array) -> Array:
        scope, (residual, dy) = lent(xp, (residual, dy))
        with NamedErrors(who, "backward"), scope:
            dx = backward(xp, residual, dy)
        return _like(xp, dx, dy.shape, dy, who=who, where="backward", what="dx", hint="It has the shape of dy.")

    fwd.__name__, bwd.__name__ = f"{name}_fwd", f"{name}_bwd"
    return elementwise(name, fwd, bwd, flops=(0, 0), formula={}, source="one's own")


def _two(result: object, who: str) -> tuple[Array, Any]:
    if not isinstance(result, tuple) or len(result) != 2:
        got = f"a tuple of {len(result)}" if isinstance(result, tuple) else type(result).__name__
        raise ShapeError(f"{who} requires its forward to return two results, (output, residual), got {got}.")
    return result


def _like(
    xp: Namespace, value: object, shape: tuple[int, ...], array: Array, *, who: str, where: str, what: str, hint: str
) -> Array:
    """Return a result in the dtype of an array; raise ShapeError if its shape is not the required one."""
    got = getattr(value, "shape", None)
    if got is None or tuple(got) != tuple(shape):
        kind = type(value).__name__ if got is None else f"shape {tuple(got)}"
        raise ShapeError(f"{who} requires its {where} to return {what} of shape {tuple(shape)}, got {kind}. {hint}")
    return in_dtype(xp, who, f"its {where} to return {what}", value, array)


def _domain(link: str | None, target: Target, weighted: bool) -> dict[str, Domain]:
    """Return where the arguments of a loss are sampled, for a check without data."""
    domain: dict[str, Domain] = {"weights": "positive"} if weighted else {}
    if target == "values":
        return domain
    domain["target"] = "class" if target == "classes" else "binary"
    if link is None:
        domain["y"] = "distribution" if target == "classes" else "probability"
    return domain
