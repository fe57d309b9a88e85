"""A network layer by layer: outputs, parameters, operations and memory of a training step, as text and as a table.

The layers are run forward and backward once, on NumPy, with arbitrary numbers, and observed: operations are those of the
KERNELS table, memory is that of the arrays that the forward pass keeps for the backward pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, NamedTuple, Protocol

import numpy as np

from bpengine.backend import HostArray
from bpengine.errors import unknown, whole
from bpengine.i18n.counted_nouns import count_of
from bpengine.i18n.language import localized
from bpengine.layers.chain import backward_chain, forward_chain
from bpengine.layers.layer import Layer, Run, Shapes
from bpengine.layers.sharing import Shared
from bpengine.losses import Loss
from bpengine.ops import Call, ObservedOps, Ops, known
from bpengine.output.json_values import json_object
from bpengine.output.rich_form import lines, table, title, words
from bpengine.output.tabular import TabularResult
from bpengine.streams import dropout_counter
from bpengine.summary.call_costs import bytes_of, counted, unique_arrays
from bpengine.summary.overview import overviews
from bpengine.system.quiet import Quiet
from bpengine.text_table import text_table

HEADS: Final = ("layer", "kind", "output", "parameters", "forward flops", "backward flops", "kept")
DTYPES: Final = ("float32", "float64")
UNITS: Final = ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"))


@dataclass(frozen=True, kw_only=True)
class LayerSummary:
    """One layer in a training step.

    output: the shape of its output. parameters: their number; those shared with an earlier layer are counted there.
    forward_flops, backward_flops: floating-point operations, an elementary function counted as one; None where a custom
    layer computes without kernels of the engine. kept_bytes: what its forward pass keeps for its backward pass.
    """

    layer: str
    kind: str
    output: tuple[int, ...]
    parameters: int
    forward_flops: int | None
    backward_flops: int | None
    kept_bytes: int


@dataclass(frozen=True, kw_only=True)
class Summary(TabularResult):
    """The layers of a network, and the cost of a training step on `batch_size` rows without the loss and the update.

    parameter_bytes: those of the parameters; the gradient takes as much, and so does every moment of an update rule.

    >>> summary = bp.Model(bp.Network(4, [bp.Dense(3, "relu"), bp.Dense(2)], "softmax_cross_entropy")).summary(batch_size=8)
    >>> print(summary)
    Network 4-3-2, softmax_cross_entropy: 23 parameters, float32
    layer         kind  output  parameters  forward flops  backward flops   kept
        0  Dense, relu  (8, 3)          15            240             264   96 B
        1        Dense  (8, 2)           8            112             208   96 B
    total                               23            352             472  192 B
    A step on 8 rows: 824 operations forward and back; parameters 92 B, gradients 92 B, kept for the backward pass 192 B.
    """

    sizes: tuple[int, ...]
    loss: str
    dtype: str
    batch_size: int
    layers: tuple[LayerSummary, ...]
    parameter_bytes: int

    @property
    def parameters(self) -> int:
        """The number of parameters."""
        return sum(layer.parameters for layer in self.layers)

    @property
    def flops(self) -> int:
        """The operations of a step, forward and backward, as far as they are known."""
        return sum((layer.forward_flops or 0) + (layer.backward_flops or 0) for layer in self.layers)

    @property
    def kept_bytes(self) -> int:
        """The bytes that the forward pass keeps for the backward pass."""
        return sum(layer.kept_bytes for layer in self.layers)

    def to_rows(self) -> list[dict[str, Any]]:
        """Return one dict per layer: the fields of `LayerSummary`."""
        return [asdict(layer) for layer in self.layers]

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain values for JSON."""
        totals = {"parameters": self.parameters, "flops": self.flops, "kept_bytes": self.kept_bytes}
        return json_object({**asdict(self), **totals})

    def __str__(self) -> str:
        return "\n".join(
            [localized(self._headline()), *text_table(words(HEADS), self._cells(), str.rjust), localized(self._costs())]
        )

    def _html_parts(self) -> Iterator[str]:
        yield from (
            title(localized(self._headline())),
            table(words(HEADS), self._cells(), most=200),
            lines([localized(self._costs())]),
        )

    def _headline(self) -> str:
        shape = "-".join(map(str, self.sizes))
        return f"Network {shape}, {self.loss}: {count_of(self.parameters, 'parameter', ',')}, {self.dtype}"

    def _costs(self) -> str:
        held = in_bytes(self.parameter_bytes)
        return (
            f"A step on {count_of(self.batch_size, 'row', ',')}: {self.flops:,} operations forward and back; "
            f"parameters {held}, gradients "
            f"{held}, kept for the backward pass {in_bytes(self.kept_bytes)}."
        )

    def _cells(self) -> list[tuple[str, ...]]:
        rows = [
            (
                v.layer, v.kind, str(v.output), f"{v.parameters:,}", _count(v.forward_flops), _count(v.backward_flops),
                in_bytes(v.kept_bytes),
            )
            for v in self.layers
        ]  # fmt: skip
        forward = sum(v.forward_flops or 0 for v in self.layers)
        total = (f"{self.parameters:,}", f"{forward:,}", f"{self.flops - forward:,}", in_bytes(self.kept_bytes))
        return [*rows, ("total", "", "", *total)]


