"""Transports: sums between processes inside a compiled epoch, through the host and MPI or by XLA's own collectives.

On a CPU a callback from inside the loop calls the communicator. On a GPU or TPU the host must not take part in the loop:
there the epoch is one program of all processes (`jax.shard_map`), which exchange by collectives of XLA. In both, the order
of additions is the tree's, so both give the same bits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import jax
import numpy as np
from jax import lax
from jax import numpy as jnp
from jax.experimental import io_callback
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from bpengine.backend import HostArray, State
from bpengine.distributed.comm import Comm
from bpengine.distributed.tree import Cut, Tree
from bpengine.errors import ConfigError
from bpengine.kernels._kernel import Array
from bpengine.kernels._trees import Tree as ArrayTree
from bpengine_jax.joining import joining

AXIS = "processes"
# bytes of all roots, up to which each process sends its roots to every other: one collective in place of many
SMALL = 2**16
Run = Callable[..., Any]  # (state, data, order, *rest) -> the epoch's results, arrays of this process


class Transport(Protocol):
    """Moves sums between processes.

    size: the number of processes. alike: whether all of them run one program, in which a process learns its rank only at run
    time.
    """

    size: int
    alike: bool

    def rank(self) -> Array:
        """Return this process's number, inside a traced step."""

    def summed(self, roots: Array) -> Array:
        """Return the tree's sum (elements,) over all processes' roots (roots, elements), inside a traced step."""

    def compiled(self, epoch: Callable[..., Any], donate: Sequence[int] = ()) -> Run:
        """Compile (state, data, order, *rest) -> results; arguments and results are arrays of this process."""

    def check(self) -> None:
        """Raise the exception of an exchange since the last call, if any."""


class HostTransport:
    """Calls the communicator on the host from inside the loop; one process never does."""

    alike = False

    def __init__(self, cut: Cut, comm: Comm) -> None:
        self.size = comm.size
        self._shards, self._comm = cut.shards, comm
        self._failure: BaseException | None = None

    def rank(self) -> int:
        """Return this process's number."""
        return self._comm.rank

    def summed(self, roots: Array) -> Array:
        """Return the communicator's sum."""
        result = jax.ShapeDtypeStruct(roots.shape[1:], roots.dtype)
        total: Array = io_callback(self._exchange, result, roots, ordered=True)
        return total

    def _exchange(self, roots: Array) -> HostArray:
        """Exchange roots; after a failure, return values that halt the epoch: JAX prints what callbacks raise."""
        own = np.asarray(roots)
        result = np.full(own.shape[1:], np.nan, own.dtype)
        if self._failure is None:
            try:
                self._comm.add_up(own, result, self._shards)
            except BaseException as failure:
                self._failure = failure
                result[...] = np.nan
        return result

    def compiled(self, epoch: Callable[..., Any], donate: Sequence[int] = ()) -> Run:
        """Compile for this process."""
        run: Run = jax.jit(epoch, donate_argnums=tuple(donate))
        return run

    def check(self) -> None:
        """Raise the exception of a call of the communicator, once."""
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure


