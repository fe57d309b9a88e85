"""The contract of a layer: what its methods must return, checked where custom layers are run.

A layer of the engine is covered by the tests and is called directly. Any other must meet what `Layer` documents: number,
names and shapes of all that it returns, and unchanged arguments. The engine computes in one dtype: floating numbers of
another (`x / np.sqrt(4)` is float64 under NumPy's rules) are cast to it. When a step is compiled, all of this happens during
tracing, at no cost afterwards.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np

from bpengine.errors import ConfigError, DataError, ShapeError, whole
from bpengine.i18n.counted_nouns import count_of
from bpengine.kernels._contract import NamedErrors, in_dtype, lent
from bpengine.kernels._kernel import Array
from bpengine.kernels._trees import Tree
from bpengine.layers.layer import Arrays, ArrayShapes, HostArrays, Layer, Run, Shapes
from bpengine.ops import Ops

PROVEN: set[type[Layer]] = {Layer}  # the engine's own layers; `layers` fills it, where all are known
BIAS_ROWS = (None, "first", "last")
_SHAPED = ("shapes", "init", "init_running")


@dataclass(slots=True)
class Given:
    """A residual, with the layer's name and the shapes of its forward's x and parameters.

    met: the backward has been tested and does not change its arguments (see `Run`).
    """

    who: str
    residual: Tree
    shapes: Mapping[str, tuple[int, ...]]
    met: bool


def run_forward(
    layer: Layer, ops: Ops, params: Arrays, running: Arrays, x: Array, run: Run
) -> tuple[Array, Any, Arrays]:
    """Return (y, residual, new running statistics) of a layer's forward, which must be as `Layer.forward` documents.

    Raises ShapeError or ConfigError naming the layer and what it must return.
    """
    if type(layer) in PROVEN:
        return layer.forward(ops, params, running, x, run)
    who = name_of(layer, run.place)
    if run.met:
        with NamedErrors(who, "forward"):
            result = layer.forward(ops, params, running, x, run)
    else:
        scope, (x, params, running, weights) = lent(ops.xp, (x, params, running, run.weights))
        with NamedErrors(who, "forward"), scope:
            result = layer.forward(ops, params, running, x, run._replace(weights=weights))
    if not (isinstance(result, tuple) and len(result) == 3 and _is_mapping(result[2])):
        raise ShapeError(
            f"{who} requires its forward to return (y, residual, running statistics), got {_kind(result)}. "
            "A layer that keeps no statistics returns `running` as it came."
        )
    y, residual, seen = result
    wanted = (x.shape[0], layer.outputs(x.shape[1]))
    if getattr(y, "shape", None) != wanted:
        raise ShapeError(
            f"{who} requires its forward to return y of shape {wanted}, (batch, outputs), got {_shape(y)}. "
            f"{_forward_hint(_shape(y), wanted)}"
        )
    _require_names(who, "forward", "running statistics", seen, running)
    for name, value in seen.items():
        if getattr(value, "shape", None) != (kept := tuple(running[name].shape)):
            raise ShapeError(f"{who} requires the running statistic {name!r} of shape {kept}, got {_shape(value)}.")
    y = in_dtype(ops.xp, who, "y", y, x)
    seen = {name: _owned(in_dtype(ops.xp, who, name, seen[name], running[name])) for name in running}
    shapes = {"x": tuple(x.shape), **{name: tuple(value.shape) for name, value in params.items()}}
    return y, Given(who, residual, shapes, run.met), seen


def run_backward(layer: Layer, ops: Ops, residual: Tree, dy: Array, *, need_dx: bool = True) -> tuple[Any, Arrays]:
    """Return (dx, gradients by local name) of a layer's backward, which must be as `Layer.backward` documents.

    Raises ShapeError or ConfigError naming the layer and the gradient.
    """
    if not isinstance(residual, Given):
        return layer.backward(ops, residual, dy, need_dx=need_dx)
    who, shapes = residual.who, dict(residual.shapes)
    if residual.met:
        with NamedErrors(who, "backward"):
            result = layer.backward(ops, residual.residual, dy, need_dx=need_dx)
    else:
        scope, (dy, inner) = lent(ops.xp, (dy, residual.residual))
        with NamedErrors(who, "backward"), scope:
            result = layer.backward(ops, inner, dy, need_dx=need_dx)
    if not (isinstance(result, tuple) and len(result) == 2 and _is_mapping(result[1])):
        raise ShapeError(
            f"{who} requires its backward to return (dx, gradients by parameter name), got {_kind(result)}. "
            "A layer without parameters returns (dx, {})."
        )
    dx, gradients = result
    of_x = shapes.pop("x")
    _require_names(who, "backward", "gradients", gradients, shapes)
    if need_dx:
        _require_gradient(who, "x", dx, of_x)
        dx = in_dtype(ops.xp, who, "the gradient for x", dx, dy)
    for name, value in gradients.items():
        _require_gradient(who, name, value, shapes[name])
    return dx, {name: in_dtype(ops.xp, who, f"the gradient for {name}", gradients[name], dy) for name in shapes}


def check_initial(layer: Layer, place: str, what: str, arrays: object) -> HostArrays:
    """Return the initial parameters or running statistics of a layer: floating numbers by name, every one of them finite.

    Raises ConfigError or DataError naming the layer.
    """
    who = name_of(layer, place)
    if not isinstance(arrays, Mapping) or not all(isinstance(name, str) and name for name in arrays):
        raise ConfigError(f"{who} requires {what} as a dict of arrays by name, got {_kind(arrays)}.")
    for name, value in arrays.items():
        array = np.asarray(value)
        if array.dtype.kind not in "fiu":
            raise DataError(f"{who} requires {name!r} to be an array of real numbers, got {array.dtype}.")
        if array.dtype.kind in "iu" and type(layer) not in PROVEN:
            raise DataError(
                f"{who} requires {name!r} of floating-point numbers, got {array.dtype}. "
                "Nothing can be differentiated by whole numbers; make it float64."
            )
        if not np.isfinite(array).all():
            raise DataError(
                f"{who} requires {name!r} of finite numbers, got NaN or infinity. Give other initial values."
            )
    return dict(arrays)


def says_shapes(layer: Layer) -> bool:
    """Tell whether a layer states the shapes of exactly the arrays that it makes.

    A class that overrides `init` and inherits `shapes` does not.
    """
    kinds = type(layer).__mro__
    first = {name: next(i for i, kind in enumerate(kinds) if name in vars(kind)) for name in _SHAPED}
    return kinds[first["shapes"]] is not Layer and first["shapes"] == min(first.values())


def shapes_of(layer: Layer, inputs: int) -> Shapes:
    """Return the shapes of a layer's parameters and running statistics; a layer that does not state them makes the arrays.

    Raises ConfigError for anything but tuples of whole numbers by name.
    """
    if type(layer) in PROVEN:
        return layer.shapes(inputs)
    stated = layer.shapes(inputs) if says_shapes(layer) else Layer.shapes(layer, inputs)
    who = name_of(layer, "")
    try:
        params, running = ({n: tuple(shape) for n, shape in part.items()} for part in stated)
    except (TypeError, ValueError, AttributeError):
        raise ConfigError(
            f"{who} requires its shapes to return Shapes(params, running), got {_kind(stated)}."
        ) from None
    for name, shape in (params | running).items():
        if not isinstance(name, str) or not all(isinstance(n, Integral) and n >= 0 for n in shape):
            raise ConfigError(f"{who} requires the shape of {name!r} to be a tuple of whole numbers, got {shape!r}.")
    return Shapes(params, running)


def check_shapes(layer: Layer, place: str, said: ArrayShapes, arrays: HostArrays) -> None:
    """Raise ShapeError when the shapes that a custom layer states differ from those of the arrays that it makes."""
    actual = {name: np.shape(value) for name, value in arrays.items()}
    if actual != said:
        raise ShapeError(
            f"{name_of(layer, place)} requires its shapes to be those of the arrays that it makes, {actual}, got {said}."
        )


def outputs_of(layer: Layer, inputs: int) -> int:
    """Return the number of features that come out of a layer; raise ConfigError when it is not one number."""
    return whole(layer.outputs(inputs), name_of(layer, ""), "the result of its outputs")


def check_penalized(layer: Layer, place: str, names: Iterable[str]) -> None:
    """Raise ConfigError when a layer's `penalized` is no dict of bias rows by the names of its parameters."""
    who, penalties = name_of(layer, place), layer.penalized()
    if not isinstance(penalties, Mapping):
        raise ConfigError(
            f"{who} requires penalized to return a dict by parameter name, got {_kind(penalties)}. "
            'For example {"weight": None}: penalties apply to all of it.'
        )
    if wrong := [name for name in penalties if name not in names]:
        raise ConfigError(f"{who} requires penalized to name its parameters ({_list(names)}), got {_list(wrong)}.")
    for name, row in penalties.items():
        if row not in BIAS_ROWS:
            known = ", ".join(map(repr, BIAS_ROWS))
            raise ConfigError(f"{who} requires penalized to say where the bias of {name!r} is: {known}, got {row!r}.")


