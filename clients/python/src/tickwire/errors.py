"""The errors of the client. Broken promises have their own classes in `tickwire.promise`."""

from __future__ import annotations

from typing import Literal

from .wire import Refusal


class TickwireError(Exception):
    """The base of all errors of this package."""


class ConfigError(TickwireError, ValueError):
    """The client was asked for something that cannot be: a bad URL, a bad option, a missing extra."""


class ConnectError(TickwireError):
    """A connection could not be made."""

    def __init__(
        self,
        url: str,
        reason: str,
        *,
        retryable: bool = True,
        status: int | None = None,
        retry_after_s: float | None = None,
        blocked: Literal["yes", "perhaps", "no"] = "no",
    ) -> None:
        super().__init__(f"{url}: {reason}")
        self.url = url
        """The broker's URL."""
        self.reason = reason
        """What went wrong."""
        self.retryable = retryable
        """Whether the same attempt may succeed later."""
        self.status = status
        """The HTTP status of a refusal."""
        self.retry_after_s = retry_after_s
        """The broker's `Retry-After` in seconds."""
        self.blocked = blocked
        """Whether something on the way lets no WebSocket through: an answer that is not the broker's says so, and a
        handshake that breaks off may be a sign of it."""


class RequestError(TickwireError):
    """A request failed."""


class Refused(RequestError):
    """The broker refused the request. It took no effect."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(str(refusal))
        self.refusal = refusal
        """The broker's answer."""

    @property
    def code(self) -> str:
        """The code for programs."""
        return self.refusal.code

    @property
    def retryable(self) -> bool:
        """Whether the same request may succeed later."""
        return self.refusal.retryable


class TooLarge(RequestError):
    """The request is longer than the broker takes. It was not sent."""

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(f"the request has {size} bytes, the broker takes {limit}: split it")
        self.size = size
        """The request's length in bytes."""
        self.limit = limit
        """The broker's limit in bytes."""


class Disconnected(RequestError):
    """The connection was lost before the answer. Whether the request took effect is unknown."""

    def __init__(self) -> None:
        super().__init__("the connection was lost before the answer; whether the request took effect is unknown")


class NoAnswer(RequestError):
    """No answer came in time. Whether the request took effect is unknown."""

    def __init__(self, after_s: float) -> None:
        super().__init__(f"no answer within {after_s:g} s; whether the request took effect is unknown")
        self.after_s = after_s
        """The time allowed, in seconds."""


class Closed(RequestError):
    """The client has stopped for good. `reason` says why, if it was not closed by the program."""

    def __init__(self, reason: str = "the client is closed") -> None:
        super().__init__(reason)
        self.reason = reason
        """Why the client stopped."""


class BadAnswer(RequestError):
    """The broker's answer lacks what the request needs."""


class TooManyRequests(RequestError):
    """More requests wait than the client keeps. This one was not sent."""


class SubscriptionLost(TickwireError):
    """After a reconnect the broker refused the subscription for good."""

    def __init__(self, topic: str, refusal: Refusal) -> None:
        super().__init__(f"{topic}: {refusal}")
        self.topic = topic
        """The topic or pattern."""
        self.refusal = refusal
        """The broker's answer."""


class Overrun(TickwireError):
    """The program has not taken the events of a subscription for so long that the client ended it."""

    def __init__(self, events: int) -> None:
        super().__init__(f"more than {events} events waited for the program: the client has ended the subscription")


class BadMessage(TickwireError):
    """The broker sent something that is not a message of the protocol."""
