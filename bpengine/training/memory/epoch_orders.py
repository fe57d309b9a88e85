"""EpochOrders: the row numbers of each epoch, drawn while the epoch before runs on a device of its own."""

from __future__ import annotations

from collections.abc import Callable, Generator

from bpengine.backend import HostArray
from bpengine.training.memory.prefetch import prefetch


class EpochOrders:
    """Gives the order of an epoch, which is a pure function of its number.

    After `draw_ahead`, a thread draws each order while the epoch before it is in use: NumPy shuffles 100,000 numbers in about
    a millisecond, in which a GPU would wait. A replay may go back to an earlier epoch. `close()` ends the thread.
    """

    def __init__(self) -> None:
        self._until: int | None = None
        self._epoch = -1
        self._order: HostArray | None = None
        self._coming: Generator[HostArray] | None = None

    def draw_ahead(self, until: int) -> None:
        """From now on draw one order ahead, up to that of epoch `until` - 1."""
        self._until = until

    def of(self, epoch: int, draw: Callable[[int], HostArray]) -> HostArray:
        """Return draw(epoch). Raises what `draw` raises for this epoch."""
        if self._until is None:
            return draw(epoch)
        if epoch == self._epoch and self._order is not None:
            return self._order
        if epoch != self._epoch + 1 or epoch >= self._until or self._coming is None:
            self.close()
            self._coming = prefetch(map(draw, range(epoch, max(self._until, epoch + 1))))
        try:
            self._order = next(self._coming)
        except BaseException:  # also Ctrl-C: the next call begins anew
            self.close()
            raise
        self._epoch = epoch
        return self._order

    def close(self) -> None:
        """Drop what has been drawn, and end the thread, which may be drawing one more."""
        coming, self._coming, self._order = self._coming, None, None
        if coming is not None:
            coming.close()
