"""The functions compiled for a network on a backend; equal networks in one process share them, whichever model they are in.

Networks are equal if they have the same layers, losses and penalties of the engine with the same values; initialisers do
not count. Custom code (a layer, a pair of functions, an update rule) may read values that change, so a network with custom
code is compiled for each model.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from copy import deepcopy
from dataclasses import dataclass, field, fields, is_dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bpengine.backend import Backend
from bpengine.distributed.tree import Cut
from bpengine.layers import LAYERS, Layer, initializers
from bpengine.losses import Loss
from bpengine.network import Network
from bpengine.ops import Ops
from bpengine.penalties import L1, L2
from bpengine.system.lru_cache import LruCache
from bpengine.system.process_caches import ProcessCache, limits

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

NETWORKS = 64  # networks for which a process keeps compiled functions
FUNCTIONS = 32  # of one network: predictions, losses, gradients, derivatives
_ENGINES = {*LAYERS.values(), Layer, Loss, L1, L2, Network, Cut}
_PLAIN = (bool, int, str, type(None))
_NOTHING_DRAWN = initializers.Zeros()

__all__ = ["CompiledNetwork", "OwnCode", "compiled_network", "identity", "identity_or_new", "limits"]


class OwnCode(TypeError):
    """Raised for a value that an equal value cannot replace: a user's code, or an object that may change."""


@dataclass(frozen=True, eq=False)
class CompiledNetwork:
    """A network on a backend, the training steps compiled for it by their settings, and its other functions by name.

    The network is a copy without initial values, and no function here holds an array of a model.
    """

    network: Network
    backend: Backend
    ops: Ops
    steps: LruCache[Any] = field(default_factory=LruCache)
    functions: LruCache[Callable[..., Any]] = field(default_factory=lambda: LruCache(FUNCTIONS))


_networks = ProcessCache[CompiledNetwork]("networks", NETWORKS)


def compiled_network(network: Network, backend: Backend) -> CompiledNetwork:
    """Return the functions compiled for an equal network on this backend, or a new object where none can be shared."""
    try:
        key = backend, tuple(sorted(backend.replacements().items())), identity(network)
        hash(key)
    except TypeError:
        return CompiledNetwork(network, backend, backend.ops())
    return _networks.get(key, lambda: CompiledNetwork(_bare(network), backend, backend.ops()))


def identity(value: object) -> Hashable:
    """Return a value that is equal only for equal descriptions: 0.0 is not -0.0, and 1 is neither 1.0 nor True.

    Raises OwnCode for anything but the engine's own descriptions of plain values.
    """
    kind = type(value)
    if isinstance(value, _PLAIN) and kind in _PLAIN:
        return kind, value
    if isinstance(value, float) and kind is float:
        return kind, value.hex()
    if isinstance(value, range):
        return kind, value.start, value.stop, value.step
    if isinstance(value, np.generic):
        return kind, value.tobytes()
    if isinstance(value, (tuple, list)) and kind in (tuple, list):
        return tuple, tuple(identity(item) for item in value)
    if isinstance(value, frozenset) and kind is frozenset:
        return kind, frozenset(identity(item) for item in value)
    if isinstance(value, dict) and kind is dict:
        return kind, tuple((identity(name), identity(item)) for name, item in value.items())
    if is_dataclass(value) and kind in _ENGINES and not _altered(value):
        return kind, tuple((f.name, identity(getattr(value, f.name))) for f in fields(value) if f.compare)
    raise OwnCode(f"{kind.__name__} is not known to be the same each time")


def identity_or_new(value: object) -> Hashable:
    """Return the identity of a setting; without one, a value that equals nothing else, so that nothing is shared."""
    try:
        return identity(value)
    except OwnCode:
        return object()


def _altered(value: DataclassInstance | type[DataclassInstance]) -> bool:
    """Tell whether an object has attributes that its class does not declare, such as a replaced method."""
    return any(name not in value.__dataclass_fields__ and not name.startswith("_") for name in vars(value))


def _bare(network: Network) -> Network:
    """Return a copy without initialisers, which may hold arrays, that shares nothing with a user's objects."""
    return deepcopy(network, {id(one): _NOTHING_DRAWN for one in _uncompared(network)})


def _uncompared(value: object) -> Iterator[object]:
    """Yield the fields of descriptions that do not take part in equality."""
    if isinstance(value, tuple):
        for item in value:
            yield from _uncompared(item)
    elif is_dataclass(value):
        for one in fields(value):
            inner = getattr(value, one.name)
            yield from _uncompared(inner) if one.compare else (inner,)
