"""The events that a client reports, in the order in which they happen.

A subscription delivers those about its topics (`TopicEvent`). `Client.listen` gets all of them (`Event`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any, Literal, TypeAlias

from .errors import ConfigError, ConnectError
from .promise import BrokenPromise
from .wire import Limits, Position, Refusal, Result

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def moment(ts: int) -> datetime:
    """The time `ts`, in microseconds since the Unix epoch, as a `datetime` in UTC."""
    return _EPOCH + timedelta(microseconds=ts)


def on_the_wire(when: int | str | datetime | None) -> int | str | None:
    """A moment as a request holds it. Raises `ConfigError` for a `datetime` without a time zone."""
    if not isinstance(when, datetime):
        return when
    if when.tzinfo is None:
        raise ConfigError(f"{when} has no time zone")
    return (when - _EPOCH) // timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A topic's value as of `seq`."""

    topic: str
    epoch: str
    seq: int
    ts: int
    """When the message entered the broker, by its clock, in microseconds since the Unix epoch."""
    data: Any

    @property
    def time(self) -> datetime:
        """`ts` as a `datetime` in UTC."""
        return moment(self.ts)


@dataclass(frozen=True, slots=True)
class Update:
    """A topic's next message."""

    topic: str
    epoch: str | None
    """The lineage of `seq`; `None` only if the broker broke its promise to tell it."""
    seq: int
    ts: int
    """When the message entered the broker, by its clock, in microseconds since the Unix epoch."""
    data: Any

    @property
    def time(self) -> datetime:
        """`ts` as a `datetime` in UTC."""
        return moment(self.ts)


@dataclass(frozen=True, slots=True)
class Gap:
    """Messages `from_seq` to `to_seq`, both included, will not come.

    The reasons of the broker are `slow` (the client fell behind), `history` (it resumed from a position that the
    history no longer reaches) and `epoch` (the position is of another lineage). The client's own reason is `consumer`:
    the program did not take the subscription's events in time, and the oldest were dropped.
    """

    topic: str
    epoch: str
    from_seq: int
    to_seq: int
    reason: str

    @property
    def count(self) -> int:
        """How many messages will not come."""
        return max(self.to_seq - self.from_seq + 1, 0)


@dataclass(frozen=True, slots=True)
class Unresumed:
    """After a reconnect, a topic that needs every message does not go on where it was left, and no gap says so. What
    was published between the two positions was not seen."""

    topic: str
    last: Position
    """The last message that was seen."""
    now: int
    """The number at which the topic goes on. In another lineage it does not tell how many messages are missing."""


@dataclass(frozen=True, slots=True)
class Joined:
    """A topic came to one of the client's patterns. The next message is the one after `seq`."""

    topic: str
    epoch: str
    seq: int


@dataclass(frozen=True, slots=True)
class End:
    """A topic has ended: `expired`, `deleted` or, in a cluster, `epoch`. Nothing comes of it, until a `Joined` says
    that it was made again."""

    topic: str
    epoch: str
    seq: int
    reason: str


@dataclass(frozen=True, slots=True)
class Stale:
    """A topic's source fell silent. With a reason (`partial`, `hole`, `crossed`) it is about a book: its messages still
    come, but it cannot be relied on. On a new connection the broker says it again if it is still so: after a
    `Recovered` a topic counts as live."""

    topic: str
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Live:
    """A topic's source came back."""

    topic: str


@dataclass(frozen=True, slots=True)
class CaughtUp:
    """A topic that was replayed from a moment on is live from here: everything up to `seq` has come. After a reconnect
    this does not come again; a `Synced` does."""

    topic: str
    seq: int | None


@dataclass(frozen=True, slots=True)
class Synced:
    """Everything that a subscription begins with has come: each snapshot and each message of a replay. After a
    reconnect this comes once for each request that restores subscriptions."""

    topics: tuple[str, ...]
    """The topics and patterns that were granted."""


