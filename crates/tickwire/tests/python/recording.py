"""What a replay must publish, computed from the recording alone: nothing here is taken from the broker."""

import bisect
import collections
import decimal
import gzip
import json
import zlib
from decimal import Decimal

decimal.getcontext().prec = 60

CHECKSUM_LEVELS = 10
INTERVALS_US = {"1s": 1_000_000, "1m": 60_000_000}

Candle = collections.namedtuple("Candle", "open high low close volume")


class Side:
    """One side of a book, its prices kept in order, best first."""

    def __init__(self, is_bids):
        self.sign = -1 if is_bids else 1
        self.sizes = {}
        self.order = []

    def set(self, price, size):
        key = (self.sign * Decimal(price), price)
        if Decimal(size) != 0:
            if price not in self.sizes:
                bisect.insort(self.order, key)
            self.sizes[price] = size
        elif self.sizes.pop(price, None) is not None:
            self.order.pop(bisect.bisect_left(self.order, key))

    def levels(self, count=None):
        return [(price, self.sizes[price]) for _, price in self.order[:count]]


class Book:
    """A book that is built from snapshots and changes, its numbers kept as the text they came as."""

    def __init__(self):
        self.clear()

    def clear(self):
        self.bids, self.asks = Side(True), Side(False)

    def change(self, bids, asks):
        for side, changes in ((self.bids, bids), (self.asks, asks)):
            for price, size in changes:
                side.set(price, size)

    def checksum(self):
        """Kraken's rule: each price and size without point and leading zeros, the best ten asks and then bids."""
        text = "".join(
            number.replace(".", "").lstrip("0")
            for side in (self.asks, self.bids)
            for level in side.levels(CHECKSUM_LEVELS)
            for number in level
        )
        return zlib.crc32(text.encode())

    def numbers(self):
        return [[(Decimal(price), Decimal(size)) for price, size in side.levels()] for side in (self.bids, self.asks)]


def extended(candle, price, size):
    if candle is None:
        return Candle(price, price, price, price, size)
    return Candle(
        candle.open, max(candle.high, price), min(candle.low, price), price, candle.volume + size
    )


def rounded(number, digits):
    return number.quantize(Decimal(1).scaleb(-digits), decimal.ROUND_HALF_EVEN)


class Recording:
    """The messages of each topic of one symbol, in their order."""

    def __init__(self, path):
        self.symbol = None
        self.trades = []
        self.tickers = []
        self.quotes = []
        # By interval and start: the candle after each of its trades.
        self.candles = {interval: collections.defaultdict(list) for interval in INTERVALS_US}
        self.book = Book()
        self.books = 0
        self.depths = []
        self.snapshot_id = None
        self.sums = None
        with gzip.open(path, "rt") as lines:
            for line in lines:
                at, message = line.split(" ", 1)
                self.add(int(at) // 1_000, json.loads(message))

    def add(self, at, message):
        stream, _, channel = message.get("stream", "@snapshot").partition("@")
        if channel == "snapshot":
            self.add_snapshot(message)
            return
        data = message["data"]
        self.symbol = self.symbol or data["s"].removesuffix("USDT") + "-USDT"
        if channel == "trade":
            self.add_trade(data)
        elif channel == "bookTicker":
            quote = tuple(Decimal(data[name]) for name in ("b", "B", "a", "A"))
            self.quotes.append((*quote, at))
        else:
            self.add_depth(data)

    def add_trade(self, data):
        price, size, time = Decimal(data["p"]), Decimal(data["q"]), data["T"] * 1_000
        # The buyer was the maker, so the taker sold.
        side = "sell" if data["m"] else "buy"
        self.trades.append((data["t"], price, size, side, time))
        whole, notional = self.sums or (None, Decimal(0))
        whole, notional = extended(whole, price, size), notional + price * size
        self.sums = (whole, notional)
        change = (price - whole.open) / whole.open * 100
        quote = self.quotes[-1][:4] if self.quotes else (Decimal(0),) * 4
        self.tickers.append(
            (price, *quote, *whole[:3], whole.volume, rounded(notional / whole.volume, 8), rounded(change, 4), time)
        )
        for interval, length in INTERVALS_US.items():
            candles = self.candles[interval][time - time % length]
            candles.append(extended(candles[-1] if candles else None, price, size))

    def add_snapshot(self, message):
        """A whole book. Changes that it does not hold yet, which came before it, come again after it."""
        self.snapshot_id = message["lastUpdateId"]
        self.book.clear()
        self.change_book(message["bids"], message["asks"])
        for depth in self.depths:
            if depth["u"] > self.snapshot_id:
                self.change_book(depth["b"], depth["a"])

    def add_depth(self, data):
        if self.snapshot_id is not None and data["u"] <= self.snapshot_id:
            return
        self.depths.append(data)
        self.change_book(data["b"], data["a"])

    def change_book(self, bids, asks):
        self.books += 1
        self.book.change(bids, asks)

    def counts(self):
        """How many messages each topic must have."""
        counts = {"trade": len(self.trades), "ticker": len(self.tickers), "bbo": len(self.quotes), "book": self.books}
        for interval, candles in self.candles.items():
            # One with each trade, and one that closes each candle.
            counts[f"candle.{interval}"] = len(self.trades) + len(candles)
        return {f"{channel}.{self.symbol}": count for channel, count in counts.items()}
