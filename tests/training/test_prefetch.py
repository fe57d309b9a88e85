"""One item is made ahead, in a thread that does not outlive its use."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing

import pytest

from bpengine.training.memory.prefetch import prefetch


def threads() -> int:
    return sum(thread.name.startswith("bpengine-ahead") for thread in threading.enumerate())


class Items:
    """Numbers 0 to 9; knows which were asked for, by which thread, and lets a test wait for one."""

    def __init__(self, fails_at: int | None = None) -> None:
        self.fails_at, self.makers = fails_at, set[int]()
        self.made = [threading.Event() for _ in range(10)]

    def __iter__(self) -> Iterator[int]:
        for i, event in enumerate(self.made):
            if i == self.fails_at:
                raise OSError("the disk is gone")
            self.makers.add(threading.get_ident())
            event.set()
            yield i


def test_items_come_in_their_order_from_another_thread() -> None:
    items = Items()
    assert list(prefetch(items)) == list(range(10))
    assert len(items.makers) == 1
    assert threading.get_ident() not in items.makers
    assert not threads()


def test_one_item_is_prepared_ahead() -> None:
    items = Items()
    with closing(prefetch(items)) as coming:
        for i in coming:
            if i < 9:
                assert items.made[i + 1].wait(10)
            assert not any(event.is_set() for event in items.made[i + 2 :])


def test_exception_in_the_thread_is_raised_when_its_item_is_due() -> None:
    seen = []
    with pytest.raises(OSError, match="the disk is gone"):
        seen += prefetch(Items(fails_at=3))
    assert seen == [0, 1, 2]
    assert not threads()


def test_no_thread_is_left_when_the_reader_stops() -> None:
    coming = prefetch(Items())
    next(coming)
    assert threads() == 1
    coming.close()
    assert not threads()
