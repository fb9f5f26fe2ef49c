"""An order book built from a topic's snapshots and updates, checked at every message.

Pure: no socket, no clock. A book is either *usable* (it equals what the broker held after its last message, proved by
the checksum) or *stale*: nothing has come yet, or a message did not fit. A stale book shows no levels and becomes
usable again with the next snapshot. Memory is bounded by `BOOK_LEVELS_MAX` levels a side.
"""

from __future__ import annotations

import re
import zlib
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from itertools import islice
from typing import Any, NamedTuple

from .errors import TickwireError
from .wire import BOOK_LEVELS_MAX, Position

CHECKSUM_LEVELS = 10
_DECIMAL = re.compile(r"-?[0-9]+(?:\.[0-9]+)?")
_DECIMAL_CHARACTERS_MAX = 40
_MANTISSA_MAX = 2**96 - 1
_SCALE_MAX = 28


class Level(NamedTuple):
    """A price level."""

    price: Decimal
    size: Decimal


@dataclass(frozen=True, slots=True)
class Top:
    """The best levels of a book, best first."""

    bids: tuple[Level, ...]
    asks: tuple[Level, ...]

    @property
    def bid(self) -> Level | None:
        """The best bid."""
        return self.bids[0] if self.bids else None

    @property
    def ask(self) -> Level | None:
        """The best ask."""
        return self.asks[0] if self.asks else None

    @property
    def spread(self) -> Decimal | None:
        """The best ask's price less the best bid's; `None` if a side is empty."""
        return self.asks[0].price - self.bids[0].price if self.bids and self.asks else None

    @property
    def mid(self) -> Decimal | None:
        """The middle between the best bid and the best ask; `None` if a side is empty."""
        return (self.asks[0].price + self.bids[0].price) / 2 if self.bids and self.asks else None


class BookError(TickwireError):
    """A message could not be applied. The book is stale after each of these errors."""

    seq: int
    """The number of the message."""


@dataclass(eq=False)
class MalformedBook(BookError):
    """The data is not a book."""

    seq: int
    reason: str

    def __str__(self) -> str:
        return f"message {self.seq} holds no book: {self.reason}"


@dataclass(eq=False)
class BadLevel(BookError):
    """A price or size is below zero, or a level of a snapshot has size zero."""

    seq: int
    price: str
    size: str

    def __str__(self) -> str:
        return f"message {self.seq} has an impossible level: price {self.price}, size {self.size}"


@dataclass(eq=False)
class TooManyLevels(BookError):
    """A side has more levels than `BOOK_LEVELS_MAX`."""

    seq: int
    levels: int

    def __str__(self) -> str:
        return f"message {self.seq} makes a side of {self.levels} levels; at most {BOOK_LEVELS_MAX} are possible"


@dataclass(eq=False)
class NoSnapshot(BookError):
    """A change came while the book is stale, so there is nothing to apply it to."""

    seq: int

    def __str__(self) -> str:
        return f"change {self.seq} came without a snapshot before it; wait for one or ask with resync"


@dataclass(eq=False)
class BookHole(BookError):
    """Changes before this one are missing."""

    expected: int
    seq: int

    def __str__(self) -> str:
        return f"change {self.seq} came where {self.expected} was due; ask for a snapshot with resync"


@dataclass(eq=False)
class WrongChecksum(BookError):
    """The checksum shows that the book differs from the broker's."""

    seq: int
    announced: int
    computed: int

    def __str__(self) -> str:
        return f"after message {self.seq} the book's checksum is {self.computed:#010x} and not {self.announced:#010x}"


class _Number(NamedTuple):
    value: Decimal
    digits: bytes
    """The digits that a checksum covers: without sign, point and leading zeros."""


def _number(text: object) -> _Number:
    if not isinstance(text, str) or len(text) > _DECIMAL_CHARACTERS_MAX or not _DECIMAL.fullmatch(text):
        raise ValueError(f"{text!r} is not a decimal number")
    if "." in text:
        text = text.rstrip("0").removesuffix(".")
    whole, _, fraction = text.partition(".")
    digits = (whole.removeprefix("-") + fraction).lstrip("0")
    if len(fraction) > _SCALE_MAX or int(digits or "0") > _MANTISSA_MAX:
        raise ValueError(f"{text!r} is not a decimal number of at most 28 digits")
    return _Number(Decimal(text), digits.encode("ascii"))


