"""Verify a receipt line by line: derive every value again, and check the backward pass against the forward pass.

This proves that each line's numbers follow from the numbers of earlier lines by the formula of its kernel, within the
rounding of its dtype; and that the written backward pass is the reverse of the written forward pass: the cotangent of
every backward call is the sum of the contributions of all uses of the forward call's output. So the gradients and new
parameters named at the end are those of the loss named at the end, at the given numbers.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeVar

from bpengine.backend import HostArray
from bpengine.errors import DataError
from bpengine.explain.receipts.backward_check import BackwardCheck
from bpengine.explain.receipts.does_not_follow import DoesNotFollow, reason
from bpengine.explain.receipts.entries import LONGEST, STATISTICS_KEPT, array_of, check_call, fails, kernel_of
from bpengine.explain.receipts.evaluate import SHAKES, derive, differs, shaken
from bpengine.explain.receipts.verified import Verified
from bpengine.explain.receipts.write import FORMAT
from bpengine.i18n.message import Message
from bpengine.io.text import one_line, parse
from bpengine.kernels._kernel import Kernel

DEPTH: Final = 16  # levels of nesting in a line
SAID: Final = 200  # characters of an error message
Value = TypeVar("Value")


def verify(path: str | os.PathLike[str]) -> Verified:
    """Derive every value of a receipt again with plain NumPy; raise DataError for a file that cannot be read.

    >>> from tempfile import TemporaryDirectory
    >>> model = bp.Model(bp.Network(1, bp.Dense(1), "mean_squared_error"), dtype="float64")
    >>> with TemporaryDirectory() as folder:
    ...     bp.explain.write_receipt(model.trace([[2.0]], [[5.0]]), f"{folder}/step.jsonl")
    ...     verified = bp.explain.verify(f"{folder}/step.jsonl")
    >>> verified.ok
    True
    """
    try:
        if "\0" in str(path) or not stat.S_ISREG(os.stat(path).st_mode):  # opening a pipe would wait for its other end
            raise DataError(f"cannot read the receipt {str(path)!r}: it is no regular file.")
        with open(path, encoding="utf-8") as file:
            return verify_lines(file)
    except (OSError, UnicodeDecodeError, MemoryError) as error:
        why = getattr(error, "strerror", None) or error or "it does not fit into memory"
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
    try:
        wrong = _guarded(reader.wiring.first_wrong)
    except DoesNotFollow as failure:
        wrong = number, failure.why
    return Verified(False, number, reader.values, *wrong) if wrong else Verified(True, number, reader.values)


def _guarded(step: Callable[..., Value], *arguments: Any) -> Value:
    """Run a step on lines of unknown origin; any exception in it means that the receipt is damaged."""
    try:
        return step(*arguments)
    except DoesNotFollow:
        raise
    except Exception as error:
        raise fails("damaged", error=one_line(f"{type(error).__name__} {error}", SAID)) from None


class _Reader:
    def __init__(self) -> None:
        self.arrays: dict[int, HostArray] = {}
        self.calls: dict[int, dict[str, Any]] = {}
        self.wiring = BackwardCheck()
        self.dtype, self.values, self.finished = "", 0, False

    def read(self, number: int, line: str) -> None:
        if self.finished:
            raise fails("after")
        try:
            entry = parse(line, len(line), DEPTH)
        except json.JSONDecodeError as error:
            raise fails("no_json", at=error.pos) from None
        except ValueError as error:
            raise fails("damaged", error=one_line(str(error), SAID)) from None
        _guarded(self._entry, number, entry)

    def _entry(self, number: int, entry: dict[str, Any]) -> None:
        if number == 1:
            if entry.get("receipt") != FORMAT or entry["dtype"] not in ("float32", "float64"):
                raise fails("no_head", format=FORMAT)
            self.dtype = entry["dtype"]
            self.wiring.head(number, entry)
        elif "given" in entry:
            if not isinstance(entry["given"], str):
                raise fails("no_entry")
            self._keep(entry)
            self.wiring.given_array(number, entry, self.arrays[entry["array"]])
        elif "call" in entry:
            self._call(number, entry)
        elif "result" in entry:
            self.wiring.result(number, entry["result"])
            self.finished = True
        else:
            raise fails("no_entry")

    def _keep(self, entry: Mapping[str, Any]) -> HostArray:
        array = array_of(entry)
        if entry["array"] in self.arrays:
            raise fails("array_twice", array=entry["array"])
        self.arrays[entry["array"]] = array
        return array

    def _call(self, number: int, entry: dict[str, Any]) -> None:
        function, inputs = entry["function"], dict(entry["inputs"])
        row, options = kernel_of(function), dict(entry["options"])
        for name, array in inputs.items():
            if type(array) is not int or array not in self.arrays:
                raise fails("missing", name=repr(name)[1:60].strip("'"), array=repr(array)[:60])
        if "of" in entry:
            forward = self.calls.get(entry["of"]) if type(entry["of"]) is int else None
            if forward is None or forward["function"].replace("_fwd", "_bwd") != function:
                raise fails("no_forward", function=function, call=repr(entry["of"])[:60])
            kept = {name: output["array"] for name, output in forward["outputs"].items() if name in STATISTICS_KEPT}
            inputs, options = {**forward["inputs"], **kept, **inputs}, dict(forward["options"])
        elif function.endswith("_bwd"):
            raise fails("no_partner", function=function)
        if type(entry["call"]) is not int:
            raise fails("damaged", error="the number of a call is a whole number")
        values = {n: self.arrays[a] for n, a in inputs.items()}
        self._check_formula(row, function, entry)
        check_call(entry, row, values, options)
        self._check_values(function, values, options, entry)
        self.calls[entry["call"]] = entry
        self.wiring.call(number, entry)

    def _check_formula(self, row: Kernel, function: str, entry: Mapping[str, Any]) -> None:
        for name, text in entry["formula"].items():
            if row.formula.get(name) != text:
                right, wrong = row.formula.get(name), str(text)[:LONGEST]
                raise fails("formula", name=repr(name)[1:60].strip("'"), function=function, right=right, wrong=wrong)

    def _check_values(
        self, function: str, inputs: dict[str, HostArray], options: dict[str, Any], entry: Mapping[str, Any]
    ) -> None:
        derived = derive(function, inputs, options, self.dtype)
        shakes = [derive(function, shaken(inputs, draw), options, self.dtype, wide=False) for draw in range(SHAKES)]
        for name, recorded in entry["outputs"].items():
            if name not in derived:
                raise fails("no_output", function=function, name=name)
            got = self._keep(recorded)
            self.values += got.size
            if why := differs(got, derived[name], [s[name] for s in shakes], inputs):
                raise fails("differs", name=name, function=function, where=_where(entry["place"]), why=why)


def _where(place: str) -> Message:
    known = {"": "cause_update", "loss": "cause_loss", "penalty": "cause_penalty", "sharing": "cause_sharing"}
    return Message(known.get(place, "cause_layer"), {"place": place})
