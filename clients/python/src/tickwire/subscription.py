"""A subscription as the program sees it: an asynchronous iterator over its events."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Generator
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING

from .batch import Batch
from .errors import ConfigError, SubscriptionLost, TickwireError
from .events import LostSubscription, TopicEvent, Violation
from .feed import Feed
from .positions import Positions
from .tasks import TooLate, timely
from .wire import Refusal, Result

if TYPE_CHECKING:
    from .client import Client

RAISED = (Violation, LostSubscription)
"""Events that are raised as exceptions."""


class Subscription:
    """Topics and patterns that the client is subscribed to. Get one from `Client.subscribe`.

    ``async with`` subscribes, and unsubscribes at the end. ``await`` subscribes only. ``async for`` gives the events.
    A subscription that was iterated ends when no variable holds it any more. One whose events were never asked for goes
    on, for the client's listeners or its `on_event`.

    After each reconnect the client restores the subscription: a topic from its last position, a pattern from the last
    position of each of its topics.
    """

    def __init__(self, client: Client, feed: Feed) -> None:
        self._client = client
        self._feed = feed
        self._beginning = asyncio.Lock()
        if feed.on_event is None:
            weakref.finalize(self, client._left, feed).atexit = False

    def __repr__(self) -> str:
        return f"<Subscription {' '.join(self.names)}>"

    @property
    def names(self) -> tuple[str, ...]:
        """The topics and patterns that were asked for."""
        return self._feed.names

    @property
    def results(self) -> list[Result]:
        """The broker's answer: one result for each name, in order."""
        return self._feed.results

    @property
    def refused(self) -> dict[str, Refusal]:
        """The names that the broker refused, with its reasons."""
        return self._feed.refused

    @property
    def positions(self) -> Positions:
        """The position of each topic, by the events that the program has taken. Save it with what the program made of
        these events, and resume with `since` after a restart."""
        return self._feed.positions

    # Beginning and ending.

    def __await__(self) -> Generator[object, None, Subscription]:
        return self._begin().__await__()

    async def __aenter__(self) -> Subscription:
        return await self._begin()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.unsubscribe()

    async def _begin(self) -> Subscription:
        if self._feed.ticket is None:
            async with self._beginning:  # of two tasks that iterate, one subscribes
                if self._feed.ticket is None:
                    await self._client._subscribe(self._feed)
        return self

    async def unsubscribe(self) -> None:
        """Ends the subscription. Events that the program has not taken are dropped, and iteration ends."""
        self._feed.end(True)
        await self._client._unsubscribe(self._feed)

    async def synced(self) -> None:
        """Waits until everything that the subscription begins with has come: each snapshot and each message of a
        replay. The event `Synced` marks the same place among the events.

        Raises `RequestError` when the connection was lost first. The client restores what was granted then, and
        another `Synced` comes.
        """
        await self._begin()
        assert self._feed.synced is not None
        with self._client._reads_on():
            await asyncio.shield(self._feed.synced)

    # Iterating.

    def __aiter__(self) -> Subscription:
        return self

    async def __anext__(self) -> TopicEvent:
        """The next event.

        Raises a `BrokenPromise` where the broker broke one, and `SubscriptionLost` where it refused to restore the
        subscription. Iteration may go on after both. Raises `Closed` when the client has stopped by itself.
        """
        self._check_iterable()
        await self._begin()
        while True:
            event = self._take()
            if event is not None:
                return event
            await self._next_change()

    async def _next_change(self) -> None:
        """Waits for the next event. Raises as iteration does at the end."""
        ended = self._feed.ended
        if ended is True:
            raise StopAsyncIteration
        if ended:
            raise ended
        await self._changed(None)

    async def _changed(self, within_s: float | None) -> None:
        """Waits until an event comes or the subscription ends, or the time has passed."""
        came = self._feed.came
        came.clear()
        if within_s is None:
            await came.wait()
            return
        with suppress(TooLate):
            await timely(came.wait(), within_s)

    def get_nowait(self) -> TopicEvent | None:
        """The next event, if one waits. Raises as iteration does."""
        return self._take()

    @property
    def waiting(self) -> int:
        """How many events wait for the program."""
        return self._feed.waiting

    @property
    def is_ended(self) -> bool:
        """Whether nothing comes any more."""
        return self._feed.ended is not False and self._feed.waiting == 0

    @property
    def dropped(self) -> int:
        """How many messages the client dropped since the program did not take them in time. Each was named by a
        `Gap`."""
        return self._feed.inbox.dropped

    @property
    def superseded(self) -> int:
        """How many values of conflated topics were replaced by newer ones before the program took them."""
        return self._feed.inbox.superseded

    async def batch(self, max_events: int = 1_000, within_s: float | None = None) -> Batch:
        """The next events: waits for the first, then takes what comes until there are `max_events` or `within_s`
        seconds have passed. Without `within_s` it takes only what waits already.

        It is empty if nothing came in time, or the subscription has ended. What iteration raises is raised here, too,
        after a batch with the events before it. If the wait is cancelled, the next call takes the events.
        """
        self._check_iterable()
        await self._begin()
        events: list[TopicEvent] = []
        now = asyncio.get_running_loop().time
        due = None if within_s is None else now() + within_s
        try:
            while len(events) < max_events:
                event = self._get()
                if event is not None:
                    events.append(event)
                    if isinstance(event, RAISED):
                        break
                    continue
                left_s = None if due is None else due - now()
                if self._feed.ended is not False or (events if left_s is None else left_s <= 0):
                    break
                await self._changed(left_s)
        except BaseException:
            self._feed.put_back(events)
            raise
        if not events and isinstance(self._feed.ended, TickwireError):
            raise self._feed.ended
        if len(events) > 1 and isinstance(events[-1], RAISED):
            self._feed.put_back([events.pop()])
        return Batch([self._given(event) for event in events])

    def _take(self) -> TopicEvent | None:
        event = self._get()
        return None if event is None else self._given(event)

    def _get(self) -> TopicEvent | None:
        event = self._feed.get()
        if event is not None:
            self._client._taken(self._feed)
        return event

    def _given(self, event: TopicEvent) -> TopicEvent:
        """The program gets `event`, or the exception that it holds."""
        self.positions.note(event)
        if isinstance(event, Violation):
            raise event.broken
        if isinstance(event, LostSubscription):
            raise SubscriptionLost(event.topic, event.refusal)
        return event

    def _check_iterable(self) -> None:
        if self._feed.on_event is not None:
            raise ConfigError("the events of this subscription go to its on_event: it cannot be iterated")
