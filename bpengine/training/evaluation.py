"""Evaluation: predictions, loss and scores over any number of rows, chunk by chunk: a file need not fit into memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import KW_ONLY, dataclass, field
from functools import reduce
from operator import add
from typing import Any, TypeVar

import numpy as np

from bpengine.backend import Backend, HostArray
from bpengine.data import in_memory
from bpengine.distributed.comm import Comm, Solo
from bpengine.distributed.tree import own_shards
from bpengine.errors import DeviceMemoryError
from bpengine.kernels._kernel import Array
from bpengine.layers.layer import Arrays, Run
from bpengine.network import Network
from bpengine.ops import Ops
from bpengine.system.lru_cache import LruCache
from bpengine.training.memory.row_reader import RowReader
from bpengine.training.memory.row_room import RowRoom, too_many_rows
from bpengine.training.metrics.choice import AnyMetric
from bpengine.training.metrics.scoring import Score, require_scorable, scored
from bpengine.training.metrics.truth import Truth
from bpengine.training.rows import ROOTS, Rows, score_names, scores

CHUNK = 8192  # rows held at a time
Result = TypeVar("Result")


@dataclass(frozen=True)
class Evaluator:
    """A network on a backend, with the functions compiled for it so far, which equal networks may share.

    unit (outputs,): of targets that were standardised, so that errors are given in their own unit as well. decode converts
    standardised values (rows, outputs) to their own unit. room: how many rows fit on the device at once, as far as is known.
    """

    network: Network
    backend: Backend
    ops: Ops
    _: KW_ONLY
    compiled: LruCache[Callable[..., Any]] = field(default_factory=LruCache)
    unit: HostArray | None = None
    decode: Callable[[HostArray], HostArray] | None = None
    room: RowRoom = field(default_factory=RowRoom)

    def outputs(self, params: Arrays, running: Arrays, x: HostArray, *, link: bool) -> HostArray:
        """Return raw outputs (rows, outputs), or predictions after the loss's link function."""
        network, ops = self.network, self.ops
        activation = network.loss.link if link else None

        def run(params: Arrays, running: Arrays, x: Array) -> Array:
            y = network.forward(ops, params, running, x).y
            return ops.forward(activation)(y)[0] if activation else y

        run = self.compile(("outputs", activation), run)
        reader, done = RowReader(x), []
        for numbers in pieces(len(x)):
            rows = Rows(reader.read(numbers), None, None)

            def of_part(part: slice, rows: Rows = rows) -> HostArray:
                y = run(params, running, *self.bring(rows.part(part)))
                # a copy: the rows that were read are valid until the second read after them
                return np.array(self.backend.to_numpy(y))

            done += [y for _, y in self.room.parts(len(numbers), of_part)]
        return np.concatenate(done)

    def evaluate(
        self,
        params: Arrays,
        running: Arrays,
        rows: Rows,
        comm: Comm | None = None,
        metrics: Sequence[AnyMetric] = (),
    ) -> dict[str, Any]:
        """Return the loss over all rows, penalties included, the scores that fit the kind of target, and the metrics.

        Every number but these is a mean weighted by the rows' weights, which are added up in float64. Of several processes
        each takes some of the pieces, and all add up all of them in their order: the bits are those of one process. Metrics
        take all predictions together, which then are in memory at once.
        """
        comm, sums_of_pieces = comm or Solo(), list[list[float]]()
        predictions: list[HostArray] | None = [] if metrics else None
        readers = [None if a is None else RowReader(a) for a in rows]
        whole = list(pieces(len(rows.x)))
        for number in own_shards(len(whole), comm.rank, comm.size):
            piece = Rows._make(None if r is None else r.read(whole[number]) for r in readers)

            def of_part(part: slice, piece: Rows = piece) -> list[float]:
                return self._sums(params, running, piece.part(part), predictions)

            sums_of_pieces += [sums for _, sums in self.room.parts(len(piece.x), of_part) if sums]
        names = ("loss", *score_names(self.network, self.unit))
        everyones = np.concatenate(comm.gather(np.array(sums_of_pieces).reshape(-1, 1 + len(names))))
        total, *added = (reduce(add, column.tolist(), 0.0) for column in everyones.T)  # `sum` compensates for rounding
        sums = dict(zip(names, added, strict=True))
        loss = sums.pop("loss") / (total if self._averages else 1.0) + self._penalty(params, total)
        means = {name: value / total for name, value in sums.items()}
        by_name = {"loss": loss, **{ROOTS.get(n, n): v**0.5 if n in ROOTS else v for n, v in means.items()}}
        return by_name if predictions is None else by_name | self._metrics(metrics, rows, predictions, comm)

    def _metrics(
        self, metrics: Sequence[AnyMetric], rows: Rows, predictions: list[HostArray], comm: Comm
    ) -> dict[str, Score]:
        """Return metrics by name; `predictions` are those of this process's pieces, without rows of the weight 0."""
        mine = np.concatenate([np.empty((0, self.network.outputs), self.backend.dtype), *predictions])
        everyones = np.concatenate(comm.gather(mine))
        values = scored(metrics, self.truth(rows), self.decode(everyones) if self.decode else everyones)
        # A function of a user's own may draw random numbers: all processes use the numbers of process 0.
        return {
            n: comm.lead(v) if isinstance(v, float) else comm.share(np.array(v)).tolist() for n, v in values.items()
        }

    def truth(self, rows: Rows) -> Truth:
        """Return what predictions for these rows are compared with."""
        return Truth.of(self.network, rows.target, rows.weights, self.decode)

    def require_scorable(self, metrics: Sequence[AnyMetric], rows: Rows, what: str = "the rows") -> None:
        """Raise DataError or ConfigError, before any work, where a metric cannot be computed on rows."""
        if metrics:
            require_scorable(metrics, self.truth(rows), what)

    def _sums(self, params: Arrays, running: Arrays, piece: Rows, predictions: list[HostArray] | None) -> list[float]:
        """Return the sums over a piece's rows: of the weights, of the loss, without penalties, then of the scores.

        Nothing where all rows have weight 0. Predictions are added to `predictions`, where that is a list.
        """
        share = float(len(piece.x) if piece.weights is None else np.sum(piece.weights, dtype=np.float64))
        if not share:
            return []
        loss, outputs = self._scored(params, running, piece)
        mean, predicted = float(self.backend.to_numpy(loss)), self.backend.to_numpy(outputs)
        if predictions is not None:  # copies: the backend may use the memory again
            predictions.append(np.array(predicted if piece.weights is None else predicted[piece.weights > 0]))
        sums = scores(self.network, predicted, piece.target, piece.weights, self.unit)
        return [share, mean * (share if self._averages else 1.0), *sums.values()]

    def gradients(
        self, params: Arrays, running: Arrays, counter: Array, rows: Rows, *, training: bool
    ) -> tuple[Array, Arrays]:
        """Return the loss and every gradient over all rows at once."""
        network, ops = self.network, self.ops

        def run(
            params: Arrays, running: Arrays, counter: Array, x: Array, target: Array, weights: Array | None = None
        ) -> tuple[Array, Arrays]:
            how = Run(training, counter)
            return network.loss_and_gradients(ops, params, running, x, target, weights, how)[:2]

        loss, gradients = self.at_once(("gradients", training), run, (params, running, counter), rows)
        return loss, gradients

    def at_once(self, key: object, function: Callable[..., Result], arguments: tuple[Any, ...], rows: Rows) -> Result:
        """Return function(*arguments, *rows), compiled, of all rows together; the first argument are the parameters.

        Where the compiled function does not fit on the device, which is said once, it runs as it is written. Raises
        DeviceMemoryError where that does not fit either, and says how many rows would.
        """
        there = self.bring(rows)
        try:
            values: Result = self.compile(key, function)(*arguments, *there)
            return values
        except DeviceMemoryError as error:
            if not error.needed:  # it ran as it is written
                raise
            missing = error
        try:
            values = self.backend.uncompiled(function)(*arguments, *there)
        except DeviceMemoryError:
            lasting = 3 * sum(array.nbytes for array in arguments[0].values())  # with copies, and gradients
            raise too_many_rows(len(rows.x), missing, lasting) from None
        self.room.say_uncompiled(len(rows.x), missing)
        return values

    def compile(self, key: object, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the compiled function of `key`, compiled now if it has not been.

        It may outlive the model, and other models may use it: `function` holds the network and its ops, and no array.
        """
        return self.compiled.get(key, lambda: self.backend.compile(function))

    def bring(self, rows: Rows) -> list[Array]:
        """Copy rows to the device."""
        pairs = zip(rows.arrays, rows.dtypes(self.backend.dtype), strict=True)
        return [self.backend.asarray(in_memory(array), dtype, copy=False) for array, dtype in pairs]

    @property
    def _averages(self) -> bool:
        return self.network.loss.reduction != "sum"

    def _scored(self, params: Arrays, running: Arrays, piece: Rows) -> tuple[Array, Array]:
        """Return the loss of a piece without penalties, and its predictions."""
        network, ops = self.network, self.ops

        def run(
            params: Arrays, running: Arrays, x: Array, target: Array, weights: Array | None = None
        ) -> tuple[Array, Array]:
            y, link = network.forward(ops, params, running, x).y, network.loss.link
            predicted = ops.forward(link)(y)[0] if link else y
            return network.data_loss(ops, y, target, weights)[0], predicted

        loss, predicted = self.compile("scored", run)(params, running, *self.bring(piece))
        return loss, predicted

    def _penalty(self, params: Arrays, samples: float) -> float:
        terms = self.network.penalty_terms(self.ops, params, samples)
        return sum(float(self.backend.to_numpy(value)) for _, _, value, _ in terms)


def pieces(rows: int) -> Iterator[HostArray]:
    """Yield the row numbers of each piece of `CHUNK` rows."""
    for start in range(0, rows, CHUNK):
        yield np.arange(start, min(start + CHUNK, rows))
