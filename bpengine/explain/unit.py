"""explain: where one unit's gradient comes from, term by term, and what becomes of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bpengine.backend import HostArray
from bpengine.explain.find import check_row, find_layer, find_unit
from bpengine.explain.flow import Flow, forward_sums
from bpengine.explain.layertrace import LayerTrace
from bpengine.explain.sums import ULPS, Sums
from bpengine.explain.trace import Trace
from bpengine.explain.update import Update, update_of
from bpengine.training.optimizers import Optimizer


@dataclass(frozen=True)
class ParameterSums:
    """The parameters of one unit that share a name, P of them: gradients as sums over the batch, and the step.

    name: "0.weight". indices: each one's place in the array. data: input times dL/dz over the batch, one sum each.
    penalties: (kernel, values (P,)) added to that. gradient (P,): the engine's, penalties included.
    """

    name: str
    indices: tuple[tuple[int, ...], ...]
    bias: tuple[bool, ...]
    data: Sums
    penalties: tuple[tuple[str, HostArray], ...]
    gradient: HostArray
    update: Update

    def labels(self) -> list[str]:
        """Return the parameters' names: "0.weight[2,1]"."""
        return [f"{self.name}[{','.join(map(str, index))}]" for index in self.indices]


@dataclass(frozen=True)
class Explanation:
    """Everything that happens to one unit in a training step.

    rows: the rows of the batch that are told about; z, a, da, dz: (rows,), the unit's sum, output and gradients.
    forward: z as inputs times weights, one sum per row; None for a layer that only bends. incoming: dL/da as the next
    units' gradients times what joins them; through: dL/dz as dL/da times the activation's slope, None without one.
    parameters: the unit's own, with sums over the whole batch.
    """

    place: str
    unit: int
    kind: str
    activation: str | None
    batch: int
    rows: tuple[int, ...]
    loss: float
    loss_name: str
    reduction: str
    z: HostArray
    a: HostArray
    da: HostArray
    dz: HostArray
    forward: Sums | None
    incoming: Sums | None
    through: Sums | None
    parameters: tuple[ParameterSums, ...]
    hidden: bool
    first_bad: str | None
    dtype: str

    @property
    def sums(self) -> list[Sums]:
        """Every sum of the explanation."""
        found = [self.forward, self.incoming, self.through, *(p.data for p in self.parameters)]
        return [part for part in found if part is not None]

    @property
    def worst_ulps(self) -> float:
        """The largest distance of a printed sum from the engine's number, in units of eps times the terms' magnitude."""
        return max((float(np.max(part.ulps, initial=0.0)) for part in self.sums), default=0.0)

    @property
    def adds_up(self) -> bool:
        """True when every sum of terms is the engine's number, but for the rounding of a sum of so many terms."""
        return all(bool(np.all(part.ulps <= allowed(part.shape[1]))) for part in self.sums)

    def text(self, lang: str = "en", largest: int = 12) -> str:
        """Return the explanation in words, English ("en") or Portuguese ("pt"); sums show their `largest` terms."""
        from bpengine.explain.telling import explanation_text

        return explanation_text(self, lang, largest)

    def table(self, lang: str = "en", largest: int = 12) -> Any:
        """Return a rich table of all terms (`rich.print(explanation.table())`)."""
        from bpengine.explain.telling import explanation_table

        return explanation_table(self, lang, largest)

    def to_rows(self, largest: int | None = None) -> list[dict[str, Any]]:
        """Return one dict per term: pandas.DataFrame(explanation.to_rows())."""
        from bpengine.explain.telling import explanation_rows

        return explanation_rows(self, largest)

    def to_json(self, largest: int | None = None) -> dict[str, Any]:
        """Return everything as plain values for JSON; a number that is not finite is None, and `first_bad` says why."""
        from bpengine.explain.telling import explanation_json

        return explanation_json(self, largest)

    def __str__(self) -> str:
        return self.text()


def allowed(terms: int) -> float:
    """Return how many units of eps times magnitude a sum of so many terms may be off: the engine adds in its own order.

    2 covers a few terms; n roundings of random sign add up like a random walk.
    Source: Higham, "Accuracy and stability of numerical algorithms", 2nd edition, 2002, section 4.2 and 2.8.
    """
    return max(ULPS, 0.5 * float(np.sqrt(terms)))


