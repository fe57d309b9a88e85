"""The content of an explanation: the numbers of one unit in a training step, and whether its sums agree with the engine."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bpengine.backend import HostArray
from bpengine.explain.terms.sums import Sums
from bpengine.explain.trace.nonfinite import NonFiniteValue
from bpengine.explain.units.update import Update


@dataclass(frozen=True, kw_only=True)
class ParameterSums:
    """The parameters of one unit that share a name, P of them: gradients as sums over the batch, and the step.

    name: "0.weight". indices: the position of each in the array. data: input times dL/dz over the batch, one sum each.
    penalties: (kernel, values (P,)) added to that. gradient (P,): the engine's, penalties included. across: whether they are
    a row of the array, which is another layer's weight, used transposed here. uses: (place, values (P,)), the contribution to
    `data` of every layer that shares the parameters.
    """

    name: str
    indices: tuple[tuple[int, ...], ...]
    bias: tuple[bool, ...]
    data: Sums
    penalties: tuple[tuple[str, HostArray], ...]
    gradient: HostArray
    update: Update
    across: bool = False
    uses: tuple[tuple[str, HostArray], ...] = ()

    def source(self, i: int) -> int:
        """Return the number of the input of a weight."""
        return self.indices[i][1 if self.across else 0]

    def labels(self) -> list[str]:
        """Return the parameters' names: "0.weight[2,1]"."""
        return [self.label(i) for i in range(len(self.indices))]

    def label(self, i: int) -> str:
        """Return the name of one of them."""
        return f"{self.name}[{','.join(map(str, self.indices[i]))}]"


@dataclass(frozen=True, kw_only=True)
class UnitResult:
    """The numbers of one unit in a training step.

    rows: the rows of the batch that are explained; z, a, da, dz: (rows,), the unit's sum, output and gradients.
    forward: z as inputs times weights, one sum per row; None for an activation layer. incoming: dL/da as the next
    units' gradients times the weights between them; through: dL/dz as dL/da times the activation's slope, None without one.
    parameters: the unit's, with sums over the whole batch. outside: names of quantities that the layer computes outside of
    kernels, so that their terms are not known: "a", and names of its parameters. input_names: the names that the model's
    Features give to the inputs of its weights ("city = Oslo"); empty without Features and for units of later layers.
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
    first_bad: NonFiniteValue | None
    dtype: str
    outside: tuple[str, ...] = ()
    input_names: tuple[str, ...] = ()

    @property
    def sums(self) -> list[Sums]:
        """Every sum of the explanation."""
        parts = [self.forward, self.incoming, self.through, *(p.data for p in self.parameters)]
        return [part for part in parts if part is not None]

    @property
    def worst_ulps(self) -> float:
        """The largest distance of a printed sum from the engine's number, in units of eps times the terms' magnitude."""
        return max((float(np.max(part.ulps, initial=0.0)) for part in self.sums), default=0.0)

    @property
    def adds_up(self) -> bool:
        """True when every sum of terms is the engine's number, within the rounding of a sum of that many terms."""
        return all(part.adds_up for part in self.sums)
