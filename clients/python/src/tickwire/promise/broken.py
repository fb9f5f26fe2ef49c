"""The ways in which a broker can break what PROTOCOL.md lets a client rely on: one class for each.

Each holds the topic and the numbers, and in `evidence` the message that shows it, so that a log line is enough for a
bug report.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..book import BookError
from ..errors import TickwireError
from ..wire import ServerMessage


class BrokenPromise(TickwireError):
    """A promise of the protocol that the broker did not keep. The client goes on from what the message claims."""

    kind: ClassVar[str]
    """The fault's name for programs."""
    evidence: ServerMessage | None = None
    """The message that shows the fault."""

    @property
    def about(self) -> str | None:
        """The topic or pattern that the fault is about, if it is about one."""
        return getattr(self, "topic", None)


@dataclass(eq=False)
class Duplicate(BrokenPromise):
    """A message came again that had been delivered."""

    kind = "duplicate"
    topic: str
    seq: int

    def __str__(self) -> str:
        return f"{self.topic}: message {self.seq} came twice"


@dataclass(eq=False)
class Backward(BrokenPromise):
    """A number is lower than one that was delivered."""

    kind = "backward"
    topic: str
    last: int
    got: int

    def __str__(self) -> str:
        return f"{self.topic}: message {self.got} came after {self.last}"


@dataclass(eq=False)
class Hole(BrokenPromise):
    """Messages of a subscription in mode `every` are missing and no gap named them."""

    kind = "hole"
    topic: str
    expected: int
    got: int

    def __str__(self) -> str:
        return f"{self.topic}: message {self.got} came where {self.expected} was due, and no gap named what is missing"


@dataclass(eq=False)
class GapOverlaps(BrokenPromise):
    """A gap names messages that had been delivered."""

    kind = "gap_overlaps"
    topic: str
    last: int
    from_seq: int

    def __str__(self) -> str:
        return f"{self.topic}: a gap from {self.from_seq} names messages that came: the last was {self.last}"


@dataclass(eq=False)
class GapLeavesHole(BrokenPromise):
    """A gap begins later than the first missing message."""

    kind = "gap_leaves_hole"
    topic: str
    expected: int
    from_seq: int

    def __str__(self) -> str:
        return f"{self.topic}: a gap from {self.from_seq} leaves out what is missing from {self.expected}"


@dataclass(eq=False)
class GapEmpty(BrokenPromise):
    """A gap names no message: it ends before it begins."""

    kind = "gap_empty"
    topic: str
    from_seq: int
    to_seq: int

    def __str__(self) -> str:
        return f"{self.topic}: a gap from {self.from_seq} to {self.to_seq} names nothing"


@dataclass(eq=False)
class FalseRecovery(BrokenPromise):
    """An ack said `recovered:true`, but the subscription was not recovered. `fault` says what shows it."""

    kind = "false_recovery"
    topic: str
    fault: str

    def __str__(self) -> str:
        return f"{self.topic}: recovered:true was false: {self.fault}"


@dataclass(eq=False)
class PartialReplay(BrokenPromise):
    """After `recovered:false`, the gap ends before the head, so part of a replay is about to follow."""

    kind = "partial_replay"
    topic: str
    head: int
    to_seq: int

    def __str__(self) -> str:
        return (
            f"{self.topic}: recovered:false at {self.head}, but the gap ends at {self.to_seq}: part of a replay follows"
        )


@dataclass(eq=False)
class NoPosition(BrokenPromise):
    """After `recovered:false`, an update came before the snapshot or gap that tells the client its position."""

    kind = "no_position"
    topic: str
    seq: int

    def __str__(self) -> str:
        return f"{self.topic}: update {self.seq} came before a snapshot or gap gave a position to count from"


@dataclass(eq=False)
class SilentEpoch(BrokenPromise):
    """The lineage changed, but no snapshot, ack or gap with reason `epoch` told so."""

    kind = "silent_epoch"
    topic: str
    known: str
    got: str

    def __str__(self) -> str:
        return f"{self.topic}: the epoch became {self.got} from {self.known} without being announced"


@dataclass(eq=False)
class UnknownLineage(BrokenPromise):
    """An update came for a topic whose lineage no ack, snapshot, gap or joined had told."""

    kind = "unknown_lineage"
    topic: str
    seq: int

    def __str__(self) -> str:
        return f"{self.topic}: update {self.seq} came, and nothing had told the topic's epoch"