def explain(
    model: Any,
    x: Any,
    y: Any = None,
    *,
    layer: int | str,
    unit: int,
    sample: int | None = None,
    weights: Any = None,
    optimizer: str | Optimizer = "sgd",
) -> Explanation:
    """Explain one unit of a model in the training step on x, y: every gradient as a sum of terms, and the update.

    layer: its number, or its place inside a Residual ("1.0"). unit: its number. sample: tell about this row of x only
    (the gradients of the weights are always those of the whole batch). optimizer: makes the step, its first.
    Raises ConfigError for a layer, unit or row that does not exist, naming the valid range.
    """
    traced: Trace = model.trace(x, y, weights, optimizer=optimizer)
    return explain_trace(traced, layer, unit, sample)


def explain_trace(traced: Trace, layer: int | str, unit: int, sample: int | None = None) -> Explanation:
    """Explain one unit of a step that was traced already."""
    found = find_layer(traced, layer)
    unit, flow = find_unit(found, unit), Flow(traced)
    rows = list(range(traced.rows)) if sample is None else [check_row(traced.rows, sample)]
    forward = own_forward(flow, found, unit)
    incoming = flow.incoming(found.a, unit, np.asarray(found.da[:, unit], dtype=float))
    through = _through(flow, found, unit)
    forward, incoming, through = (None if s is None else s.only(rows) for s in (forward, incoming, through))
    loss = traced.network.loss
    z, a, da, dz = (np.asarray(array[rows, unit], dtype=float) for array in (found.z, found.a, found.da, found.dz))
    parameters = tuple(_parameters(flow, found, unit))
    return Explanation(
        found.place, unit, type(found.layer).__name__, found.activation, traced.rows, tuple(rows),
        traced.loss, loss.name, loss.reduction, z, a, da, dz, forward, incoming, through, parameters,
        found.a is not traced.forward[-1].args[0], traced.first_bad, traced.dtype,
    )  # fmt: skip


def own_forward(flow: Flow, layer: LayerTrace, unit: int) -> Sums | None:
    """Return a unit's sum (z) written out, for a layer whose last sum is a kernel call known here."""
    position = flow.makers.get(id(layer.z))
    if position is None or flow.trace.calls[position].place != layer.place:
        return None
    return forward_sums(flow.trace.calls[position], unit, flow.eps)


def _through(flow: Flow, layer: LayerTrace, unit: int) -> Sums | None:
    position = flow.makers.get(id(layer.a))
    if layer.z is layer.a or position is None:
        return None
    parts: Sequence[Sums] = flow.parts((position, "x"), unit)
    value = np.asarray(layer.dz[:, unit], dtype=float)
    only = parts[0] if parts else None
    if len(parts) == 1 and only is not None:
        return Sums(value, only.left, only.right, only.kernel, only.place, only.route, only.unit, only.row, only.eps)
    from bpengine.explain.sums import concatenated

    return concatenated(parts, value)


def _parameters(flow: Flow, layer: LayerTrace, unit: int) -> list[ParameterSums]:
    found = []
    for local, whole in layer.parameters.items():
        name = f"{layer.place}.{local}"
        for position, argument in flow.uses.get(id(flow.trace.parameters[name]), []):
            call = flow.trace.calls[position]
            if call.kernel.kind == "penalty":
                continue
            given = flow.contribution((position, argument))
            if given is None or unit >= whole.shape[-1]:
                continue
            pick = (slice(None), unit) if whole.ndim == 2 else (slice(unit, unit + 1),)
            value = np.asarray(given[pick], dtype=float)
            sums = flow.weights(position, argument, unit, flow.cotangent(position), value)
            if sums is not None:
                found.append(_parameter(flow, layer, name, local, unit, sums, pick))
    return found


def _parameter(
    flow: Flow, layer: LayerTrace, name: str, local: str, unit: int, sums: Sums, pick: tuple[Any, ...]
) -> ParameterSums:
    trace, whole = flow.trace, flow.trace.parameters[name]
    indices = tuple((i, unit) for i in range(len(whole))) if whole.ndim == 2 else ((unit,),)
    row = layer.layer.penalized().get(local)
    bias_row = {None: None, "first": 0, "last": len(whole) - 1}[row]
    bias = tuple(i[0] == bias_row if whole.ndim == 2 else local in ("bias", "beta") for i in indices)
    penalties = []
    for use in flow.uses[id(whole)]:
        given = flow.contribution(use)
        if trace.calls[use[0]].kernel.kind == "penalty" and given is not None:
            penalties.append((trace.calls[use[0]].kernel.name, np.asarray(given[pick], dtype=float)))
    gradient = np.asarray(trace.gradients[name][pick], dtype=float)
    return ParameterSums(name, indices, bias, sums, tuple(penalties), gradient, update_of(trace, name, pick))
