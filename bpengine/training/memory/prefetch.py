"""Prefetch: a thread makes the next item while the current one is in use. A file of its own: the items need not be batches."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")


def prefetch(items: Iterable[Item]) -> Generator[Item]:
    """Yield the items; a thread makes each one while the one before it is in use, so at most two exist at a time.

    An exception in the thread is re-raised when its item is due. The thread ends after the last item, or with `close()`,
    which waits for an item that is being made.
    """
    source = iter(items)

    def make() -> list[Item]:
        return list(islice(source, 1))

    from concurrent.futures import ThreadPoolExecutor  # imported only when a fit prefetches

    with ThreadPoolExecutor(1, "bpengine-ahead") as thread:
        coming = thread.submit(make)
        while item := coming.result():
            coming = thread.submit(make)
            yield item.pop()
