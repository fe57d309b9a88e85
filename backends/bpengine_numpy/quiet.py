"""NumPy's error settings while this backend computes: no warning, no exception, for numbers that are not finite."""

from __future__ import annotations

from contextlib import suppress
from contextvars import ContextVar, copy_context
from types import TracebackType
from typing import Any

import numpy as np


def settings_variable() -> ContextVar[Any] | None:
    """Return the context variable in which NumPy keeps its error settings, None where it keeps them elsewhere.

    NumPy has no public name for it; it is the only variable that `np.errstate` changes.

    >>> variable = settings_variable()
    >>> before = variable.get(None)
    >>> with np.errstate(all="ignore"):
    ...     print(variable.get(None) is before)
    False
    """
    before = copy_context()
    with np.errstate(all="ignore"):
        within = copy_context()
    changed = [variable for variable, settings in within.items() if before.get(variable) is not settings]
    return changed[0] if len(changed) == 1 else None


_SETTINGS = settings_variable()
_NONE: Any = object()
# The settings of the scope that this thread, or this asynchronous task, entered last.
_OWN: ContextVar[Any] = ContextVar("bpengine_numpy.quiet", default=_NONE)


class Quiet:
    """A context in which NumPy neither warns nor raises; leaving it restores NumPy's earlier settings.

    Within another such context it changes nothing, which takes a quarter of the time: a step enters several. It compares
    NumPy's present settings, which are separate for each thread, so that settings changed in between (`np.seterr` in a
    callback) are replaced and restored correctly.

    >>> with np.errstate(divide="raise"), Quiet(), Quiet():
    ...     print(np.geterr()["divide"])
    ignore
    """

    _entered: np.errstate | None = None  # of the class, so that `__del__` finds it wherever Ctrl-C comes

    def __enter__(self) -> None:
        if self._entered is None:
            if _SETTINGS is not None and _SETTINGS.get(None) is _OWN.get():
                return
            self._entered = np.errstate(all="ignore")
        self._entered.__enter__()
        if _SETTINGS is not None:
            _OWN.set(_SETTINGS.get(None))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._entered is not None:
            self._entered.__exit__(kind, error, trace)
            self._entered = None

    def __del__(self) -> None:
        """Restore the settings where Ctrl-C came just when the block was being left, unless others were set since."""
        if self._entered is None or _SETTINGS is None or _SETTINGS.get(None) is not _OWN.get():
            return
        with suppress(RuntimeError, TypeError, ValueError):  # restored, or not entered, or entered by another thread
            self._entered.__exit__(None, None, None)
