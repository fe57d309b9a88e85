"""Verify: a receipt read line by line, every value derived again, every gradient's way back checked against the way there.

What is proved: each line's numbers follow from the numbers of lines before it by the formula of its kernel, within the
rounding of its dtype; and the backward pass written there is the reverse of the forward pass written there: every
gradient that goes into a backward call is the sum of all that came back from the uses of what the forward call made. So
the gradients and new parameters named at the end are those of the loss named at the end, at the given numbers.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from bpengine.backend import HostArray
from bpengine.errors import DataError
from bpengine.explain.receipt import FORMAT, STATISTICS
from bpengine.explain.rederive import CannotDerive, derive
from bpengine.explain.wiring import Wiring
from bpengine.kernels import KERNELS

ROUNDINGS = 8.0  # times sqrt(length of the longest sum): what a dtype's rounding may do to a kernel's result
_STATISTICS = {name for names in STATISTICS.values() for name in names}
SHAKES = (
    4  # how often the inputs are shaken by one rounding, to see how far that and rounding on the way carry a result
)


@dataclass(frozen=True)
class Verified:
    """What became of a receipt: whether all of it follows; the first line that does not, and why."""

    ok: bool
    lines: int
    values: int
    line: int | None = None
    reason: str = ""

    def __str__(self) -> str:
        if self.ok:
            return f"every line follows: {self.lines} lines, {self.values} values derived again"
        return f"line {self.line} does not follow: {self.reason}"


class _Fails(Exception):
    """A line does not follow."""


def verify(path: str | os.PathLike[str]) -> Verified:
    """Derive every value of a receipt again with plain NumPy; raise DataError for a file that cannot be read."""
    try:
        with open(path, encoding="utf-8") as file:
            return verify_lines(file)
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read the receipt {str(path)!r}: {error}.") from None


def verify_lines(lines: Iterable[str]) -> Verified:
    """Derive every value of a receipt's lines again."""
    reader, number = _Reader(), 0
    for number, line in enumerate(lines, start=1):
        try:
            reader.read(number, line)
        except _Fails as failure:
            return Verified(False, number, reader.values, number, str(failure))
    if not reader.finished:
        return Verified(False, number, reader.values, number + 1, "the receipt ends before its result: it is truncated")
    if wrong := reader.wiring.first_wrong():
        return Verified(False, number, reader.values, *wrong)
    return Verified(True, number, reader.values)


