"""The client's side of the protocol without sockets and clocks: requests and messages go in; frames, answers and events
come out.

It outlives connections. It is bounded: `has_room` says whether it takes another request.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

from . import wire
from .clocks import Moment, reading
from .codec import Codec
from .errors import BadAnswer, Closed, Disconnected, Refused, RequestError, TooLarge, TooManyRequests
from .events import (
    BrokerError,
    CaughtUp,
    Connected,
    Draining,
    End,
    Event,
    Gap,
    Joined,
    Live,
    LostSubscription,
    Recovered,
    Snapshot,
    Stale,
    Subscribed,
    Synced,
    Update,
    Violation,
)
from .ledger import Ahead, Ledger, Request, Seqs, Start, send_ahead
from .losses import Losses
from .outgoing import Outgoing
from .promise import BrokenBook, BrokenPromise, Checker
from .promise.asked import each_of
from .requests import (
    Answer,
    Authenticating,
    Healing,
    Pinging,
    Publishing,
    Purpose,
    Restoring,
    RestoringRights,
    Resyncing,
    SendingAhead,
    Subscribing,
    Syncing,
    Unsubscribing,
    Waiting,
    published,
    ticket_of,
)
from .topics import Pattern, TopicError
from .wire import ClientMessage, Limits, Position, Refusal, Result, ServerMessage, TopicRequest, Wanted

SYNCING_MAX = 1_024
"""Most requests that wait for their synced. One more makes the client give up the oldest."""
SSE_TOPICS_MAX = 64
"""Most topics of one stream of server-sent events."""


@dataclass(frozen=True, slots=True)
class Answered:
    """The request `ticket` has its answer, or failed."""

    ticket: int
    outcome: Answer | RequestError


@dataclass(frozen=True, slots=True)
class SyncedFor:
    """Everything that the subscribe `ticket` begins with has come, or it will never be known."""

    ticket: int
    error: RequestError | None


@dataclass(frozen=True, slots=True)
class Report:
    """Something for the user."""

    event: Event


Output: TypeAlias = Answered | SyncedFor | Report


class Core:
    """The client's state of the protocol."""

    def __init__(self, codec: Codec) -> None:
        self.checker = Checker()
        self.limits = Limits(subscriptions=0, message_bytes=2**62, ops_per_s=0)
        self.output: list[Output] = []
        """What has come out and was not taken yet."""
        self._sse = False
        self._ledger = Ledger()
        self._token: str | None = None
        self._connections = 0
        self._outgoing = Outgoing(codec)
        self._syncing: dict[int, Syncing] = {}
        self._healing: set[str] = set()
        """Topics whose book the client has asked for again."""
        self._unrestored: set[str] = set()
        """Subscriptions that the broker refused to restore for the time being."""
        self._losses = Losses()

    # Connections.

    def connected(self, welcome: wire.Welcome, url: str, sse: bool) -> None:
        """Begins a connection whose first message is `welcome`. Queues the requests that restore the subscriptions."""
        self.limits = welcome.limits
        self._sse = sse
        transport: Literal["websocket", "sse"] = "sse" if sse else "websocket"
        self._report(Connected(welcome.session, welcome.server, welcome.limits, self._connections, url, transport))
        self._connections += 1
        self.checker.reconnected()
        for left in self.checker.left_off():
            self._losses.watch(left, resumes=not sse)
        self._unrestored.clear()
        # The requests that restore go before those that the user made meanwhile.
        meanwhile: list[Waiting] = []
        for waiting in self._outgoing.set_aside():
            if waiting.size <= self.limits.message_bytes:
                meanwhile.append(waiting)
            else:  # this broker takes less than the one before
                self._answer(waiting.purpose, TooLarge(waiting.size, self.limits.message_bytes))
        if self._token is not None:
            self._queue(wire.Auth(self._outgoing.next_id(), self._token), RestoringRights())
        self._restore(None)
        self._outgoing.put_back(meanwhile)
        self.received(welcome, None)

    def take_token(self) -> str | None:
        """Takes out the token of the last `auth` that succeeded. The core does not show it again then."""
        token, self._token = self._token, None
        return token

    def disconnected(self) -> None:
        """Ends the connection. Requests that were sent and not answered fail, except publications with a key: those
        can be sent again. Those that were not sent wait for the next connection."""
        failed, again, ahead = self._outgoing.disconnected()
        self._healing.clear()
        for waiting in failed:
            if isinstance(waiting.purpose, Unsubscribing):
                self._forget(waiting.purpose.topics)
            self._answer(waiting.purpose, Disconnected())
        for syncing in self._syncing.values():
            self._end_syncing(syncing, Disconnected())
        self._syncing.clear()
        for seqs, follower in ahead:
            self._send_positions(seqs, restores=False, ticket=follower)
        self._outgoing.put_back(again)

    def stop(self, reason: str) -> None:
        """Ends the client: every request that waits fails."""
        for waiting in self._outgoing.stop():
            self._answer(waiting.purpose, Closed(reason))
        for syncing in self._syncing.values():
            self._end_syncing(syncing, Closed(reason))
        self._syncing.clear()

    @property
    def has_room(self) -> bool:
        """Whether another request may be made."""
        return self._outgoing.has_room

    @property
    def has_outgoing(self) -> bool:
        """Whether requests wait to be sent."""
        return len(self._outgoing) > 0

    @property
    def is_settled(self) -> bool:
        """Whether no request waits for its answer."""
        return self._outgoing.is_settled

    @property
    def has_unrestored(self) -> bool:
        """Whether subscriptions wait for another attempt to restore them."""
        return bool(self._unrestored)

    def retry_unrestored(self) -> None:
        """Tries again to restore the subscriptions that the broker refused for the time being."""
        unrestored, self._unrestored = self._unrestored, set()
        self._restore(unrestored)

    # The user's requests. Each returns the ticket under which the answer comes.

    def subscribe(self, topics: Iterable[TopicRequest], wanted: Wanted) -> int:
        """Subscribes. The answer is one `Result` for each entry; a `SyncedFor` follows."""
        entries = list(topics)
        if self._sse:
            entries = [self._without_seqs(entry) for entry in entries]
        entries, ahead = send_ahead(entries, self.limits)
        ticket = self._outgoing.next_id()
        for seqs in ahead:
            self._send_positions(seqs, restores=False, ticket=ticket)
        return self._queue(wire.Subscribe(ticket, entries, wanted), Subscribing(ticket, wanted))

    def unsubscribe(self, topics: Iterable[str]) -> int:
        """Ends subscriptions. The answer is one `Result` for each name."""
        ticket, names = self._outgoing.next_id(), list(topics)
        return self._queue(wire.Unsubscribe(ticket, names), Unsubscribing(ticket, names))

    def drop(self, topics: Iterable[str]) -> None:
        """Ends the wish to restore `topics`, while there is no connection."""
        self._forget(topics)

    def publish(self, topic: str, data: Any, key: str | None = None, ts: int | None = None) -> int:
        """Publishes. The answer is the `Result` with the message's position."""
        ticket = self._outgoing.next_id()
        return self._queue(wire.Publish(ticket, topic, data, key, ts), Publishing(ticket, key is not None))

    def resync(self, topic: str) -> int:
        """Asks for a fresh snapshot of a subscribed topic."""
        ticket = self._outgoing.next_id()
        return self._queue(wire.Resync(ticket, topic), Resyncing(ticket))

    def auth(self, token: str) -> int:
        """Replaces the connection's rights with those of `token`."""
        ticket = self._outgoing.next_id()
        return self._queue(wire.Auth(ticket, token), Authenticating(ticket, token))

    def ping(self) -> int:
        """Pings the broker. The answer is the `Clocks`."""
        ticket = self._outgoing.next_id()
        return self._queue(wire.Ping(ticket), Pinging(ticket))

    def give_up(self, ticket: int) -> None:
        """Nobody waits for the answer to `ticket` any more. If the request was not sent, it will not be, unless it is
        an unsubscribe."""
        self._outgoing.give_up(ticket)

    def _queue(self, message: ClientMessage, purpose: Purpose) -> int:
        too_large = self._outgoing.add(message, purpose, self.limits)
        if too_large is not None:
            self._answer(purpose, too_large)
        return ticket_of(purpose) or 0

    # Sending.

    def next_to_send(self) -> bool | None:
        """Whether the next request is a publication; `None` if none waits to be sent. Drops requests that were given
        up."""
        for waiting in self._outgoing.take_given_up():
            self._answer(waiting.purpose, Disconnected())
        return self._outgoing.next_is_publication

    def send(self, now: Moment) -> tuple[ClientMessage, str | bytes]:
        """Takes the next request and its frame. It counts as sent from then on."""
        waiting = self._outgoing.take(now)
        self.checker.sent(waiting.message)
        if isinstance(waiting.purpose, Unsubscribing):
            self._forget(waiting.purpose.topics)
        return waiting.message, waiting.frame

    def _forget(self, topics: Iterable[str]) -> None:
        """Ends the wish to restore `topics`. It is called when an unsubscribe is sent and again when it ends, since the
        ack of an earlier subscribe may come in between."""
        for topic in topics:
            self._ledger.remove(topic)
        self._losses.keep(self._ledger.covers)

    # Receiving.

    def received(self, message: ServerMessage, heard: Moment | None) -> None:
        """Handles a message. `heard` is when it came."""
        try:
            self.checker.received(message)
        except BrokenPromise as broken:
            self._report(Violation(broken))
            if isinstance(broken, BrokenBook):
                self._resync_by_itself(broken.topic)
        if self._losses:
            for unresumed in self._losses.received(message):
                self._report(unresumed)
        match message:
            case wire.UpdateMessage(topic=topic, seq=seq, ts=ts, data=data):
                self._report(Update(topic, self.checker.epoch(topic), seq, ts, data))
            case wire.SnapshotMessage(topic=topic, epoch=epoch, seq=seq, ts=ts, data=data):
                self._report(Snapshot(topic, epoch, seq, ts, data))
            case wire.GapMessage(topic=topic, epoch=epoch, from_seq=from_seq, to_seq=to_seq, reason=reason):
                self._report(Gap(topic, epoch, from_seq, to_seq, reason))
            case wire.JoinedMessage(topic=topic, epoch=epoch, seq=seq):
                self._report(Joined(topic, epoch, seq))
            case wire.EndMessage(topic=topic, epoch=epoch, seq=seq, reason=reason):
                self._report(End(topic, epoch, seq, reason))
            case wire.Status(topic=topic, state="stale", reason=stale_reason):
                self._report(Stale(topic, stale_reason))
            case wire.Status(topic=topic, state="live"):
                self._report(Live(topic))
            case wire.Status(topic=topic, state="caught_up"):
                self._report(CaughtUp(topic, message.seq))
            case wire.Drain(reconnect_after_ms=after_ms):
                self._report(Draining(after_ms))
            case wire.ErrorMessage(id=None, refusal=refusal):
                self._report(BrokerError(refusal))
            case wire.Ack(id=request) | wire.ErrorMessage(id=int(request)) | wire.Pong(id=int(request)):
                waiting = self._outgoing.answered(request)
                if waiting is not None:
                    self._answered(request, waiting.purpose, message, heard)
            case wire.SyncedMessage(id=request):
                syncing = self._syncing.pop(request, None)
                if syncing is not None:
                    self._report(Synced(tuple(syncing.topics)))
                    self._end_syncing(syncing, None)
            case _:
                pass

    def _resync_by_itself(self, topic: str) -> None:
        """Asks for the whole book in place of one that does not fit, unless it has asked already."""
        if topic in self._healing:
            return
        self._healing.add(topic)
        self._queue(wire.Resync(self._outgoing.next_id(), topic), Healing(topic))

    def _report(self, event: Event) -> None:
        self.output.append(Report(event))

    def _answered(self, request: int, purpose: Purpose, message: ServerMessage, heard: Moment | None) -> None:
        results = message.results if isinstance(message, wire.Ack) else []
        refusal = message.refusal if isinstance(message, wire.ErrorMessage) else None
        match purpose:
            case SendingAhead(seqs=seqs):
                if refusal is not None or any(result.error for result in results):
                    self._positions_refused(seqs)
            case Restoring(names=names):
                self._restored(request, names, results, refusal)
            case RestoringRights():
                pass  # what rights do not cover is refused and reported
            case Healing(topic=topic):
                self._healing.discard(topic)
            case Subscribing(ticket=ticket, wanted=wanted):
                granted = [result for result in results if result.error is None]
                for result in granted:
                    # A replay implies every message, whatever the topic's kind is.
                    own = wanted if result.replay is None else replace(wanted, mode="every")
                    self._ledger.add(result.topic, own)
                if refusal is None:
                    self._report(Subscribed(tuple(results)))
                self._answer(purpose, results if refusal is None else Refused(refusal))
                self._await_synced(request, [result.topic for result in granted], ticket, refusal)
            case Unsubscribing(topics=topics):
                if refusal is None:
                    self._forget(topics)
                self._answer(purpose, results if refusal is None else Refused(refusal))
            case Pinging(sent=sent):
                if isinstance(message, wire.Pong) and sent is not None and heard is not None:
                    received = message.ts if message.received is None else message.received
                    self._answer(purpose, reading(sent, received, message.ts, heard))
                else:
                    self._answer(purpose, Refused(refusal) if refusal else BadAnswer("the broker sent no pong"))
            case Authenticating(token=token):
                refusal = refusal or next((result.error for result in results if result.error), None)
                if refusal is None:
                    self._token = token
                self._answer(purpose, None if refusal is None else Refused(refusal))
            case Publishing():
                self._answer(purpose, published(results, refusal))
            case Resyncing():
                refusal = refusal or next((result.error for result in results if result.error), None)
                self._answer(purpose, None if refusal is None else Refused(refusal))

    def _answer(self, purpose: Purpose, outcome: Answer | RequestError) -> None:
        ticket = ticket_of(purpose)
        if ticket is None or isinstance(purpose, SendingAhead):
            return
        self._outgoing.ended(ticket)
        self.output.append(Answered(ticket, outcome))
        if isinstance(purpose, Subscribing) and isinstance(outcome, RequestError):
            self.output.append(SyncedFor(ticket, outcome))

    def _await_synced(self, request: int, topics: list[str], ticket: int | None, refusal: Refusal | None) -> None:
        """Waits for the synced of `request`, which was acked, if any topic was granted."""
        if refusal is not None:
            return
        syncing = Syncing(topics, ticket)
        if not topics:
            self._end_syncing(syncing, None)
            return
        self._syncing[request] = syncing
        while len(self._syncing) > SYNCING_MAX:
            oldest = self._syncing.pop(next(iter(self._syncing)))
            self._end_syncing(oldest, TooManyRequests(f"more than {SYNCING_MAX} requests wait to be synced"))

    def _end_syncing(self, syncing: Syncing, error: RequestError | None) -> None:
        if syncing.ticket is not None:
            self.output.append(SyncedFor(syncing.ticket, error))

    # Restoring what the old connection had, and reporting what could not be resumed.

    def _restore(self, only: Collection[str] | None) -> None:
        left: dict[str, Position] = {}
        if not self._sse:
            left = {left.topic: left.position for left in self.checker.left_off() if left.position is not None}
        for step in self._ledger.restore(only, left, self._start, self.limits):
            if isinstance(step, Ahead):
                self._send_positions(step.seqs, restores=True)
            else:
                for request in _for_sse(step) if self._sse else [step]:
                    self._subscribe_again(request)

    def _start(self, topic: str) -> Start:
        if self.checker.is_live(topic):
            return "flows"
        return self.checker.position_left(topic) or "anew"

    def _subscribe_again(self, request: Request) -> None:
        for entry in request.topics:
            if entry.since is not None:
                # The ack of this topic tells whether it was resumed.
                self._losses.forget(entry.topic)
        names = [entry.topic for entry in request.topics]
        self._queue(wire.Subscribe(self._outgoing.next_id(), request.topics, request.wanted), Restoring(names))

    def _send_positions(self, seqs: Seqs, restores: bool, ticket: int | None = None) -> None:
        """Queues positions. They apply to the patterns of the subscribe that is queued next."""
        self._queue(wire.Positions(self._outgoing.next_id(), seqs), SendingAhead(seqs, restores, ticket))

    def _positions_refused(self, seqs: Mapping[str, Mapping[str, int]]) -> None:
        """Handles the broker's refusal of positions: their topics begin anew."""
        for topic, last in each_of(seqs):
            if self.checker.may_need_every(topic):
                self._losses.watch_unasked(topic, last)

    def _without_seqs(self, entry: TopicRequest) -> TopicRequest:
        """The entry for a stream of server-sent events, which cannot resume a pattern."""
        for topic, last in each_of(entry.seqs or {}):
            self._losses.watch_unasked(topic, last)
        return entry if entry.seqs is None else TopicRequest(entry.topic)

    def _restored(self, request: int, names: list[str], results: list[Result], refusal: Refusal | None) -> None:
        refused = [(name, refusal) for name in names] if refusal is not None else []
        for name, result in zip(names, results, strict=False):
            if result.error is not None:
                refused.append((name, result.error))
                continue
            recovered = result.recovered
            resumed = int(recovered is True) if result.resumed is None else result.resumed
            not_resumed = int(recovered is False) if result.not_resumed is None else result.not_resumed
            if result.epoch is not None and result.seq is not None:
                for unresumed in self._losses.goes_on(result.topic, result.epoch, result.seq, 0):
                    self._report(unresumed)
            self._report(Recovered(result.topic, resumed, not_resumed))
        granted = [result.topic for result in results if result.error is None]
        self._await_synced(request, granted, None, refusal)
        for topic, why in refused:
            if not self._ledger.wants(topic):
                continue  # it was unsubscribed meanwhile
            if why.retryable:
                self._unrestored.add(topic)
            else:
                self._ledger.remove(topic)
                self._report(LostSubscription(topic, why))


def _for_sse(request: Request) -> list[Request]:
    """Divides a request into ones that a stream of server-sent events can serve: all topics with a position or none,
    and patterns apart from topics."""
    groups: dict[tuple[bool, bool], list[TopicRequest]] = {}
    for entry in request.topics:
        groups.setdefault((entry.since is not None, _is_wildcard(entry.topic)), []).append(entry)
    return [
        Request(Wanted(request.wanted.mode, request.wanted.conflate_ms), entries[at : at + SSE_TOPICS_MAX])
        for entries in groups.values()
        for at in range(0, len(entries), SSE_TOPICS_MAX)
    ]


def _is_wildcard(name: str) -> bool:
    try:
        return Pattern(name).is_wildcard
    except TopicError:
        return False
