"""The data of the built-in market's topics as types.

Each has `of`, which reads an event's data and raises `ValueError` if it is something else. Prices and sizes are exact
decimals, times are microseconds since the Unix epoch.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, Literal, cast


class _Reader:
    def __init__(self, what: str, data: object) -> None:
        if not isinstance(data, dict):
            raise ValueError(f"{data!r} is not {what}")
        self._what = what
        self._data = cast(dict[str, Any], data)

    def _wrong(self, name: str) -> ValueError:
        return ValueError(f"{self._what} has {self._data.get(name)!r} as its {name}")

    def text(self, name: str) -> str:
        value = self._data.get(name)
        if not isinstance(value, str):
            raise self._wrong(name)
        return value

    def number(self, name: str) -> Decimal:
        try:
            number = Decimal(self.text(name))
        except InvalidOperation:
            raise self._wrong(name) from None
        if not number.is_finite():
            raise self._wrong(name)
        return number

    def whole(self, name: str) -> int:
        value = self._data.get(name)
        if type(value) is not int:
            raise self._wrong(name)
        return value

    def flag(self, name: str) -> bool:
        value = self._data.get(name)
        if not isinstance(value, bool):
            raise self._wrong(name)
        return value


@dataclass(frozen=True, slots=True)
class Trade:
    """The data of `trade.<symbol>`."""

    symbol: str
    id: int
    """The venue's number of the trade."""
    price: Decimal
    size: Decimal
    side: Literal["buy", "sell"]
    """The taker's side."""
    time: int

    @classmethod
    def of(cls, data: object) -> Trade:
        """Reads the data of a message."""
        read = _Reader("a trade", data)
        side = read.text("side")
        if side not in ("buy", "sell"):
            raise ValueError(f"a trade has {side!r} as its side")
        return cls(
            read.text("symbol"),
            read.whole("id"),
            read.number("price"),
            read.number("size"),
            cast(Literal["buy", "sell"], side),
            read.whole("time"),
        )


@dataclass(frozen=True, slots=True)
class Bbo:
    """The data of `bbo.<symbol>`: the best bid and offer."""

    symbol: str
    bid: Decimal
    bid_size: Decimal
    ask: Decimal
    ask_size: Decimal
    time: int

    @classmethod
    def of(cls, data: object) -> Bbo:
        """Reads the data of a message."""
        read = _Reader("a best bid and offer", data)
        return cls(
            symbol=read.text("symbol"),
            bid=read.number("bid"),
            bid_size=read.number("bid_size"),
            ask=read.number("ask"),
            ask_size=read.number("ask_size"),
            time=read.whole("time"),
        )


@dataclass(frozen=True, slots=True)
class Ticker:
    """The data of `ticker.<symbol>`."""

    symbol: str
    last: Decimal
    bid: Decimal
    bid_size: Decimal
    ask: Decimal
    ask_size: Decimal
    open: Decimal
    high: Decimal
    low: Decimal
    volume: Decimal
    vwap: Decimal
    change_pct: Decimal
    time: int

    @classmethod
    def of(cls, data: object) -> Ticker:
        """Reads the data of a message."""
        read = _Reader("a ticker", data)
        return cls(
            symbol=read.text("symbol"),
            last=read.number("last"),
            bid=read.number("bid"),
            bid_size=read.number("bid_size"),
            ask=read.number("ask"),
            ask_size=read.number("ask_size"),
            open=read.number("open"),
            high=read.number("high"),
            low=read.number("low"),
            volume=read.number("volume"),
            vwap=read.number("vwap"),
            change_pct=read.number("change_pct"),
            time=read.whole("time"),
        )


@dataclass(frozen=True, slots=True)
class Candle:
    """The data of `candle.<interval>.<symbol>`."""

    symbol: str
    interval: str
    start: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal
    trades: int
    """How many trades there were so far."""
    closed: bool
    """Whether the interval is over."""

    @classmethod
    def of(cls, data: object) -> Candle:
        """Reads the data of a message."""
        read = _Reader("a candle", data)
        return cls(
            symbol=read.text("symbol"),
            interval=read.text("interval"),
            start=read.whole("start"),
            open=read.number("open"),
            high=read.number("high"),
            low=read.number("low"),
            close=read.number("close"),
            volume=read.number("volume"),
            trades=read.whole("trades"),
            closed=read.flag("closed"),
        )
