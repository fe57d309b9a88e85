"""Receipts: a training step as JSON lines, from which every value in it can be derived again.

The first line describes the run. Then come the given arrays and the kernel calls, one per line: the kernel's formula, its
options, the numbers of its argument arrays, and its results with all their values. The last line names the loss, the
gradients and the new parameters. Every array has a number; a line only uses arrays of earlier lines.
`bpengine.explain.verify` derives every value again.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from bpengine.backend import HostArray
from bpengine.errors import ConfigError
from bpengine.explain.trace.rule import rule_of
from bpengine.explain.trace.trace import Trace
from bpengine.ops import Call, known
from bpengine.output.writing import write_whole

FORMAT = "bpengine training step 1"


def receipt(traced: Trace) -> Iterator[str]:
    """Yield the lines of a step's receipt, without line ends.

    Raises ConfigError for a step in which a backward pass got a residual that no kernel call returned, or one with a custom
    kernel or a custom update rule outside of kernels: it has no formula, so it could not be evaluated again.

    >>> model = bp.Model(bp.Network(1, bp.Dense(1), "mean_squared_error"), dtype="float64")
    >>> lines = list(bp.explain.receipt(model.trace([[2.0]], [[5.0]])))
    >>> len(lines) > 5
    True
    """
    _require_known(traced)
    book = _NumberedArrays(traced)
    yield _line({"receipt": FORMAT, **_head(traced)})
    for position, call in enumerate(traced.calls):
        for entry in book.unknown(call):
            yield _line(entry)
        yield _line(book.call(position, call))
    results = {
        name: {n: book.number(a) for n, a in getattr(traced, name).items()} for name in ("gradients", "updated")
    }  # fmt: skip
    yield _line({"result": {"loss": book.number(_total(traced)), **results}})


def _require_known(traced: Trace) -> None:
    for call in traced.calls:
        if not known(call.kernel):
            raise ConfigError(
                f"a receipt requires kernels of the KERNELS table, got {call.kernel.kind} {call.kernel.name!r} of your own: "
                "its formula is not known, so nothing could be derived again."
            )
    rule, formula = rule_of(traced)
    if not formula:
        raise ConfigError(
            f"a receipt requires an update rule that calls one of the KERNELS table, got {rule!r} of your own: "
            "its formula is not known, so nothing could be derived again."
        )


def write_receipt(traced: Trace, path: str | os.PathLike[str]) -> None:
    """Write a step's receipt to a file, completely or not at all.

    >>> from tempfile import TemporaryDirectory
    >>> model = bp.Model(bp.Network(1, bp.Dense(1), "mean_squared_error"), dtype="float64")
    >>> with TemporaryDirectory() as folder:
    ...     bp.explain.write_receipt(model.trace([[2.0]], [[5.0]]), f"{folder}/step.jsonl")
    ...     verified = bp.explain.verify(f"{folder}/step.jsonl")
    >>> verified.ok
    True
    """
    write_whole(path, ("\n".join(receipt(traced)) + "\n").encode())


def _head(traced: Trace) -> dict[str, Any]:
    loss = traced.network.loss
    rule = {"kernel": rule_of(traced)[0], **traced.optimizer.options()}
    return {
        "network": traced.network.sizes, "layers": [type(layer).__name__ for layer in traced.network.layers],
        "loss": {"kernel": loss.name, **loss.settings}, "label_smoothing": loss.smoothing, "optimizer": rule,
        "rows": traced.rows, "dtype": traced.dtype, "backend": traced.backend,
    }  # fmt: skip


def _total(traced: Trace) -> HostArray:
    """Return the array of the loss with penalties: the result of the last addition to it."""
    total: HostArray = traced.calls[traced.backward_start - 1].result[0]
    for call in traced.calls[traced.backward_start :]:
        if call.function == "add_fwd" and call.args[0] is total:
            total = call.result[0]
    return total


class _NumberedArrays:
    """The arrays of a step by number, and the roles of the given ones."""

    def __init__(self, traced: Trace) -> None:
        self.traced, self.numbers = traced, dict[int, int]()
        self.alive: list[HostArray] = []
        self.roles = {id(traced.x): "x", id(traced.target): "target", id(traced.counter): "counter"}
        if traced.weights is not None:
            self.roles[id(traced.weights)] = "weights"
        for kind, arrays in (("parameter", traced.parameters), ("running", traced.running)):
            self.roles |= {id(array): f"{kind} {name}" for name, array in arrays.items()}
        for name, slots in traced.slots.items():
            self.roles |= {id(array): f"slot {i} of {name}" for i, array in enumerate(slots)}

    def number(self, array: HostArray) -> int:
        if id(array) not in self.numbers:
            self.numbers[id(array)] = len(self.alive)
            self.alive.append(array)
        return self.numbers[id(array)]

    def unknown(self, call: Call) -> Iterator[dict[str, Any]]:
        """Yield an entry for each argument of a call that has no line yet."""
        for name, array in _inputs(call):
            if id(array) not in self.numbers:
                role = self.roles.get(id(array)) or self._constant(call, name)
                yield {"given": role, **self._array(array)}

    def _constant(self, call: Call, name: str) -> str:
        if name in ("dy", "dloss"):
            return "one"
        known = {"t": "step number", "lr": "learning rate"}
        if call.kernel.kind == "update" and name in known:
            return known[name]
        raise ConfigError(
            f"{name} of {call.function} in layer {call.place} is made by code outside of the kernels: no receipt can be given."
        )

    def call(self, position: int, call: Call) -> dict[str, Any]:
        inputs = {name: self.number(array) for name, array in _inputs(call)}
        entry: dict[str, Any] = {"call": position, "place": call.place, "function": call.function}
        names = call.named_results()
        if call.function.endswith("_bwd"):
            if position not in self.traced.forward_of:
                raise ConfigError(
                    f"{call.function} in layer {call.place} was given a residual that no call left: no receipt can be given."
                )
            entry["of"] = self.traced.forward_of[position]
        formula = {name: text for name, text in call.kernel.formula.items() if name in names}
        options = {n: v for n, v in call.options.items() if n != "need_dx"}
        outputs = {name: self._array(np.asarray(array)) for name, array in self._kept(call, names).items()}
        return {**entry, "formula": formula, "options": options, "inputs": inputs, "outputs": outputs}

    def _kept(self, call: Call, names: dict[str, HostArray]) -> dict[str, HostArray]:
        """Return a call's outputs, and the statistics that a normalization saves."""
        kept = () if call.function.endswith("_bwd") else call.kernel.saved_statistics
        return {**names, **{name: getattr(call.result[1], name) for name in kept}}

    def _array(self, array: HostArray) -> dict[str, Any]:
        values = [_number(v) for v in array.ravel().tolist()]
        return {"array": self.number(array), "shape": list(array.shape), "dtype": str(array.dtype), "values": values}


def _inputs(call: Call) -> list[tuple[str, HostArray]]:
    if call.function.endswith("_bwd"):
        return [("dloss" if call.kernel.outputs == ("loss",) else "dy", call.args[1])]
    return [(n, a) for n, a in zip(call.kernel.arguments, call.args, strict=False) if a is not None]


def _number(value: object) -> object:
    """Return a value for JSON; nan and infinities as text."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _line(entry: dict[str, Any]) -> str:
    return json.dumps(entry, allow_nan=False, separators=(",", ":"))
