"""The queue between the connection and the program: bounded, and never silent about what it drops.

Pure. A value of a conflated topic replaces the older value of the topic that still waits, unless an event about the
topic came in between. Of the other updates at most `limit` wait, and `spare` more if the client had to read on; beyond
that the oldest is dropped, and a `Gap` with reason `consumer` takes its place. A topic has one waiting snapshot, since
a subscription to many topics begins with as many. So snapshots and values of conflated topics are bounded by the number
of topics. Gaps and the other events are few, and none is dropped: `has_overrun` says when there are too many of them.
"""

from __future__ import annotations

from collections import deque

from .events import Gap, Snapshot, TopicEvent, Update

EVENTS_MAX = 262_144
"""Most events that wait besides messages."""


class _Cell:
    """A place in the queue."""

    __slots__ = ("event", "stretch")

    def __init__(self, event: TopicEvent, stretch: int) -> None:
        self.event: TopicEvent | None = event
        """`None` if it was merged into another cell."""
        self.stretch = stretch
        """In which stretch of its topic's updates it lies. The broker's gaps and the snapshots part them: a gap of the
        queue must not reach over one."""


class Inbox:
    """The events of one subscription that wait for the program."""

    __slots__ = (
        "_cells",
        "_dead",
        "_events",
        "_gaps",
        "_limit",
        "_messages",
        "_newest",
        "_snapshots",
        "_spare",
        "_stretches",
        "dropped",
        "superseded",
    )

    def __init__(self, limit: int, spare: int = 0) -> None:
        self._limit = max(limit, 1)
        self._spare = spare
        self._cells: deque[_Cell] = deque()
        self._messages: deque[_Cell] = deque()
        """The updates that may be dropped, in their order."""
        self._newest: dict[str, _Cell] = {}
        """The waiting values of conflated topics."""
        self._snapshots: dict[str, _Cell] = {}
        """The waiting snapshots of the other topics."""
        self._gaps: dict[tuple[str, str, int], _Cell] = {}
        """The waiting gaps of what was dropped: by topic, epoch and stretch."""
        self._stretches: dict[str, int] = {}
        """The stretch of each topic's next update."""
        self._events = 0
        """How many events wait besides messages."""
        self._dead = 0
        self.dropped = 0
        """How many messages were dropped since the program did not take them in time."""
        self.superseded = 0
        """How many values were replaced by newer ones before the program took them."""

    def __len__(self) -> int:
        return len(self._cells) - self._dead

    @property
    def is_full(self) -> bool:
        """Whether as many updates wait as should."""
        return len(self._messages) >= self._limit

    @property
    def has_overrun(self) -> bool:
        """Whether more events wait than a queue may hold."""
        return self._events > EVENTS_MAX

    def put(self, event: TopicEvent, conflated: bool) -> None:
        """Adds `event`. `conflated` says that newer values of its topic replace it."""
        if isinstance(event, (Update, Snapshot)):
            topic = event.topic
            if conflated:
                waiting = self._newest.get(topic)
                if waiting is not None:
                    waiting.event = event
                    self.superseded += 1
                    return
            cell = _Cell(event, self._stretches.get(topic, 0))
            if conflated:
                self._newest[topic] = cell
            elif isinstance(event, Snapshot):
                older = self._snapshots.pop(topic, None)
                if older is not None:
                    self._drop(older)
                cell.stretch += 1
                self._stretches[topic] = cell.stretch + 1
                self._snapshots[topic] = cell
            else:
                if len(self._messages) >= self._limit + self._spare:
                    self._drop(self._messages.popleft())
                self._messages.append(cell)
        else:
            cell = _Cell(event, 0)
            self._events += 1
            # What comes after this event must not take a place before it.
            self._newest.pop(getattr(event, "topic", ""), None)
            if isinstance(event, Gap):
                self._stretches[event.topic] = self._stretches.get(event.topic, 0) + 1
        self._cells.append(cell)

    def get(self) -> TopicEvent | None:
        """Takes the next event, if one waits."""
        while self._cells:
            cell = self._cells.popleft()
            event = cell.event
            if event is None:
                self._dead -= 1
                continue
            if isinstance(event, (Update, Snapshot)):
                if self._messages and self._messages[0] is cell:
                    self._messages.popleft()
                elif self._newest.get(event.topic) is cell:
                    del self._newest[event.topic]
                elif self._snapshots.get(event.topic) is cell:
                    del self._snapshots[event.topic]
                return event
            self._events -= 1
            if isinstance(event, Gap) and event.reason == "consumer":
                self._gaps.pop((event.topic, event.epoch, cell.stretch), None)
            return event
        return None

    def _drop(self, cell: _Cell) -> None:
        """Puts a gap in place of a message."""
        event = cell.event
        assert isinstance(event, (Update, Snapshot))
        self.dropped += 1
        topic, epoch, seq = event.topic, event.epoch or "", event.seq
        waiting = self._gaps.setdefault((topic, epoch, cell.stretch), cell)
        if waiting is cell:
            cell.event = Gap(topic, epoch, seq, seq, "consumer")
            self._events += 1
            return
        gap = waiting.event
        assert isinstance(gap, Gap)
        waiting.event = Gap(topic, epoch, min(gap.from_seq, seq), max(gap.to_seq, seq), "consumer")
        cell.event = None
        self._dead += 1
        if self._dead > max(self._limit, len(self._cells) // 2):
            self._cells = deque(cell for cell in self._cells if cell.event is not None)
            self._dead = 0
