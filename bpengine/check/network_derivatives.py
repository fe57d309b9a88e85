"""Compare a network's other derivatives with JAX's: per-sample gradients, Jacobian, input gradients, product with the Hessian.

They are computed as the model computes them, in float64 on NumPy and outside training, where layers may compute other
values than in training. JAX derives them from the forward kernels alone. A few rows are enough. The check is made at a
nearby point, since there is no second derivative on a kink.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from bpengine.backend import HostArray, get_backend, get_oracle
from bpengine.check.problems.subjects import NetworkPoint
from bpengine.check.reports.results import DerivativeResult
from bpengine.derivatives.hessian import product
from bpengine.derivatives.jacobian import input_gradients, jacobian
from bpengine.derivatives.per_sample import per_sample_gradients
from bpengine.derivatives.rows import batched
from bpengine.errors import BackendUnavailable, in_english
from bpengine.i18n.counted_nouns import count_of
from bpengine.kernels._kernel import Array
from bpengine.kernels._trees import Tree
from bpengine.layers.layer import Arrays, HostArrays
from bpengine.network import INFERENCE, Network
from bpengine.ops import Ops
from bpengine.streams import stream
from bpengine.training.evaluation import Evaluator
from bpengine.training.rows import Rows

ROWS = 4  # rows that are taken
LARGE = 10_000  # parameters, or numbers in the Jacobian of a row: with more, JAX would take too long
STATED = 1e-6  # the documented error of each derivative, relative to the largest element
NEARBY = 1e-3  # how far the nearby point is, relative to the size of an array
DRAWS = 3  # of points one rounding away
EPS = float(np.finfo(np.float64).eps)
REFERENCES = {
    "per_sample_gradients": "jax.vmap(jax.grad)",
    "jacobian": "jax.jacrev",
    "input_gradients": "jax.grad",
    "hvp": "jax.jvp(jax.grad)",
}


@dataclass(frozen=True)
class _NearbyNetwork:
    """A network at a nearby point, with the few rows that are taken."""

    network: Network
    params: HostArrays
    running: HostArrays
    rows: Rows
    v: HostArrays

    def hand_written(self) -> dict[str, Any]:
        """Return the derivatives by the hand-written kernels."""
        backend = get_backend("numpy", precision="float64")
        run = Evaluator(self.network, backend, Ops(np))
        at = run, self.params, self.running
        return {
            "per_sample_gradients": per_sample_gradients(*at, self.rows, tuple(self.params)),
            "jacobian": jacobian(*at, self.rows.x, link=False),
            "input_gradients": input_gradients(*at, self.rows),
            "hvp": product(*at, self.rows)(self.v),
        }

    def reference(self) -> Callable[[HostArrays], dict[str, Any]]:
        """Return JAX's derivatives, as a function of the parameters."""
        rows, run = self._arrays(), get_oracle().derivatives(self._loss, self._row_loss, self._outputs)
        return lambda params: run(params, rows, self.v)

    def rounding(self) -> float:
        """Return one rounding of the loss: a smaller derivative cannot be distinguished from 0.

        Where tanh rounds to 1, autodiff's 1 - y^2 is 0, while a complex step still gives 1e-32.
        """
        return EPS * abs(float(self._loss(Ops(np), self.params, self._arrays())))

    def _arrays(self) -> dict[str, Any]:
        names = ("x", "target", *["weights"] * (self.rows.weights is not None))
        pairs = zip(self.rows.arrays, self.rows.dtypes("float64"), strict=True)
        return dict(zip(names, (np.asarray(a, dtype=d) for a, d in pairs), strict=True))

    def _loss(self, ops: Ops, params: Arrays, rows: Arrays) -> Array:
        rows_and_run = rows["x"], rows["target"], rows.get("weights"), INFERENCE
        return self.network.total_loss(ops, params, self._running(ops), *rows_and_run)

    def _row_loss(self, ops: Ops, params: Arrays, rows: Arrays) -> Array:
        """Return the loss of one row alone, with its share of the penalties of all rows."""
        sums, every = self.network.loss.reduction == "sum", len(self.rows.x)
        weights = rows.get("weights") if sums else None
        value = self.network.data_loss(ops, self._outputs(ops, params, rows["x"]), rows["target"], weights)[0]
        all_weights = None if self.rows.weights is None else ops.xp.asarray(self.rows.weights)
        terms = self.network.penalty_terms(ops, params, every, all_weights)
        return value + sum(term[2] for term in terms) / (every if sums else 1)

    def _outputs(self, ops: Ops, params: Arrays, x: Array) -> Array:
        return self.network.forward(ops, params, self._running(ops), x).y

    def _running(self, ops: Ops) -> Arrays:
        return {name: ops.xp.asarray(value) for name, value in self.running.items()}


