"""Every known backend and whether it can run here, without ever failing because one of them is broken."""

from __future__ import annotations

from contextlib import suppress

import bpengine as bp
from bpengine.backend import Availability, DiskCache, backend_class


def availability(name: str) -> Availability:
    """Return whether a backend can run here; raise ConfigError when there is none of that name."""
    try:
        kind = backend_class(name)
    except ImportError as error:
        return Availability("version mismatch", f"the plug-in cannot be imported: {error}.", "Install it again.")
    return kind.availability()


def availabilities() -> dict[str, Availability]:
    """Return whether each known backend can run here."""
    return {name: availability(name) for name in bp.backend_names()}


def caches() -> dict[str, DiskCache]:
    """Return the disk caches of backends by name."""
    by_name = {}
    for name in bp.backend_names():
        with suppress(ImportError):
            cache = backend_class(name).disk_cache()
            if cache is not None:
                by_name[name] = cache
    return by_name
