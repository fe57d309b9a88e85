"""Tables to arrays, block by block: into memory, or into a temporary memory-mapped file where they are large."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from bpengine.data.features import shared_file
from bpengine.data.features.learned_columns import LearnedColumn
from bpengine.data.features.shared_file import RowTarget
from bpengine.data.mmap.row_file import drop_pages
from bpengine.data.table import Array, Table
from bpengine.distributed.comm import Comm, Solo
from bpengine.errors import DataError, in_english
from bpengine.i18n.counted_nouns import count_of
from bpengine.i18n.language import localized
from bpengine.system.quiet import Quiet

BLOCK_VALUES = 4_000_000  # inputs at once


@dataclass(frozen=True, eq=False)
class Encoded:
    """Encoded rows x (rows, inputs): a model with Features does not encode them again."""

    x: Array

    def __len__(self) -> int:
        return len(self.x)

    @property
    def shape(self) -> tuple[int, ...]:
        """The number of rows and of inputs."""
        return tuple(self.x.shape)


def encode(
    table: Table, columns: Sequence[LearnedColumn], names: Sequence[str], dtype: str, comm: Comm | None = None
) -> Array:
    """Return the inputs (rows, inputs) of a table, whose column `names[i]` is `columns[i]`.

    comm: processes that encode the same table; where it is large, those of one machine share the work and the file.
    Raises: DataError naming the column and row of a cell that cannot be encoded; WriteError where a file is needed and the
    disk is full.
    """
    pairs = [(c, n) for c, n in zip(columns, names, strict=True) if c.input_names]
    places = np.cumsum([0, *(len(c.input_names) for c, _ in pairs)]).tolist()
    processes = comm or Solo()
    target = shared_file.target((len(table), places[-1]), dtype, table.where, processes)
    try:
        unknown = _fill(
            target, table, [(c, n, slice(*ends)) for (c, n), ends in zip(pairs, pairwise(places), strict=True)]
        )
    except DataError as error:
        raise DataError(processes.first(in_english(error))) from None
    if elsewhere := processes.first(None):
        raise DataError(elsewhere)
    everyones = processes.gather(unknown[None])
    _warn(
        sum(everyones[rank][0] for rank in target.ranks), [column for column, _ in pairs], [name for _, name in pairs]
    )
    return target.array


def _fill(target: RowTarget, table: Table, columns: Sequence[tuple[LearnedColumn, str, slice]]) -> Array:
    """Encode this process's rows; return how many values of each column are unknown."""
    out, unknown = target.array, np.zeros(len(columns), np.int64)
    step = max(1, BLOCK_VALUES // max(1, out.shape[1]))
    for start in range(target.rows.start, target.rows.stop, step):
        stop = min(start + step, target.rows.stop)
        block = np.empty((stop - start, out.shape[1]))
        with Quiet():  # infinity is refused below, with the name of its column
            for at, (column, name, inputs) in enumerate(columns):
                unknown[at] += column.encode(table.block(name, start, stop), block[:, inputs], start)
            out[start:stop] = block
        _require_held(out[start:stop], columns, start)
        _drop(table, out)
    return unknown


def _require_held(encoded: Array, columns: Sequence[tuple[LearnedColumn, str, slice]], start: int) -> None:
    """Raise DataError naming the column and row of a number that is too large for the inputs' dtype."""
    if np.isfinite(encoded).all():
        return
    row, place = (int(at) for at in np.argwhere(~np.isfinite(encoded))[0])
    name = next(name for _, name, inputs in columns if inputs.start <= place < inputs.stop)
    most = f"{np.finfo(encoded.dtype).max:.3g}"
    raise DataError(
        f"column {name!r} requires numbers that stay below {most} once they are scaled, as {encoded.dtype} has them, got a "
        f"larger one in row {start + row}. Correct the cell, or leave the column out."
    )


def _drop(table: Table, out: Array) -> None:
    drop_pages(out)
    for name in table:
        drop_pages(table.whole(name))


def _warn(unknown: Array, columns: Sequence[LearnedColumn], names: Sequence[str]) -> None:
    for count, column, name in zip(unknown.tolist(), columns, names, strict=True):
        # missing cells have their own input, otherwise they count as rare
        if count and not getattr(column, "other", False):
            warnings.warn(
                localized(
                    f"column {name!r} has values in {count_of(count, 'row', ',')} that the training rows did "
                    f"not have; they are read as none "
                    "of the known ones."
                ),
                stacklevel=4,
            )


def require_matching(missing: Sequence[str], strange: Sequence[str]) -> None:
    """Raise DataError naming the missing and the unknown columns."""
    if missing:
        extra = f" Not known: {', '.join(map(repr, strange[:8]))}." if strange else ""
        raise DataError(
            f"the model requires columns that are not there: {', '.join(map(repr, missing[:8]))}"
            f"{', ...' * (len(missing) > 8)}.{extra} Give rows like those it was trained on."
        )
