"""Check that the backward pass of a receipt is the reverse of its forward pass, by the numbers of its arrays.

An array's gradient is the sum of the contributions of all its uses. For every forward call, the cotangent of its backward
call must be that sum for its output; every parameter's gradient must be that sum; and the update must use that gradient.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from bpengine.backend import HostArray
from bpengine.explain.receipts.does_not_follow import reason
from bpengine.i18n.message import Message
from bpengine.kernels import KERNELS

Wrong = tuple[int, Message]
_OWNER = {f.__name__: k for k in KERNELS.values() for f in (k.forward, k.backward) if f}


class BackwardCheck:
    """The calls of a receipt as they are read, and the errors in how they are connected."""

    def __init__(self) -> None:
        self.lines: dict[int, int] = {}  # call -> line
        self.calls: dict[int, dict[str, Any]] = {}
        self.maker: dict[int, int] = {}  # array -> call
        self.uses: dict[int, list[tuple[int, str]]] = {}  # array -> (forward call, name of the argument)
        self.reverse: dict[int, list[int]] = {}  # forward call -> its backward calls
        self.roles: dict[int, str] = {}
        self.wrong: list[Wrong] = []
        self.results: dict[str, Any] = {}
        self.loss: Mapping[str, Any] = {}
        self.smoothing = 0.0
        self.rule: Mapping[str, Any] = {}
        self.shape: list[int] = []  # (rows, inputs) by the head
        self.counter: HostArray | None = None

    def head(self, line: int, entry: Mapping[str, Any]) -> None:
        """Add the head."""
        self.loss, self.rule = entry["loss"], entry["optimizer"]
        self.shape = [entry["rows"], entry["network"][0]]
        self.smoothing = entry.get("label_smoothing", 0.0)

    def given_array(self, line: int, entry: Mapping[str, Any], array: HostArray) -> None:
        """Add a given array; for some roles its values are prescribed."""
        role = self.roles[entry["array"]] = entry["given"]
        if role == "one" and not np.all(array == 1):
            self.wrong.append((line, reason("one")))
        if role == "x" and list(array.shape) != self.shape:
            self.wrong.append((line, reason("x", shape=list(array.shape), head=self.shape)))
        if role == "counter":
            self.counter = array
        if role == "step number" and self.counter is not None and not np.all(array == self.counter[1] + 1):
            self.wrong.append((line, reason("counter")))

    def call(self, line: int, entry: dict[str, Any]) -> None:
        """Add a call."""
        number = entry["call"]
        if number in self.calls:
            self.wrong.append((line, reason("call_twice", call=number)))
        self.calls[number], self.lines[number] = entry, line
        for output in entry["outputs"].values():
            self.maker[output["array"]] = number
        if "of" in entry:
            self.reverse.setdefault(entry["of"], []).append(number)
            return
        for name, array in entry["inputs"].items():
            self.uses.setdefault(array, []).append((number, name))

    def result(self, line: int, results: dict[str, Any]) -> None:
        """Add the result."""
        self.results = {**results, "line": line}

    def first_wrong(self) -> Wrong | None:
        """Return the first line that is wrong in its place, and the reason."""
        errors = [*self.wrong, *self._forward(), *self._backward(), *self._named()]
        return min(errors, key=lambda wrong: wrong[0], default=None)

    @property
    def _turn(self) -> int:
        """The number of the loss's forward call."""
        return next((n for n, c in self.calls.items() if _OWNER[c["function"]].kind == "loss"), -1)

    def _forward(self) -> Iterator[Wrong]:
        """Check that every layer's call before the loss has its backward, and that the loss is that of the head."""
        turn = self._turn
        if turn < 0:
            yield self.results["line"], reason("no_loss")
            return
        loss = self.calls[turn]
        said = {"kernel": _OWNER[loss["function"]].name, **loss["options"]}
        if said != dict(self.loss):
            yield self.lines[turn], reason("loss", loss=said, head=dict(self.loss))
        inputs = {**loss["inputs"], "target": self._hard(loss)}
        for name, role in (("target", "target"), ("weights", "weights")):
            if name in inputs and self.roles.get(inputs[name]) != role:
                yield self.lines[turn], reason("role", name=name, role=role)
        for number, call in self.calls.items():
            row = _OWNER[call["function"]]
            by_rows = "weights" in row.arguments and row.kind in ("layer", "helper") and "of" not in call
            if by_rows and call["inputs"].get("weights") != loss["inputs"].get("weights"):
                yield self.lines[number], reason("row_weights", function=call["function"])
            needed = (number <= turn and row.kind in ("layer", "activation", "loss")) or row.kind == "penalty"
            if needed and "of" not in call and len(self.reverse.get(number, [])) != 1:
                times = len(self.reverse.get(number, []))
                yield self.lines[number], reason("backwards", function=call["function"], times=times)

    def _hard(self, loss: Mapping[str, Any]) -> int:
        """Return the target before its labels were smoothed as the head says; -1 where they were not."""
        target: int = loss["inputs"]["target"]
        if not self.smoothing:
            return target
        call = self.calls.get(self.maker.get(target, -1), {"function": "", "options": {}})
        binary = _OWNER[loss["function"]].target == "binary"
        said = {"smoothing": self.smoothing, "binary": binary}
        if call["function"] != "smooth_labels" or call["options"] != said or call["inputs"]["y"] != loss["inputs"]["y"]:
            return -1
        hard: int = call["inputs"]["target"]
        return hard

    def _backward(self) -> Iterator[Wrong]:
        """Check that the cotangent of every backward call is the gradient of its forward call's output."""
        for number, call in self.calls.items():
            if "of" not in call:
                continue
            ((name, cotangent),) = call["inputs"].items()
            output = next(iter(self.calls[call["of"]]["outputs"].values()))["array"]
            if name == "dloss":
                if self.roles.get(cotangent) != "one":
                    yield self.lines[number], reason("begins")
            elif not self._is_sum(cotangent, self._contributions(output)):
                yield self.lines[number], reason("cotangent", name=name, function=call["function"])

    def _named(self) -> Iterator[Wrong]:
        """Check what the result names: the loss, the gradients, the new parameters."""
        line, results = self.results["line"], self.results
        losses = [
            n for n, c in self.calls.items() if _OWNER[c["function"]].kind in ("loss", "penalty") and "of" not in c
        ]
        wanted = sorted(self.calls[n]["outputs"]["loss"]["array"] for n in losses)
        if not self._is_sum(results["loss"], wanted):
            yield line, reason("total")
        params = {role.removeprefix("parameter "): a for a, role in self.roles.items() if role.startswith("parameter ")}
        for kind in ("gradients", "updated"):
            if results[kind].keys() != params.keys():
                yield line, reason(kind)
                return
        for name, array in params.items():
            gradient, new = results["gradients"][name], results["updated"][name]
            if not self._is_sum(gradient, self._contributions(array)):
                yield line, reason("gradient", name=name)
            update = self.calls.get(self.maker.get(new, -1), {"function": "", "inputs": {}})
            inputs, rule = dict(update["inputs"]), self.rule["kernel"]
            used = (inputs.pop("w", None), inputs.pop("dw", None))
            if not update["function"].startswith(rule) or used != (array, gradient):
                yield line, reason("new_value", name=name, rule=rule)
                continue
            said = {"kernel": _OWNER[update["function"]].name, **update["options"]}
            if said != dict(self.rule):
                yield self.lines[update["call"]], reason("rule", rule=said, head=dict(self.rule))
            roles = [self.roles.get(inputs.pop(n, -1)) for n in ("t", "lr")]
            if roles != ["step number", "learning rate"]:
                yield line, reason("rate", name=name)
            slots = [self.roles.get(slot) for slot in inputs.values()]
            if slots != [f"slot {i} of {name}" for i in range(len(slots))]:
                yield self.lines[update["call"]], reason("slots", name=name)

    def _contributions(self, array: int) -> list[int]:
        """Return the gradients that the uses of an array contribute."""
        contributions = []
        for number, name in self.uses.get(array, []):
            for back in self.reverse.get(number, []):
                outputs = self.calls[back]["outputs"]
                contributions += [outputs[f"d{name}"]["array"]] if f"d{name}" in outputs else []
        return contributions

    def _is_sum(self, array: int, wanted: list[int]) -> bool:
        """Tell whether an array is the sum of the wanted ones, following the additions that accumulate gradients.

        A receipt may name the same sum many times, so the search stops once it has more parts than are wanted.
        """
        summands, rest = list[int](), [array]
        # Take sums apart until only gradients of calls remain; stop when there are more parts than can be wanted.
        while rest and len(summands) + len(rest) <= len(wanted):
            part = rest.pop()
            call = self.calls.get(self.maker.get(part, -1))
            if call is None or call["function"] != "add_fwd" or self.reverse.get(call["call"]):
                summands.append(part)
            else:
                rest += call["inputs"].values()
        return not rest and sorted(summands) == sorted(wanted)
