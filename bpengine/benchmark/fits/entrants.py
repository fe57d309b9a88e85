"""Entrants of whole fits: a contender, the script that plays its user's program, and the state of its cache at the start."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from bpengine.benchmark.contenders import Contender

SCRIPTS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "numpy": (".engine_fit", "numpy:plain"),
        "numpy+fast": (".engine_fit", "numpy"),
        "jax": (".engine_fit", "jax"),
        "jax-scan": (".scan_fit", ""),
        "torch": (".torch_fit", ""),
        "sklearn": (".scikit_fit", ""),
        "keras": (".keras_fit", ""),
        "thinc": (".thinc_fit", ""),
    }
)  # by contender: the module of its script, relative to peers.whole_fits, and that module's argument
FILLS: Mapping[str, str] = MappingProxyType(
    {"numpy+fast": "numpy:at-once", "jax": "jax"}
)  # the argument that fills the cache
PACKAGE = "bpengine.benchmark.peers.whole_fits"


@dataclass(frozen=True)
class Entrant:
    """A contender of whole fits. cache: "filled" or "empty" for one with a cache of compiled code on disk, else ""."""

    contender: Contender
    cache: str = ""

    @property
    def name(self) -> str:
        """The contender's name, with a note if its cache is empty."""
        return f"{self.contender.name}, empty cache" if self.cache == "empty" else self.contender.name

    @property
    def title(self) -> str:
        """The contender's title, and that its cache is empty where it is."""
        title = self.contender.title
        return f"{title}, with an empty cache" if self.cache == "empty" else title

    @property
    def script(self) -> tuple[str, str]:
        """The module to run, and its argument."""
        module, argument = SCRIPTS[self.contender.name]
        return f"{PACKAGE}{module}" if module.startswith(".") else module, argument


def entrants(contenders: Sequence[Contender], *, own_only: bool = False) -> list[Entrant]:
    """Return the entrants: for a contender with a cache, one with a filled and one with an empty cache.

    >>> from bpengine.benchmark import choose
    >>> from bpengine.benchmark.fits.entrants import entrants
    >>> [entrant.name for entrant in entrants(choose(["numpy", "numpy+fast"], ["torch", "jax-step"]))]
    ['numpy', 'numpy+fast', 'numpy+fast, empty cache', 'torch']
    """
    able = [c for c in contenders if c.name in SCRIPTS and (c.own or not own_only)]
    return [Entrant(c, cache) for c in able for cache in (("filled", "empty") if c.name in FILLS else ("",))]
