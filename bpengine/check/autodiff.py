"""The first oracle: JAX autodiff of the forward kernels in float64, independent of every hand-written backward."""

from __future__ import annotations

from typing import Any

import numpy as np

from bpengine.backend import get_oracle
from bpengine.check import kinks
from bpengine.check.kinkops import Shifted
from bpengine.check.kinks import Kink
from bpengine.check.problem import Problem, counter
from bpengine.layers.layer import Arrays, HostArrays, Run
from bpengine.network import Network
from bpengine.ops import Ops
from bpengine.training.inputs import check_rows

EPS = float(np.finfo(np.float64).eps)


def autodiff(problem: Problem, met: list[Kink]) -> tuple[float, HostArrays]:
    """Return the scalar and its gradients by autodiff; elements on a kink are given the kernel's own convention.

    `met` are the kinks of NumPy's forward at the point. Raises BackendUnavailable when JAX cannot run here.
    """
    oracle = get_oracle()
    if not kinks.ambiguous(met, EPS):
        value, gradients = oracle.value_and_gradients(problem.scalar, problem.at)
        return value, gradients
    middle = any(k.side == "middle" and bool((k.distance == 0).any()) for k in met)
    runs = []
    for exact in (-1.0, 1.0) if middle else (-1.0,):
        amounts = kinks.shifts(met, EPS, exact)
        runs.append(oracle.value_and_gradients(_moved(problem, amounts), problem.at))
    return runs[0][0], {name: np.mean([gradients[name] for _, gradients in runs], axis=0) for name in problem.at}


def _moved(problem: Problem, amounts: list[Any]) -> Any:
    return lambda ops, at: problem.scalar(Shifted(ops.xp, amounts), at)


def autodiff_gradients(
    network: Network, params: HostArrays, running: HostArrays, x: Any, y: Any, weights: Any = None, *, seed: int = 0
) -> tuple[float, HostArrays]:
    """Return (loss, gradient of every parameter) in training mode at step 0 of `seed`, by JAX autodiff in float64.

    Only forward kernels take part. Raises BackendUnavailable when JAX cannot run here, DataError for unusable data.
    """
    rows = check_rows(network, x, y, weights)
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