def _whole(value: object, limit: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= limit


_Change = tuple[_Number, _Number]


class _Side:
    """The levels of a side, sorted by price."""

    __slots__ = ("levels", "prices")

    def __init__(self) -> None:
        self.prices: list[Decimal] = []
        self.levels: dict[Decimal, _Change] = {}

    def set(self, price: _Number, size: _Number) -> None:
        known = price.value in self.levels
        if size.digits:
            self.levels[price.value] = (price, size)
            if not known:
                self.prices.insert(bisect_left(self.prices, price.value), price.value)
        elif known:
            del self.levels[price.value]
            del self.prices[bisect_left(self.prices, price.value)]

    def clear(self) -> None:
        self.prices.clear()
        self.levels.clear()


@dataclass(slots=True)
class _Parsed:
    bids: list[_Change]
    asks: list[_Change]
    checksum: int


class Book:
    """One instrument's order book.

    >>> book = Book()
    >>> book.snapshot("k3v9", 7, {"symbol": "A", "bids": [["9.9", "1"]], "asks": [["10.1", "2"]],
    ...                           "checksum": 629245110, "time": 1})
    >>> str(book.top_of().bid.price), book.top_of().spread
    ('9.9', Decimal('0.2'))
    """

    __slots__ = ("_asks", "_at", "_bids")

    def __init__(self) -> None:
        self._bids = _Side()
        self._asks = _Side()
        self._at: Position | None = None

    @property
    def position(self) -> Position | None:
        """The position of the last message that the book contains; `None` while the book is stale."""
        return self._at

    @property
    def usable(self) -> bool:
        """Whether the book is known to equal the broker's."""
        return self._at is not None

    def bids(self) -> Iterator[Level]:
        """The bids, best first."""
        levels = self._bids.levels
        return (Level(price, levels[price][1].value) for price in reversed(self._bids.prices))

    def asks(self) -> Iterator[Level]:
        """The asks, best first."""
        levels = self._asks.levels
        return (Level(price, levels[price][1].value) for price in self._asks.prices)

    def top_of(self, levels: int = 1) -> Top:
        """The best `levels` levels of both sides."""
        return Top(tuple(islice(self.bids(), levels)), tuple(islice(self.asks(), levels)))

    def checksum(self) -> int:
        """The checksum of the current book, over its best ten levels a side as the broker computes it."""
        parts: list[bytes] = []
        asks, bids = self._asks, self._bids
        for price in asks.prices[:CHECKSUM_LEVELS]:
            number, size = asks.levels[price]
            parts += (number.digits, size.digits)
        for price in reversed(bids.prices[-CHECKSUM_LEVELS:]):
            number, size = bids.levels[price]
            parts += (number.digits, size.digits)
        return zlib.crc32(b"".join(parts))

    def begin(self, epoch: str) -> None:
        """Makes the book empty and usable. Call it for a topic without a message: its ack or its joined says 0."""
        self.make_stale()
        self._at = Position(epoch, 0)

    def make_stale(self) -> None:
        """Empties the book and makes it stale. Call it at a gap: only a snapshot makes the book usable again."""
        self._bids.clear()
        self._asks.clear()
        self._at = None

    def snapshot(self, epoch: str, seq: int, data: object) -> None:
        """Replaces the book with the snapshot `data`, which is message `seq` of lineage `epoch`.

        Raises `BookError` when the data is not a book, a level is bad, a side has too many levels or the checksum
        differs. The book is stale then.
        """
        self.make_stale()
        parsed = _parse(seq, data)
        for price, size in (*parsed.bids, *parsed.asks):
            if not size.digits:
                raise BadLevel(seq, str(price.value), str(size.value))
        self._apply(seq, parsed)
        self._at = Position(epoch, seq)

    def update(self, seq: int, data: object) -> None:
        """Applies the changes `data`, which are message `seq`.

        Raises `BookError` when the book is stale, changes are missing, the data is not a book, a level is bad, a side
        has too many levels or the checksum differs. The book is stale then.
        """
        at = self._at
        if at is None:
            raise NoSnapshot(seq)
        try:
            if seq != at.seq + 1:
                raise BookHole(at.seq + 1, seq)
            self._apply(seq, _parse(seq, data))
        except BookError:
            self.make_stale()
            raise
        self._at = Position(at.epoch, seq)

    def _apply(self, seq: int, parsed: _Parsed) -> None:
        try:
            for price, size in (*parsed.bids, *parsed.asks):
                if price.value < 0 or size.value < 0:
                    raise BadLevel(seq, str(price.value), str(size.value))
            for price, size in parsed.bids:
                self._bids.set(price, size)
            for price, size in parsed.asks:
                self._asks.set(price, size)
            levels = max(len(self._bids.prices), len(self._asks.prices))
            if levels > BOOK_LEVELS_MAX:
                raise TooManyLevels(seq, levels)
            computed = self.checksum()
            if computed != parsed.checksum:
                raise WrongChecksum(seq, parsed.checksum, computed)
        except BookError:
            self.make_stale()
            raise


def _parse(seq: int, data: Any) -> _Parsed:
    if not isinstance(data, dict):
        raise MalformedBook(seq, "it is not an object")
    if not isinstance(data.get("symbol"), str):
        raise MalformedBook(seq, "it has no symbol")
    if not _whole(data.get("time"), 2**64 - 1):
        raise MalformedBook(seq, "it has no time")
    checksum = data.get("checksum", 0)
    if not _whole(checksum, 2**32 - 1):
        raise MalformedBook(seq, f"its checksum is {checksum!r}")
    try:
        bids, asks = (_levels(data.get(side, [])) for side in ("bids", "asks"))
    except ValueError as error:
        raise MalformedBook(seq, str(error)) from None
    return _Parsed(bids, asks, checksum)


def _levels(levels: object) -> list[_Change]:
    if not isinstance(levels, list):
        raise ValueError("a side is not a list")
    changes: list[_Change] = []
    for level in levels:
        if not isinstance(level, list) or len(level) != 2:
            raise ValueError(f"{level!r} is not a level")
        changes.append((_number(level[0]), _number(level[1])))
    return changes
