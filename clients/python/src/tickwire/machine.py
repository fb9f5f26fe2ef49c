"""Keeps one client connected, without sockets and clocks: frames and times go in; actions and events come out.

The owner does each `Action` that `take` returns, tells what became of it, and calls `tick` at `wake_at`. Times are
seconds of a clock that is never corrected; nothing here reads one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TypeAlias

from . import wire
from .clocks import Moment
from .codec import Codec, JsonCodec, Numbers
from .core import Answered, Core, Report, SyncedFor
from .errors import BadMessage, ConnectError
from .events import ConnectFailed, ConnectionLost, Loss
from .nodes import Nodes
from .pace import Backoff, Pace
from .wire import ClientMessage

log = logging.getLogger("tickwire")

STABLE_S = 10.0
"""How long a connection must last to end an outage. The next outage begins with the shortest wait."""
UNREADABLE_MAX = 3
"""Most connections in a row that end with unreadable data. The client tries no other after them."""
RETRY_AFTER_MAX_S = 300.0
"""Most seconds of a broker's `Retry-After` that the client honours."""
SETTLE_MAX_S = 2.0
"""How long requests under way may delay the reconnect that a drain asked for."""
RESTORE_AGAIN_S = 1.0
"""When to try again to restore subscriptions that the broker refused for the time being."""
UNAUTHORIZED_MAX = 3
"""Most tokens of a function in a row that the broker does not accept. The client shows no other after them."""
DRAIN_MAX_S = 3_600.0
"""Latest time for the reconnect of a drain, whatever the broker says."""
QUIET_MAX_S = 86_400.0
"""The longest silence that is allowed, whatever the broker says."""

_FINAL_CODES = frozenset({1002, 1007, 1008, 1009, 1010, *range(4500, 5000)})


def is_final(code: int) -> bool:
    """Whether a close code tells the client not to reconnect."""
    return code in _FINAL_CODES


@dataclass(frozen=True, slots=True)
class Dial:
    """Connect to this URL, then call `opened` or `dial_failed`."""

    url: str
    token: str | None = field(repr=False)
    """The token to show, unless the owner has a function that gives one."""
    timeout_s: float = field(default=5.0, compare=False)
    """How long the attempt may take, up to the welcome."""
    is_only: bool = field(default=False, compare=False)
    """Whether no other attempt at this URL follows if it fails."""


@dataclass(frozen=True, slots=True)
class Send:
    """Send this message: its frame over a WebSocket."""

    message: ClientMessage
    frame: str | bytes


@dataclass(frozen=True, slots=True)
class HangUp:
    """End the connection, or the attempt to connect, with this close code. Tell nothing more of it."""

    code: int


@dataclass(frozen=True, slots=True)
class Stopped:
    """The client has stopped for good. `reason` says why."""

    reason: str
    error: ConnectError | None = None
    """Why the first connection failed."""


Action: TypeAlias = Dial | Send | HangUp | Stopped | Answered | SyncedFor | Report


class _State(Enum):
    IDLE = auto()
    WAITING = auto()
    DIALLING = auto()
    WELCOMING = auto()
    OPEN = auto()
    STOPPED = auto()


