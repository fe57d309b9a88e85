"""Synthetic sets of any size, drawn block by block.

Rows come in blocks of 4,096. Block i of a set is drawn by `stream("synthetic rows", seed, crc32(name), i)`, always whole,
and then cut. So a row depends on the name, the seed, the options and its own number, and not on the number of rows or chunks:
rows 0..n-1 of a larger set are the smaller set. x is rounded once to the requested dtype.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.random import Generator

from bpengine.data.dataset import Dataset, numbered
from bpengine.data.synthetic.plane import Checkerboard, Circles, Spirals
from bpengine.data.synthetic.recipes import Blobs, Parity, Recipe, Sampler
from bpengine.data.synthetic.teacher import TeacherClassification, TeacherRegression
from bpengine.data.table import Array
from bpengine.data.validation.options import check_options, whole
from bpengine.errors import ConfigError, unknown
from bpengine.streams import stream

BLOCK = 4096

SYNTHETIC: MappingProxyType[str, Callable[..., Recipe]] = MappingProxyType(
    {
        "teacher_regression": TeacherRegression,
        "teacher_classification": TeacherClassification,
        "blobs": Blobs,
        "spirals": Spirals,
        "circles": Circles,
        "checkerboard": Checkerboard,
        "parity": Parity,
    }
)


def recipe(name: str, features: int | None = None, **options: Any) -> Recipe:
    """Return the settings of a synthetic set.

    Raises: ConfigError for an unknown name or option, with the nearest names, or an invalid setting.
    """
    if name not in SYNTHETIC:
        raise unknown("synthetic data set", name, SYNTHETIC)
    if features is not None:
        options["features"] = features
    check_options(name, SYNTHETIC[name], options)
    return SYNTHETIC[name](**options)


def empty_arrays(settings: Recipe, rows: int, dtype: npt.DTypeLike) -> tuple[tuple[int, ...], tuple[int, ...], Any]:
    """Return the shapes of x and y and the dtype of y: int64 labels (rows,), or (rows, outputs) of x's dtype."""
    y_shape = (rows, settings.outputs) if settings.classes is None else (rows,)
    return (rows, settings.features), y_shape, np.dtype(dtype if settings.classes is None else np.int64)


def bind(name: str, settings: Recipe, seed: int) -> Callable[[Array, Array, int], None]:
    """Return fill(x, y, start), which writes rows start, start + 1, ... of the set into the given arrays."""
    code = zlib.crc32(name.encode())
    sample = settings.sampler(stream("synthetic rule", seed, code))

    def fill(x: Array, y: Array, start: int) -> None:
        _fill(sample, lambda block: stream("synthetic rows", seed, code, block), x, y, start)

    return fill


def _fill(sample: Sampler, rng_of: Callable[[int], Generator], x: Array, y: Array, start: int) -> None:
    stop = start + len(x)
    for block in range(start // BLOCK, -(-stop // BLOCK)):
        block_x, block_y = sample(rng_of(block), BLOCK)
        first, low, high = block * BLOCK, max(start, block * BLOCK), min(stop, (block + 1) * BLOCK)
        x[low - start : high - start] = block_x[low - first : high - first]
        y[low - start : high - start] = block_y[low - first : high - first]


def floating(dtype: npt.DTypeLike) -> np.dtype[Any]:
    """Return the dtype.

    Raises: ConfigError unless it is float16, float32 or float64.
    """
    try:
        kind = np.dtype(dtype)
    except TypeError:
        kind = np.dtype(object)
    if kind not in (np.float16, np.float32, np.float64):
        raise ConfigError(f"generate requires dtype float16, float32 or float64, got {dtype!r}.")
    return kind


def generate(
    name: str,
    rows: int,
    seed: int = 0,
    *,
    start: int = 0,
    features: int | None = None,
    dtype: npt.DTypeLike = "float32",
    **options: Any,
) -> Dataset:
    """Return rows start .. start + rows - 1 of a synthetic set, in memory.

    Shapes: x (rows, features) of `dtype`; y (rows,) int64 labels, or (rows, outputs) of `dtype`. The options are the
    fields of the set's recipe. For sets larger than memory see `write`.
    Raises: ConfigError for an unknown set or option, or an invalid setting.
    """
    settings = recipe(name, features, **options)
    rows, start = whole("generate", "rows", rows, 1), whole("generate", "start", start, 0)
    x_shape, y_shape, y_dtype = empty_arrays(settings, rows, dtype)
    x, y = np.empty(x_shape, floating(dtype)), np.empty(y_shape, y_dtype)
    bind(name, settings, whole("generate", "seed", seed, 0))(x, y, start)
    classes = None if settings.classes is None else tuple(map(str, range(settings.classes)))
    source = f"bpengine {name}, seed {seed}, {settings}"
    names = numbered("x", settings.features)
    return Dataset(name=name, x=x, y=y, feature_names=names, class_names=classes, task=settings.task, source=source)
