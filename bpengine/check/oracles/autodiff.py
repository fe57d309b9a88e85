"""The first oracle: JAX autodiff of the forward kernels in float64, which uses no hand-written backward."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bpengine.backend import ArrayLike, get_oracle
from bpengine.check.kinks.kinks import Kink, any_undecided, off_kink_shifts
from bpengine.check.kinks.ops import OffKinkOps, output_changes
from bpengine.check.problems.problem import Problem, counter
from bpengine.check.tolerance.agreement import likely_deviations
from bpengine.check.tolerance.stochastic_rounding import DRAWS, SCALAR, largest_deviations
from bpengine.kernels._kernel import Array
from bpengine.layers.layer import Arrays, HostArrays, Run
from bpengine.network import Network
from bpengine.ops import Ops
from bpengine.streams import stream
from bpengine.training.rows import check_rows

EPS = float(np.finfo(np.float64).eps)
FACTOR, SHIFT, CHANGE = "factor of the scalar", "shift of call", "change of call"  # no array has such a name

Differentiated = Callable[[HostArrays], tuple[float, HostArrays]]


@dataclass(frozen=True)
class Autodiff:
    """The scalar and its gradients by autodiff; `rounding`: a bound on autodiff's own rounding error in each of them."""

    value: float
    gradients: HostArrays
    rounding: dict[str, float]


def autodiff(problem: Problem, kinks: list[Kink], *, jumping: bool = False) -> Autodiff:
    """Return the gradients by autodiff; elements on a kink get the kernel's own convention.

    The effect of its rounding is measured: a derivative is linear, so autodiff of c f divided by c is the same gradient with
    every cotangent rounded differently, whatever the compiler has fused. It is computed for several c, one rounding away from
    the point. (Where the hand-written backward computes 400 - 400 = 0, autodiff may be left with the rounding error of 400;
    this measurement detects that, and only in the arrays that it affects.)
    `kinks` are those of NumPy's forward at the point; with `jumping` there is one that no kernel states.
    Raises BackendUnavailable when JAX cannot run here.
    """
    run, moves = _compiled(problem, len(kinks)), _moves(problem, kinks)
    value, gradients = _mean(run, moves, problem.at, 1.0)
    runs = []
    for draw in range(DRAWS):
        rng = stream("check autodiff", draw)
        near = {n: a * (1.0 + EPS * rng.uniform(-1.0, 1.0, a.shape)) for n, a in problem.at.items()}
        near_value, near_gradients = _mean(run, moves, near, rng.uniform(1.0, 2.0))
        runs.append(largest_deviations(near_gradients, gradients) | {SCALAR: abs(near_value - value)})
    return Autodiff(value, gradients, likely_deviations(problem, runs, gradients, jumping=jumping))


def _compiled(problem: Problem, calls: int) -> Differentiated:
    """Return autodiff of the scalar times a factor, with a shift for each call that may meet a kink.

    It is compiled once for a problem and works at any point, since the shifts are arguments as well.
    """

    def function(ops: Ops, at: Arrays) -> Array:
        shifts, changes = ([at[f"{what} {k}"] for k in range(calls)] for what in (SHIFT, CHANGE))
        return at[FACTOR] * problem.scalar(OffKinkOps(ops.xp, shifts, changes) if calls else ops, at)

    if "autodiff" not in problem.memo:
        problem.memo["autodiff"] = get_oracle().differentiated(function)
    run: Differentiated = problem.memo["autodiff"]
    return run


def _moves(problem: Problem, kinks: list[Kink]) -> list[HostArrays]:
    """Return the shifts off the kinks, by name: one set, or one for each side where a convention is the middle of a kink."""
    sides = [[np.zeros(np.shape(kink.distance)) for kink in kinks]]
    if any_undecided(kinks, EPS):
        # the middle of a kink is the mean of the gradients on its two sides; any other convention is one side
        middle = any(k.side == "middle" and bool((k.distance == 0).any()) for k in kinks)
        sides = [off_kink_shifts(kinks, EPS, exact) for exact in ((-1.0, 1.0) if middle else (-1.0,))]
    moves = []
    for shifts in sides:
        changes = output_changes(lambda ops: problem.value(ops, problem.at), shifts)
        named = {f"{SHIFT} {k}": shift for k, shift in enumerate(shifts)}
        moves.append(named | {f"{CHANGE} {k}": change for k, change in enumerate(changes)})
    return moves


def _mean(run: Differentiated, moves: list[HostArrays], at: HostArrays, factor: float) -> tuple[float, HostArrays]:
    sides = [run({**at, **move, FACTOR: np.asarray(factor)}) for move in moves]
    gradients = {n: np.mean([gradients[n] for _, gradients in sides], axis=0) / factor for n in at}
    return float(np.mean([value for value, _ in sides])) / factor, gradients


def autodiff_gradients(
    network: Network,
    params: HostArrays,
    running: HostArrays,
    x: ArrayLike,
    y: ArrayLike,
    weights: ArrayLike | None = None,
    *,
    seed: int = 0,
) -> tuple[float, HostArrays]:
    """Return (loss, gradient of every parameter) in training mode at step 0 of `seed`, by JAX autodiff in float64.

    Only forward kernels take part. Raises BackendUnavailable when JAX cannot run here, DataError for unusable data.

    >>> import bpengine as bp
    >>> network = bp.Network(1, [bp.Dense(1)], "half_sum_squares")
    >>> params = {"0.weight": np.array([[3.0]]), "0.bias": np.array([0.0])}
    >>> loss, gradients = autodiff_gradients(network, params, {}, [[2.0]], [5.0])
    >>> loss, gradients["0.weight"].item()
    (0.5, 2.0)
    """
    rows = check_rows(network, x, y, weights, dtype="float64")
    oracle = get_oracle()

    def loss(ops: Ops, at: Arrays) -> Array:
        xp = ops.xp
        fixed = {name: xp.asarray(value, dtype="float64") for name, value in running.items()}
        arrays = [xp.asarray(a, dtype=d) for a, d in zip(rows.arrays, rows.dtypes("float64"), strict=True)]
        weight = arrays[2] if len(arrays) > 2 else None
        return network.total_loss(ops, at, fixed, arrays[0], arrays[1], weight, Run(True, counter(xp, seed)))

    value, gradients = oracle.value_and_gradients(loss, params)
    return value, gradients


def largest_difference(ours: HostArrays, reference: HostArrays) -> float:
    """Return the largest |ours - reference| of any parameter, relative to the largest |reference| of that parameter.

    >>> largest_difference({"w": np.array([1.0, 2.5])}, {"w": np.array([1.0, 2.0])})
    0.25
    """
    errors = [
        np.max(np.abs(ours[name] - reference[name])) / max(float(np.max(np.abs(reference[name]))), np.finfo(float).tiny)
        for name in reference
    ]
    return float(max(errors))
