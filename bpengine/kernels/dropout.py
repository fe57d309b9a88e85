"""Dropout with a counter-based mask: the same numbers on every backend, and no generator state to carry."""

from __future__ import annotations

from typing import NamedTuple

from bpengine.kernels._kernel import Array, ForwardTerms, Kernel, LocalDerivative, Names, Namespace


class DropoutResidual(NamedTuple):
    """What the backward needs: 0 where an element was dropped, 1 / (1 - rate) where it was kept."""

    kept: Array


def dropout_fwd(
    xp: Namespace, x: Array, counter: Array, *, rate: float = 0.5, salt: int = 0, first: int | Array = 0
) -> tuple[Array, DropoutResidual]:
    """Drop each element with probability `rate` and scale the others up, so that the expected y is x.

    y = x * [h >= rate 2^32] / (1 - rate), where h(row, column) is a hash of the position, of `counter` = (seed, step)
    and of `salt`, a number of the layer. A row's mask does not depend on how many rows the batch has; `first` is the
    position of the first row where x is a part of a batch: a number, or an array (1,) of uint32.
    Shapes: x (B, O), counter (2,) of uint32 -> y (B, O).
    """
    threshold = min(round(rate * 2**32), 2**32 - 1)
    bits = _bits(xp, _places(xp, first, x.shape[0]), x.shape[1], counter, salt)
    kept = xp.astype(bits >= _word(xp, threshold), x.dtype) * (1.0 / (1.0 - rate))
    return x * kept, DropoutResidual(kept)


def dropout_bwd(xp: Namespace, res: DropoutResidual, dy: Array) -> Array:
    """Compute dx = dy * [kept] / (1 - rate): dropped elements get no gradient.

    Shapes: dy (B, O) -> dx (B, O).
    Source: Srivastava, Hinton, Krizhevsky, Sutskever, Salakhutdinov, "Dropout: a simple way to prevent neural networks
    from overfitting", JMLR 15, 2014 (here scaled in training, their section 10, so that prediction does nothing).
    """
    return dy * res.kept


def _places(xp: Namespace, first: int | Array, rows: int) -> Array:
    """Return the positions in the batch of `rows` rows, counted on from that of the first one, (rows,) of uint32."""
    if isinstance(first, int):
        return xp.arange(first, first + rows, dtype=xp.uint32)
    return first + xp.arange(rows, dtype=xp.uint32)


def _bits(xp: Namespace, rows: Array, columns: int, counter: Array, salt: int) -> Array:
    """Return 32 random bits per element.

    Rows and columns are hashed with separate keys, and one last mixing combines them: half the work of hashing each
    element twice, and no limit on rows * columns.
    """
    seed, step, layer = counter[0:1], counter[1:2], _word(xp, salt)
    row_key = _mix(xp, _mix(xp, _mix(xp, layer ^ _word(xp, 0x9E3779B9)) ^ seed) ^ step)
    column_key = _mix(xp, _mix(xp, _mix(xp, layer ^ _word(xp, 0x7F4A7C15)) ^ step) ^ seed)
    row = _mix(xp, _mix(xp, rows ^ row_key) ^ column_key)
    column = _mix(xp, _mix(xp, xp.arange(columns, dtype=xp.uint32) ^ column_key) ^ row_key)
    return _mix(xp, row[:, None] ^ column[None, :])


def _mix(xp: Namespace, h: Array) -> Array:
    """Mix 32 bits by a one-to-one map: lowbias32 of Wellons, "Prospecting for hash functions", 2018."""
    h = (h ^ (h >> 16)) * _word(xp, 0x7FEB352D)
    h = (h ^ (h >> 15)) * _word(xp, 0x846CA68B)
    return h ^ (h >> 16)


def _word(xp: Namespace, value: int) -> Array:
    """Return an unsigned 32-bit constant of shape (1,): NumPy wraps arrays silently but warns for scalars."""
    return xp.full((1,), value % 2**32, dtype=xp.uint32)


def _forward_terms(
    xp: Namespace, res: DropoutResidual, unit: int, x: Array, counter: Array, **options: float
) -> ForwardTerms:
    """Return one unit's output as a sum of one term: the input times the mask's factor."""
    return ForwardTerms(x[:, unit : unit + 1], res.kept[:, unit : unit + 1], ("input",), (unit,))


def _formula_names(xp: Namespace, names: Names) -> Names:
    """Return the mask: a hash of row, column, seed, step and layer, in unsigned arithmetic of 64 bits cut to 32."""
    x, counter, rate = names["x"], names["counter"], names["rate"]
    seed, step, layer = (xp.asarray(int(v), dtype=xp.uint64) for v in (*counter, names["salt"] % 2**32))
    rows = _mixed(xp, _mixed(xp, _mixed(xp, layer ^ 0x9E3779B9) ^ seed) ^ step)
    columns = _mixed(xp, _mixed(xp, _mixed(xp, layer ^ 0x7F4A7C15) ^ step) ^ seed)
    first = names.get("first", 0)  # left out where the rows are a whole batch
    numbers = xp.arange(first, first + x.shape[0], dtype=xp.uint64)
    row = _mixed(xp, _mixed(xp, numbers ^ rows) ^ columns)
    column = _mixed(xp, _mixed(xp, xp.arange(x.shape[1], dtype=xp.uint64) ^ columns) ^ rows)
    bits = _mixed(xp, row[:, None] ^ column[None, :])
    kept = xp.astype(bits >= min(round(rate * 2**32), 2**32 - 1), names["real"])
    return {"kept": kept / names["real"](1 - rate)}


def _mixed(xp: Namespace, h: Array) -> Array:
    low = 2**32 - 1
    h = ((h ^ (h >> 16)) * 0x7FEB352D) & low
    h = ((h ^ (h >> 15)) * 0x846CA68B) & low
    return h ^ (h >> 16)


KERNEL = Kernel(
    name="dropout",
    kind="layer",
    forward=dropout_fwd,
    backward=dropout_bwd,
    shapes={"x": ("B", "O"), "counter": (2,), "y": ("B", "O")},
    differentiable=("x",),
    domain={"counter": "counter"},
    variants=({}, {"rate": 0.0}, {"rate": 0.25, "salt": 3}, {"rate": 0.25, "first": 5}),
    formula={"y": "x * kept", "dx": "dy * kept"},
    flops=lambda B, O, **_: (12 * B * O, B * O),
    source="Srivastava et al., JMLR 15 (2014); the hash: Wellons, Prospecting for hash functions (2018)",
    analytic=True,
    family="mask",
    local_derivatives=lambda xp, res, y: [LocalDerivative("element", res.kept)],
    forward_terms=_forward_terms,
    formula_names=_formula_names,
    no_onnx="a mask is drawn in training alone; outside of it dropout leaves everything as it is",
)
