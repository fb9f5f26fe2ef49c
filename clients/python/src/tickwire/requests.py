"""Requests on their way to the broker and back: what each is for, and whose its answer is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from .clocks import Clocks, Moment
from .errors import BadAnswer, Refused, RequestError
from .ledger import Seqs
from .wire import ClientMessage, Refusal, Result, Wanted

Answer: TypeAlias = list[Result] | Result | Clocks | None
"""What a request was answered with: results, the position of a publication, the clocks of a ping."""


@dataclass(slots=True)
class Asked:
    """A request of the user. `ticket` names it."""

    ticket: int


@dataclass(slots=True)
class Subscribing(Asked):
    """A subscribe."""

    wanted: Wanted


@dataclass(slots=True)
class Unsubscribing(Asked):
    """An unsubscribe."""

    topics: list[str]


@dataclass(slots=True)
class Pinging(Asked):
    """A ping, and when it was sent."""

    sent: Moment | None = None


@dataclass(slots=True)
class Authenticating(Asked):
    """An auth."""

    token: str = field(repr=False)


@dataclass(slots=True)
class Publishing(Asked):
    """A publication."""

    keyed: bool
    """Whether it can be sent again."""


@dataclass(slots=True)
class Resyncing(Asked):
    """A resync."""


@dataclass(slots=True)
class SendingAhead:
    """Positions that go ahead of the next subscribe: one of a user, or one that restores subscriptions."""

    seqs: Seqs
    restores: bool
    ticket: int | None = None
    """The user's subscribe that follows."""


@dataclass(slots=True)
class Restoring:
    """A subscribe that restores subscriptions."""

    names: list[str]


@dataclass(slots=True)
class RestoringRights:
    """The token of the last `auth`, shown on a new connection."""


@dataclass(slots=True)
class Healing:
    """A resync of a book that does not fit, which the client asks for by itself."""

    topic: str


Purpose: TypeAlias = (
    Subscribing
    | Unsubscribing
    | Pinging
    | Authenticating
    | Publishing
    | Resyncing
    | SendingAhead
    | Restoring
    | RestoringRights
    | Healing
)


@dataclass(slots=True)
class Waiting:
    """A request that waits to be sent."""

    message: ClientMessage
    frame: str | bytes
    purpose: Purpose

    @property
    def size(self) -> int:
        """The length of the frame in bytes."""
        return len(self.frame.encode()) if isinstance(self.frame, str) else len(self.frame)

    @property
    def is_of_connection(self) -> bool:
        """Whether the request is for this connection only. The next connection restores everything anew."""
        match self.purpose:
            case SendingAhead(restores=restores):
                return restores
            case Restoring() | RestoringRights() | Healing():
                return True
            case _:
                return False


@dataclass(slots=True)
class Syncing:
    """A granted request whose synced has not come."""

    topics: list[str]
    ticket: int | None


def ticket_of(purpose: Purpose) -> int | None:
    """The ticket of the user's request, if it is one or goes ahead of one."""
    match purpose:
        case SendingAhead(ticket=ticket):
            return ticket
        case Restoring() | RestoringRights() | Healing():
            return None
        case _:
            return purpose.ticket


def published(results: list[Result], refusal: Refusal | None) -> Answer | RequestError:
    """The outcome of a publication."""
    result = results[0] if results else None
    refusal = refusal or (result.error if result else None)
    if refusal is not None:
        return Refused(refusal)
    if result is None or result.epoch is None or result.seq is None:
        return BadAnswer("the broker's answer lacks the message's epoch and seq")
    return result
