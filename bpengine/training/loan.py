"""A loan: the arrays that a model gives a fit, and has again as they were when the fit fails."""

from __future__ import annotations

from collections.abc import Callable

from bpengine.backend import Backend, State
from bpengine.training.memory.spill import Kept, Shelf


class Loan:
    """Small arrays are copied. Large ones are put on a shelf, and the fit gets the arrays themselves: no second copy.

    moved: whether the owner must let go of its arrays.
    """

    def __init__(self, backend: Backend, shelf: Shelf, own: State) -> None:
        self._backend, self._own = backend, own
        self.moved = shelf.is_large(own)
        self._again: Kept | Callable[[], State] = shelf.keep(own, "lent") if self.moved else lambda: backend.copy(own)

    def returned(self) -> State:
        """Return the arrays as they were, for the last time: to their owner, also where memory is short."""
        return self._again.for_good() if isinstance(self._again, Kept) and not self._own else self.arrays()

    def arrays(self) -> State:
        """Return the arrays as they were, to be given away."""
        if not self.moved or not self._own:
            return self._again()
        own, self._own = self._own, {}
        return own
