"""A batcher: threads that each need a piece of work have it done together, once all of them have asked."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

Request = TypeVar("Request")
Answer = TypeVar("Answer")


@dataclass(eq=False)
class _Asked(Generic[Request, Answer]):
    """A request, and its answer or what was raised for it."""

    request: Request
    answer: Answer | None = None
    error: BaseException | None = None
    over: bool = False


class RequestBatcher(Generic[Request, Answer]):
    """`parties` threads meet. work(requests) -> answers in their places; an exception among them is raised where it belongs.

    Nothing is done before all have asked or left, so which requests are answered together does not depend on time.
    """

    def __init__(self, parties: int, work: Callable[[Sequence[Request]], Sequence[Answer | BaseException]]) -> None:
        self._parties, self._work = parties, work
        self._waiting: list[_Asked[Request, Answer]] = []
        self._changed = threading.Condition()

    def ask(self, request: Request) -> Answer:
        """Return the answer to a request, when the others have asked as well."""
        mine: _Asked[Request, Answer] = _Asked(request)
        with self._changed:
            self._waiting.append(mine)
            self._changed.notify_all()
            while not mine.over:
                if len(self._waiting) == self._parties:
                    self._answer()
                else:
                    self._changed.wait()
        if mine.error is not None:
            raise mine.error
        assert mine.answer is not None
        return mine.answer

    def leave(self) -> None:
        """Be a party no longer: the others do not wait for this thread."""
        with self._changed:
            self._parties -= 1
            self._changed.notify_all()

    def _answer(self) -> None:
        """Answer all requests; everybody waits meanwhile, so the lock is in nobody's way."""
        asked, self._waiting = self._waiting, []
        try:
            answers = self._work([one.request for one in asked])
        except BaseException as error:  # which nobody but the waiting threads can raise
            answers = [error] * len(asked)
        for one, answer in zip(asked, answers, strict=True):
            if isinstance(answer, BaseException):
                one.error = answer
            else:
                one.answer = answer
            one.over = True
        self._changed.notify_all()
