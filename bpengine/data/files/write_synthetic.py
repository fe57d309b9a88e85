"""`write`: synthetic sets larger than memory, written to .npy files in chunks, completely or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bpengine.data.files.pair_stamps import Stamp
from bpengine.data.mmap.row_file import BLOCK_BYTES, drop_pages
from bpengine.data.synthetic.generate import BLOCK, bind, empty_arrays, floating, recipe
from bpengine.data.table import Array
from bpengine.data.validation.options import whole
from bpengine.errors import DataError
from bpengine.output.writing import Draft, replacing

Mapped = np.memmap[Any, Any]


def write(
    name: str,
    rows: int,
    path: str | os.PathLike[str],
    seed: int = 0,
    *,
    features: int | None = None,
    dtype: npt.DTypeLike = "float32",
    chunk_rows: int | None = None,
    **options: Any,
) -> tuple[Path, Path]:
    """Write the rows of `generate(name, rows, seed, ...)` to disk and return the two files, x and y.

    An existing folder receives name_x.npy and name_y.npy; any other `path` is a prefix: path_x.npy and path_y.npy.
    The files appear under their names only when both are complete. Both end with a stamp behind their array, so
    that `load` can refuse files that were not written together: a killed process may leave one of them new and one old. At
    most `chunk_rows` rows are in memory at once (default: about 32 MiB of x); the values do not depend on it. Read back with
    `load(x_file, target=y_file)`.
    Raises: ConfigError as `generate` does; DataError when the files cannot be written, a full disk included.
    """
    settings = recipe(name, features, **options)
    kind, rows = floating(dtype), whole("write", "rows", rows, 1)
    fill = bind(name, settings, whole("write", "seed", seed, 0))
    per_chunk = BLOCK_BYTES // (settings.features * kind.itemsize) // BLOCK * BLOCK  # no block is drawn twice
    chunk = max(BLOCK, per_chunk) if chunk_rows is None else whole("write", "chunk_rows", chunk_rows, 1)
    targets = _names(Path(path), name)
    x_shape, y_shape, y_kind = empty_arrays(settings, rows, kind)
    with replacing(*targets, error=DataError) as (x_draft, y_draft):
        stamp = _fill_by_chunks(fill, _create(x_draft, x_shape, kind), _create(y_draft, y_shape, y_kind), chunk)
        for draft in (x_draft, y_draft):
            os.lseek(draft.file, 0, os.SEEK_END)
            draft.write(stamp)
    return targets


def _names(path: Path, name: str) -> tuple[Path, Path]:
    prefix = path / name if path.is_dir() else path
    return prefix.with_name(f"{prefix.name}_x.npy"), prefix.with_name(f"{prefix.name}_y.npy")


def _create(draft: Draft, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Mapped:
    """Create a .npy file that can be written to, with its whole space reserved on the disk.

    Without the reservation a disk that fills up midway ends the process (SIGBUS) instead of raising OSError.
    """
    array = np.lib.format.open_memmap(draft.path, mode="w+", dtype=dtype, shape=shape)
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(draft.file, 0, draft.path.stat().st_size)
    return array


def _fill_by_chunks(fill: Callable[[Array, Array, int], None], x: Mapped, y: Mapped, chunk: int) -> bytes:
    """Write the rows in chunks, drop the pages of each, flush both files to the disk, and return the pair's stamp."""
    stamp = Stamp()
    for start in range(0, len(x), chunk):
        rows = x[start : start + chunk], y[start : start + chunk]
        fill(*rows, start)
        stamp.add(*rows)
        drop_pages(x)
        drop_pages(y)
    x.flush()
    y.flush()
    return stamp.finished()
