"""Evaluation: predictions, loss and scores over any number of rows, piece by piece: a file need not fit into memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import reduce
from operator import add
from typing import Any

import numpy as np

from bpengine.backend import Backend, HostArray
from bpengine.data import in_memory
from bpengine.distributed.comm import Comm, Solo
from bpengine.distributed.tree import own_shards
from bpengine.kernels._kernel import Array
from bpengine.layers.layer import Arrays, Run
from bpengine.network import Network
from bpengine.ops import Ops
from bpengine.system.lru_cache import LruCache
from bpengine.training.memory.row_reader import RowReader
from bpengine.training.rows import Rows, score_names, scores

CHUNK = 8192  # rows held at a time


@dataclass(frozen=True)
class Evaluator:
    """A network on a backend, with the functions compiled for it so far, which equal networks may share.

    unit (outputs,): of targets that were standardised, so that errors are told in their own unit as well.
    """

    network: Network
    backend: Backend
    ops: Ops
    compiled: LruCache[Callable[..., Any]] = field(default_factory=LruCache)
    unit: HostArray | None = None

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
            y = run(params, running, *self.bring(Rows(reader.read(numbers), None, None)))
            done.append(
                np.array(self.backend.to_numpy(y))
            )  # at once: the rows that were read are valid until the second read after them
        return np.concatenate(done)

    def evaluate(self, params: Arrays, running: Arrays, rows: Rows, comm: Comm | None = None) -> dict[str, float]:
        """Return the loss over all rows, penalties included, and the scores that fit the kind of target.

        Every number is a mean weighted by the rows' weights, which are added up in float64. Of several processes each takes
        some of the pieces, and all add up all of them in their order: the bits are those of one process.
        """
        comm, sums_of_pieces = comm or Solo(), list[list[float]]()
        readers = [None if a is None else RowReader(a) for a in rows]
        whole = list(pieces(len(rows.x)))
        for number in own_shards(len(whole), comm.rank, comm.size):
            piece = Rows._make(None if r is None else r.read(whole[number]) for r in readers)
            share = float(len(piece.x) if piece.weights is None else np.sum(piece.weights, dtype=np.float64))
            if share:  # else every row of the piece is left out
                sums_of_pieces.append([share, *self._sums(params, running, piece, share).values()])
        names = ("loss", *score_names(self.network, self.unit))
        everyones = np.concatenate(comm.gather(np.array(sums_of_pieces).reshape(-1, 1 + len(names))))
        total, *added = (reduce(add, column.tolist(), 0.0) for column in everyones.T)  # `sum` compensates for rounding
        sums = dict(zip(names, added, strict=True))
        loss = sums.pop("loss") / (total if self._averages else 1.0) + self._penalty(params, total)
        means = {name: value / total for name, value in sums.items()}
        roots = {"squared_error": "rmse", "standardised": "rmse_standardised"}
        return {"loss": loss, **{roots.get(n, n): v**0.5 if n in roots else v for n, v in means.items()}}

    def _sums(self, params: Arrays, running: Arrays, piece: Rows, share: float) -> dict[str, float]:
        """Return the sums over a piece's rows: of the loss, without penalties, then of the scores."""
        loss, predicted = self._scored(params, running, piece)
        mean = float(self.backend.to_numpy(loss))
        scored = scores(self.network, self.backend.to_numpy(predicted), piece.target, piece.weights, self.unit)
        return {"loss": mean * (share if self._averages else 1.0), **scored}

    def gradients(
        self, params: Arrays, running: Arrays, counter: Array, rows: Rows, *, training: bool
    ) -> tuple[Any, Arrays]:
        """Return the loss and every gradient over all rows at once."""
        network, ops = self.network, self.ops

        def run(params: Arrays, running: Arrays, counter: Array, x: Array, target: Array, weights: Any = None) -> Any:
            how = Run(training, counter)
            return network.loss_and_gradients(ops, params, running, x, target, weights, how)[:2]

        run = self.compile(("gradients", training), run)
        loss, gradients = run(params, running, counter, *self.bring(rows))
        return loss, gradients

    def compile(self, key: Any, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the compiled function of `key`, compiled now if it has not been.

        It may outlive the model and serve others: `function` holds the network and its ops, and no array.
        """
        return self.compiled.get(key, lambda: self.backend.compile(function))

    def bring(self, rows: Rows) -> list[Array]:
        """Bring rows to the device."""
        pairs = zip(rows.arrays, rows.dtypes(self.backend.dtype), strict=True)
        return [self.backend.asarray(in_memory(array), dtype, copy=False) for array, dtype in pairs]

    @property
    def _averages(self) -> bool:
        return self.network.loss.reduction != "sum"

    def _scored(self, params: Arrays, running: Arrays, piece: Rows) -> tuple[Array, Array]:
        """Return the loss of a piece without penalties, and its predictions."""
        network, ops = self.network, self.ops

        def run(params: Arrays, running: Arrays, x: Array, target: Array, weights: Any = None) -> tuple[Array, Array]:
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
