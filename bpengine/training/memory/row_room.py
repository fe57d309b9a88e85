"""RowRoom: how many rows an evaluation holds on the device at once; fewer after one that had too little memory there."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import TypeVar

from bpengine.errors import DeviceMemoryError
from bpengine.i18n.counted_nouns import count_of
from bpengine.i18n.language import localized

Result = TypeVar("Result")
MIB = 1 << 20
STRIDE = 16  # after an attempt that fails, at least one part of so many is tried
SHARE = 16  # of the free memory, one part is left where a number of rows is named that fits


class RowRoom:
    """How many rows fit on the device at once: any number until an attempt fails. What was learned holds for later calls.

    So the parts of an evaluation depend on earlier calls, and never on time.
    """

    def __init__(self) -> None:
        self._most: int | None = None
        self._said: set[str] = set()

    def parts(self, rows: int, compute: Callable[[slice], Result]) -> Iterator[tuple[slice, Result]]:
        """Yield (part, compute(part)) for parts of so many rows, in their order: all rows if they fit, else as many as do.

        compute raises DeviceMemoryError for a part that does not fit, and has no effect then. Raises it for a single row.
        """
        start, first = 0, (0, DeviceMemoryError())
        while start < rows:
            part = slice(start, min(start + (self._most or rows), rows))
            size = part.stop - start
            try:
                result = compute(part)
            except DeviceMemoryError as error:
                if size == 1:
                    raise
                first = first if first[0] else (size, error)
                self._most = _fewer(size, error)
                continue
            if first[0]:
                self._say_parts(*first)
            yield part, result
            start = part.stop

    def _say_parts(self, rows: int, error: DeviceMemoryError) -> None:
        needed, free, fewer = _mib(error.needed), _mib(error.free), count_of(self._most or rows, "row")
        if error.needed:
            text = (
                f"{rows} rows at once take {needed} MiB of GPU memory, and {free} MiB are free: evaluations go on with "
                f"{fewer} at once"
            )
        else:
            text = f"the GPU has too little memory for {rows} rows at once: evaluations go on with {fewer} at once"
        self._say("parts", text)

    def say_uncompiled(self, rows: int, error: DeviceMemoryError) -> None:
        """Say once that a function of all rows runs as it is written."""
        needed, free = _mib(error.needed), _mib(error.free)
        text = (
            f"a function of {rows} rows at once takes {needed} MiB of GPU memory when it is compiled, and {free} MiB are "
            "free: it runs as it is written"
        )
        self._say("uncompiled", text)

    def _say(self, kind: str, text: str) -> None:
        if kind not in self._said:
            self._said.add(kind)
            warnings.warn(localized(text), stacklevel=3)


def too_many_rows(rows: int, error: DeviceMemoryError, lasting: int) -> DeviceMemoryError:
    """Return the error of a function of all rows together, which says how many of them would fit.

    lasting: bytes that do not depend on the number of rows.
    """
    needed, free = _mib(error.needed), _mib(error.free)
    each = max((error.needed - lasting) / rows, 1.0)
    fits = min(int((error.free * (1 - 1 / SHARE) - lasting) / each), rows - 1)
    some = count_of(fits, "row")
    cure = f"{some} at once would fit." if fits > 0 else "Not even one row would fit: take a smaller network."
    return DeviceMemoryError.of(
        f"this takes all {rows} rows at once, which need {needed} MiB of GPU memory, and {free} MiB are free. {cure}",
        error.needed,
        error.free,
    )


def _fewer(rows: int, error: DeviceMemoryError) -> int:
    """Return at most half of the rows, a power of two, and no more than fit twice: a last part is a separate program.

    A sixteenth at least: what is small is not compiled, and may then take less.
    """
    fits = rows * error.free // (2 * error.needed) if error.needed else rows
    most = max(1, min(rows // 2, max(fits, rows // STRIDE)))
    return 1 << (most.bit_length() - 1)


def _mib(size: int) -> str:
    return f"{size / MIB:,.1f}"
