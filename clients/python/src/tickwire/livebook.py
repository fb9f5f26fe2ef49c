"""An order book that the client keeps up to date, as the program sees it."""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType
from typing import TYPE_CHECKING

from .book import Book, Level, Top
from .errors import ConfigError, SubscriptionLost, TickwireError
from .events import Live, LostSubscription, Recovered, Stale, TopicEvent, Violation
from .wire import Position

if TYPE_CHECKING:
    from .client import Client


class LiveBook:
    """The order book of one topic. Get one from `Client.book`.

    It is rebuilt as the messages come, whether or not the program looks: a slow program sees the newest book. A book
    that does not fit the broker's checksum shows no levels, and the client asks for the whole book by itself.
    """

    def __init__(self, client: Client, topic: str) -> None:
        if "*" in topic or ">" in topic:
            raise ConfigError(f"a book is that of one topic, and {topic!r} is a pattern")
        self.topic = topic
        """The topic."""
        self.is_stale = False
        """Whether the broker says that the book cannot be relied on, though it is the broker's own."""
        self._client = client
        self._subscription = client.subscribe(topic, on_event=self._told)
        self._changed = False
        self._fault: TickwireError | None = None

    async def __aenter__(self) -> LiveBook:
        self._client.verify_books(self.topic)
        await self._subscription
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._subscription.unsubscribe()

    def __aiter__(self) -> LiveBook:
        return self

    async def __anext__(self) -> LiveBook:
        """This book, after it has changed. Raises as the iteration of a `Subscription` does."""
        while not self._changed and self._fault is None:
            await self._subscription._next_change()
        self._changed = False
        if self._fault is not None:
            fault, self._fault = self._fault, None
            raise fault
        return self

    def _told(self, event: TopicEvent) -> None:
        self._changed = True
        match event:
            case Violation(broken=broken):
                self._fault = broken
            case LostSubscription(topic=topic, refusal=refusal):
                self._fault = SubscriptionLost(topic, refusal)
            case Stale():
                self.is_stale = True
            case Live() | Recovered():
                self.is_stale = False  # on a new connection the broker says again what is stale
            case _:
                pass

    @property
    def _book(self) -> Book:
        return self._client._core.checker.books.book(self.topic) or Book()

    @property
    def usable(self) -> bool:
        """Whether the book is known to equal the broker's."""
        return self._book.usable

    @property
    def position(self) -> Position | None:
        """The position of the last message that the book contains; `None` while it is not usable."""
        return self._book.position

    def bids(self) -> Iterator[Level]:
        """The bids, best first."""
        return self._book.bids()

    def asks(self) -> Iterator[Level]:
        """The asks, best first."""
        return self._book.asks()

    def top_of(self, levels: int = 1) -> Top:
        """The best `levels` levels of both sides."""
        return self._book.top_of(levels)

    def checksum(self) -> int:
        """The checksum of the book, as the broker computes it."""
        return self._book.checksum()
