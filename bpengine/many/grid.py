"""The grid: which networks, seeds, optimizers and penalties are combined, checked before anything is trained."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from bpengine.errors import ConfigError, number, whole
from bpengine.network import Network
from bpengine.penalties import L2
from bpengine.training.optimizers import Optimizer, make_optimizer

MOST = 10_000  # the most fits of one call: a larger grid is a mistake, or an endless generator


@dataclass(frozen=True)
class Combination:
    """One point of the grid; `network` includes the penalty of `l2`, which is None where none was requested."""

    name: str
    network: Network
    optimizer: Optimizer
    l2: float | None
    seed: int


def combinations(networks: object, seeds: object, optimizers: object, l2: object) -> list[Combination]:
    """Return every combination: networks outermost, then optimizers, l2 and seeds.

    Raises ConfigError for an empty list, an unknown name, or a repeated value.
    """
    rules = [make_optimizer(one) for one in _listed(optimizers, "optimizers", (str, Optimizer, type))]
    strengths = [None] if l2 is None else [number(v, "fit_many", "l2", low=0) for v in _listed(l2, "l2", (int, float))]
    numbers = _seeds(seeds)
    _require_no_double("seeds", numbers)
    _require_no_double("l2", strengths)
    named = _named(networks)
    count = len(named) * len(rules) * len(strengths) * len(numbers)
    require_few(count)
    return [
        Combination(name, _penalised(network, strength), rule, strength, seed)
        for (name, network), rule, strength, seed in itertools.product(named.items(), rules, strengths, numbers)
    ]


def require_few(fits: int) -> None:
    """Raise ConfigError for more fits than the limit."""
    if fits > MOST:
        raise ConfigError(
            f"fit_many requires at most {MOST} fits, got {fits}. Give fewer seeds, optimizers, l2 or folds."
        )


def _seeds(seeds: object) -> list[int]:
    """Return the seeds: those of a list, or 0, 1, ... for a number of seeds."""
    if not isinstance(seeds, Iterable):
        return list(range(min(whole(seeds, "fit_many", "seeds"), MOST + 1)))
    return [whole(seed, "fit_many", "each of seeds", low=0) for seed in _listed(seeds, "seeds", ())]


def _named(networks: object) -> dict[str, Network]:
    """Return the networks by name: those of a dict, or their sizes, numbered where sizes are equal."""
    if isinstance(networks, Mapping):
        named = {str(name): network for name, network in networks.items()}
    else:
        several = _listed(networks, "networks", (Network,))
        sizes = ["-".join(map(str, n.sizes)) if isinstance(n, Network) else "" for n in several]
        numbered = [f"{size} ({i + 1})" if sizes.count(size) > 1 else size for i, size in enumerate(sizes)]
        named = dict(zip(numbered, several, strict=True))
    if not named:
        raise ConfigError("fit_many requires at least one network, got none.")
    for network in named.values():
        if not isinstance(network, Network):
            raise ConfigError(f"fit_many requires a bp.Network, a list or a dict of them, got {network!r}.")
    return named


def _penalised(network: Network, strength: float | None) -> Network:
    """Return the network with an L2 penalty; raise ConfigError where it has one already."""
    if strength is None:
        return network
    if any(isinstance(penalty, L2) for penalty in network.penalties):
        raise ConfigError(
            "fit_many with l2 requires networks without bp.L2, got one with it. Leave it out of the network, or give no l2."
        )
    return Network(network.inputs, network.layers, network.loss, (*network.penalties, L2(strength)))


def _listed(values: object, what: str, single: tuple[type, ...]) -> list[Any]:
    """Return one value or several as a list; raise ConfigError for an empty one, and for an endless generator."""
    if single and isinstance(values, single):
        return [values]
    if not isinstance(values, Iterable):
        raise ConfigError(f"fit_many requires {what} in a list, got {values!r}.")
    several = list(itertools.islice(values, MOST + 1))
    if not several:
        raise ConfigError(f"fit_many requires at least one of {what}, got an empty list.")
    if len(several) > MOST:
        raise ConfigError(f"fit_many requires at most {MOST} of {what}, got more. Give a list that ends.")
    return several


def _require_no_double(what: str, values: list[Any]) -> None:
    twice = next((value for i, value in enumerate(values) if value in values[:i]), None)
    if twice is not None:
        raise ConfigError(f"fit_many requires each of {what} once, got {twice} twice: the fits would be equal.")
