"""Trace: one training step with every number in it, recorded by an observer while the engine runs it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from bpengine.backend import HostArray
from bpengine.explain.trace.layers import LayerTrace, layer_traces
from bpengine.explain.trace.nonfinite import NonFiniteValue, first_nonfinite
from bpengine.i18n.counted_nouns import count_of
from bpengine.i18n.language import localized
from bpengine.layers.layer import HostArrays
from bpengine.network import Network
from bpengine.ops import Call
from bpengine.output.json_values import json_object
from bpengine.output.rich_form import folded, rows_table, table, title, words
from bpengine.output.tabular import TabularResult
from bpengine.training.optimizers import Optimizer


@dataclass(frozen=True, kw_only=True)
class Trace(TabularResult):
    """One training step, the first of its optimizer, with all of its arrays as NumPy arrays.

    calls: every kernel call in order, `bpengine.ops.Call`; an array that one call returns and another uses is one object.
    forward_of: position of a backward call -> position of the forward call whose residual it was given.
    slopes: position of a forward call -> f'(z) of an activation, or the slope of each row's own loss (rows, outputs).
    crossings: place of a layer -> its input and output and their gradients: "x", "a", "da", "dx".
    x (rows, inputs), target, weights (rows,) or None: the data of the step, as the backend got them.
    loss: before the update. gradients, parameters, updated: by full name ("0.weight"); gradients with penalties,
    parameters before the update, updated after it. optimizer, learning_rate: the rule of the update.

    >>> model = bp.Model(bp.Network(1, bp.Dense(1, weight_init=[[3.0]]), "mean_squared_error"), dtype="float64")
    >>> trace = model.trace([[2.0]], [[5.0]])
    >>> trace.loss, trace.gradients["0.weight"].item()
    (1.0, 4.0)
    """

    network: Network
    calls: tuple[Call, ...]
    forward_of: Mapping[int, int]
    slopes: Mapping[int, HostArray]
    crossings: Mapping[str, Mapping[str, HostArray]]
    x: HostArray
    target: HostArray
    weights: HostArray | None
    loss: float
    gradients: HostArrays
    parameters: HostArrays
    updated: HostArrays
    running: HostArrays
    slots: Mapping[str, list[HostArray]]
    optimizer: Optimizer
    learning_rate: float
    counter: HostArray
    backend: str
    dtype: str

    @property
    def rows(self) -> int:
        """The number of rows in the batch."""
        return len(self.x)

    @property
    def partners(self) -> Mapping[int, int]:
        """The earlier name of `forward_of`."""
        return self.forward_of

    @property
    def turn(self) -> int:
        """The earlier name of `backward_start`."""
        return self.backward_start

    @cached_property
    def backward_start(self) -> int:
        """The position of the loss's backward call, where the backward pass begins."""
        positions = [i for i, call in enumerate(self.calls) if call.place == "loss" and call.function.endswith("_bwd")]
        return positions[0]

    @property
    def forward(self) -> tuple[Call, ...]:
        """The calls of the forward pass, the loss last."""
        return self.calls[: self.backward_start]

    @property
    def backward(self) -> tuple[Call, ...]:
        """The calls of the backward pass, the loss first, with those of the penalties."""
        return tuple(call for call in self.calls[self.backward_start :] if call.place)

    @property
    def update(self) -> tuple[Call, ...]:
        """The calls after the gradients: update rules and the calls of the training loop."""
        return tuple(call for call in self.calls[self.backward_start :] if not call.place)

    @cached_property
    def layers(self) -> Mapping[str, LayerTrace]:
        """Every layer by its place ("0", inside a Residual "1.0"): z, a, dL/da, dL/dz, and its parameters' gradients."""
        return layer_traces(
            self.network, self.calls, self.backward_start, self.crossings, self.parameters, self.gradients
        )

    @cached_property
    def first_bad(self) -> NonFiniteValue | None:
        """Describes where the first number that is not finite appears ("y of dense_fwd in layer 0, row 3 ..."), or None."""
        return first_nonfinite(self.parameters, self.calls)

    def inputs(self, call: Call) -> dict[str, HostArray]:
        """Return the arguments of a call by name; those of a backward are its residual's fields and "dy"."""
        return named_inputs(call)

    def to_dict(self) -> dict[str, Any]:
        """Return the step as plain values for JSON: its layers (`LayerTrace.to_dict`), loss, gradients and parameters."""
        arrays = ("x", "target", "weights", "gradients", "parameters", "updated")
        facts = ("backend", "dtype", "loss", "learning_rate", *arrays)
        plain = {name: getattr(self, name) for name in facts}
        return json_object({**plain, "layers": {place: layer.to_dict() for place, layer in self.layers.items()}})

    def to_rows(self) -> list[dict[str, Any]]:
        """Return one dict per row and unit of every layer: pandas.DataFrame(trace.to_rows())."""
        return [row for layer in self.layers.values() for row in layer.to_rows()]

    def _html_parts(self) -> Iterator[str]:
        yield title(localized(repr(self)))
        calls = [(call.place or "-", call.function, _shapes(call)) for call in self.calls]
        yield table(words(["place", "kernel call", "results"]), calls)
        yield folded(localized("numbers by layer"), rows_table(self.to_rows()))

    def __repr__(self) -> str:
        where = f"{self.backend}, {self.dtype}"
        calls, rows = count_of(len(self.calls), "kernel call"), count_of(self.rows, "row")
        return f"Trace({calls}, {rows}, loss {self.loss:.6g}, {where})"


def _shapes(call: Call) -> str:
    """Return the names and shapes of a call's results."""
    arrays = call.named_results().items()
    return ", ".join(f"{name} {'x'.join(map(str, np.shape(array))) or localized('number')}" for name, array in arrays)


def named_inputs(call: Call) -> dict[str, HostArray]:
    """Return the arguments of a call by name."""
    if not call.function.endswith("_bwd"):
        return {n: a for n, a in zip(_argument_names(call), call.args, strict=True) if a is not None}
    residual, dy = call.args
    fields = getattr(residual, "_fields", None)
    kept = dict(zip(fields, residual, strict=True)) if fields else {"y": residual}
    kept = {name: part for name, part in kept.items() if hasattr(part, "dtype") or isinstance(part, (int, float))}
    return {**kept, ("dloss" if call.kernel.outputs == ("loss",) else "dy"): dy}


def _argument_names(call: Call) -> Iterator[str]:
    names = call.kernel.arguments
    extra = len(call.args) - len(names)
    yield from names[: len(call.args)]
    yield from (f"{names[-1]}{i}" for i in range(1, extra + 1))  # global_norm takes any number of arrays
