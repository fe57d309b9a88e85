"""NumPy's error settings: silent while the engine computes, and restored wherever Ctrl-C comes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from functools import partial, wraps
from types import TracebackType
from typing import Any, ParamSpec, TypeVar

import numpy as np

Settings = Any  # NumPy's own object, or names and values where it cannot be reached
Accepted = ParamSpec("Accepted")
Returned = TypeVar("Returned")


def settings_variable() -> ContextVar[Settings] | None:
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
_NONE: Settings = object()
# The settings of the scope that this thread, or this asynchronous task, entered last.
_OWN: ContextVar[Settings] = ContextVar("bpengine.system.quiet", default=_NONE)


class Quiet:
    """A context, or a decorator, in which NumPy neither warns nor raises; leaving it restores NumPy's earlier settings.

    The engine uses it in place of `np.errstate`, which loses the earlier settings when Ctrl-C comes while it is entered or
    left. What is decorated runs in a copy of the context (`contextvars`), so the caller's settings are never changed. A `with`
    block that Ctrl-C ends in such a moment restores the settings when the KeyboardInterrupt has been handled.

    Within another such context it changes nothing, which takes a quarter of the time: a step enters several. It compares
    NumPy's present settings, which are separate for each thread, so that settings changed in between (`np.seterr` in a
    callback) are replaced and restored correctly.

    Raises TypeError if it is entered again before it was left.

    >>> with np.errstate(divide="raise"), Quiet(), Quiet():
    ...     print(np.geterr()["divide"])
    ignore
    >>> inverse = Quiet()(lambda x: 1 / x)
    >>> inverse(np.zeros(1))
    array([inf])
    """

    # Of the class, so that `__del__` finds them wherever Ctrl-C comes.
    _before: Settings = _NONE  # the settings to restore; `_NONE` where there are none
    _within: Settings = _NONE

    def __enter__(self) -> None:
        if self._before is not _NONE:
            raise TypeError("Quiet requires to be left before it is entered again, got entered twice.")
        before = _settings()
        if before is _OWN.get():
            return
        # Both are known before anything is set: at every later moment `__del__` can tell what it has to restore.
        self._within = _silenced(before)
        self._before = before
        _set(self._within)
        _OWN.set(self._within)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._before is not _NONE:
            _set(self._before)
            self._before = _NONE

    def __call__(self, function: Callable[Accepted, Returned]) -> Callable[Accepted, Returned]:
        """Return the function as one that runs silently. Context variables that it sets are as before when it returns."""

        @wraps(function)
        def run(*args: Accepted.args, **options: Accepted.kwargs) -> Returned:
            return copy_context().run(_quietly, partial(function, *args, **options))

        return run

    def __del__(self) -> None:
        """Restore the settings where Ctrl-C came while the block was entered or left, unless others were set since."""
        if self._before is not _NONE and _settings() == self._within:
            _set(self._before)


def _quietly(work: Callable[[], Returned]) -> Returned:
    with Quiet():
        return work()


@contextmanager
def error_settings_kept() -> Iterator[None]:
    """Leave NumPy's error settings (`np.geterr`) as they were before, however the body ends.

    It restores what a callback has set, and what a `Quiet` in the body has set that Ctrl-C ended, at once.

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


def _settings() -> Settings:
    return np.geterr() if _SETTINGS is None else _SETTINGS.get()


def _set(settings: Settings) -> None:
    if _SETTINGS is None:
        np.seterr(**settings)
    else:
        _SETTINGS.set(settings)


def _silenced(settings: Settings) -> Settings:
    """Return the present settings without warnings and exceptions, and leave them as they are."""
    return dict.fromkeys(settings, "ignore") if _SETTINGS is None else copy_context().run(_set_silent)


def _set_silent() -> Settings:
    np.seterr(all="ignore")
    return _settings()
