"""A subscription as the program sees it: an asynchronous iterator over its events."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Literal, TypeAlias

from .batch import Batch
from .errors import Closed, ConfigError, Overrun, Refused, SubscriptionLost, TickwireError
from .events import LostSubscription, Recovered, Synced, TopicEvent, Violation
from .inbox import EVENTS_MAX, Inbox
from .positions import Positions
from .tasks import plain_function
from .topics import Pattern, TopicError
from .wire import Position, Refusal, Result, TopicRequest, Wanted

if TYPE_CHECKING:
    from .client import Client

log = logging.getLogger("tickwire")

Overflow: TypeAlias = Literal["gap", "wait"]
"""What happens when a program does not take events in time: the oldest are dropped and named by a `Gap`, or the client
stops reading, so that the broker serves it from the topic's history."""

SPARE = 65_536
"""How many further updates may wait with ``overflow="wait"``, if the client has to read on for an answer."""


RAISED = (Violation, LostSubscription)
"""Events that are raised as exceptions."""


class Subscription:
    """Topics and patterns that the client is subscribed to. Get one from `Client.subscribe`.

    ``async with`` subscribes, and unsubscribes at the end. ``await`` subscribes only. ``async for`` gives the events.

    After each reconnect the client restores the subscription: a topic from its last position, a pattern from the last
    position of each of its topics.
    """

    def __init__(
        self,
        client: Client,
        names: Sequence[str],
        wanted: Wanted,
        since: Mapping[str, Position],
        queue_max: int,
        overflow: Overflow,
        on_event: Callable[[TopicEvent], None] | None,
    ) -> None:
        if not names:
            raise ConfigError("a subscription needs a topic or a pattern")
        if on_event is not None:
            plain_function(on_event)
        if overflow not in ("gap", "wait"):
            raise ConfigError(f"overflow={overflow!r}: it must be 'gap' or 'wait'")
        self.names = tuple(names)
        """The topics and patterns that were asked for."""
        self.results: list[Result] = []
        """The broker's answer: one result for each name, in order."""
        self.positions = Positions()
        """The position of each topic, by the events that the program has taken. Save it with what the program made of
        these events, and resume with `since` after a restart."""
        self.wanted = wanted
        self.overflow: Overflow = overflow
        self._client = client
        self._patterns = [_pattern(name) for name in names]
        self._since = dict(since)
        self._inbox = Inbox(queue_max, SPARE if overflow == "wait" else 0)
        self._back: deque[TopicEvent] = deque()
        """Events that were taken for a batch that nobody got. They come first."""
        self._on_event = on_event
        self._came = asyncio.Event()
        self._beginning = asyncio.Lock()
        self._ended: TickwireError | bool = False
        self._granted: set[str] = set()
        self._ticket: int | None = None
        self._synced: asyncio.Future[None] | None = None

    def __repr__(self) -> str:
        return f"<Subscription {' '.join(self.names)}>"

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
        if self._ticket is None:
            async with self._beginning:  # of two tasks that iterate, one subscribes
                if self._ticket is None:
                    await self._client._subscribe(self)
        return self

    async def unsubscribe(self) -> None:
        """Ends the subscription. Events that the program has not taken are dropped, and iteration ends."""
        self._end(True)
        await self._client._unsubscribe(self)

    async def synced(self) -> None:
        """Waits until everything that the subscription begins with has come: each snapshot and each message of a
        replay. The event `Synced` marks the same place among the events.

        Raises `RequestError` when the connection was lost first. The client restores what was granted then, and
        another `Synced` comes.
        """
        await self._begin()
        assert self._synced is not None
        with self._client._reads_on():
            await asyncio.shield(self._synced)

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
        if self._ended is True:
            raise StopAsyncIteration
        if self._ended:
            raise self._ended
        await self._changed(None)

    async def _changed(self, within_s: float | None) -> None:
        """Waits until an event comes or the subscription ends, or the time has passed."""
        self._came.clear()
        if within_s is None:
            await self._came.wait()
            return
        with suppress(TimeoutError, asyncio.TimeoutError):
            await asyncio.wait_for(self._came.wait(), max(within_s, 0.0))

    def get_nowait(self) -> TopicEvent | None:
        """The next event, if one waits. Raises as iteration does."""
        return self._take()

    @property
    def waiting(self) -> int:
        """How many events wait for the program."""
        return len(self._back) + len(self._inbox)

    @property
    def is_ended(self) -> bool:
        """Whether nothing comes any more."""
        return self._ended is not False and not self._back and not self._inbox

    @property
    def dropped(self) -> int:
        """How many messages the client dropped since the program did not take them in time. Each was named by a
        `Gap`."""
        return self._inbox.dropped

    @property
    def superseded(self) -> int:
        """How many values of conflated topics were replaced by newer ones before the program took them."""
        return self._inbox.superseded

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
                if self._ended is not False or (events if left_s is None else left_s <= 0):
                    break
                await self._changed(left_s)
        except BaseException:
            self._back.extendleft(reversed(events))
            raise
        if events and isinstance(events[-1], RAISED) and len(events) > 1:
            self._back.appendleft(events.pop())
        return Batch([self._given(event) for event in events])

    def _take(self) -> TopicEvent | None:
        event = self._get()
        return None if event is None else self._given(event)

    def _get(self) -> TopicEvent | None:
        if self._back:
            return self._back.popleft()
        event = self._inbox.get()
        if event is not None:
            self._client._taken(self)
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
        if self._on_event is not None:
            raise ConfigError("the events of this subscription go to its on_event: it cannot be iterated")

    # What the client tells.

    def _requests(self) -> list[TopicRequest]:
        """The entries of the request, with the positions to resume from."""
        left = dict(self._since)
        entries: list[TopicRequest] = []
        for name, pattern in zip(self.names, self._patterns, strict=True):
            if pattern is None or not pattern.is_wildcard:
                entries.append(TopicRequest(name, since=left.pop(name, None)))
        for name, pattern in zip(self.names, self._patterns, strict=True):
            if pattern is not None and pattern.is_wildcard:
                lineages: dict[str, dict[str, int]] = {}
                for topic in [topic for topic in left if pattern.matches(topic)]:
                    at = left.pop(topic)
                    lineages.setdefault(at.epoch, {})[topic] = at.seq
                entries.append(TopicRequest(name, seqs=lineages or None))
        order = {name: index for index, name in enumerate(self.names)}
        return sorted(entries, key=lambda entry: order[entry.topic])

    def _acked(self, results: list[Result]) -> None:
        self.results = results
        for result in results:
            if result.error is not None:
                continue
            self._granted.add(result.topic)
            if result.epoch is None or result.seq is None or result.topic in self._since:
                continue
            if result.seq == 0 or not self.wanted.snapshot:
                self.positions[result.topic] = Position(result.epoch, result.seq)
        # A topic keeps the position that was given for it until an event moves it, however long it says nothing.
        self.positions.update({topic: at for topic, at in self._since.items() if self._covers(topic)})
        if not self._granted:
            self._end(True)

    def _lose(self, name: str) -> bool:
        """The broker has ended the subscription of `name`. Returns whether this one had it."""
        if name not in self._granted:
            return False
        self._granted.discard(name)
        if not self._granted:
            self._complete()
        return True

    @property
    def _has_ended(self) -> bool:
        return self._ended is not False

    def _check(self) -> None:
        """Raises `Refused` if the broker granted nothing."""
        refusal = next(iter(self.refused.values()), None)
        if not self._granted and refusal is not None:
            raise Refused(refusal)

    @property
    def refused(self) -> dict[str, Refusal]:
        """The names that the broker refused, with its reasons."""
        return {result.topic: result.error for result in self.results if result.error is not None}

    def _covers(self, topic: str) -> bool:
        return topic in self._granted or any(
            pattern is not None and pattern.text in self._granted and pattern.matches(topic)
            for pattern in self._patterns
        )

    def _concerns(self, event: TopicEvent) -> bool:
        """Whether an event without a plain topic is for this subscription."""
        match event:
            case Synced(topics=topics):
                return not self._granted.isdisjoint(topics)
            case Recovered(topic=name) | LostSubscription(topic=name):
                return name in self._granted
            case Violation(broken=broken):
                # A message that comes after the end of a subscription breaks a promise to it.
                about = broken.about
                return about is None or about in self.names or any(p and p.matches(about) for p in self._patterns)
            case _:
                return self._covers(event.topic)

    def _put(self, event: TopicEvent, conflated: bool) -> None:
        if self._on_event is None:
            self._inbox.put(event, conflated)
            if self._inbox.has_overrun:
                self._end(Overrun(EVENTS_MAX))
                self._client._abandon(self)
        else:
            self.positions.note(event)
            try:
                self._on_event(event)
            except Exception:
                log.exception("the listener of %r failed on %r", self, event)
        self._came.set()

    @property
    def _is_behind(self) -> bool:
        """Whether newer values should replace those that wait."""
        return len(self._inbox) > 0

    @property
    def _blocks(self) -> bool:
        """Whether the client must stop reading until the program has taken events."""
        return self.overflow == "wait" and self._ended is False and self._inbox.is_full

    def _end(self, why: TickwireError | bool) -> None:
        if why is True:
            self._back.clear()
            while self._inbox.get() is not None:
                pass
        if self._ended is not False:
            return
        self._ended = why
        self._came.set()

    def _complete(self) -> None:
        """Nothing more comes. Events that wait can still be taken."""
        if self._ended is False:
            self._ended = True
            self._came.set()

    def _stopped(self, reason: str, by_program: bool) -> None:
        """The client has stopped. Events that wait can still be taken, unless the program closed it."""
        self._end(True if by_program else Closed(reason))


def _pattern(name: str) -> Pattern | None:
    """The pattern that `name` is. The broker refuses what is none, and says why."""
    try:
        return Pattern(name)
    except TopicError:
        return None
