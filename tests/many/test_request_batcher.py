"""A batcher: what is answered together depends on who takes part, not on when they ask."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from bpengine.training.joint.request_batcher import RequestBatcher


def together(count: int, body: Callable[[int], None]) -> None:
    threads = [threading.Thread(target=body, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert not any(thread.is_alive() for thread in threads)


def test_requests_are_answered_together_each_with_its_own_result() -> None:
    groups, answers = [], dict[tuple[int, int], int]()

    def work(requests: Sequence[int]) -> list[int]:
        groups.append(sorted(requests))
        return [10 * request for request in requests]

    batcher = RequestBatcher[int, int](3, work)

    def body(i: int) -> None:
        for turn in range(i + 1):  # the first leaves after one turn, the last after three
            answers[i, turn] = batcher.ask(i)
        batcher.leave()

    together(3, body)
    assert groups == [[0, 1, 2], [1, 2], [2]]
    assert all(answer == 10 * i for (i, _), answer in answers.items())


def test_error_of_one_request_is_raised_for_that_request() -> None:
    errors: dict[int, BaseException] = {}

    def work(requests: Sequence[int]) -> list[Any]:
        return [ValueError("one") if request == 1 else request for request in requests]

    batcher = RequestBatcher[int, int](2, work)

    def body(i: int) -> None:
        try:
            batcher.ask(i)
        except ValueError as error:
            errors[i] = error
        batcher.leave()

    together(2, body)
    assert list(errors) == [1]


def test_error_of_the_batch_is_raised_for_every_request() -> None:
    raised = list[int]()

    def work(requests: Sequence[int]) -> list[int]:
        raise MemoryError

    batcher = RequestBatcher[int, int](3, work)

    def body(i: int) -> None:
        with pytest.raises(MemoryError):
            batcher.ask(i)
        raised.append(i)
        batcher.leave()

    together(3, body)
    assert sorted(raised) == [0, 1, 2]
