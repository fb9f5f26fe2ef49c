"""The requests of one connection whose answers the checker waits for, and what they still owe.

Pure. Bounded by the requests that the client sends: one entry for each that was not answered, or not synced, yet.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from .. import wire
from ..topics import Pattern, TopicError
from ..wire import Position
from .broken import AckMismatch, ResumeCount, SyncedEarly, UnknownAnswer, UnknownSynced
from .track import Track

Seqs: TypeAlias = Mapping[str, Mapping[str, int]]
"""Numbers by topic, by epoch."""


@dataclass(slots=True)
class Asked:
    """A request that waits for its answer."""

    request: wire.ClientMessage
    sent: int
    """The number of this request among those that were sent."""


@dataclass(slots=True)
class Resuming:
    """A pattern that was to resume topics."""

    pattern: str
    topics: list[str]
    resumed: int
    not_resumed: int


@dataclass(slots=True)
class Syncing:
    """A subscribe that was acked and whose synced has not come."""

    topics: list[str]
    resuming: list[Resuming] = field(default_factory=list)


@dataclass(slots=True)
class _Ahead:
    """Positions that were sent ahead of a subscribe."""

    id: int
    sent: int
    seqs: Seqs


class Requests:
    """The requests of one connection."""

    def __init__(self) -> None:
        self._asked: dict[int, Asked] = {}
        self._ahead: list[_Ahead] = []
        self._sent = 0
        self._syncing: dict[int, Syncing] = {}

    def clear(self) -> None:
        """Begins a new connection: no request waits for anything."""
        self._asked.clear()
        self._ahead.clear()
        self._syncing.clear()

    def sent(self, request: wire.ClientMessage) -> None:
        """Takes note of a request that is about to be sent."""
        self._sent += 1
        if request.id is None:
            return
        if isinstance(request, wire.Positions):
            self._ahead.append(_Ahead(request.id, self._sent, request.seqs))
        self._asked[request.id] = Asked(request, self._sent)

    def answered(self, request: int) -> Asked:
        """Takes the request that an answer names."""
        asked = self._asked.pop(request, None)
        if asked is None:
            raise UnknownAnswer(request)
        return asked

    def refused(self, request: int) -> Asked:
        """Takes the request that an error names. Positions that the broker refused do not apply."""
        self._ahead = [ahead for ahead in self._ahead if ahead.id != request]
        return self.answered(request)

    def ask_for(self, topic: str) -> bool:
        """Whether a subscribe that is not answered yet asks for `topic`."""
        for asked in self._asked.values():
            if isinstance(asked.request, wire.Subscribe):
                for entry in asked.request.topics:
                    pattern = parse(entry.topic)
                    if entry.topic == topic or (pattern and pattern.matches(topic)):
                        return True
        return False

    def positions_before(self, sent: int) -> dict[str, Position]:
        """Takes the positions that were sent before the answered subscribe, which was request number `sent`."""
        taken = [ahead for ahead in self._ahead if ahead.sent < sent]
        self._ahead = [ahead for ahead in self._ahead if ahead.sent >= sent]
        return {topic: at for ahead in taken for topic, at in each_of(ahead.seqs)}

    def await_synced(self, request: int, syncing: Syncing) -> None:
        """`request` was acked. Its synced is still to come."""
        self._syncing[request] = syncing

    def synced(self, request: int, topics: Mapping[str, Track]) -> None:
        """Checks a synced against the tracks of its topics."""
        syncing = self._syncing.pop(request, None)
        if syncing is None:
            raise UnknownSynced(request)
        for topic in syncing.topics:
            track = topics.get(topic)
            if track is not None and track.owes(request):
                raise SyncedEarly(topic, request)
        for resuming in syncing.resuming:
            _resumed_as_said(request, resuming, topics)


def _resumed_as_said(request: int, resuming: Resuming, topics: Mapping[str, Track]) -> None:
    """Checks the counts in the ack of a pattern against the messages of its topics."""
    tracks = [track for topic in resuming.topics if (track := topics.get(topic))]

    def shown(resumed: bool) -> int:
        return sum(track.resumed_by == request and track.was_resumed is resumed for track in tracks)

    for what, said, seen in (
        ("resumed", resuming.resumed, shown(True)),
        ("not resumed", resuming.not_resumed, shown(False)),
    ):
        if seen > said:
            raise ResumeCount(resuming.pattern, what, said, seen)


def each_of(seqs: Seqs) -> Iterator[tuple[str, Position]]:
    """The topics of `seqs` with their positions."""
    for epoch, numbers in seqs.items():
        for topic, seq in numbers.items():
            yield topic, Position(epoch, seq)


def parse(text: str) -> Pattern | None:
    """The pattern that `text` is, if it is one."""
    try:
        return Pattern(text)
    except TopicError:
        return None


def same_topics(ack: wire.Ack, topics: Iterable[str]) -> None:
    """Checks that `ack` has one result per topic of the request, in order."""
    names = list(topics)
    for index in range(max(len(names), len(ack.results))):
        expected = names[index] if index < len(names) else "nothing"
        got = ack.results[index].topic if index < len(ack.results) else "nothing"
        if expected != got:
            raise AckMismatch(ack.id, index, expected, got)