@dataclass(eq=False)
class JoinedAgain(BrokenPromise):
    """A joined came for a topic whose lineage was known."""

    kind = "joined_again"
    topic: str

    def __str__(self) -> str:
        return f"{self.topic}: a joined came, and the topic's epoch was known"


@dataclass(eq=False)
class AfterEnd(BrokenPromise):
    """A message of a topic came after its end, before a joined."""

    kind = "after_end"
    topic: str

    def __str__(self) -> str:
        return f"{self.topic}: a message came after the topic's end"


@dataclass(eq=False)
class UnknownSynced(BrokenPromise):
    """A synced came for a request that does not wait for one."""

    kind = "unknown_synced"
    id: int

    def __str__(self) -> str:
        return f"a synced came to request {self.id}, which waits for none"


@dataclass(eq=False)
class CaughtUpWrongly(BrokenPromise):
    """A caught_up came without being awaited, before the end of the replay, or with another number than that of the
    last message."""

    kind = "caught_up"
    topic: str
    last: int
    seq: int

    def __str__(self) -> str:
        return f"{self.topic}: a caught_up came with {self.seq}; the last message was {self.last}"


@dataclass(eq=False)
class SyncedEarly(BrokenPromise):
    """A synced came before everything that the request brings."""

    kind = "synced_early"
    topic: str
    id: int

    def __str__(self) -> str:
        return f"{self.topic}: request {self.id} was synced before all that it brings had come"


@dataclass(eq=False)
class ResumeCount(BrokenPromise):
    """The ack of a pattern gives a lower number of topics that were resumed, or not, than the messages show."""

    kind = "resume_count"
    topic: str
    what: str
    """Which of the two numbers is wrong: `resumed` or `not resumed`."""
    said: int
    shown: int

    def __str__(self) -> str:
        return f"{self.topic}: {self.said} topics were said to be {self.what}, and {self.shown} were"


@dataclass(eq=False)
class PongTimes(BrokenPromise):
    """A pong says that its ping was read after the pong was sent."""

    kind = "pong_times"
    id: int
    received: int
    ts: int

    def __str__(self) -> str:
        return f"the pong to request {self.id} was sent at {self.ts}, and its ping read at {self.received}"


@dataclass(eq=False)
class BeforeAck(BrokenPromise):
    """A message of a topic came before the ack of its subscription."""

    kind = "before_ack"
    topic: str

    def __str__(self) -> str:
        return f"{self.topic}: a message came before the ack of its subscription"


@dataclass(eq=False)
class AfterUnsubscribe(BrokenPromise):
    """A message of a topic came after the ack that ended its subscription."""

    kind = "after_unsubscribe"
    topic: str

    def __str__(self) -> str:
        return f"{self.topic}: a message came after the ack that ended its subscription"


@dataclass(eq=False)
class NeverSubscribed(BrokenPromise):
    """A message came for a topic that no subscription covers."""

    kind = "never_subscribed"
    topic: str

    def __str__(self) -> str:
        return f"{self.topic}: a message came, and no subscription covers it"


@dataclass(eq=False)
class BrokenBook(BrokenPromise):
    """A book's changes do not lead to the state that the broker announced."""

    kind = "book"
    topic: str
    error: BookError

    def __str__(self) -> str:
        return f"{self.topic}: {self.error}"


@dataclass(eq=False)
class WelcomeAgain(BrokenPromise):
    """The first message was not a welcome, or a later one was."""

    kind = "welcome"
    op: str
    expected: str

    def __str__(self) -> str:
        return f"a {self.op} came where {self.expected} was due"


@dataclass(eq=False)
class UnknownAnswer(BrokenPromise):
    """An answer came to a request that does not wait for one."""

    kind = "unknown_answer"
    id: int

    def __str__(self) -> str:
        return f"an answer came to request {self.id}, which waits for none"


@dataclass(eq=False)
class AckMismatch(BrokenPromise):
    """An ack does not have one result per topic in the request's order."""

    kind = "ack_mismatch"
    id: int
    index: int
    expected: str
    got: str

    def __str__(self) -> str:
        return f"the ack of request {self.id} has {self.got} where its topic {self.index} is {self.expected}"
