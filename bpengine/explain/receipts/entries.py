"""Entries: what a line of a receipt may hold, validated before anything is computed from it.

A receipt may come from an untrusted source. Its arrays have known dtypes, none is empty and each holds its values; a call has
the arguments and options of its kernel, in matching shapes. So no derived array is larger than the receipt.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from bpengine.backend import HostArray
from bpengine.explain.receipts.does_not_follow import DoesNotFollow, reason
from bpengine.kernels import KERNELS
from bpengine.kernels._kernel import Kernel
from bpengine.system.quiet import Quiet

WHOLE: Final = frozenset(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))
DTYPES: Final = frozenset({"bool", "float32", "float64"}) | WHOLE
NOT_FINITE: Final = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}
AXES: Final = 32
LONGEST: Final = 1000
STATISTICS_KEPT: Final = frozenset(name for row in KERNELS.values() for name in row.saved_statistics)
Shape = tuple[str | int, ...]
FUNCTIONS: Final = {f.__name__: row for row in KERNELS.values() for f in (row.forward, row.backward) if f is not None}


def fails(key: str, **values: object) -> DoesNotFollow:
    """Return the exception that says why a line does not follow."""
    return DoesNotFollow(reason(key, **values))


def array_of(entry: Mapping[str, Any]) -> HostArray:
    """Return the array of an entry; raise DoesNotFollow for one whose values do not match its description."""
    number, shape, dtype, written = (entry[name] for name in ("array", "shape", "dtype", "values"))
    if type(number) is not int:
        raise fails("damaged", error="the number of an array is a whole number")
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise fails("no_dtype", array=number, dtype=repr(dtype)[:40])
    if not isinstance(shape, list) or not all(type(n) is int for n in shape) or len(shape) > AXES:
        raise fails("damaged", error=f"the shape of array {number} is no list of whole numbers")
    if not isinstance(written, list):
        raise fails("damaged", error=f"the values of array {number} are no list")
    if not written or min(shape, default=1) < 1 or len(written) != math.prod(shape):
        raise fails("length", array=number, count=len(written), shape=str(shape)[:80])
    values = [NOT_FINITE[v] if isinstance(v, str) else v for v in written]
    if not all(type(v) in (bool, int, float) for v in values):
        raise fails("damaged", error=f"the values of array {number} are no numbers")
    with Quiet():
        array = np.array(values, dtype=dtype)
    if not _same(array, values):
        raise fails("dtype", array=number, dtype=dtype)
    return array.reshape(shape)


def _same(array: HostArray, values: list[Any]) -> bool:
    if array.dtype.kind != "f":
        return bool(array.tolist() == values)
    return np.array_equal(array.astype(float), np.array(values, dtype=float), equal_nan=True)


def kernel_of(function: object) -> Kernel:
    """Return the row of a kernel function by its name."""
    if not isinstance(function, str) or function not in FUNCTIONS:
        raise fails("no_kernel", function=str(function)[:60])
    return FUNCTIONS[function]


def check_call(
    entry: Mapping[str, Any], row: Kernel, inputs: Mapping[str, HostArray], options: Mapping[str, Any]
) -> None:
    """Raise DoesNotFollow for a call whose arguments, options or shapes are not those of its kernel.

    inputs: the arrays of the forward's arguments by name; of a backward, also its cotangent and what its forward kept.
    """
    function, place, back = entry["function"], entry["place"], "of" in entry
    if not isinstance(place, str) or len(place) > LONGEST or not place.isprintable():
        raise fails("damaged", error="the place of a call is text")
    required, allowed = set(row.arguments) - set(row.optional), set(row.arguments)
    if back:
        cotangent = "dloss" if row.outputs == ("loss",) else "dy"
        required, allowed = required | {cotangent}, allowed | {cotangent} | STATISTICS_KEPT
    if not required <= inputs.keys() <= allowed or (back and entry["inputs"].keys() != {cotangent}):
        raise fails("arguments", function=function, names=", ".join(sorted(required)))
    plain = all(value is None or isinstance(value, (bool, int, float, str)) for value in options.values())
    if not plain or not options.keys() <= row.options.keys():
        raise fails("options", function=function, names=", ".join(row.options) or "none")
    if not _belong(row, _shapes(entry, row, inputs)):
        raise fails("shapes", function=function)


def _shapes(
    entry: Mapping[str, Any], row: Kernel, inputs: Mapping[str, HostArray]
) -> list[tuple[Shape, tuple[int, ...]]]:
    """Return, for every argument and result, the shape that the kernel states and its actual shape."""
    shapes: list[tuple[Shape, tuple[int, ...]]] = []
    for name, array in inputs.items():
        if name == "target" and array.ndim == 1 and row.target == "classes":  # class numbers
            shapes.append((("B",), array.shape))
        elif name in row.arguments:
            shapes.append((row.shapes[name], array.shape))
        elif name in ("dy", "dloss"):
            shapes.append((row.shapes[row.outputs[0]], array.shape))
    for name, output in entry["outputs"].items():
        said = row.shapes.get(name.removeprefix("d") if "of" in entry else name)
        if said is not None:
            shapes.append((said, tuple(output["shape"])))
    return shapes


def _belong(row: Kernel, shapes: list[tuple[Shape, tuple[int, ...]]]) -> bool:
    """Tell whether shapes are those that a kernel states, with one number for each of its letters.

    An element-wise kernel takes arrays of any number of axes (an update of a bias, the sum of two losses), all of one shape.
    """
    whole: dict[Shape, tuple[int, ...]] = {}
    letters: dict[str, int] = {}
    several = len({said for said, _ in shapes if said not in ((), (1,))}) > 1
    for said, shape in shapes:
        if said in ((), (1,)):
            if math.prod(shape) != 1:
                return False
        elif whole.setdefault(said, shape) != shape or (
            len(said) != len(shape) and several and row.kind in ("layer", "activation", "loss")
        ):
            return False
        elif len(said) == len(shape):
            for axis, n in zip(map(str, said), shape, strict=True):
                letter, _, more = axis.partition("+")
                wanted = int(letter) if letter.isdigit() else letters.setdefault(letter, n - int(more or 0))
                if wanted + int(more or 0) != n:
                    return False
    return True
