"""Which calls consumed which arrays; each gradient as the sum of its contributions, and the z of a unit as its terms."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from bpengine.backend import HostArray
from bpengine.explain.terms.local_derivatives import is_transposed, local_derivatives, parameter_factors
from bpengine.explain.terms.sums import Sums, as_float64, concatenated
from bpengine.explain.trace.layers import LayerTrace
from bpengine.explain.trace.trace import Trace
from bpengine.kernels._kernel import LocalDerivative
from bpengine.network import foreign
from bpengine.ops import Call, known

Use = tuple[int, str]  # position of a forward call, name of its argument


class Dataflow:
    """The arrays of a trace as a graph: every array has one producer and any number of consumers."""

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.eps = float(np.finfo(trace.dtype).eps)
        self.backward_of = {forward: back for back, forward in trace.forward_of.items()}

    @cached_property
    def consumers(self) -> dict[int, list[Use]]:
        """The forward calls that consumed an array, by the array's id, including those of penalties."""
        uses: dict[int, list[Use]] = {}
        for position, call in enumerate(self.trace.calls):
            if position in self.backward_of:
                for name, array in zip(call.kernel.arguments, call.args, strict=False):
                    if name in call.kernel.differentiable:
                        uses.setdefault(id(array), []).append((position, name))
        return uses

    @cached_property
    def producers(self) -> dict[int, int]:
        """The position of the forward call that produced an array, by the array's id."""
        calls = self.trace.calls
        return {id(calls[position].result[0]): position for position in self.backward_of}

    def is_penalty(self, use: Use) -> bool:
        """Tell whether a use is that of a penalty."""
        return self.trace.calls[use[0]].kernel.kind == "penalty"

    def contribution(self, use: Use) -> HostArray | None:
        """Return the gradient that the backward of a use computed for the used array."""
        results = self.trace.calls[self.backward_of[use[0]]].named_results()
        return results.get(f"d{use[1]}")

    def cotangent(self, position: int) -> HostArray:
        """Return the gradient of the loss with respect to the output of a forward call."""
        dy: HostArray = self.trace.calls[self.backward_of[position]].args[1]
        return dy

    def derivatives(self, use: Use) -> Sequence[LocalDerivative] | None:
        """Return the local derivatives of a use, or None for a kernel whose derivatives are not known.

        A custom activation need not be elementwise: elementwise derivatives are used if they reproduce its gradient.
        """
        call, on_ones = self.trace.calls[use[0]], self.trace.slopes.get(use[0])
        if not known(call.kernel) and on_ones is not None:
            gradient, dy = self.contribution(use), self.cotangent(use[0])
            if gradient is None or not np.allclose(gradient, dy * on_ones, rtol=8.0 * self.eps, atol=0.0):
                return None
        return local_derivatives(call, on_ones)

    def incoming(self, a: HostArray, unit: int, value: HostArray) -> Sums | None:
        """Return dL/da of one unit as sums, one for each row of the batch; None when no kernel call consumed the array.

        Where a custom layer uses the array both in a kernel call and outside of kernels, the missing part is one term.
        """
        parts = [part for use in self.consumers.get(id(a), []) for part in self.parts(use, unit)]
        if not parts:
            return None
        # Terms of all kernel calls that read the output; what a custom layer adds outside of kernels shows as a
        # missing rest.
        sums = concatenated(parts, value)
        place = next((p for p, layer in self.trace.layers.items() if layer.x is a and foreign([layer.layer])), None)
        return sums if place is None or sums.adds_up else concatenated([*parts, _outside(sums, place, unit)], value)

    def parts(self, use: Use, unit: int) -> list[Sums]:
        """Return the contribution of one use to the gradient of a unit, route by route."""
        call = self.trace.calls[use[0]]
        if call.kernel.kind == "loss":
            return [self._from_loss(use[0], unit)]
        derivatives = self.derivatives(use)
        if derivatives is None:
            contribution = self.contribution(use)
            whole = LocalDerivative("element", np.ones(call.args[0].shape), route="whole")
            return [] if contribution is None else [self._along(whole, call, contribution, unit)]
        dy = self.cotangent(use[0])
        return [self._along(s, call, dy, unit) for s in derivatives]

    def weights(self, use: Use, unit: int, value: HostArray, *, tied: bool = False) -> Sums | None:
        """Return the contribution of one use to the gradient of a unit's parameters, as sums over the batch, one for each.

        The terms are input times dL/dz. tied: the unit's weights are a row of the array and not a column of it.
        """
        call, dz = self.trace.calls[use[0]], as_float64(self.cotangent(use[0]))
        factors = parameter_factors(call)
        if use[1] not in factors:
            return None
        factor, number = factors[use[1]], np.arange(len(dz))[np.newaxis]
        if factor is not None and tied != is_transposed(
            call, use[1]
        ):  # these weights lead from the unit to all of the call's
            left, right = as_float64(factor)[:, unit][np.newaxis], dz.T
            return self._sums(value, left, right, call, "input", np.arange(dz.shape[1])[:, np.newaxis], number)
        if factor is None:
            left = np.ones((1, len(dz)))
        else:
            left = as_float64(factor).T
            left = left if call.args[1].ndim == 2 else left[unit : unit + 1]
        return self._sums(value, left, dz[:, unit][np.newaxis], call, "input", np.full((1, 1), unit), number)

    def _along(self, slope: LocalDerivative, call: Call, dy: HostArray, unit: int) -> Sums:
        """Return the terms of one unit's gradient along one route: the incoming gradients dy times the slopes."""
        rows, units = dy.shape
        each, value = np.arange(rows)[:, np.newaxis], np.zeros(rows)
        p = slope.p[:, unit : unit + 1]
        # dx_i = sum over k of dy_k * dy_k/dx_i: one term for each output unit.
        if slope.kind == "units":
            return self._sums(
                value, dy, slope.p[unit][np.newaxis], call, slope.route, np.arange(units)[np.newaxis], each
            )
        # Elementwise: one term, dy times the slope.
        if slope.q is None:
            return self._sums(value, dy[:, unit : unit + 1], p, call, slope.route, np.full((1, 1), unit), each)
        # The slope is p_i q_k within a row: one term for each output unit of the row.
        if slope.kind == "row":
            return self._sums(value, dy, p * slope.q, call, slope.route, np.arange(units)[np.newaxis], each)
        # The slope is p_b q_c within a column (batch statistics): one term for each row of the batch.
        left, right, row = dy[:, unit][np.newaxis], p * slope.q[:, unit][np.newaxis], np.arange(rows)[np.newaxis]
        return self._sums(value, left, right, call, slope.route, np.full((1, rows), unit), row)

    def _from_loss(self, position: int, unit: int) -> Sums:
        """Return dL/dy of an output: the slope of the row's own loss, times the row's factor in the reduced loss."""
        call = self.trace.calls[position]
        if position not in self.trace.slopes:
            return self._from_own_loss(position, unit)
        slope = self.trace.slopes[position][:, unit : unit + 1]
        factor = np.reshape(as_float64(call.result[1].factor), (-1, 1))
        each = np.arange(len(slope))[:, np.newaxis]
        return self._sums(np.zeros(len(slope)), slope, factor, call, "loss", np.full((1, 1), unit), each)

    def _from_own_loss(self, position: int, unit: int) -> Sums:
        """Return dL/dy of an output as a custom loss returns it: as a whole, since it need not be a sum over the rows."""
        dy = self.trace.calls[self.backward_of[position]].result[:, unit : unit + 1]
        each, one = np.arange(len(dy))[:, np.newaxis], np.ones((1, 1))
        call = self.trace.calls[position]
        return self._sums(np.zeros(len(dy)), dy, one, call, "own loss", np.full((1, 1), unit), each)

    def _sums(
        self,
        value: HostArray,
        left: HostArray,
        right: HostArray,
        call: Call,
        route: str,
        unit: HostArray,
        row: HostArray,
    ) -> Sums:
        n = np.broadcast_shapes(left.shape, right.shape)[1]
        return Sums(
            value=as_float64(value), left=as_float64(left), right=as_float64(right),
            kernel=(call.kernel.name,) * n, place=(call.place,) * n, route=(route,) * n, unit=unit, row=row, eps=self.eps,
        )  # fmt: skip


