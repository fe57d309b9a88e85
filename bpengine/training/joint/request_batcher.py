"""A batcher: requests of several threads are answered together, once every thread has made one."""

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
    """Answers requests of `parties` threads together by work(requests); an exception as an answer is raised in its thread.

    Nothing is done before all have asked or left, so which requests are answered together does not depend on timing.
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
        """Leave: the others no longer wait for this thread."""
        with self._changed:
            self._parties -= 1
            self._changed.notify_all()

    def _answer(self) -> None:
        """Answer all requests, under the lock: all other threads wait for their answers anyway."""
        asked, self._waiting = self._waiting, []
        try:
            answers = self._work([one.request for one in asked])
        except BaseException as error:  # raised again in each waiting thread
            answers = [error] * len(asked)
        for one, answer in zip(asked, answers, strict=True):
            if isinstance(answer, BaseException):
                one.error = answer
            else:
                one.answer = answer
            one.over = True
        self._changed.notify_all()
