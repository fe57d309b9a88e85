"""Every known backend and whether it can run here, without ever failing because one of them is broken."""

from __future__ import annotations

from contextlib import suppress

import bpengine as bp
from bpengine.backend import Availability, DiskCache, backend_class


def availability(name: str) -> Availability:
    """Return whether a backend can run here; raise ConfigError when there is none of that name."""
    try:
        found = backend_class(name)
    except ImportError as error:
        return Availability("version mismatch", f"the plug-in cannot be imported: {error}.", "Install it again.")
    return found.availability()


def all_of_them() -> dict[str, Availability]:
    """Return the state of every known backend."""
    return {name: availability(name) for name in bp.backend_names()}


def caches() -> dict[str, DiskCache]:
    """Return what backends keep on disk, by their names."""
    found = {}
    for name in bp.backend_names():
        with suppress(ImportError):
            cache = backend_class(name).disk_cache()
            if cache is not None:
                found[name] = cache
    return found
