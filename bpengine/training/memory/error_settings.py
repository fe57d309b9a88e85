"""NumPy's error settings, which belong to the program that calls the engine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np


@contextmanager
def error_settings_kept() -> Iterator[None]:
    """Leave NumPy's error settings (`np.geterr`) as they were before, however the body ends.

    `np.errstate` alone does not: Ctrl-C while it is being entered or left ends it without its settings being put back.

    >>> before = np.geterr()
    >>> with error_settings_kept():
    ...     _ = np.seterr(all="ignore")
    >>> np.geterr() == before
    True
    """
    before = np.geterr()
    try:
        yield
    finally:
        if np.geterr() != before:
            np.seterr(**before)