def check_derivatives(point: NetworkPoint) -> tuple[str, tuple[DerivativeResult, ...]]:
    """Return in words how the derivatives of a network were compared, or why not, and a result for each."""
    try:
        oracle = get_oracle()
    except BackendUnavailable as error:
        return f"not taken: {in_english(error)}", ()
    size = sum(a.size for a in point.params.values())
    cells = point.network.inputs * point.network.outputs
    if max(size, cells) > LARGE:
        return f"not taken: {size:,} parameters and a Jacobian of {cells:,} numbers a row; up to {LARGE:,} are", ()
    nearby = _nearby(point)
    try:
        hand, run = nearby.hand_written(), nearby.reference()
        reference = run(nearby.params)
        rounded = [run(_rounded(nearby.params, draw)) for draw in range(DRAWS)]
    except Exception as error:
        if batched(point.network):
            raise
        first = (in_english(error).strip() or type(error).__name__).splitlines()[0]
        return f"not taken: code of one's own does not support them ({type(error).__name__}: {first.rstrip('.')})", ()
    note = (
        f"{oracle.precision}; {oracle.name}, outside training, {count_of(len(nearby.rows.x), 'row')}, at a nearby point"
    )
    least = np.nan_to_num(nearby.rounding(), nan=0.0, posinf=0.0)
    results = {n: _compare(n, hand[n], reference[n], [a[n] for a in rounded], least) for n in REFERENCES}
    if not_finite := [name for name, result in results.items() if result is None]:
        note += f"; not finite in JAX, and not checked: {', '.join(not_finite)}"
    return note, tuple(result for result in results.values() if result)


def _nearby(point: NetworkPoint) -> _NearbyNetwork:
    """Return the network with a few rows of positive weight, its parameters and inputs moved off any kink."""
    rng = stream("check derivatives", point.seed)
    weights = point.rows.weights
    counted = np.arange(len(point.rows.x)) if weights is None or not weights.any() else np.flatnonzero(weights)
    some = counted[np.linspace(0, len(counted) - 1, min(ROWS, len(counted))).astype(int)]
    x = np.asarray(point.rows.x[some], dtype=np.float64)
    rows = Rows(_moved(x, rng), point.rows.target[some], None if weights is None else np.asarray(weights)[some])
    params = {name: _moved(a, rng) for name, a in point.params.items()}
    v = {name: rng.standard_normal(a.shape) for name, a in params.items()}
    return _NearbyNetwork(point.network, params, point.running, rows, v)


def _moved(array: HostArray, rng: np.random.Generator) -> Array:
    usual = float(np.sqrt(np.mean(array**2))) if array.size else 0.0
    step = rng.choice([-1.0, 1.0], array.shape) * rng.uniform(0.5, 1.0, array.shape)
    return array + NEARBY * (usual if usual > 0 else 1.0) * step


def _rounded(arrays: HostArrays, draw: int) -> HostArrays:
    """Return the arrays changed by one rounding: a derivative may change by rounding as much as it changes by this."""
    rng = stream("check shaking", draw)
    return {name: a * (1.0 + EPS * rng.uniform(-1.0, 1.0, a.shape)) for name, a in arrays.items()}


def _compare(
    name: str, hand: HostArray, reference: HostArray, rounded: list[Any], least: float
) -> DerivativeResult | None:
    """Compare one derivative, with an allowance of at least `least`; None where JAX's derivative is not finite."""
    ours, theirs, *others = (_flat(a) for a in (hand, reference, *rounded))
    if not np.all(np.isfinite(theirs)):
        return None
    largest = float(np.max(np.abs(theirs), initial=0.0))
    rounding = max(float(np.max(np.abs(other - theirs), initial=0.0)) for other in others)
    allowed = STATED * largest + 64.0 * rounding + least + float(np.finfo(np.float64).tiny) / EPS
    wrong = float(np.max(np.nan_to_num(np.abs(ours - theirs), nan=np.inf), initial=0.0))
    size = max(largest, float(np.finfo(np.float64).tiny))
    return DerivativeResult(
        name=name,
        reference=REFERENCES[name],
        compared=ours.size,
        error=wrong / size,
        tolerance=allowed / size,
        passed=wrong <= allowed,
    )


def _flat(arrays: Tree) -> HostArray:
    parts = [arrays[name] for name in sorted(arrays)] if isinstance(arrays, dict) else [arrays]
    return np.concatenate([np.ravel(part) for part in parts])