class DeviceTransport:
    """Runs the epoch as one program of all processes, each with one device, which exchange by collectives of XLA.

    Raises ConfigError where JAX does not know the processes, or where they do not have equally many shards.
    """

    alike = True

    def __init__(self, cut: Cut, comm: Comm, device: object) -> None:
        _require_even(cut, comm.size)
        self.size, self._comm = comm.size, comm
        self._mesh = _mesh(comm, device)

    def rank(self) -> Array:
        """Return this process's number."""
        return lax.axis_index(AXIS)

    def summed(self, roots: Array) -> Array:
        """Return the sum: short vectors are gathered and added by every process; long ones use recursive halving and doubling.

        See `bpengine.distributed.exchange.Halves`. The processes are a power of two here, and each has one root.
        """
        (mine,) = roots
        count = mine.shape[0]
        if self.size * count * mine.dtype.itemsize <= SMALL:
            return _added(lax.all_gather(mine, AXIS))
        mine = jnp.pad(mine, (0, -count % self.size))
        rounds = range(self.size.bit_length() - 1)
        for k in rounds:
            half, upper = mine.shape[0] // 2, self.rank() >> k & 1  # rank with bit k: keeps the upper half
            kept = lax.dynamic_slice_in_dim(mine, upper * half, half)
            mine = kept + self._swapped(lax.dynamic_slice_in_dim(mine, (1 - upper) * half, half), k)
        for k in reversed(rounds):
            half, upper = mine.shape[0], self.rank() >> k & 1
            whole = lax.dynamic_update_slice_in_dim(jnp.zeros(2 * half, mine.dtype), mine, upper * half, 0)
            mine = lax.dynamic_update_slice_in_dim(whole, self._swapped(mine, k), (1 - upper) * half, 0)
        return mine[:count]

    def _swapped(self, array: Array, k: int) -> Array:
        """Return the array of the process whose rank differs in bit k."""
        return lax.ppermute(array, AXIS, [(rank, rank ^ (1 << k)) for rank in range(self.size)])

    def compiled(self, epoch: Callable[..., Any], donate: Sequence[int] = ()) -> Run:
        """Compile for all processes: state and rates are the same everywhere, rows and their order differ."""
        same, rows, steps = PartitionSpec(), PartitionSpec(AXIS), PartitionSpec(None, AXIS)

        def run(state: State, data: tuple[Array, ...], order: HostArray | None, *rest: Any) -> ArrayTree:
            data, order = self._evened(data, order)
            shared_arrays = (
                jax.tree.map(lambda a: self._global(a, same), state),
                tuple(self._global(a, rows) for a in data),
                None if order is None else self._global(self._put(order), steps),
                *(self._global(self._put(a), same) for a in rest),
            )
            return jax.tree.map(lambda a: a.addressable_data(0), run_shared(*shared_arrays))

        def whole(state: State, data: tuple[Array, ...], order: object, rest: tuple[Any, ...]) -> ArrayTree:
            return epoch(state, data, order, *rest)

        shared = jax.shard_map(
            whole, mesh=self._mesh, in_specs=(same, rows, steps, same), out_specs=same, check_vma=False
        )
        run_shared = jax.jit(
            lambda state, data, order, *rest: shared(state, data, order, rest), donate_argnums=tuple(donate)
        )
        return run

    def check(self) -> None:
        """Do nothing: a failing collective raises in the epoch itself."""

    def _evened(self, data: tuple[Array, ...], order: HostArray | None) -> tuple[tuple[Array, ...], HostArray | None]:
        """Return rows and order, padded to the largest number of any process: one program has one shape."""
        mine = np.array([data[0].shape[0], 0 if order is None else order.shape[1]], np.int64)
        most, width = np.max([lengths.reshape(-1) for lengths in self._comm.gather(mine)], axis=0)
        short = int(most) - data[0].shape[0]
        if short:
            data = tuple(jnp.pad(a, [(0, short)] + [(0, 0)] * (a.ndim - 1)) for a in data)
        if order is not None:
            order = np.pad(order, ((0, 0), (0, int(width) - order.shape[1])))
        return data, order

    def _put(self, array: Array) -> Array:
        """Return a host array on this process's device."""
        return jax.device_put(np.asarray(array), self._mesh.local_devices[0])

    def _global(self, local: Array, spec: PartitionSpec) -> Array:
        """Return the array of all processes of which this one holds `local`: the whole, or its part along an axis."""
        shape = tuple(
            n * self.size if axis == AXIS else n for n, axis in zip(local.shape, _axes(spec, local), strict=True)
        )
        return jax.make_array_from_single_device_arrays(shape, NamedSharding(self._mesh, spec), [local])


def _axes(spec: PartitionSpec, local: Array) -> list[Any]:
    return [*spec, *[None] * (local.ndim - len(spec))]


def _added(stacked: Array) -> Array:
    """Add the contributions of the processes (processes, elements) in the tree's order."""
    tree = Tree(lambda a, b: a + b)
    for rank in range(stacked.shape[0]):
        tree.push(rank, 1, stacked[rank])
    total: Array = tree.total()
    return total


def _require_even(cut: Cut, size: int) -> None:
    if cut.shards % size or cut.shards & (cut.shards - 1):
        below = 1 << (size - 1).bit_length()
        raise ConfigError(
            f"backend 'jax' on a GPU or TPU requires shards to be a power of two that the processes divide, got "
            f"shards={cut.shards} on {size} processes. Use shards={max(16, 4 * below)} and {below} processes."
        )


def _mesh(comm: Comm, device: jax.Device) -> Mesh:
    """Return one device of each process in the order of their ranks; that of this process is `device`."""
    if (jax.process_count(), jax.process_index()) != (comm.size, comm.rank):
        raise ConfigError(
            f"backend 'jax' on a GPU or TPU requires JAX to know the {comm.size} processes, got {jax.process_count()}"
            f"{joining.refusal}. Make the model before anything else uses JAX, and start the processes by mpiexec or srun."
        )
    firsts = {d.process_index: d for d in sorted(jax.devices(device.platform), key=lambda d: -d.id)}
    if firsts[comm.rank] != device:
        raise ConfigError(
            f"backend 'jax' on several processes uses the first device of each, {firsts[comm.rank]} here, got {device}. "
            "Leave the device out; a launcher gives each process a GPU of its own."
        )
    return Mesh(np.array([firsts[rank] for rank in sorted(firsts)]), (AXIS,))