def name_of(layer: Layer, place: str) -> str:
    """Return "layer 1 (Dense)"."""
    return f"layer {place} ({type(layer).__name__})" if place else f"layer {type(layer).__name__}"


def _require_names(who: str, method: str, what: str, got: Mapping[str, Any], wanted: Iterable[str]) -> None:
    if set(got) == set(wanted):
        return
    hint = {
        "gradients": "Each parameter of `init` needs one, under the same name.",
        "running statistics": "Each one of `init_running` must come back, under the same name.",
    }[what]
    names = list(wanted)
    counted = count_of(len(names), what.removesuffix("s"))
    raise ShapeError(
        f"{who} requires its {method} to return {counted} ({_list(names)}), got {len(got)} ({_list(got)}). {hint}"
    )


def of_shape(name: str, value: object, wanted: tuple[int, ...]) -> str:
    """Return the end of a sentence: the required shape of a gradient, its shape, and the likely mistake."""
    got = _shape(value)
    return f"a gradient of shape {wanted} for {name}, got {got}. {_shape_hint(got, wanted)}"


def _shape_hint(got: tuple[int, ...] | str, wanted: tuple[int, ...]) -> str:
    """Return the likely mistake: transposed, not added up over the rows, or another."""
    if got == wanted[::-1]:
        return "That is its transpose."
    if isinstance(got, tuple) and len(got) == len(wanted) + 1 and got[1:] == wanted and got[0] != 1:
        return "It is not added up over the rows: ops.xp.sum(..., axis=0)."
    return "A gradient has the shape of what it belongs to."


def _require_gradient(who: str, name: str, value: object, wanted: tuple[int, ...]) -> None:
    if getattr(value, "shape", None) != wanted:
        raise ShapeError(f"{who} requires {of_shape(name, value, wanted)}")


def _owned(value: Array) -> Array:
    """Return a copy of a statistic that shares memory with the data: training may overwrite the state, never the data."""
    return value.copy() if isinstance(value, np.ndarray) and value.base is not None else value


def _shape(value: object) -> tuple[int, ...] | str:
    return tuple(value.shape) if hasattr(value, "shape") else _kind(value)


def _forward_hint(got: object, wanted: tuple[int, int]) -> str:
    if got == (wanted[0],):
        return "Keep the axis: y[:, None]."
    if isinstance(got, tuple) and len(got) == 2 and got[0] == wanted[0]:
        return f"`outputs` of the layer says {wanted[1]}: let both say the same."
    return "Every row of x makes one row of y."


def _list(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"


def _is_mapping(value: object) -> bool:
    # called in every step; the first test is ten times as fast
    return type(value) is dict or isinstance(value, Mapping)


def _kind(value: object) -> str:
    return f"a tuple of {len(value)}" if isinstance(value, tuple) else type(value).__name__