@dataclass(frozen=True, slots=True)
class Recovered:
    """A subscription was restored after a reconnect. If messages could not be resumed, later events tell so: a `Gap`, a
    `Snapshot` that replaces what was missed, or an `Unresumed`."""

    topic: str
    """The topic or pattern."""
    resumed: int
    """How many topics go on where they were left, with nothing missing."""
    not_resumed: int
    """How many topics begin anew."""


@dataclass(frozen=True, slots=True)
class Subscribed:
    """The broker has answered a subscription that the program asked for."""

    results: tuple[Result, ...]
    """One result for each name, in the order of the request."""


@dataclass(frozen=True, slots=True)
class LostSubscription:
    """After a reconnect the broker refused the subscription for good. It has ended."""

    topic: str
    """The topic or pattern."""
    refusal: Refusal


@dataclass(frozen=True, slots=True)
class Violation:
    """The broker broke a promise of the protocol. The next event is the message that shows it. A subscription raises
    `broken` in place of this event."""

    broken: BrokenPromise


@dataclass(frozen=True, slots=True)
class BrokerError:
    """The broker reports an error that no request has caused, such as rights that ended."""

    refusal: Refusal


@dataclass(frozen=True, slots=True)
class Connected:
    """A connection was made and welcomed. The client is restoring its subscriptions."""

    session: str
    """The session's name, for logs and support."""
    server: str
    """The broker's name and version."""
    limits: Limits
    reconnects: int
    """How many connections of this client came before it."""
    url: str
    transport: Literal["websocket", "sse"]


@dataclass(frozen=True, slots=True)
class Draining:
    """The broker is about to stop. The client reconnects after this time by itself."""

    reconnect_after_ms: int


@dataclass(frozen=True, slots=True)
class Loss:
    """How a connection ended."""

    cause: Literal["closed", "broke", "silent", "protocol", "drained", "left"]
    """`closed`: by the broker's close frame. `broke`: without one. `silent`: nothing came for too long. `protocol`: the
    broker sent something that is not a message. `drained`: the client left at the time that a drain gave. `left`: the
    program closed the client."""
    code: int | None = None
    """The code of the broker's close frame, if it had one."""
    reason: str = ""

    def __str__(self) -> str:
        match self.cause:
            case "closed":
                return f"closed by the broker with code {self.code or 'none'}" + (
                    f" ({self.reason})" if self.reason else ""
                )
            case "broke":
                return f"the connection broke: {self.reason}"
            case "silent":
                return f"nothing came from the broker: {self.reason}"
            case "protocol":
                return f"the broker broke the protocol: {self.reason}"
            case "drained":
                return "the broker drains and asked to reconnect"
            case "left":
                return "closed by this client"


@dataclass(frozen=True, slots=True)
class ConnectionLost:
    """The connection was lost. Requests that had been sent have failed. The client will restore the subscriptions."""

    loss: Loss
    retry_in_s: float | None
    """The time until the next attempt, in seconds; `None` if the client has stopped."""


@dataclass(frozen=True, slots=True)
class ConnectFailed:
    """An attempt to connect failed."""

    error: ConnectError
    retry_in_s: float | None
    """The time until the next attempt, in seconds; `None` if the client has stopped."""


@dataclass(frozen=True, slots=True)
class ClientStopped:
    """The client has stopped for good: the program closed it, or another attempt makes no sense. Nothing follows."""

    reason: str


TopicEvent: TypeAlias = (
    Update
    | Snapshot
    | Gap
    | Joined
    | End
    | Stale
    | Live
    | CaughtUp
    | Synced
    | Recovered
    | Unresumed
    | LostSubscription
    | Violation
)
"""What a subscription is told. Where a subscription is iterated, a `Violation` and a `LostSubscription` are raised as
the exceptions that they hold."""

Event: TypeAlias = (
    TopicEvent | BrokerError | Subscribed | Connected | Draining | ConnectionLost | ConnectFailed | ClientStopped
)
"""Everything that a client reports."""