class SummarizedNetwork(Protocol):
    """What a summary asks of a network: `bpengine.Network` answers it, and stands on this file."""

    @property
    def inputs(self) -> int:
        """The features of a row."""

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers in order."""

    @property
    def loss(self) -> Loss:
        """The loss."""

    @property
    def shared(self) -> Shared:
        """The places of layers that stand at several."""

    @property
    def sizes(self) -> list[int]:
        """The features between the layers."""

    def smallest_batch(self, run: Run) -> int:
        """Return the least number of rows of a step."""

    def shapes(self) -> Shapes:
        """Return the shapes of parameters and running statistics."""

    def spread(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Return the parameters under every name they have."""


def summarize(network: SummarizedNetwork, batch_size: int, dtype: str) -> Summary:
    """Return the summary of a network (a bp.Network, whose module imports this one).

    Raises ConfigError for a batch that is smaller than a layer needs, and for another dtype than float32 and float64.

    Custom layers are called, with numbers between -1 and 1 for inputs and 1/2 for every parameter.
    """
    if dtype not in DTYPES:
        raise unknown("dtype", dtype, DTYPES)
    batch_size = whole(batch_size, "summary", "batch_size", low=network.smallest_batch(Run(training=True)))
    shapes = network.shapes()
    step = _observed(network, shapes, batch_size, dtype)
    flops = _operations(step.calls)
    layers = []
    for line in overviews(network.layers, network.inputs, shapes.params, network.shared):
        kind = line.kind + (f" (shared with {line.shared_with})" if line.shared_with else "")
        forward, backward = flops.get(line.place, (None, None))
        layers.append(
            LayerSummary(
                layer=line.place, kind=kind, output=(batch_size, line.outputs), parameters=line.parameters,
                forward_flops=forward, backward_flops=backward, kept_bytes=step.kept_bytes(line.place),
            )
        )  # fmt: skip
    size = sum(layer.parameters for layer in layers) * np.dtype(dtype).itemsize
    return Summary(
        sizes=tuple(network.sizes), loss=network.loss.name, dtype=dtype, batch_size=batch_size, layers=tuple(layers),
        parameter_bytes=size,
    )  # fmt: skip


class _Observed(NamedTuple):
    """The kernel calls of a step, and its arguments, which do not count as its memory."""

    calls: list[Call]
    outside: list[HostArray]

    def kept_bytes(self, place: str) -> int:
        """Return the bytes of the arrays that a layer's residuals hold."""
        own = {id(array) for array in self.outside}
        residuals = (c.result[1] for c in self.calls if c.function.endswith("_fwd") and _layer_of(c) == place)
        return bytes_of(array for array in unique_arrays(residuals) if id(array) not in own)


def _observed(network: SummarizedNetwork, shapes: Shapes, batch_size: int, dtype: str) -> _Observed:
    """Run the layers forward and backward."""
    calls: list[Call] = []
    ops = ObservedOps(Ops(np), calls.append)
    params = {name: np.full(shape, 0.5, dtype) for name, shape in shapes.params.items()}
    running = {name: np.ones(shape, dtype) for name, shape in shapes.running.items()}
    x = np.linspace(-1, 1, batch_size * network.inputs, dtype=dtype).reshape(batch_size, network.inputs)
    with Quiet():
        run = Run(training=True, counter=dropout_counter(0))
        y, residuals, _ = forward_chain(network.layers, ops, network.spread(params), running, x, run)
        backward_chain(network.layers, ops, residuals, np.ones_like(y), need_dx=False)
    return _Observed(calls, [x, *params.values(), *running.values()])


def _layer_of(call: Call) -> str:
    return call.place.partition(".")[0]


def _operations(calls: Sequence[Call]) -> dict[str, tuple[int | None, int | None]]:
    """Return the operations of forward and backward by place; None where a custom kernel has no count."""
    sums: dict[str, list[int | None]] = {}
    for call, flops, _ in counted(calls):
        back = call.function.endswith("_bwd")
        here = sums.setdefault(_layer_of(call), [0, 0])
        so_far = here[back]
        here[back] = so_far + flops if so_far is not None and known(call.kernel) else None
    return {place: (forward, backward) for place, (forward, backward) in sums.items()}


def _count(flops: int | None) -> str:
    return "-" if flops is None else f"{flops:,}"


def in_bytes(size: int) -> str:
    """Return a number of bytes as text.

    >>> in_bytes(92), in_bytes(1536)
    ('92 B', '1.5 KiB')
    """
    unit = next(((limit, name) for limit, name in UNITS if size >= limit), None)
    return f"{size} B" if unit is None else f"{size / unit[0]:,.1f} {unit[1]}"
