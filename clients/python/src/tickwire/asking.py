"""Those who wait for answers to requests: each until its deadline, and none of them after the client has ended."""

from __future__ import annotations

import asyncio
import time
from typing import TypeVar

from .core import Core
from .errors import NoAnswer, RequestError
from .requests import Answer

T = TypeVar("T")


class Asking:
    """The waits of one client, by the tickets of their requests."""

    def __init__(self, core: Core, timeout_s: float) -> None:
        self._core = core
        self._timeout_s = timeout_s
        self._waiting: dict[int, asyncio.Future[Answer]] = {}
        self._room: asyncio.Future[None] | None = None

    def deadline(self) -> float:
        """When a request that is made now must have its answer."""
        return time.monotonic() + self._timeout_s

    async def within(self, waited: asyncio.Future[T], deadline: float) -> T:
        """The result of `waited`, which lives on. Raises `NoAnswer` at the deadline."""
        # `wait_for` would lose a cancellation that comes together with the answer, before Python 3.12.
        if not waited.done():
            await asyncio.wait([waited], timeout=max(deadline - time.monotonic(), 0.0))
        if not waited.done():
            raise NoAnswer(self._timeout_s)
        return waited.result()

    async def room(self, deadline: float) -> None:
        """Waits until there may be room for another request."""
        if self._room is None or self._room.done():
            self._room = asyncio.get_running_loop().create_future()
        await self.within(self._room, deadline)

    def made_room(self) -> None:
        """There may be room for another request, or the client has stopped."""
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    def expect(self, ticket: int) -> asyncio.Future[Answer]:
        """The answer to come for a request."""
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting[ticket] = future
        return future

    async def answer(self, ticket: int, future: asyncio.Future[Answer], deadline: float) -> Answer:
        """Waits for an answer. Whoever stops waiting gives the request up."""
        try:
            return await self.within(future, deadline)
        except (NoAnswer, asyncio.CancelledError):
            self._waiting.pop(ticket, None)
            self._core.give_up(ticket)
            raise

    def answered(self, ticket: int, outcome: Answer | RequestError) -> None:
        """An answer has come, or the request has failed."""
        future = self._waiting.pop(ticket, None)
        if future is None or future.done():
            return
        if isinstance(outcome, RequestError):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)
