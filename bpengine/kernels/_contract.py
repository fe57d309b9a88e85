"""The contract of a user's own layers, losses and activations: arguments are read-only, results keep the dtype.

Nothing here reads a value, so in a compiled step these checks run only while it is recorded or traced.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from bpengine.errors import BpError, ConfigError, ShapeError
from bpengine.kernels._kernel import Array, Namespace
from bpengine.kernels._trees import leaves, rebuilt

NOT_TRACED = ("JAXTypeError", "JAXIndexError")  # what JAX raises when the value of a traced array is read


def lent(xp: Namespace, arguments: tuple[Any, ...]) -> tuple[AbstractContextManager[None], tuple[Any, ...]]:
    """Return a scope in which NumPy arrays are read-only, and the arguments to pass.

    An array that can change but cannot be made read-only is replaced by a copy; JAX's arrays never change. Every other
    argument stays the same object, since observers of the calls identify arrays by their object.
    """
    arrays = list(leaves(arguments))
    if any(_can_be_locked(a) for a in arrays):
        return _read_only([a for a in arrays if _can_be_locked(a) and a.flags.writeable]), arguments
    if any(_can_change(a) for a in arrays):
        copies = (xp.asarray(a, copy=True) if _can_change(a) else a for a in arrays)
        return nullcontext(), rebuilt(arguments, copies)
    return nullcontext(), arguments


def in_dtype(xp: Namespace, who: str, what: str, value: Array, like: Array) -> Array:
    """Return floating numbers in the dtype of `like`; refuse whole, true-or-false and complex ones.

    `x / np.sqrt(4)` is float64 under NumPy's rules, whatever the dtype of x, which the author of such code rarely intends.
    """
    if value.dtype == like.dtype:
        return value
    stepped = xp.isdtype(like.dtype, "complex floating")  # complex numbers are allowed where they carry a complex step
    if not xp.isdtype(value.dtype, ("real floating", "complex floating") if stepped else "real floating"):
        raise ShapeError(
            f"{who} requires {what} of {like.dtype}, got {value.dtype}. Multiply by a float, or use xp.astype(y, x.dtype)."
        )
    try:
        return xp.astype(value, like.dtype)
    except TypeError:  # a NumPy scalar is not an array
        return value.astype(like.dtype)


class NamedErrors:
    """Note in an exception of a user's code where it was raised; refuse a write into an argument.

    This is a class because every step of a user's layer enters it, and a generator costs three times as much.
    """

    __slots__ = ("method", "who")

    def __init__(self, who: str, method: str) -> None:
        self.who, self.method = who, method

    def __enter__(self) -> None:
        """Enter the block."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Add a note to an exception that says where it was raised."""
        if not isinstance(error, Exception):
            return
        if isinstance(error, ValueError) and "read-only" in str(error):
            raise ConfigError(
                f"{self.who} requires its {self.method} to leave its arguments as they are, got a write into one of them "
                f"({error}). Make a new array: y = 2 * x in place of x *= 2."
            ) from error
        if not isinstance(error, BpError):
            error.add_note(f"this came from the {self.method} of {self.who}")
            if any(kind.__name__ in NOT_TRACED for kind in type(error).__mro__):
                error.add_note(
                    f"The {self.method} needs the array functions of ops.xp, and no branches on values, to run on JAX."
                )


def _can_be_locked(array: object) -> bool:
    """Tell whether an array can be made read-only, as NumPy's can."""
    return hasattr(type(array), "setflags")  # the class is asked, since a traced array refuses such attributes


def _can_change(array: object) -> bool:
    """Tell whether `array *= 2` would write into it: JAX's arrays are immutable, and traced ones have no memory."""
    return hasattr(type(array), "__imul__") and hasattr(type(array), "__dlpack__")


@contextmanager
def _read_only(arrays: list[Any]) -> Iterator[None]:
    for array in arrays:
        array.flags.writeable = False
    try:
        yield
    finally:
        for array in arrays:
            array.flags.writeable = True