class _Reader:
    def __init__(self) -> None:
        self.arrays: dict[int, HostArray] = {}
        self.calls: dict[int, dict[str, Any]] = {}
        self.wiring = Wiring()
        self.dtype, self.values, self.finished = "", 0, False

    def read(self, number: int, line: str) -> None:
        if self.finished:
            raise _Fails("there are lines after the result")
        try:
            entry = json.loads(line)
        except ValueError as error:
            raise _Fails(f"it is not JSON ({error})") from None
        try:
            self._entry(number, entry)
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise _Fails(f"it is damaged: {type(error).__name__} {error}") from None

    def _entry(self, number: int, entry: Any) -> None:
        if number == 1:
            if entry.get("receipt") != FORMAT or entry["dtype"] not in ("float32", "float64"):
                raise _Fails(f"it is not the head of a receipt of the format {FORMAT!r}")
            self.dtype = entry["dtype"]
            self.wiring.head(number, entry)
        elif "given" in entry:
            self._keep(entry)
            self.wiring.given(number, entry, self.arrays[entry["array"]])
        elif "call" in entry:
            self._call(number, entry)
        elif "result" in entry:
            self.wiring.result(number, entry["result"])
            self.finished = True
        else:
            raise _Fails("it is no head, given array, call or result")

    def _keep(self, entry: Mapping[str, Any]) -> HostArray:
        if entry["array"] in self.arrays:
            raise _Fails(f"array {entry['array']} is there already")
        values = [float(v) if isinstance(v, str) else v for v in entry["values"]]
        if len(values) != math.prod(entry["shape"]):
            raise _Fails(f"array {entry['array']} has {len(values)} values, its shape {entry['shape']}")
        array = np.array(values, dtype=entry["dtype"]).reshape(entry["shape"])
        if array.dtype.kind == "f" and not np.array_equal(array.astype(float), np.reshape(values, array.shape), True):
            raise _Fails(f"array {entry['array']} has values that are no {entry['dtype']}")
        self.arrays[entry["array"]] = array
        return array

    def _call(self, number: int, entry: dict[str, Any]) -> None:
        function, inputs = entry["function"], dict(entry["inputs"])
        for name, array in inputs.items():
            if array not in self.arrays:
                raise _Fails(f"{name} is array {array}, which no line before it holds")
        options = dict(entry["options"])
        if "of" in entry:
            forward = self.calls.get(entry["of"])
            if forward is None or forward["function"].replace("_fwd", "_bwd") != function:
                raise _Fails(f"{function} is said to be the reverse of call {entry['of']}, which is no such forward")
            kept = {name: made["array"] for name, made in forward["outputs"].items() if name in _STATISTICS}
            inputs, options = {**forward["inputs"], **kept, **inputs}, dict(forward["options"])
        elif function.endswith("_bwd"):
            raise _Fails(f"{function} does not say which forward call it is the reverse of")
        self._check_formula(function, entry)
        self._check_values(function, {n: self.arrays[a] for n, a in inputs.items()}, options, entry)
        self.calls[entry["call"]] = entry
        self.wiring.call(number, entry)

    def _check_formula(self, function: str, entry: Mapping[str, Any]) -> None:
        row = next(
            (k for k in KERNELS.values() if function in (getattr(f, "__name__", "") for f in (k.forward, k.backward))),
            None,
        )
        if row is None:
            raise _Fails(f"there is no kernel function {function!r}")
        for name, text in entry["formula"].items():
            if row.formula.get(name) != text:
                raise _Fails(f"the formula of {name} in {function} is {row.formula.get(name)!r}, not {text!r}")

    def _check_values(
        self, function: str, inputs: dict[str, HostArray], options: dict[str, Any], entry: Mapping[str, Any]
    ) -> None:
        try:
            derived = derive(function, inputs, options, self.dtype)
            shaken = [
                derive(function, _shaken(inputs, draw), options, self.dtype, wide=False) for draw in range(SHAKES)
            ]
        except CannotDerive as error:
            raise _Fails(str(error)) from None
        for name, recorded in entry["outputs"].items():
            if name not in derived:
                raise _Fails(f"{function} has no output {name!r}")
            got = self._keep(recorded)
            self.values += got.size
            if why := _differs(got, derived[name], [s[name] for s in shaken], inputs):
                raise _Fails(f"{name} of {function} in {_where(entry['place'])}{why}")


def _where(place: str) -> str:
    return f"layer {place}" if place[:1].isdigit() else f"the {place or 'update'}"


def _shaken(inputs: Mapping[str, HostArray], draw: int) -> dict[str, HostArray]:
    """Return the inputs with every number changed by about one rounding of its dtype."""
    rng = np.random.default_rng(draw)

    def shaken(a: HostArray) -> HostArray:
        if a.dtype.kind != "f":
            return a
        wide = a.astype(np.longdouble)
        return np.asarray(wide * (1 + np.finfo(a.dtype).eps * rng.uniform(-1.0, 1.0, a.shape)), dtype=a.dtype)

    return {name: shaken(a) for name, a in inputs.items()}


def _differs(got: HostArray, derived: HostArray, shaken: list[HostArray], inputs: Mapping[str, HostArray]) -> str:
    """Say how a recorded array differs from the derived one, or return "" when it is within rounding."""
    if got.shape != derived.shape:
        return f" has the shape {got.shape}, derived {derived.shape}"
    if got.dtype.kind != "f":
        return "" if np.array_equal(got, derived) else " is not what is derived"
    with np.errstate(all="ignore"):
        wrong = np.isfinite(got) != np.isfinite(derived.astype(got.dtype))
        off = np.where(np.isfinite(got) & np.isfinite(derived), np.abs(got - derived), 0.0)
        moved = [np.where(np.isfinite(s - derived), np.abs(s - derived), 0.0) for s in shaken]
    eps, tiny = float(np.finfo(got.dtype).eps), float(np.finfo(got.dtype).smallest_normal)
    length = max((max(a.shape, default=1) for a in inputs.values()), default=1)
    finite = np.where(np.isfinite(derived), np.abs(derived), 0.0)
    scale = max(float(np.max(finite, initial=0.0)), float(np.max(moved, initial=0.0)) / eps)
    wrong = wrong | (off > ROUNDINGS * math.sqrt(length) * eps * scale + tiny)
    if not wrong.any():
        return ""
    at = np.unravel_index(int(np.argmax(np.where(wrong, np.maximum(off, tiny), -1.0))), got.shape)
    place = f"[{','.join(str(int(i)) for i in at)}]" if at else ""
    return f"{place} is {float(got[at])!r} in the receipt, derived {float(derived[at])!r}"
