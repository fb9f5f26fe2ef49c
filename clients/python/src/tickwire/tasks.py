"""The tasks of a client: none of them fails without being noticed, and the client waits for them when it ends."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from .errors import ConfigError

T = TypeVar("T")


class Tasks:
    """A set of tasks."""

    def __init__(self, on_failure: Callable[[BaseException], None]) -> None:
        self._on_failure = on_failure
        """Called with the exception of a task that failed."""
        self._tasks: set[asyncio.Task[None]] = set()

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Begins a task."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._on_failure(error)

    async def all_done(self) -> None:
        """Waits until no task is left."""
        while self._tasks:
            await asyncio.wait(list(self._tasks))


class TooLate(Exception):
    """What was waited for did not come in time."""


async def timely(work: Coroutine[Any, Any, T], within_s: float, undo: Callable[[T], None] | None = None) -> T:
    """Does `work`, or ends it and raises `TooLate`. `undo` is called with a result that nobody gets.

    `asyncio.wait_for` would lose a cancellation that comes together with the result, before Python 3.12.
    """
    task = asyncio.ensure_future(work)
    is_given = False
    try:
        await asyncio.wait([task], timeout=max(within_s, 0.0))
        if task.done():
            is_given = True
            return task.result()
        raise TooLate
    finally:
        if not is_given:
            task.cancel()
            await asyncio.wait([task])
            if not task.cancelled() and task.exception() is None and undo is not None:
                undo(task.result())


def retrieved(future: asyncio.Future[Any]) -> None:
    """Marks a future's exception as seen: whether anybody waits for it is the program's choice."""
    if not future.cancelled():
        future.exception()


def plain_function(on_event: Callable[..., object]) -> None:
    """Raises `ConfigError` for an asynchronous function: nobody would await what it returns."""
    if inspect.iscoroutinefunction(on_event):
        raise ConfigError("the function that is called with events must not be asynchronous: start a task in it")
