"""The client's requests on their way: those that wait to be sent, and those that wait for their answers.

It outlives connections. It is bounded: `has_room` says whether it takes another request of the user.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from . import wire
from .clocks import Moment
from .codec import Codec
from .errors import TooLarge
from .ledger import Seqs
from .requests import Asked, Pinging, Publishing, Purpose, SendingAhead, Subscribing, Unsubscribing, Waiting, ticket_of
from .wire import ClientMessage, Limits

OUTGOING_MAX = 1_024
"""Most requests that wait to be sent, without those that restore subscriptions."""
PENDING_MAX = 1_024
"""Most requests that wait for answers."""


class Outgoing:
    """The requests of one client."""

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        self._queue: deque[Waiting] = deque()
        self._pending: dict[int, Waiting] = {}
        self._given_up: set[int] = set()
        """The tickets of requests for whose answers nobody waits any more."""
        self._sent_ahead: list[tuple[Seqs, int | None]] = []
        """Positions that this connection has sent ahead of a user's subscribe that is still to be sent."""
        self._last_id = 0

    def next_id(self) -> int:
        """A new number for a request. A user's request has the same number as its ticket."""
        self._last_id += 1
        return self._last_id

    def __len__(self) -> int:
        return len(self._queue)

    @property
    def has_room(self) -> bool:
        """Whether another request may be made."""
        return len(self._queue) < OUTGOING_MAX and len(self._pending) < PENDING_MAX

    @property
    def is_settled(self) -> bool:
        """Whether no request waits for its answer."""
        return not self._pending

    def add(self, message: ClientMessage, purpose: Purpose, limits: Limits) -> TooLarge | None:
        """Adds a request, unless it is one of the user that the broker does not take.

        Raises `TypeError` or `ValueError` if its data has no form in the codec.
        """
        waiting = Waiting(message, self._codec.encode(message), purpose)
        if waiting.size > limits.message_bytes and isinstance(purpose, Asked):
            return TooLarge(waiting.size, limits.message_bytes)
        self._queue.append(waiting)
        return None

    def set_aside(self) -> list[Waiting]:
        """Takes out everything that waits to be sent, so that other requests go before it."""
        aside = list(self._queue)
        self._queue.clear()
        return aside

    def put_back(self, aside: list[Waiting]) -> None:
        """Adds what was set aside."""
        self._queue.extend(aside)

    def give_up(self, ticket: int) -> None:
        """Nobody waits for the answer to `ticket` any more. If the request was not sent, it will not be, unless it is
        an unsubscribe: the subscription has ended for the program."""
        for waiting in (*self._queue, *self._pending.values()):
            if ticket_of(waiting.purpose) == ticket and not isinstance(waiting.purpose, Unsubscribing):
                self._given_up.add(ticket)

    def ended(self, ticket: int) -> None:
        """The request `ticket` has its answer, or failed."""
        self._given_up.discard(ticket)

    # Sending.

    def take_given_up(self) -> Iterator[Waiting]:
        """Takes the requests at the head of the queue that were given up. A subscribe whose positions the broker
        already has stays: otherwise they would apply to the next one."""
        while self._queue:
            ticket = ticket_of(self._queue[0].purpose)
            if self._sent_ahead or ticket is None or ticket not in self._given_up:
                return
            yield self._queue.popleft()

    @property
    def next_is_publication(self) -> bool | None:
        """Whether the next request is a publication; `None` if none waits to be sent."""
        return isinstance(self._queue[0].message, wire.Publish) if self._queue else None

    def take(self, now: Moment) -> Waiting:
        """Takes the next request. It counts as sent from then on."""
        waiting = self._queue.popleft()
        match waiting.purpose:
            case Pinging() as pinging:
                pinging.sent = now
            case Subscribing():
                self._sent_ahead.clear()
            case SendingAhead(restores=False, seqs=seqs, ticket=ticket):
                self._sent_ahead.append((seqs, ticket))
            case _:
                pass
        assert waiting.message.id is not None
        self._pending[waiting.message.id] = waiting
        return waiting

    def answered(self, request: int) -> Waiting | None:
        """Takes the request that an answer names, if it is known."""
        return self._pending.pop(request, None)

    # Ends.

    def disconnected(self) -> tuple[list[Waiting], list[Waiting], list[tuple[Seqs, int | None]]]:
        """Ends the connection. Returns the requests that failed, those that go to the next connection in their order,
        and the positions that go before these: the broker has forgotten the positions that were sent ahead."""
        failed: list[Waiting] = []
        again: list[Waiting] = []
        for waiting in self._pending.values():
            match waiting.purpose:
                case Publishing(keyed=True, ticket=ticket) if ticket not in self._given_up:
                    again.append(waiting)
                case _:
                    failed.append(waiting)
        self._pending.clear()
        again += [waiting for waiting in self.set_aside() if not waiting.is_of_connection]
        ahead, self._sent_ahead = self._sent_ahead, []
        return failed, again, ahead

    def stop(self) -> list[Waiting]:
        """Takes every request, since the client ends."""
        stopped = [*self._pending.values(), *self._queue]
        self._pending.clear()
        self._queue.clear()
        return stopped