def _outside(sums: Sums, place: str, unit: int) -> Sums:
    """Return the missing part of each sum as one term: the gradient that a custom layer returns without a kernel."""
    each = np.arange(len(sums.value))[:, np.newaxis]
    one, number = np.ones((1, 1)), np.full((1, 1), unit)
    missing = sums.rounding[:, np.newaxis]
    return Sums(
        value=sums.value,
        left=missing,
        right=one,
        kernel=("outside",),
        place=(place,),
        route=("outside",),
        unit=number,
        row=each,
        eps=sums.eps,
    )


def own_forward(flow: Dataflow, layer: LayerTrace, unit: int) -> Sums | None:
    """Return a unit's sum (z) written out, for a layer whose last sum is a known kernel call."""
    position = flow.producers.get(id(layer.z))
    if position is None or flow.trace.calls[position].place != layer.place:
        return None
    return _forward_sums(flow.trace.calls[position], unit, flow.eps)


def _forward_sums(call: Call, unit: int, eps: float) -> Sums | None:
    """Return a unit's output of a layer's forward call as sums, one for each row: the terms that the kernel's row gives."""
    if call.kernel.forward_terms is None:
        return None
    y, residual = call.result
    terms = call.kernel.forward_terms(np, residual, unit, *call.args, **call.options)
    right = np.atleast_2d(as_float64(terms.right))
    n, rows = len(terms.routes), np.arange(len(y))[:, np.newaxis]
    return Sums(
        value=as_float64(y[:, unit]),
        left=as_float64(terms.left),
        right=right,
        kernel=(call.kernel.name,) * n,
        place=(call.place,) * n,
        route=terms.routes,
        unit=np.array(terms.units)[np.newaxis],
        row=rows,
        eps=eps,
    )
