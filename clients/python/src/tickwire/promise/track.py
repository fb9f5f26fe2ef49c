"""What a client knows of one topic, and what may come next.

A `Track` takes the position that a message claims even if the message breaks a promise, so that a fault is reported
once. The exception is a number that goes backward: the highest one stays.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum, auto
from typing import Protocol

from ..topics import Pattern
from ..wire import SEQ_MAX, Mode, Position, Result
from .broken import (
    AfterEnd,
    Backward,
    BrokenPromise,
    CaughtUpWrongly,
    Duplicate,
    FalseRecovery,
    GapEmpty,
    GapLeavesHole,
    GapOverlaps,
    Hole,
    JoinedAgain,
    NoPosition,
    PartialReplay,
    SilentEpoch,
    UnknownLineage,
)


class Standing(Enum):
    """How sure the position in a topic is."""

    UNKNOWN = auto()
    """Nothing is known: the first message sets the position."""
    AT = auto()
    """The position is known: it counts on from there."""
    RESUMED = auto()
    """The ack said `recovered:true`, and nothing has come yet."""
    UNRESUMED = auto()
    """The ack said `recovered:false`: a snapshot or a gap must come first."""
    EITHER = auto()
    """A pattern was to resume the topic. What comes first shows whether it did."""


class Awaiting(Enum):
    """Whether a snapshot may come that is not the next message."""

    NOTHING = auto()
    FIRST = auto()
    """Before any update, or not at all: after a first ack or a gap."""
    REPEAT = auto()
    """A snapshot of the message that has just come. An event topic's snapshot can be put off while its history goes
    on, and then it is that of a later message."""
    ANY_TIME = auto()
    """After a `resync` or a further subscription. Updates that were already on their way may come before it."""


class Covering(Protocol):
    """A pattern that covers topics."""

    pattern: Pattern
    mode: Mode | None


UNKNOWN, AT, RESUMED, UNRESUMED, EITHER = Standing
NOTHING, FIRST, REPEAT, ANY_TIME = Awaiting


class Track:
    """The track of one topic."""

    __slots__ = (
        "alternative",
        "awaiting",
        "begun_by",
        "ended",
        "epoch",
        "every",
        "head",
        "left_off",
        "live",
        "may_be_every",
        "one_shots",
        "own",
        "own_mode",
        "promised",
        "quiet",
        "replayed_to",
        "resumed_by",
        "seq",
        "standing",
        "was_resumed",
        "wildcard_acks_seen",
    )

    def __init__(self) -> None:
        self.epoch: str | None = None
        self.seq = 0
        """The last message that came or that a gap named."""
        self.alternative: int | None = None
        """A second position to count from: that of an ack which overtook updates."""
        self.head = 0
        """The topic's last number when a resume failed."""
        self.promised = 0
        """The number up to which a resume promised all messages, or the newest."""
        self.replayed_to: int | None = None
        """The last message of the replay from a moment, until the broker says that the client has caught up."""
        self.begun_by: int | None = None
        """The request that began the subscription: its synced says that everything it begins with has come."""
        self.resumed_by: int | None = None
        """The request whose pattern was to resume the topic."""
        self.was_resumed: bool | None = None
        """Whether the pattern resumed it; `None` until that shows."""
        self.quiet = False
        """Whether only snapshots have come since the subscription began. They may be those of another request."""
        self.left_off = False
        """Whether the topic was live on the previous connection and is not live again yet."""
        self.ended = False
        """Whether the topic has ended and was not made again."""
        self.wildcard_acks_seen = 0
        """The number of wildcard acks when the last snapshot came."""
        self.standing = UNKNOWN
        self.awaiting = NOTHING
        self.live = False
        """Whether a subscription covers the topic."""
        self.every = False
        """Whether every message must come, by all subscriptions that cover the topic."""
        self.may_be_every = False
        """Whether that depends on the topic's kind, which the broker has not told."""
        self.own = False
        """Whether the topic is subscribed by its own name."""
        self.own_mode: Mode | None = None
        self.one_shots = 0
        """How many one-shots are still to come."""

    def position(self) -> Position | None:
        """The position to resume from; `None` if the topic must be subscribed anew."""
        if self.standing is UNKNOWN or self.epoch is None or self.ended:
            return None
        # A snapshot is due, and its content is not known. Counting on from here would miss it.
        if self.standing is AT and self.awaiting is FIRST and self.seq != 0:
            return None
        return Position(self.epoch, self.seq)

    def last(self) -> Position | None:
        """The last message that came or that a gap named, whether or not the topic can be resumed from it."""
        if self.epoch is None or self.standing is UNKNOWN:
            return None
        return Position(self.epoch, self.seq)

    def reconnected(self) -> None:
        """A new connection begins: nothing is subscribed."""
        self.left_off = self.left_off or self.live
        self.live = False
        self.own = False
        self.one_shots = 0
        self.begun_by = None

    def admitted(self) -> None:
        """A pattern began to cover the topic: the first message sets the position."""
        self._begins()
        self.standing = UNKNOWN
        self.awaiting = NOTHING
        self.alternative = None
        self.epoch = None

    def resumed_by_pattern(self, request: int, since: Position) -> None:
        """A pattern of `request` is to resume the topic after `since`."""
        self._begins()
        self.resumed_by = request
        self.standing = EITHER
        self.awaiting = NOTHING
        self.alternative = None
        self.epoch = since.epoch
        self.seq = since.seq
        self.was_resumed = None

    def _begins(self) -> None:
        self.live = True
        self.left_off = False
        self.ended = False
        self.quiet = True
        self.begun_by = None
        self.resumed_by = None
        self.promised = 0
        self.replayed_to = None

    def joined(self, topic: str, epoch: str, seq: int) -> None:
        """Checks a joined, which tells the topic's lineage and where its subscription begins."""
        same_lineage = self.epoch == epoch and not self.ended
        is_first, self.quiet, self.ended = self.quiet, False, False
        if same_lineage and not is_first:
            raise JoinedAgain(topic)
        self.epoch = epoch
        self.seq = seq
        if self.standing is EITHER:
            # The topic did not exist when its position was sent. It counts as one of the pattern's other topics: a
            # snapshot may come.
            self.wildcard_acks_seen = 0
        self.standing = AT
        self.alternative = None

    def end(self, topic: str, epoch: str, seq: int) -> None:
        """Checks an end: nothing comes of the topic after it, until a joined."""
        if self.ended:
            raise AfterEnd(topic)
        counts = self.epoch == epoch and self.standing is AT and self.alternative is None
        last = self.seq
        self.ended = True
        # An ack may tell the next lineage before its joined.
        self.quiet = True
        self.epoch = epoch
        self.seq = max(last, seq) if counts else seq
        self.standing = AT
        self.awaiting = NOTHING
        self.alternative = None
        self.promised = 0
        self.replayed_to = None
        if counts and seq < last:
            raise Backward(topic, last, seq)
        if counts and self.every and seq > last:
            raise Hole(topic, last + 1, seq + 1)

    def replays(self, last: int) -> None:
        """The topic is replayed from a moment, to `last` at least."""
        self.replayed_to = last

    def caught_up(self, topic: str, seq: int) -> None:
        """Checks that the client has caught up: it has everything up to `seq`."""
        last, self.replayed_to = self.replayed_to, None
        if last is None or seq < last or seq != self.seq:
            raise CaughtUpWrongly(topic, self.seq, seq)

    def resync(self) -> None:
        """A snapshot was asked for."""
        self.awaiting = ANY_TIME

    def acked(self, topic: str, request: int, result: Result, since: Position | None, snapshot: bool) -> None:
        """Checks the ack of the topic's own subscription."""
        was_live = self.live
        if not was_live:
            self._begins()
        brought_by, self.begun_by = self.begun_by, request
        if since is None:
            if self._begin(was_live, result, snapshot):
                self.begun_by = brought_by  # the earlier request still owes what the subscription begins with
            if result.recovered:
                raise FalseRecovery(topic, "the request had no position to resume from")
        elif result.recovered:
            self._resumed(topic, since, result)
        else:
            self._not_resumed(since, result, snapshot)

    def _begin(self, was_live: bool, result: Result, snapshot: bool) -> bool:
        """Begins a subscription without a position. Returns whether the topic goes on as before."""
        same_lineage = self.epoch == result.epoch
        if self.standing is UNKNOWN:
            counting = False
        elif self.standing is EITHER:
            # A pattern was to resume the topic and did not. That is yet to be told if the topic had a message.
            counting = (same_lineage and self.seq == 0) or (result.seq or 0) > 0
        else:
            counting = same_lineage
        if was_live and counting and not self.ended:
            # Updates up to the ack's number may still be on their way.
            self.alternative = result.seq
            if not same_lineage:
                # The topic was not resumed. What it missed is yet to be told, unless it had no position and wanted no
                # snapshot.
                self.epoch = result.epoch
                self.seq, self.standing, self.awaiting = 0, AT, FIRST
            if snapshot:
                self.awaiting = ANY_TIME
            return True
        self.ended = False
        self.epoch = result.epoch
        self.alternative = None
        if snapshot:
            self.awaiting = FIRST
        elif was_live and self.awaiting is not NOTHING:
            # A snapshot that was asked for before is still on its way.
            self.awaiting = ANY_TIME
        else:
            self.awaiting = NOTHING
        self.standing = UNKNOWN if result.seq is None else AT
        self.seq = result.seq or 0
        return False

    def stands_at(self, result: Result) -> None:
        """An ack tells the position of a topic without earlier messages. This may be a topic that a pattern was to
        resume, if it had no message."""
        if result.epoch is None or result.seq is None:
            return
        if self.standing is UNKNOWN or (self.standing is EITHER and result.seq == 0):
            self.epoch = result.epoch
            self.seq = result.seq
            self.standing = AT
            self.alternative = None

    def _resumed(self, topic: str, since: Position, result: Result) -> None:
        self.epoch = since.epoch
        self.seq = since.seq
        self.promised = since.seq if result.seq is None else result.seq
        self.alternative = None
        self.standing = RESUMED
        self.awaiting = NOTHING
        if result.epoch is not None and result.epoch != since.epoch:
            self.epoch = result.epoch
            self.standing = UNKNOWN
            raise FalseRecovery(topic, f"the epoch is {result.epoch}")
        if result.seq is not None and result.seq < since.seq:
            self.seq = result.seq
            raise FalseRecovery(topic, f"the topic is at {result.seq} only")

    def _not_resumed(self, since: Position, result: Result, snapshot: bool) -> None:
        head = since.seq if result.seq is None else result.seq
        same_lineage = result.epoch == since.epoch
        self.epoch = result.epoch
        self.alternative = None
        self.head = head
        self.seq = since.seq if same_lineage else 0
        # A refused resume may bring a snapshot even if the request wanted none.
        self.awaiting = FIRST
        if same_lineage and since.seq > head:
            # The position was never one of this lineage, so what is missing is unknown.
            self.standing = UNKNOWN
        elif snapshot:
            self.standing = UNRESUMED
        else:
            self.alternative = head
            self.standing = AT

    def owes(self, request: int) -> bool:
        """Whether `request` still owes something of the topic."""
        if not self.live or self.begun_by != request:
            return False
        if self.replayed_to is not None:
            return True
        if self.standing is UNRESUMED:
            return self.head != 0
        if self.standing is AT and self.quiet and self.awaiting is FIRST:
            # The snapshot or messages of a replay are still due.
            return self.seq != 0
        if self.standing is RESUMED or self.standing is AT:
            return self.promised > self.seq
        return False

    def update(self, topic: str, seq: int) -> None:
        """Checks an update."""
        if seq == self.seq + 1 and self.standing is AT and self.alternative is None and not self.ended:
            self.quiet = False
            self.seq = seq
            if self.awaiting is FIRST:
                self.awaiting = REPEAT
            return
        self._unusual_update(topic, seq)

    def _unusual_update(self, topic: str, seq: int) -> None:
        self.quiet = False
        last = self.seq
        if self.ended:
            self.seq = max(last, seq)
            raise AfterEnd(topic)
        expected = min(last + 1, SEQ_MAX)
        is_next = last + 1 == seq
        standing, self.standing = self.standing, AT
        if standing is UNKNOWN and self.epoch is None:
            self.seq = seq
            raise UnknownLineage(topic, seq)
        if standing is not UNKNOWN and seq <= last:
            self.standing = standing
            raise _backward(topic, last, seq)
        self.seq = seq
        if self.awaiting is FIRST:
            self.awaiting = REPEAT
        alternative = self.alternative
        continues_ack = alternative is not None and alternative + 1 == seq
        if alternative is not None and seq >= alternative:
            self.alternative = None
        if standing is EITHER:
            self.was_resumed = True
        if standing is UNKNOWN:
            return
        # If the topic had no message at the ack, there is neither a snapshot nor a gap to send.
        if standing is UNRESUMED and self.head != 0:
            raise NoPosition(topic, seq)
        if is_next or continues_ack or not self.every:
            return
        if standing is RESUMED:
            raise FalseRecovery(topic, f"update {seq} came where {expected} was due")
        raise Hole(topic, expected, seq)

    def snapshot(self, topic: str, epoch: str, seq: int, solicited: bool) -> None:
        """Checks a snapshot. `solicited` says that a request not known here asked for it."""
        if self.ended:
            self.epoch, self.seq = epoch, seq
            raise AfterEnd(topic)
        awaited = solicited or (seq == self.seq if self.awaiting is REPEAT else self.awaiting is not NOTHING)
        standing, self.standing = self.standing, AT
        self.awaiting = NOTHING
        self.alternative = None
        known, self.epoch = self.epoch, epoch
        if standing is EITHER:
            # A resumed topic would have got the missed messages first. The snapshot's number may be below the position
            # to resume from if that was of another lineage or had not been reached.
            self.was_resumed = None if awaited else False
            self.seq = seq
            return
        last = self.seq
        if (known is not None and known != epoch) or standing is UNKNOWN:
            self.seq = seq
            return
        self.seq = max(last, seq)
        if seq < last:
            raise _backward(topic, last, seq)
        if awaited:
            return
        if standing is RESUMED and self.every:
            raise FalseRecovery(topic, f"a snapshot at {seq} came in place of the missed messages")
        if seq == last:
            raise _backward(topic, last, seq)
        if self.every and seq - last > 1:
            raise Hole(topic, last + 1, seq)

    def gap(self, topic: str, epoch: str, from_seq: int, to_seq: int, reason: str) -> None:
        """Checks a gap, which says that the messages `from_seq` to `to_seq` will not come."""
        if self.ended:
            self.epoch, self.seq = epoch, to_seq
            raise AfterEnd(topic)
        known, self.epoch = self.epoch, epoch
        silent = known if known != epoch else None
        last = self.seq
        alternative, self.alternative = self.alternative, None
        standing, self.standing = self.standing, AT
        self.awaiting = FIRST
        self.quiet = False
        # A pattern was to resume the topic from a position of another lineage, or one that this lineage has not
        # reached, or the topic did not exist.
        anew = standing is EITHER and (
            reason == "epoch" or (reason == "slow" and (silent is not None or from_seq == 1))
        )
        if standing is EITHER and not (anew and reason == "slow"):
            self.was_resumed = reason == "slow"
        counts = silent is None and standing is not UNKNOWN and not anew
        self.seq = max(last, to_seq) if counts else to_seq
        if anew:
            return
        if silent is not None:
            if reason == "epoch":
                return
            raise SilentEpoch(topic, silent, epoch)
        if standing is UNRESUMED and to_seq < self.head:
            raise PartialReplay(topic, self.head, to_seq)
        if standing is UNRESUMED and reason == "epoch":
            return  # the numbers before the gap are those of another lineage
        if to_seq < from_seq:
            raise GapEmpty(topic, from_seq, to_seq)
        if standing is UNKNOWN:
            return
        if standing is RESUMED and reason != "slow":
            raise FalseRecovery(topic, f"a gap from {from_seq} followed, and not because of a slow reader")
        if from_seq <= last:
            raise GapOverlaps(topic, last, from_seq)
        continues = from_seq == last + 1 or (alternative is not None and from_seq == alternative + 1)
        if self.every and not continues:
            raise GapLeavesHole(topic, min(last + 1, SEQ_MAX), from_seq)

    def cover(self, topic: str, wildcards: Iterable[Covering]) -> None:
        """Sets which messages the topic needs by its own subscription and by the patterns that match it."""
        covering = [wildcard for wildcard in wildcards if wildcard.pattern.matches(topic)]
        own = self.own and self.own_mode == "every"
        every = own or any(wildcard.mode == "every" for wildcard in covering)
        if every != self.every:
            self.every = every
            self.promised = 0  # what comes of it becomes another thing
        # A pattern without a mode may match several kinds: the mode then depends on the topic's kind.
        self.may_be_every = not self.own and any(wildcard.mode is None for wildcard in covering)


def _backward(topic: str, last: int, got: int) -> BrokenPromise:
    return Duplicate(topic, got) if got == last else Backward(topic, last, got)
