"""What the client keeps of a subscription: its names, the broker's answer, and the events that wait for the program.

The program has a `Subscription`, which holds this. The client holds only this, so a subscription that no variable holds
any more is noticed.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, TypeAlias

from .errors import Closed, ConfigError, Overrun, Refused, TickwireError
from .events import LostSubscription, Recovered, Synced, TopicEvent, Violation
from .inbox import EVENTS_MAX, Inbox
from .positions import Positions
from .tasks import plain_function
from .topics import Pattern, TopicError
from .wire import Position, Refusal, Result, TopicRequest, Wanted

log = logging.getLogger("tickwire")

Overflow: TypeAlias = Literal["gap", "wait"]
"""What happens when a program does not take events in time: the oldest are dropped and named by a `Gap`, or the client
stops reading, so that the broker serves it from the topic's history."""

SPARE = 65_536
"""How many further updates may wait with ``overflow="wait"``, if the client has to read on for an answer."""


class Feed:
    """The client's side of one subscription."""

    def __init__(
        self,
        names: Sequence[str],
        wanted: Wanted,
        since: Mapping[str, Position],
        begin: tuple[int | str | None, float | None],
        queue_max: int,
        overflow: Overflow,
        on_event: Callable[[TopicEvent], None] | None,
    ) -> None:
        if not names:
            raise ConfigError("a subscription needs a topic or a pattern")
        if overflow not in ("gap", "wait"):
            raise ConfigError(f"overflow={overflow!r}: it must be 'gap' or 'wait'")
        if on_event is not None:
            plain_function(on_event)
        self.names = tuple(names)
        self.wanted = wanted
        self.overflow: Overflow = overflow
        self.on_event = on_event
        self.results: list[Result] = []
        self.positions = Positions()
        self.inbox = Inbox(queue_max, SPARE if overflow == "wait" else 0)
        self.granted: set[str] = set()
        """The names that the broker has granted and not ended."""
        self.ticket: int | None = None
        """The ticket of its request, unless the program gave up."""
        self.synced: asyncio.Future[None] | None = None
        self.ended: TickwireError | bool = False
        """Whether nothing more comes, and if the program must be told, why."""
        self.came = asyncio.Event()
        """Set when an event comes or the subscription ends."""
        self.was_read = False
        """Whether the program has asked for its events."""
        self._patterns = [_pattern(name) for name in names]
        self._since = dict(since)
        self._from_moment, self._speed = begin
        if self._speed is not None:
            if self._from_moment is None:
                raise ConfigError("speed says how fast the messages from a moment on come: it needs from_moment")
            if not 0 < self._speed < math.inf:
                raise ConfigError(f"speed={self._speed!r}: it must be a number above 0")
        self._back: deque[TopicEvent] = deque()
        """Events that were taken for a batch that nobody got. They come first."""

    # Events that wait for the program.

    @property
    def waiting(self) -> int:
        """How many events wait for the program."""
        return len(self._back) + len(self.inbox)

    def get(self) -> TopicEvent | None:
        """Takes the next event, if one waits."""
        self.was_read = True
        return self._back.popleft() if self._back else self.inbox.get()

    def put_back(self, events: Sequence[TopicEvent]) -> None:
        """Events that were taken, and that the program did not get."""
        self._back.extendleft(reversed(events))

    def keep_nothing(self) -> None:
        """Nobody will ask for its events: none is kept."""
        self.on_event = _ignore
        self._clear()

    def _clear(self) -> None:
        self._back.clear()
        while self.inbox.get() is not None:
            pass

    def put(self, event: TopicEvent, conflated: bool) -> None:
        """Adds an event."""
        if self.on_event is None:
            self.inbox.put(event, conflated)
        else:
            self.positions.note(event)
            try:
                self.on_event(event)
            except Exception:
                log.exception("the listener of %s failed on %r", self.names, event)
        self.came.set()

    @property
    def has_overrun(self) -> bool:
        """Whether more events wait than may. It has ended then."""
        if self.inbox.has_overrun:
            self.end(Overrun(EVENTS_MAX))
            return True
        return False

    @property
    def is_behind(self) -> bool:
        """Whether newer values should replace those that wait."""
        return len(self.inbox) > 0

    @property
    def blocks(self) -> bool:
        """Whether the client must stop reading until the program has taken events."""
        return self.overflow == "wait" and self.ended is False and self.inbox.is_full

    # The broker's answer, and which events are for it.

    def requests(self) -> list[TopicRequest]:
        """The entries of the request, with the positions to resume from."""
        left = dict(self._since)
        entries: list[TopicRequest] = []
        for name, pattern in zip(self.names, self._patterns, strict=True):
            if pattern is None or not pattern.is_wildcard:
                at = left.pop(name, None)
                entries.append(self._entry(name) if at is None else TopicRequest(name, at))
        for name, pattern in zip(self.names, self._patterns, strict=True):
            if pattern is not None and pattern.is_wildcard:
                lineages: dict[str, dict[str, int]] = {}
                for topic in [topic for topic in left if pattern.matches(topic)]:
                    last = left.pop(topic)
                    lineages.setdefault(last.epoch, {})[topic] = last.seq
                entries.append(TopicRequest(name, seqs=lineages) if lineages else self._entry(name))
        order = {name: index for index, name in enumerate(self.names)}
        return sorted(entries, key=lambda entry: order[entry.topic])

    def _entry(self, name: str) -> TopicRequest:
        """The entry of a name without a position."""
        return TopicRequest(name, from_moment=self._from_moment, speed=self._speed)

    def acked(self, results: list[Result]) -> None:
        """The broker has answered."""
        self.results = results
        for result in results:
            if result.error is not None:
                continue
            self.granted.add(result.topic)
            if result.epoch is None or result.seq is None or result.topic in self._since:
                continue
            if result.seq == 0 or result.replay is not None or not self.wanted.snapshot:
                self.positions[result.topic] = Position(result.epoch, result.seq)
        # A topic keeps the position that was given for it until an event moves it, however long it says nothing.
        self.positions.update({topic: at for topic, at in self._since.items() if self.covers(topic)})
        if not self.granted:
            self.end(True)

    @property
    def refused(self) -> dict[str, Refusal]:
        """The names that the broker refused, with its reasons."""
        return {result.topic: result.error for result in self.results if result.error is not None}

    def check(self) -> None:
        """Raises `Refused` if the broker granted nothing."""
        refusal = next(iter(self.refused.values()), None)
        if not self.granted and refusal is not None:
            raise Refused(refusal)

    def lose(self, name: str) -> bool:
        """The broker has ended the subscription of `name`. Returns whether this one had it."""
        if name not in self.granted:
            return False
        self.granted.discard(name)
        if not self.granted:
            self.complete()
        return True

    def covers(self, topic: str) -> bool:
        """Whether messages of `topic` are for it."""
        return topic in self.granted or any(
            pattern is not None and pattern.text in self.granted and pattern.matches(topic)
            for pattern in self._patterns
        )

    def concerns(self, event: TopicEvent) -> bool:
        """Whether an event without a plain topic is for it."""
        match event:
            case Synced(topics=topics):
                return not self.granted.isdisjoint(topics)
            case Recovered(topic=name) | LostSubscription(topic=name):
                return name in self.granted
            case Violation(broken=broken):
                # A message that comes after the end of a subscription breaks a promise to it.
                about = broken.about
                return about is None or about in self.names or any(p and p.matches(about) for p in self._patterns)
            case _:
                return self.covers(event.topic)

    # Ends.

    def end(self, why: TickwireError | bool) -> None:
        """Nothing more comes. The program is told `why`, behind the events that wait; with `True` these are dropped."""
        if why is True:
            self._clear()
        self._end(why)

    def complete(self) -> None:
        """Nothing more comes. Events that wait can still be taken."""
        self._end(True)

    def stopped(self, reason: str, by_program: bool) -> None:
        """The client has stopped. Events that wait can still be taken, unless the program closed it."""
        self.end(True if by_program else Closed(reason))

    def _end(self, why: TickwireError | bool) -> None:
        if self.ended is False:
            self.ended = why
            self.came.set()


def _ignore(event: TopicEvent) -> None:
    pass


def _pattern(name: str) -> Pattern | None:
    """The pattern that `name` is. The broker refuses what is none, and says why."""
    try:
        return Pattern(name)
    except TopicError:
        return None