@dataclass(slots=True)
class _Outage:
    """The connections in a row that ended soon."""

    attempts: int = 0
    drained: bool = False
    """Whether a connection of this outage ended with a drain."""
    unreadable: int = 0
    """How many connections in a row ended with unreadable data."""

    def allows_another(self, loss: Loss) -> bool:
        """Counts a connection that ended. Returns whether to try another one."""
        self.unreadable = self.unreadable + 1 if loss.cause == "protocol" else 0
        if loss.cause == "left" or (loss.code is not None and is_final(loss.code)):
            return False
        return self.unreadable < UNREADABLE_MAX


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of one client."""

    urls: tuple[str, ...]
    token: str | None = field(default=None, repr=False)
    asks_token: bool = False
    """Whether the owner has a function that gives the token of each handshake."""
    connect_timeout_s: float = 5.0
    quiet_margin_s: float = 5.0
    """How long a broker may be silent beyond two heartbeats before it counts as dead."""
    backoff: Backoff = field(default_factory=Backoff)
    keep_trying: bool = False
    """Whether the first connection is tried again until it succeeds."""


class Machine:
    """One client, from its first connection to its end."""

    def __init__(
        self, settings: Settings, codec: Codec, numbers: Numbers, random: Callable[[], float], core: Core | None = None
    ) -> None:
        self.core = core or Core(codec)
        self._settings = settings
        self._codec = codec
        self._sse_codec = JsonCodec(numbers)
        self._random = random
        self._token = settings.token
        self._state = _State.IDLE
        self._actions: list[Action] = []
        self._outage = _Outage()
        self._nodes = Nodes(settings.urls, random)
        self._unauthorized = 0
        """How many tokens in a row the broker has not accepted."""
        self._ever_open = False
        self._sse = False
        self._due: float | None = None
        """When to dial, or by when the welcome must have come."""
        self._opened_at = 0.0
        self._pace = Pace(self.core.limits, 0.0)
        self._heard_at = 0.0
        self._paused = False
        self._quiet_s = QUIET_MAX_S
        self._reconnect_at: float | None = None
        """When to leave a broker that drains."""
        self._restore_at: float | None = None

    # What the owner looks at.

    def take(self) -> list[Action]:
        """Takes what is to be done, in order."""
        actions, self._actions = self._actions, []
        return actions

    @property
    def urls(self) -> tuple[str, ...]:
        """The URLs of the broker."""
        return self._settings.urls

    @property
    def is_open(self) -> bool:
        """Whether a connection is welcomed."""
        return self._state is _State.OPEN

    @property
    def is_stopped(self) -> bool:
        """Whether the client has stopped for good."""
        return self._state is _State.STOPPED

    def wake_at(self, now: float) -> float | None:
        """The next moment at which something is due, if nothing happens before."""
        if self._state is not _State.OPEN:
            return self._due
        due = [at for at in (self._restore_at,) if at is not None]
        if not self._paused:
            due.append(self._heard_at + self._quiet_s)
        if self._reconnect_at is not None:
            leaving = now >= self._reconnect_at
            due.append(self._reconnect_at + SETTLE_MAX_S if leaving else self._reconnect_at)
        publication = None if self._is_leaving(now) else self.core.next_to_send()
        if publication is not None:
            due.append(now + self._pace.wait(publication, now))
        return min(due, default=None)

    # What happens.

    def start(self, now: float) -> None:
        """Makes the first connection."""
        if self._state is _State.IDLE:
            self._dial(now)

    def opened(self, now: float, sse: bool = False) -> None:
        """The connection is made. Its first message is still to come. `sse` says that it is a stream of server-sent
        events."""
        if self._state is _State.DIALLING:
            self._state = _State.WELCOMING
            self._sse = sse

    def dial_failed(self, error: ConnectError, now: float) -> None:
        """The attempt to connect failed."""
        if self._state not in (_State.DIALLING, _State.WELCOMING):
            return
        # A function that gives tokens may have given one that expired on the way.
        is_unauthorized = error.status == 401 and self._settings.asks_token
        self._unauthorized = self._unauthorized + 1 if is_unauthorized else 0
        may_renew = is_unauthorized and self._unauthorized < UNAUTHORIZED_MAX
        self._connect_failed(error, error.retryable or may_renew, now)

    def received(self, frame: str | bytes, now: Moment) -> None:
        """A message came."""
        if self._state not in (_State.WELCOMING, _State.OPEN):
            return
        self._heard_at = now.at_s
        codec = self._sse_codec if self._sse else self._codec
        try:
            message = codec.decode(frame)
        except BadMessage as error:
            self._lose(Loss("protocol", reason=str(error)), now.at_s, hang_up=1002)
            return
        if self._state is _State.WELCOMING:
            self._welcomed(message, now.at_s)
        else:
            self._message(message, now)
        self._pump(now)

    def pinged(self, now: float) -> None:
        """Something came that is not a message: the connection is alive."""
        self._heard_at = now

    def pause(self, paused: bool, now: float) -> None:
        """Whether the owner takes no messages for now, so that silence is not the broker's."""
        self._paused = paused
        self._heard_at = now

    def lost(self, loss: Loss, now: float) -> None:
        """The connection has ended."""
        if self._state in (_State.WELCOMING, _State.OPEN):
            self._lose(loss, now, hang_up=None)

    def tick(self, now: Moment) -> None:
        """Does what is due by now."""
        at = now.at_s
        match self._state:
            case _State.WAITING if self._due is not None and at >= self._due:
                self._dial(at)
            case _State.DIALLING | _State.WELCOMING if self._due is not None and at >= self._due:
                self._actions.append(HangUp(1001))
                after = self._settings.connect_timeout_s
                error = ConnectError(self._nodes.url, f"it did not welcome within {after:g} s", blocked="perhaps")
                self._connect_failed(error, True, at)
            case _State.OPEN:
                self._tick_open(at)
                self._pump(now)
            case _:
                pass

    def stop(self, reason: str = "the client is closed") -> None:
        """Ends the client for good: the program closes it, or `reason` says why it cannot go on."""
        if self._state is _State.STOPPED:
            return
        if self._state in (_State.DIALLING, _State.WELCOMING, _State.OPEN):
            self._actions.append(HangUp(1000))
        self._collect()
        self._end(reason)

    def flush(self, now: Moment) -> None:
        """Sends requests that were made, as far as the broker's rates allow."""
        if self.core.output:
            self._collect()
        if self.core.has_outgoing:
            self._pump(now)

    # One connection.

    def _dial(self, now: float) -> None:
        self._state = _State.DIALLING
        self._due = now + self._settings.connect_timeout_s
        is_only = not (self._ever_open or self._settings.keep_trying)
        self._actions.append(Dial(self._nodes.url, self._token, self._settings.connect_timeout_s, is_only))

    def _welcomed(self, message: wire.ServerMessage, now: float) -> None:
        if not isinstance(message, wire.Welcome):
            self._actions.append(HangUp(1002))
            error = ConnectError(self._nodes.url, "it does not speak this protocol: its first message is no welcome")
            self._connect_failed(error, False, now)
            return
        self._state = _State.OPEN
        self._due = None
        self._unauthorized = 0
        self._opened_at = now
        self._ever_open = True
        self._reconnect_at = None
        self._restore_at = None
        self._pace = Pace(message.limits, now)
        self._quiet_s = min(message.heartbeat_ms * 2 / 1e3 + self._settings.quiet_margin_s, QUIET_MAX_S)
        self.core.connected(message, self._nodes.url, self._sse)
        self._collect()

    def _message(self, message: wire.ServerMessage, now: Moment) -> None:
        if isinstance(message, wire.Drain):
            self._reconnect_at = now.at_s + min(message.reconnect_after_ms / 1e3, DRAIN_MAX_S)
        self.core.received(message, now)
        self._collect()
        if self.core.has_unrestored and self._restore_at is None:
            self._restore_at = now.at_s + RESTORE_AGAIN_S

    def _tick_open(self, now: float) -> None:
        if not self._paused and now >= self._heard_at + self._quiet_s:
            reason = f"for {self._quiet_s * 1e3:.0f} ms"
            self._lose(Loss("silent", reason=reason), now, hang_up=1001)
            return
        if self._is_leaving(now):
            assert self._reconnect_at is not None
            if self.core.is_settled or now >= self._reconnect_at + SETTLE_MAX_S:
                self._lose(Loss("drained"), now, hang_up=1001)
                return
        if self._restore_at is not None and now >= self._restore_at:
            self._restore_at = None
            self.core.retry_unrestored()

    def _is_leaving(self, now: float) -> bool:
        return self._reconnect_at is not None and now >= self._reconnect_at

    def _pump(self, now: Moment) -> None:
        """Sends what may be sent. A broker that is about to be left gets nothing more."""
        if self._state is not _State.OPEN:
            return
        if self._is_leaving(now.at_s):
            self._tick_open(now.at_s)
            return
        while (publication := self.core.next_to_send()) is not None:
            if self._pace.wait(publication, now.at_s) > 0:
                break
            self._pace.spend(publication)
            self._actions.append(Send(*self.core.send(now)))

    def _collect(self) -> None:
        self._actions += self.core.output
        self.core.output.clear()

    # Ends of connections, and what follows.

    def _lose(self, loss: Loss, now: float, hang_up: int | None) -> None:
        if hang_up is not None:
            self._actions.append(HangUp(hang_up))
        if self._state is _State.WELCOMING:
            error = ConnectError(self._nodes.url, f"the connection ended before its welcome: {loss}")
            self._connect_failed(error, self._outage.allows_another(loss), now)
            return
        self.core.disconnected()
        self._collect()
        if now - self._opened_at >= STABLE_S:
            self._outage = _Outage()
            self._nodes.lasted()
        retry_in = self._retry_in(loss, now)
        self._actions.append(Report(ConnectionLost(loss, retry_in)))
        self._after(retry_in, str(loss), now)

    def _retry_in(self, loss: Loss, now: float) -> float | None:
        if not self._outage.allows_another(loss):
            return None
        asked_s = self._nodes.failed(now, 0.0, True)
        assert asked_s is not None, "another attempt may pass"
        if self._reconnect_at is None:
            return 0.0 if asked_s < 0 else asked_s + self._backoff()
        # The broker itself spreads the clients of a drain. Brokers that drain every connection at once must not make
        # the client connect in a loop.
        least = asked_s + self._backoff() if asked_s >= 0 and self._outage.drained else asked_s
        self._outage.drained = True
        return max(self._reconnect_at - now, least, 0.0)

    def _backoff(self) -> float:
        wait = self._settings.backoff.wait(self._outage.attempts, self._random())
        self._outage.attempts += 1
        return wait

    def _connect_failed(self, error: ConnectError, may_retry: bool, now: float) -> None:
        asked_s = min(error.retry_after_s or 0.0, RETRY_AFTER_MAX_S)
        is_over = self._nodes.is_last and not (self._ever_open or self._settings.keep_trying)
        next_asked_s = self._nodes.failed(now, asked_s, may_retry)
        retry_in: float | None
        if is_over or next_asked_s is None:
            retry_in = None
        elif next_asked_s < 0:
            retry_in = 0.0
        else:
            retry_in = next_asked_s + self._backoff()  # clients that were refused together come back one by one
        self._actions.append(Report(ConnectFailed(error, retry_in)))
        self._after(retry_in, str(error), now, error)

    def _after(self, retry_in: float | None, reason: str, now: float, error: ConnectError | None = None) -> None:
        log.debug("%s; the next attempt is in %s s", reason, retry_in)
        if retry_in is None:
            self._end(reason, error)
            return
        # The first token may have expired: the last that `auth` accepted is shown from now on. This does not apply to a
        # function, which gives the newest by itself.
        if self._token is not None or self._settings.asks_token:
            newest = self.core.take_token()
            if newest is not None and not self._settings.asks_token:
                self._token = newest
        self._state = _State.WAITING
        self._due = now + retry_in

    def _end(self, reason: str, error: ConnectError | None = None) -> None:
        self._state = _State.STOPPED
        self._due = None
        self.core.stop(reason)
        self._collect()
        self._actions.append(Stopped(reason, error))
