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
from typing import Any

import numpy as np

from bpengine.backend import HostArray
from bpengine.errors import DataError
from bpengine.explain.closeness import SHAKES, differs, shaken
from bpengine.explain.reason import DoesNotFollow, Reason, reason
from bpengine.explain.receipt import FORMAT, STATISTICS
from bpengine.explain.rederive import derive
from bpengine.explain.verified import Verified
from bpengine.explain.wiring import Wiring
from bpengine.kernels import KERNELS

_STATISTICS = {name for names in STATISTICS.values() for name in names}


def verify(path: str | os.PathLike[str]) -> Verified:
    """Derive every value of a receipt again with plain NumPy; raise DataError for a file that cannot be read."""
    try:
        with open(path, encoding="utf-8") as file:
            return verify_lines(file)
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise DataError(f"cannot read the receipt {str(path)!r}: {why}.") from None


def verify_lines(lines: Iterable[str]) -> Verified:
    """Derive every value of a receipt's lines again."""
    reader, number = _Reader(), 0
    for number, line in enumerate(lines, start=1):
        try:
            reader.read(number, line)
        except DoesNotFollow as failure:
            return Verified(False, number, reader.values, number, failure.why)
    if not reader.finished:
        return Verified(False, number, reader.values, number + 1, reason("truncated"))
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
            raise _fails("after")
        try:
            entry = json.loads(line)
        except json.JSONDecodeError as error:
            raise _fails("no_json", at=error.pos) from None
        try:
            self._entry(number, entry)
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise _fails("damaged", error=f"{type(error).__name__} {error}") from None

    def _entry(self, number: int, entry: Any) -> None:
        if number == 1:
            if entry.get("receipt") != FORMAT or entry["dtype"] not in ("float32", "float64"):
                raise _fails("no_head", format=FORMAT)
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
            raise _fails("no_entry")

    def _keep(self, entry: Mapping[str, Any]) -> HostArray:
        if entry["array"] in self.arrays:
            raise _fails("array_twice", array=entry["array"])
        values = [float(v) if isinstance(v, str) else v for v in entry["values"]]
        if len(values) != math.prod(entry["shape"]):
            raise _fails("length", array=entry["array"], count=len(values), shape=entry["shape"])
        array = np.array(values, dtype=entry["dtype"]).reshape(entry["shape"])
        if array.dtype.kind == "f" and not np.array_equal(array.astype(float), np.reshape(values, array.shape), True):
            raise _fails("dtype", array=entry["array"], dtype=entry["dtype"])
        self.arrays[entry["array"]] = array
        return array

    def _call(self, number: int, entry: dict[str, Any]) -> None:
        function, inputs = entry["function"], dict(entry["inputs"])
        for name, array in inputs.items():
            if array not in self.arrays:
                raise _fails("missing", name=name, array=array)
        options = dict(entry["options"])
        if "of" in entry:
            forward = self.calls.get(entry["of"])
            if forward is None or forward["function"].replace("_fwd", "_bwd") != function:
                raise _fails("no_forward", function=function, call=entry["of"])
            kept = {name: made["array"] for name, made in forward["outputs"].items() if name in _STATISTICS}
            inputs, options = {**forward["inputs"], **kept, **inputs}, dict(forward["options"])
        elif function.endswith("_bwd"):
            raise _fails("no_partner", function=function)
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
            raise _fails("no_kernel", function=function)
        for name, text in entry["formula"].items():
            if row.formula.get(name) != text:
                raise _fails("formula", name=name, function=function, right=row.formula.get(name), wrong=text)

    def _check_values(
        self, function: str, inputs: dict[str, HostArray], options: dict[str, Any], entry: Mapping[str, Any]
    ) -> None:
        derived = derive(function, inputs, options, self.dtype)
        shakes = [derive(function, shaken(inputs, draw), options, self.dtype, wide=False) for draw in range(SHAKES)]
        for name, recorded in entry["outputs"].items():
            if name not in derived:
                raise _fails("no_output", function=function, name=name)
            got = self._keep(recorded)
            self.values += got.size
            if why := differs(got, derived[name], [s[name] for s in shakes], inputs):
                raise _fails("differs", name=name, function=function, where=_where(entry["place"]), why=why)


def _where(place: str) -> Reason:
    known = {"": "cause_update", "loss": "cause_loss", "penalty": "cause_penalty", "sharing": "cause_sharing"}
    return Reason(known.get(place, "cause_layer"), {"place": place})


def _fails(key: str, **values: object) -> DoesNotFollow:
    return DoesNotFollow(reason(key, **values))
