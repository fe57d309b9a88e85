"""CompiledFunction: a function that is compiled for each form of its arguments, if that is possible and it is large enough."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from threading import Lock
from typing import Any, Protocol

from bpengine.errors import BackendUnavailable, DeviceMemoryError
from bpengine.i18n.language import localized
from bpengine.system.lru_cache import LruCache
from bpengine_steps.functions.function_record import RecordedFunction, mapped, record_function
from bpengine_steps.ir import Path, Untraceable
from bpengine_steps.signature import Tree

SMALL = 2**16  # elements of all arguments: with fewer, an uncompiled function takes a fraction of a millisecond
# the most forms of arguments for which a function is compiled, each a program: mostly different numbers of rows
SHAPES = 16


class CompiledCall(Protocol):
    """A function made for one form of its arguments."""

    def compile(self) -> None:
        """Compile the missing parts."""

    def results(self, arguments: Mapping[Path, Any]) -> list[Any]:
        """Return new arrays, one for each result, from the arguments by their paths."""


Make = Callable[[RecordedFunction], CompiledCall]
Record = Callable[[Callable[[], RecordedFunction]], RecordedFunction]


class CompiledFunction:
    """A function of arrays of `kind`, compiled for each form of its arguments when it is first called with it.

    It runs uncompiled where a target does not support it, for small arguments (see `SMALL`), and after too many different
    shapes (see `SHAPES`). So the choice for a call depends on earlier calls, never on time. A function that fails to
    compile, for whatever reason, gives one warning and runs uncompiled; `compiler` is the compiler's name in that warning.
    Only a program for which the device has too little memory raises, since fewer rows at once may fit, or one for which there
    is no device any more.
    """

    def __init__(self, function: Callable[..., Tree], record: Record, make: Make, *, kind: type, compiler: str) -> None:
        self._function, self._record, self._make, self._kind, self._compiler = function, record, make, kind, compiler
        self._known = LruCache[tuple[CompiledCall, Tree] | None](SHAPES)
        self._seen: set[Any] = set()
        self._lock = Lock()  # a program has one memory, so its calls must not overlap

    def __call__(self, *args: Any, **options: Any) -> Tree:
        """Run the function; results are new arrays."""
        arguments: dict[Path, Any] = {}
        statics: dict[Path, object] = {}

        def sort(path: Path, leaf: object) -> None:
            (arguments if isinstance(leaf, self._kind) else statics)[path] = leaf

        mapped((args, options), sort)
        program = None
        if sum(a.size for a in arguments.values()) >= SMALL:
            with self._lock:
                program = self._program(arguments, statics, (args, options))
                results = program[0].results(arguments) if program else []
        if program is None:
            return self._function(*args, **options)
        return mapped(program[1], lambda path, number: results[number])

    def _program(
        self, arguments: Mapping[Path, Any], statics: Mapping[Path, object], whole: Tree
    ) -> tuple[CompiledCall, Tree] | None:
        """Return the program for arguments of this form, and the form of its results; None where there is none."""
        forms = tuple((path, a.shape, a.dtype.str) for path, a in arguments.items())
        key = forms, tuple((path, type(value), repr(value)) for path, value in statics.items())
        if key not in self._seen:
            if len(self._seen) == SHAPES:
                return None
            self._seen.add(key)
        try:
            return self._known.get(key, lambda: self._compiled(whole))
        except DeviceMemoryError:
            self._seen.discard(key)
            raise

    def release(self) -> bool:
        """Drop all programs, which are made again when they are called for, and tell whether there were any."""
        some = len(self._known) > 0
        self._known.clear()
        return some

    def _compiled(self, arguments: Tree) -> tuple[CompiledCall, Tree] | None:
        try:
            recorded = self._record(lambda: record_function(self._function, arguments, self._kind))
            program = self._make(recorded)
            program.compile()
            return program, recorded.form
        except Untraceable:
            pass
        except BackendUnavailable:  # too little memory, or the device is lost
            raise
        except Exception as error:  # whatever recording and compiling may raise: the function runs uncompiled
            what = f"{self._compiler} cannot compile an evaluation, which goes on without: {error!r}"
            warnings.warn(localized(what), stacklevel=2)
        return None
