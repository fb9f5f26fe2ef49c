"""Checks what PROTOCOL.md lets a client rely on ("What a client may rely on"), message by message.

Pure: no socket, no clock. Give a `Checker` every request in the order of sending and every message in the order of
receiving. It raises a `BrokenPromise` where the broker broke a promise, and then goes on from what the broker claimed.

Memory: one track per topic seen, one entry per pattern and per unanswered request. It never shrinks by itself: a
checker lives as long as one client.

Some faults cannot be seen, and the checker does not report them:

- Whether the *newest* message arrived in `conflate` shows only when publishing has stopped.
- What is due at the beginning of a topic that a pattern brought is not known.
- Which topics of a pattern over several kinds are in mode `every` is not told.
- A pattern that resumes topics is told only how many were resumed. Which ones shows as each goes on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from .. import wire
from ..topics import Pattern
from ..wire import Mode, Position, Result, ServerMessage, Subscribe, TopicRequest
from .asked import Requests, Resuming, Syncing, each_of, parse, same_topics
from .books import Books
from .broken import (
    AfterUnsubscribe,
    BeforeAck,
    BrokenPromise,
    NeverSubscribed,
    PongTimes,
    WelcomeAgain,
)
from .track import Track


@dataclass(slots=True)
class _Wildcard:
    """A subscription with a wildcard."""

    pattern: Pattern
    mode: Mode | None
    snapshots_since: int
    """The number of its ack among all wildcard acks that brought snapshots; 0 if this one brought none."""


@dataclass(frozen=True, slots=True)
class LeftOff:
    """A topic that was live on the previous connection and is not live again yet."""

    topic: str
    every: bool
    """Whether every message of the topic had to come."""
    may_be_every: bool
    """Whether the mode depends on the topic's kind, which the broker has not told, and so may be `every`."""
    last: Position
    """The last message that came or that a gap named."""
    position: Position | None
    """The position to resume from."""


