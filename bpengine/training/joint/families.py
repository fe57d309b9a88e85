"""Families: networks that differ only in the strengths of their penalties, and one step for all of a family."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from copy import copy
from typing import Any

from bpengine.backend import State, Step
from bpengine.kernels._kernel import Array
from bpengine.network import Network
from bpengine.ops import Ops
from bpengine.penalties import L1, L2
from bpengine.training.optimizers import is_own
from bpengine.training.reuse import OwnCode, identity
from bpengine.training.step import StepPlan, make_step

STRENGTHS = "strengths"  # the name of the strengths in a state, beside "params"


def strengths(network: Network) -> tuple[float, ...]:
    """Return the strengths of the engine's own penalties, in their order."""
    return tuple(penalty.strength for penalty in network.penalties if type(penalty) in (L1, L2))


def family(network: Network, plan: StepPlan) -> Hashable:
    """Return what is equal for networks and plans that `family_step` may serve together.

    Custom code may behave differently at each call, so it is equal to itself alone.
    """
    try:
        described: Any = identity(with_strengths(network, [1.0] * len(strengths(network))))
    except OwnCode:
        described = tuple(map(id, network.layers)), id(network.loss), tuple(map(id, network.penalties))
    return described, plan.key, id(plan.optimizer) if is_own(plan.optimizer) else None


def with_strengths(network: Network, values: Sequence[Any]) -> Network:
    """Return the network with other strengths, which may be arrays that are being traced."""
    rest, penalties = list(values), []
    for penalty in network.penalties:
        changed = penalty
        if type(penalty) in (L1, L2):
            changed = copy(penalty)
            object.__setattr__(changed, "strength", rest.pop(0))
        penalties.append(changed)
    other = copy(network)
    object.__setattr__(other, "penalties", tuple(penalties))
    return other


def family_step(network: Network, plan: StepPlan, ops: Ops) -> Step:
    """Return the step of a plan for every network of a family: the strengths (penalties,) are an array of the state."""
    if not strengths(network):
        return make_step(network, plan, ops)

    def step(state: State, rows: tuple[Array, ...], lr: Array) -> tuple[State, dict[str, Array]]:
        values = [state[STRENGTHS][i] for i in range(len(strengths(network)))]
        after, report = make_step(with_strengths(network, values), plan, ops)(state, rows, lr)
        return {**after, STRENGTHS: state[STRENGTHS]}, report

    return step
