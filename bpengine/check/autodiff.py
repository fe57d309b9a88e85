"""The first oracle: JAX autodiff of the forward kernels in float64, independent of every hand-written backward."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from bpengine.backend import get_oracle
from bpengine.check import judge, kinks, rounding
from bpengine.check.kinkops import Shifted, corrections
from bpengine.check.kinks import Kink
from bpengine.check.problem import Problem, counter
from bpengine.layers.layer import Arrays, HostArrays, Run
from bpengine.network import Network
from bpengine.ops import Ops
from bpengine.streams import stream
from bpengine.training.rows import check_rows

EPS = float(np.finfo(np.float64).eps)
FACTOR, SHIFT, TAKEN = "factor of the scalar", "shift of call", "change of call"  # no array has such a name

Differentiated = Callable[[HostArrays], tuple[float, HostArrays]]


@dataclass(frozen=True)
class Autodiff:
    """The scalar and its gradients by autodiff; and, for each of them, how far autodiff's own rounding may have carried it."""

    value: float
    gradients: HostArrays
    explained: dict[str, float]


def autodiff(problem: Problem, met: list[Kink], *, jumping: bool = False) -> Autodiff:
    """Return what autodiff says; elements on a kink are given the kernel's own convention.

    What its rounding explains is measured: a derivative is linear, so autodiff of c f divided by c is the same gradient with
    every cotangent rounded otherwise, whatever the compiler has fused. It is taken for several c, a rounding beside the point.
    (Where the hand-written backward computes 400 - 400 = 0, autodiff may be left with a rounding of 400; that shows here, in
    the arrays it comes to and in no other.)
    `met` are the kinks of NumPy's forward at the point; `jumping` tells of one that nobody states.
    Raises BackendUnavailable when JAX cannot run here.
    """
    run, moves = _compiled(problem, len(met)), _moves(problem, met)
    value, gradients = _mean(run, moves, problem.at, 1.0)
    again = []
    for draw in range(rounding.DRAWS):
        rng = stream("check autodiff", draw)
        near = {n: a * (1.0 + EPS * rng.uniform(-1.0, 1.0, a.shape)) for n, a in problem.at.items()}
        other, found = _mean(run, moves, near, rng.uniform(1.0, 2.0))
        again.append(rounding.largest(found, gradients) | {rounding.VALUE: abs(other - value)})
    return Autodiff(value, gradients, judge.explained(problem, again, gradients, jumping=jumping))


def _compiled(problem: Problem, calls: int) -> Differentiated:
    """Return autodiff of the scalar times a factor, with a shift for each call that may meet a kink.

    It is compiled once for a problem, wherever its point is, for the shifts are arguments as well.
    """

    def function(ops: Ops, at: Arrays) -> Any:
        shifts, taken = ([at[f"{what} {k}"] for k in range(calls)] for what in (SHIFT, TAKEN))
        return at[FACTOR] * problem.scalar(Shifted(ops.xp, shifts, taken) if calls else ops, at)

    if "autodiff" not in problem.memo:
        problem.memo["autodiff"] = get_oracle().differentiated(function)
    run: Differentiated = problem.memo["autodiff"]
    return run


def _moves(problem: Problem, met: list[Kink]) -> list[HostArrays]:
    """Return the shifts off the kinks, by name: one set, or one for each side where a convention is the middle of a kink."""
    sides = [[np.zeros(np.shape(kink.distance)) for kink in met]]
    if kinks.ambiguous(met, EPS):
        middle = any(k.side == "middle" and bool((k.distance == 0).any()) for k in met)
        sides = [kinks.shifts(met, EPS, exact) for exact in ((-1.0, 1.0) if middle else (-1.0,))]
    found = []
    for amounts in sides:
        taken = corrections(lambda ops: problem.value(ops, problem.at), amounts)
        named = {f"{SHIFT} {k}": amount for k, amount in enumerate(amounts)}
        found.append(named | {f"{TAKEN} {k}": change for k, change in enumerate(taken)})
    return found


def _mean(run: Differentiated, moves: list[HostArrays], at: HostArrays, factor: float) -> tuple[float, HostArrays]:
    found = [run({**at, **move, FACTOR: np.asarray(factor)}) for move in moves]
    gradients = {n: np.mean([gradients[n] for _, gradients in found], axis=0) / factor for n in at}
    return float(np.mean([value for value, _ in found])) / factor, gradients


def autodiff_gradients(
    network: Network, params: HostArrays, running: HostArrays, x: Any, y: Any, weights: Any = None, *, seed: int = 0
) -> tuple[float, HostArrays]:
    """Return (loss, gradient of every parameter) in training mode at step 0 of `seed`, by JAX autodiff in float64.

    Only forward kernels take part. Raises BackendUnavailable when JAX cannot run here, DataError for unusable data.
    """
    rows = check_rows(network, x, y, weights, dtype="float64")
    oracle = get_oracle()

    def loss(ops: Ops, at: Arrays) -> Any:
        xp = ops.xp
        fixed = {name: xp.asarray(value, dtype="float64") for name, value in running.items()}
        arrays = [xp.asarray(a, dtype=d) for a, d in zip(rows.arrays, rows.dtypes("float64"), strict=True)]
        weight = arrays[2] if len(arrays) > 2 else None
        return network.total_loss(ops, at, fixed, arrays[0], arrays[1], weight, Run(True, counter(xp, seed)))

    value, gradients = oracle.value_and_gradients(loss, params)
    return value, gradients


def largest_difference(ours: HostArrays, reference: HostArrays) -> float:
    """Return the largest |ours - reference| of any parameter, relative to the largest |reference| of that parameter."""
    errors = [
        np.max(np.abs(ours[name] - reference[name])) / max(float(np.max(np.abs(reference[name]))), np.finfo(float).tiny)
        for name in reference
    ]
    return float(max(errors))