class Checker:
    """Checks one client's traffic against the protocol's promises."""

    def __init__(self) -> None:
        self.books = Books()
        """The books that are rebuilt to verify their checksums."""
        self._topics: dict[str, Track] = {}
        self._wildcards: list[_Wildcard] = []
        self._one_shots: list[Pattern] = []
        """Patterns in mode `snapshot`: one snapshot of each matching topic may come."""
        self._requests = Requests()
        self._welcomed = False
        self._wildcard_acks = 0
        """How many wildcard acks brought snapshots."""
        self._ended: list[Pattern] = []
        """Patterns that brought snapshots on this connection and have ended."""

    def reconnected(self) -> None:
        """Begins a new connection in place of the previous one: nothing is subscribed and no request waits for an
        answer. Positions stay known."""
        self._welcomed = False
        self._wildcards.clear()
        self._one_shots.clear()
        self._ended.clear()
        self._requests.clear()
        for track in self._topics.values():
            track.reconnected()

    def position(self, topic: str) -> Position | None:
        """The position to resume `topic` from: the last message that came or that a gap named. `None` if only a fresh
        subscription helps, for example before a snapshot that was asked for."""
        track = self._topics.get(topic)
        return track.position() if track else None

    def epoch(self, topic: str) -> str | None:
        """The lineage of the last message of `topic`, if it is known."""
        track = self._topics.get(topic)
        return track.epoch if track else None

    def is_live(self, topic: str) -> bool:
        """Whether `topic` is subscribed on this connection and a message of it, or the ack of its own subscription,
        has come."""
        track = self._topics.get(topic)
        return track is not None and track.live

    def is_conflated(self, topic: str) -> bool:
        """Whether it is known that messages of `topic` may be superseded."""
        track = self._topics.get(topic)
        return track is not None and track.live and not track.every and not track.may_be_every

    def left_off(self) -> Iterator[LeftOff]:
        """The topics that were live on the previous connection and are not live again yet."""
        for topic, track in self._topics.items():
            last = track.last() if track.left_off and not track.ended else None
            if last is not None:
                yield LeftOff(topic, track.every, track.may_be_every, last, track.position())

    def position_left(self, topic: str) -> Position | None:
        """As `position`, but only for a topic of `left_off`."""
        track = self._topics.get(topic)
        return track.position() if track and track.left_off else None

    def may_need_every(self, topic: str) -> bool:
        """Whether every message of `topic` had to come under its last subscriptions, or may have had to."""
        track = self._topics.get(topic)
        return track is not None and (track.every or track.may_be_every)

    def sent(self, request: wire.ClientMessage) -> None:
        """Takes note of `request`. Call this before the request is sent."""
        self._requests.sent(request)

    def received(self, message: ServerMessage) -> None:
        """Checks `message`, which was received. Raises `BrokenPromise`."""
        try:
            self._received(message)
        except BrokenPromise as broken:
            broken.evidence = message
            raise

    def _received(self, message: ServerMessage) -> None:
        if not self._welcomed:
            self._welcomed = True
            if not isinstance(message, wire.Welcome):
                raise WelcomeAgain(message.op, "the welcome")
            return
        match message:
            case wire.UpdateMessage(topic=topic, seq=seq):
                track = self._topics.get(topic)
                if track is None or not track.live:
                    track = self._admit(topic)
                track.update(topic, seq)
                self.books.update(topic, seq, message.data)
            case wire.SnapshotMessage(topic=topic, epoch=epoch, seq=seq):
                self._snapshot(topic, epoch, seq)
                self.books.snapshot(topic, epoch, seq, message.data)
            case wire.GapMessage(topic=topic, epoch=epoch):
                self.books.awaits_snapshot(topic)
                self._live(topic).gap(topic, epoch, message.from_seq, message.to_seq, message.reason)
            case wire.JoinedMessage(topic=topic, epoch=epoch, seq=seq):
                self.books.joined(topic, epoch, seq)
                self._live(topic).joined(topic, epoch, seq)
            case wire.EndMessage(topic=topic, epoch=epoch, seq=seq):
                self.books.ended(topic)
                self._live(topic).end(topic, epoch, seq)
            case wire.Status(topic=topic, state="caught_up", seq=int(seq)) if self.is_live(topic):
                self._topics[topic].caught_up(topic, seq)
            case wire.Status(topic=topic):
                if not self.is_live(topic) and not self._is_covered(topic):
                    raise self._not_covered(topic)
            case wire.Ack():
                self._ack(message)
            case wire.SyncedMessage(id=request):
                self._requests.synced(request, self._topics)
            case wire.Pong(id=int(request), ts=ts, received=received):
                self._requests.answered(request)
                if received is not None and received > ts:
                    raise PongTimes(request, received, ts)
            case wire.ErrorMessage(id=int(request)):
                self._requests.refused(request)
            case wire.Welcome():
                raise WelcomeAgain("welcome", "any other message")
            case _:
                pass

    def _live(self, topic: str) -> Track:
        track = self._topics.get(topic)
        return track if track is not None and track.live else self._admit(topic)

    def _snapshot(self, topic: str, epoch: str, seq: int) -> None:
        if not self.is_live(topic):
            if self._take_one_shot(topic):
                return
            self._admit(topic)
        acks = self._wildcard_acks
        track = self._topics[topic]
        seen, track.wildcard_acks_seen = track.wildcard_acks_seen, acks
        one_shot = track.one_shots > 0
        track.one_shots = max(track.one_shots - 1, 0)
        solicited = (
            one_shot
            or any(pattern.matches(topic) for pattern in self._one_shots)
            or (seen < acks and any(w.snapshots_since > seen and w.pattern.matches(topic) for w in self._wildcards))
        )
        track.snapshot(topic, epoch, seq, solicited)

    # Subscriptions: what an ack changes, and which subscriptions cover a topic.

    def _ack(self, ack: wire.Ack) -> None:
        asked = self._requests.answered(ack.id)
        match asked.request:
            case Subscribe() as request:
                self._subscribe_acked(request, asked.sent, ack)
            case wire.Unsubscribe(topics=topics):
                same_topics(ack, topics)
                for result in ack.results:
                    if result.error is None:
                        self._unsubscribed(result.topic)
            case wire.Resync(topic=topic):
                self._resync_acked(topic, ack)
            case _:
                pass

    def _subscribe_acked(self, request: Subscribe, sent: int, ack: wire.Ack) -> None:
        ahead = self._requests.positions_before(sent)
        same_topics(ack, [entry.topic for entry in request.topics])
        wanted = request.wanted
        syncing = Syncing([entry.topic for entry in request.topics])
        fault: BrokenPromise | None = None
        for entry, result in zip(request.topics, ack.results, strict=True):
            if result.error is not None:
                continue
            was_live, covered = self.is_live(result.topic), self._is_covered(result.topic)
            try:
                self._subscribed(entry, result, request)
            except BrokenPromise as broken:
                fault = fault or broken
            resuming = self._resume_pattern(request.id, entry, result, ahead)
            if resuming is not None:
                syncing.resuming.append(resuming)
            if was_live or (result.mode or wanted.mode) == "snapshot":
                self.books.acked(result, self.is_live(result.topic))
            else:
                # A pattern that covers the topic may have brought the snapshot already.
                self.books.subscribed(result, entry.since, wanted.snapshot and not covered)
        self._requests.await_synced(request.id, syncing)
        if fault is not None:
            raise fault

    def _subscribed(self, entry: TopicRequest, result: Result, request: Subscribe) -> None:
        mode = result.mode or request.wanted.mode
        snapshot = request.wanted.snapshot
        # The broker acked it, so it should be a pattern. If it does not parse as one, nothing can be checked of it.
        pattern = parse(entry.topic)
        if pattern is None:
            return
        if pattern.is_wildcard:
            self._wildcard_subscribed(pattern, mode, snapshot)
            return
        topic = entry.topic
        may_come = any(w.snapshots_since > 0 and w.pattern.matches(topic) for w in self._wildcards) or any(
            ended.matches(topic) for ended in self._ended
        )
        if may_come and not self.is_live(topic) and self._is_covered(topic):
            # Nothing of the topic has come yet. A snapshot that a pattern asked for, even one that has ended, may
            # still be on its way.
            self._admit(topic).resync()
        if mode == "snapshot" and not self.is_live(topic) and self._is_covered(topic):
            self._admit(topic)
        track = self._topics.get(topic)
        if track is None:
            track = self._topics[topic] = Track()
        if mode == "snapshot":
            if track.live:
                track.stands_at(result)
            # A topic without a message has no snapshot, unless it is live: then the ack tells this connection's place
            # in it.
            if track.live or result.seq != 0:
                track.one_shots += 1
            return
        track.own = True
        track.own_mode = mode
        track.cover(topic, self._wildcards)
        # A broker that does not know `from` takes no note of it.
        replay = result.replay if entry.from_moment is not None else None
        track.acked(topic, request.id, result, entry.since, snapshot and replay is None)
        if replay is not None:
            track.replays(replay.to_seq)

    def _wildcard_subscribed(self, pattern: Pattern, mode: Mode | None, snapshot: bool) -> None:
        if mode == "snapshot":
            if pattern not in self._one_shots:
                self._one_shots.append(pattern)
            return
        before = next((w for w in self._wildcards if w.pattern == pattern), None)
        if snapshot:
            self._wildcard_acks += 1
            snapshots_since = self._wildcard_acks
        else:
            # The snapshots that the first subscription asked for may still be on their way.
            snapshots_since = before.snapshots_since if before else 0
        self._wildcards = [w for w in self._wildcards if w.pattern != pattern]
        self._wildcards.append(_Wildcard(pattern, mode, snapshots_since))
        for topic, track in self._topics.items():
            if track.live:
                track.cover(topic, self._wildcards)
            elif track.left_off and pattern.matches(topic):
                track.left_off = False  # it begins anew now, unless the request has a position for it

    def _unsubscribed(self, name: str) -> None:
        track = self._topics.get(name)
        if track is not None:
            track.own = False
            track.live = self._is_covered(name)
            track.cover(name, self._wildcards)
            return
        gone = next((w for w in self._wildcards if w.pattern.text == name), None)
        if gone is not None:
            self._wildcards.remove(gone)
        for topic, other in self._topics.items():
            if not other.live:
                continue
            other.live = other.own or self._is_covered(topic)
            other.cover(topic, self._wildcards)
            if gone and gone.snapshots_since > other.wildcard_acks_seen and gone.pattern.matches(topic):
                other.resync()  # the snapshot that the pattern asked for may still be on its way
        if gone and gone.snapshots_since > 0 and gone.pattern not in self._ended:
            self._ended.append(gone.pattern)

    def _resync_acked(self, topic: str, ack: wire.Ack) -> None:
        if any(result.error is not None for result in ack.results):
            return
        was_live = self.is_live(topic)
        # If it was not live, a pattern covers the topic, and nothing of it has come yet.
        track = self._topics[topic] if was_live else self._admit(topic)
        if ack.results:
            track.stands_at(ack.results[0])
        track.resync()
        for result in ack.results:
            if was_live:
                self.books.acked(result, self.is_live(result.topic))
            else:
                self.books.subscribed(result, None, snapshot=False)

    def _is_covered(self, topic: str) -> bool:
        """Whether a pattern with wildcards covers `topic`."""
        return any(w.pattern.matches(topic) for w in self._wildcards)

    def _admit(self, topic: str) -> Track:
        """Begins the track of a topic that a pattern now brings. Fails if no pattern covers it."""
        if not self._is_covered(topic):
            raise self._not_covered(topic)
        track = self._topics.get(topic)
        if track is None:
            track = self._topics[topic] = Track()
        track.admitted()
        if any(pattern.matches(topic) for pattern in self._ended):
            track.resync()  # the snapshot that the pattern asked for may still be on its way
        track.cover(topic, self._wildcards)
        return track

    def _not_covered(self, topic: str) -> BrokenPromise:
        """The fault when a message of `topic` came without a subscription."""
        if self._requests.ask_for(topic):
            return BeforeAck(topic)
        return AfterUnsubscribe(topic) if topic in self._topics else NeverSubscribed(topic)

    def _take_one_shot(self, topic: str) -> bool:
        """Whether a one-shot of `topic`, which is not subscribed otherwise, was asked for. Uses it up."""
        if self._is_covered(topic):
            return False  # whichever request it answers, it tells the topic's position
        track = self._topics.get(topic)
        if track is not None and track.one_shots > 0:
            track.one_shots -= 1
            return True
        return any(pattern.matches(topic) for pattern in self._one_shots)

    # Patterns that resume their topics, and the synced that ends what a request brings.

    def _resume_pattern(
        self, request: int, entry: TopicRequest, result: Result, ahead: Mapping[str, Position]
    ) -> Resuming | None:
        """An ack came for a pattern. The topics whose positions it was given go on from there, or a message says that
        they do not."""
        # A pattern that the connection has already, and one in mode `snapshot`, resume nothing. Their results have no
        # counts.
        if result.resumed is None or result.not_resumed is None:
            return None
        pattern = parse(entry.topic)
        if pattern is None or not pattern.is_wildcard or all(w.pattern != pattern for w in self._wildcards):
            return None
        given = {**ahead, **dict(each_of(entry.seqs or {}))}
        topics: list[str] = []
        others = [w.pattern for w in self._wildcards if w.pattern != pattern]
        for topic, since in given.items():
            if not pattern.matches(topic):
                continue
            track = self._topics.get(topic)
            if track is None:
                track = self._topics[topic] = Track()
            # Another pattern may have brought the topic already.
            if track.live or any(other.matches(topic) for other in others):
                continue
            track.resumed_by_pattern(request, since)
            # The snapshots that the pattern asks for are those of its other topics.
            track.wildcard_acks_seen = self._wildcard_acks
            track.cover(topic, self._wildcards)
            self.books.goes_on(topic, since)
            topics.append(topic)
        return Resuming(result.topic, topics, result.resumed, result.not_resumed) if topics else None
