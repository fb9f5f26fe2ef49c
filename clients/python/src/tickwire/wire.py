"""The messages of the protocol as types, and the limits that are part of it.

Every message of the broker becomes one of these by validation, once, in `tickwire.codec`. Nothing here does I/O.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

Mode: TypeAlias = Literal["every", "conflate", "snapshot"]
"""Which of a topic's messages a subscriber gets."""

SEQ_MAX = 2**64 - 1
BOOK_LEVELS_MAX = 16_384


@dataclass(frozen=True, slots=True)
class Position:
    """The position in a topic that a client has reached."""

    epoch: str
    """The lineage of the number."""
    seq: int
    """The number of the last message."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits that a `welcome` announces. A rate of 0 means none."""

    subscriptions: int
    message_bytes: int
    ops_per_s: int
    ops_burst: int = 0
    publishes_per_s: int = 0
    publishes_burst: int = 0


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why the broker refused something: `code` is for programs, `reason` for people."""

    code: str
    reason: str

    @property
    def retryable(self) -> bool:
        """Whether the same request may succeed later."""
        return self.code in ("limit_exceeded", "rate_limited", "internal")

    def __str__(self) -> str:
        return f"{self.code}: {self.reason}"


@dataclass(frozen=True, slots=True)
class ReplayRange:
    """The stored messages that come first, if `from_moment` asked for them."""

    from_seq: int
    """The first of them. It is behind `to_seq` if there are none."""
    to_seq: int
    """The last of them: the topic's newest message."""


@dataclass(frozen=True, slots=True)
class Result:
    """One result of an `ack`. Fields that the broker left out are `None`."""

    topic: str
    """The topic or pattern as written in the request."""
    epoch: str | None = None
    seq: int | None = None
    mode: Mode | None = None
    """The mode that was granted, if it is the same for every topic."""
    modes: Mapping[str, str] | None = None
    """The granted modes by kind, of a pattern over topics of several kinds."""
    conflate_ms: int | None = None
    matched: int | None = None
    """How many topics the pattern matches now."""
    recovered: bool | None = None
    replay: ReplayRange | None = None
    not_stored: int | None = None
    """The time of the oldest stored message, if messages since `from_moment` are no longer stored."""
    resumed: int | None = None
    not_resumed: int | None = None
    duplicate: bool = False
    """Whether a publication with the same key had been published before."""
    error: Refusal | None = None


# What the broker sends.


@dataclass(slots=True)
class Welcome:
    session: str
    server: str
    ts: int
    heartbeat_ms: int
    limits: Limits
    op = "welcome"


@dataclass(slots=True)
class UpdateMessage:
    topic: str
    seq: int
    ts: int
    data: Any
    op = "update"


@dataclass(slots=True)
class SnapshotMessage:
    topic: str
    epoch: str
    seq: int
    ts: int
    data: Any
    op = "snapshot"


@dataclass(slots=True)
class Ack:
    id: int
    results: list[Result]
    op = "ack"


@dataclass(slots=True)
class SyncedMessage:
    id: int
    op = "synced"


@dataclass(slots=True)
class JoinedMessage:
    topic: str
    epoch: str
    seq: int
    op = "joined"


@dataclass(slots=True)
class EndMessage:
    topic: str
    epoch: str
    seq: int
    reason: str
    op = "end"


@dataclass(slots=True)
class GapMessage:
    topic: str
    epoch: str
    from_seq: int
    to_seq: int
    reason: str
    op = "gap"


@dataclass(slots=True)
class Status:
    topic: str
    state: str
    reason: str | None
    seq: int | None = None
    op = "status"


@dataclass(slots=True)
class Heartbeat:
    ts: int
    op = "heartbeat"


@dataclass(slots=True)
class Pong:
    id: int | None
    ts: int
    received: int | None
    op = "pong"


@dataclass(slots=True)
class Drain:
    reconnect_after_ms: int
    deadline_ms: int
    op = "drain"


@dataclass(slots=True)
class ErrorMessage:
    id: int | None
    refusal: Refusal
    op = "error"


@dataclass(slots=True)
class Unknown:
    """A message with an op that this version does not know. It is ignored."""

    op: str


ServerMessage: TypeAlias = (
    Welcome
    | UpdateMessage
    | SnapshotMessage
    | Ack
    | SyncedMessage
    | JoinedMessage
    | EndMessage
    | GapMessage
    | Status
    | Heartbeat
    | Pong
    | Drain
    | ErrorMessage
    | Unknown
)


# What a client sends.


@dataclass(frozen=True, slots=True)
class TopicRequest:
    """One entry of a `subscribe`: a topic or pattern, and the positions to resume from or the moment to begin with."""

    topic: str
    since: Position | None = None
    """The position of a single topic."""
    seqs: Mapping[str, Mapping[str, int]] | None = None
    """The positions of a pattern's topics: numbers by topic, by epoch."""
    from_moment: int | str | None = None
    """The moment from which on the stored messages of a single topic are wanted."""
    speed: float | None = None
    """How fast they are wanted, if not as fast as they are taken."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """The options of a subscription."""

    mode: Mode | None = None
    conflate_ms: int | None = None
    snapshot: bool = True

    @property
    def rank(self) -> tuple[int, int]:
        """Lower for options that ask for more of a topic."""
        order = {"every": 0, None: 1, "conflate": 2, "snapshot": 2}
        return order[self.mode], self.conflate_ms or 0


@dataclass(slots=True)
class Subscribe:
    id: int
    topics: Sequence[TopicRequest]
    wanted: Wanted = field(default_factory=Wanted)


@dataclass(slots=True)
class Positions:
    id: int
    seqs: Mapping[str, Mapping[str, int]]
    """Numbers by topic, by epoch."""


@dataclass(slots=True)
class Unsubscribe:
    id: int
    topics: Sequence[str]


@dataclass(slots=True)
class Publish:
    id: int | None
    topic: str
    data: Any
    key: str | None = None
    ts: int | None = None


@dataclass(slots=True)
class Resync:
    id: int
    topic: str


@dataclass(slots=True)
class Auth:
    id: int
    token: str = field(repr=False)


@dataclass(slots=True)
class Ping:
    id: int | None


ClientMessage: TypeAlias = Subscribe | Positions | Unsubscribe | Publish | Resync | Auth | Ping
