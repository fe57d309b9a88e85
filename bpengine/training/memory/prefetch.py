"""One ahead: the next item is made in a thread while the current one is in use."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")


def one_ahead(items: Iterable[Item]) -> Generator[Item]:
    """Yield the items; a thread makes one while the one before it is in use, so two are there at a time and no more.

    What goes wrong in the thread is raised here, in its turn. The thread is gone when the last item has been used, and
    after `close()`, which waits for an item that is being made.
    """
    source = iter(items)

    def make() -> list[Item]:
        return list(islice(source, 1))

    with ThreadPoolExecutor(1, "bpengine-ahead") as thread:
        coming = thread.submit(make)
        while made := coming.result():
            coming = thread.submit(make)
            yield made.pop()
