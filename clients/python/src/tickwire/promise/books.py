"""The books that are rebuilt to verify their checksums.

A subscription may begin without the whole book: it is resumed, or has no snapshot. Such a book is unknown and nothing
is checked of it until a snapshot comes. Where a snapshot is due before any change, a change without it is a broken
promise.
"""

from __future__ import annotations

from ..book import Book, BookError
from ..topics import Pattern
from ..wire import Position, Result
from .broken import BrokenBook


class _Rebuilt:
    __slots__ = ("book", "snapshot_due")

    def __init__(self) -> None:
        self.book = Book()
        self.snapshot_due = False
        """Whether a snapshot has to come before any change."""


class Books:
    """The books of the topics that match some patterns, as far as they are known."""

    def __init__(self) -> None:
        self._patterns: list[Pattern] = []
        self._books: dict[str, _Rebuilt] = {}
        self._others: set[str] = set()
        """Topics that no pattern matches."""

    def verify(self, pattern: Pattern) -> None:
        """Also verifies the books of the topics that match `pattern`, from their next snapshot on."""
        if pattern not in self._patterns:
            self._patterns.append(pattern)
            self._others.clear()

    def book(self, topic: str) -> Book | None:
        """The book of `topic`, if it is verified. It changes with the messages."""
        rebuilt = self._get(topic)
        return rebuilt.book if rebuilt else None

    def _get(self, topic: str) -> _Rebuilt | None:
        if not self._patterns or topic in self._others:
            return None
        rebuilt = self._books.get(topic)
        if rebuilt is None:
            if not any(pattern.matches(topic) for pattern in self._patterns):
                self._others.add(topic)
                return None
            rebuilt = self._books[topic] = _Rebuilt()
        return rebuilt

    def goes_on(self, topic: str, at: Position) -> None:
        """The subscription of `topic` goes on from `at` and needs no snapshot."""
        rebuilt = self._get(topic)
        if rebuilt is None:
            return
        rebuilt.snapshot_due = False
        if rebuilt.book.position == at:
            return
        if at.seq == 0:
            rebuilt.book.begin(at.epoch)
        else:
            rebuilt.book.make_stale()

    def awaits_snapshot(self, topic: str) -> None:
        """A snapshot of `topic` has to come before any change."""
        rebuilt = self._get(topic)
        if rebuilt is not None:
            rebuilt.book.make_stale()
            rebuilt.snapshot_due = True

    def acked(self, result: Result, is_live: bool) -> None:
        """An ack came for a topic that is live already, or for a one-shot of it. A topic at 0 has no message yet: its
        book begins empty."""
        if result.epoch is not None and result.seq == 0 and is_live:
            self._begin(result.topic, result.epoch)

    def subscribed(self, result: Result, since: Position | None, snapshot: bool) -> None:
        """An ack came for a topic without earlier messages. `snapshot` says whether a snapshot comes if the topic has
        a message."""
        if result.epoch is None or result.seq is None:
            return
        if since is not None and result.recovered:
            self.goes_on(result.topic, since)
        elif result.seq != 0 and (snapshot or result.recovered is False):
            # A refused resume brings a snapshot even if the request wanted none.
            self.awaits_snapshot(result.topic)
        else:
            self.goes_on(result.topic, Position(result.epoch, result.seq))

    def joined(self, topic: str, epoch: str, seq: int) -> None:
        """Handles a joined of `topic`."""
        if seq == 0:
            self._begin(topic, epoch)
        else:
            self.goes_on(topic, Position(epoch, seq))

    def ended(self, topic: str) -> None:
        """The topic has ended: there is no book."""
        rebuilt = self._get(topic)
        if rebuilt is not None:
            rebuilt.book.make_stale()
            rebuilt.snapshot_due = False

    def _begin(self, topic: str, epoch: str) -> None:
        rebuilt = self._get(topic)
        if rebuilt is None:
            return
        at = rebuilt.book.position
        if at is None or at.epoch != epoch:
            rebuilt.book.begin(epoch)
            rebuilt.snapshot_due = False

    def snapshot(self, topic: str, epoch: str, seq: int, data: object) -> None:
        """Handles a snapshot of `topic`."""
        rebuilt = self._get(topic)
        if rebuilt is None:
            return
        rebuilt.snapshot_due = False
        try:
            rebuilt.book.snapshot(epoch, seq, data)
        except BookError as error:
            raise BrokenBook(topic, error) from error

    def update(self, topic: str, seq: int, data: object) -> None:
        """Handles an update of `topic`."""
        rebuilt = self._get(topic)
        if rebuilt is None:
            return
        # A fault is reported once: after it the book is unknown until the next snapshot.
        is_due, rebuilt.snapshot_due = rebuilt.snapshot_due, False
        if not rebuilt.book.usable and not is_due:
            return
        try:
            rebuilt.book.update(seq, data)
        except BookError as error:
            raise BrokenBook(topic, error) from error
