"""Follows a replay with Python's websockets and checks every message against the recording.

One connection takes what must come complete (trades, books), another what may be conflated. Both only drain their sockets
into lists while the replay runs; a line on standard input says that it is over, and then everything is checked. Prints one
report: {"counts": {topic: messages}, "missed": {topic: messages named by gaps}, "faults": […]}.

Arguments: URL CODEC exact|wildcards RECORDING…
"""

import asyncio
import collections
import gc
import json
import re
import sys
from decimal import Decimal

import websockets

from recording import Book, Recording
from wire import CODECS, connect

FAULTS_SHOWN = 20
PLAIN_NUMBER = re.compile(r"(0|[1-9][0-9]*)(\.[0-9]+)?")

TICKER = "last bid bid_size ask ask_size open high low volume vwap change_pct".split()
QUOTE = "bid bid_size ask ask_size".split()
CANDLE = "open high low close volume".split()


class Drain:
    """A connection whose messages are kept as they came until somebody has time for them."""

    def __init__(self, ws, codec):
        self.ws, self.codec = ws, codec
        self.raw = []
        self.read = 0
        self.arrived = asyncio.Event()
        self.task = asyncio.create_task(self.run())

    async def run(self):
        try:
            async for message in self.ws:
                self.raw.append(message)
                self.arrived.set()
        except websockets.ConnectionClosedError:
            pass
        self.raw.append(None)
        self.arrived.set()

    async def next(self):
        while self.read == len(self.raw):
            self.arrived.clear()
            await self.arrived.wait()
        message, self.raw[self.read] = self.raw[self.read], None
        self.read += 1
        if message is None:
            raise EOFError(f"the broker closed: {self.ws.close_code} {self.ws.close_reason}")
        return self.codec.decode(message)


class Checker:
    """Holds what came against what had to."""

    def __init__(self, recordings):
        self.recordings = {recording.symbol: recording for recording in recordings}
        self.last = collections.Counter()
        self.ts = collections.Counter()
        self.books = collections.defaultdict(Book)
        self.received = collections.Counter()
        self.missed = collections.Counter()
        self.acked = set()
        self.stale = collections.Counter()
        self.healed = collections.Counter()
        self.faults = []

    def fault(self, *parts):
        self.faults.append(" ".join(map(str, parts)))

    def take(self, message):
        op = message["op"]
        if op == "ack":
            for result in message["results"]:
                self.acked.add(result["topic"])
                if "error" in result:
                    self.fault("refused:", result)
        elif op == "gap":
            self.gap(message)
        elif op in ("update", "snapshot"):
            self.data(op, message)
        elif op == "status":
            self.status(message)
        elif op not in ("welcome", "heartbeat", "joined", "synced"):
            self.fault("unexpected:", message)

    def status(self, message):
        """Before the first snapshot a book is not whole; then it is, to the end."""
        topic, told = message["topic"], (message["state"], message.get("reason"))
        expected = ("live", None) if self.stale[topic] else ("stale", "partial")
        if not topic.startswith("book.") or told != expected or self.healed[topic]:
            self.fault("unexpected:", message)
        self.healed[topic] = self.stale[topic]
        self.stale[topic] = told[0] == "stale"

    def gap(self, message):
        topic = message["topic"]
        self.missed[topic] += message["to"] - message["from"] + 1
        if message["from"] != self.last[topic] + 1 or message["to"] < message["from"] or message["reason"] != "slow":
            self.fault("a gap that does not fit behind", self.last[topic], message)
        self.last[topic] = message["to"]

    def data(self, op, message):
        topic, seq, data = message["topic"], message["seq"], message["data"]
        channel, symbol = topic.rsplit(".", 1)
        if not self.acked:
            self.fault("data before the ack:", message)
        if data["symbol"] != symbol:
            self.fault("of another symbol:", message)
        complete = channel in ("trade", "book")
        # A snapshot behind a gap stands for its last message.
        follows = seq == self.last[topic] + 1 or op == "snapshot" and seq >= self.last[topic]
        if not (follows if complete else seq > self.last[topic]):
            self.fault(topic, "jumps from", self.last[topic], "to", seq)
        if message["ts"] < self.ts[topic]:
            self.fault(topic, "goes back in time at", seq)
        self.last[topic], self.ts[topic] = seq, message["ts"]
        self.received[topic] += 1
        recording = self.recordings[symbol]
        check = getattr(self, channel.split(".")[0])
        problem = check(recording, op, seq, data)
        if problem:
            self.fault(topic, seq, "is not what was recorded:", problem, data)

    def numbers(self, data, names):
        texts = [data[name] for name in names]
        for text in texts:
            if not (isinstance(text, str) and PLAIN_NUMBER.fullmatch(text.removeprefix("-"))):
                self.fault("not a decimal in plain digits:", text)
        return tuple(map(Decimal, texts))

    def trade(self, recording, op, seq, data):
        found = (data["id"], *self.numbers(data, ("price", "size")), data["side"], data["time"])
        want = recording.trades[seq - 1]
        return None if found == want else want

    def ticker(self, recording, op, seq, data):
        found = (*self.numbers(data, TICKER), data["time"])
        want = recording.tickers[seq - 1]
        return None if found == want else want

    def bbo(self, recording, op, seq, data):
        found = (*self.numbers(data, QUOTE), data["time"])
        want = recording.quotes[seq - 1]
        return None if found == want else want

    def candle(self, recording, op, seq, data):
        """The candle as it was after so many of its interval's trades; closed only with all of them."""
        trades = recording.candles[data["interval"]][data["start"]]
        count = data["trades"]
        if not 0 < count <= len(trades) or data["closed"] and count != len(trades):
            return f"there are {len(trades)} trades"
        want = trades[count - 1]
        return None if self.numbers(data, CANDLE) == want else want

    def book(self, recording, op, seq, data):
        book = self.books[recording.symbol]
        if op == "snapshot":
            book.clear()
        book.change(data["bids"], data["asks"])
        found = book.checksum()
        return None if found == data["checksum"] else f"the book's checksum is {found}"

    def finish(self):
        for symbol, recording in self.recordings.items():
            for topic, count in recording.counts().items():
                if self.last[topic] != count:
                    self.fault(topic, "ends at", self.last[topic], "and not at", count)
            if self.books[symbol].numbers() != recording.book.numbers():
                self.fault(symbol, "has not the book that the recording ends with")
        return {
            "counts": self.received,
            "missed": self.missed,
            "faults": self.faults[:FAULTS_SHOWN],
        }


async def heads(url, codec, topics):
    """Where the topics stand, as a third connection sees it."""
    async with connect(url, codec) as ws:
        await ws.send(codec.encode({"op": "subscribe", "id": 1, "topics": topics, "mode": "snapshot"}))
        while (message := codec.decode(await ws.recv()))["op"] != "ack":
            pass
        return {result["topic"]: result["seq"] for result in message["results"]}


async def main(url, codec, naming, paths):
    # A pause of Python's own would be a pause of the reader.
    gc.disable()
    recordings = [Recording(path) for path in paths]
    topics = [topic for recording in recordings for topic in recording.counts()]
    complete = [topic for topic in topics if topic.startswith(("trade.", "book."))]
    rest = [topic for topic in topics if topic not in complete]
    checker = Checker(recordings)
    async with connect(url, codec) as first, connect(url, codec) as second:
        drains = [Drain(first, codec), Drain(second, codec)]
        wildcards = (["trade.>", "book.*"], ["ticker.*", "bbo.>", "candle.*.*"])
        # The first subscription starts the replay, so it is that of the topics that must be complete.
        for ws, exact, broad in zip((first, second), (complete, rest), wildcards):
            await ws.send(codec.encode({"op": "subscribe", "id": 1, "topics": exact if naming == "exact" else broad}))
        await asyncio.to_thread(sys.stdin.readline)
        ends = await heads(url, codec, topics)
        for drain, awaited in zip(drains, (complete, rest)):
            checker.acked.clear()
            while any(checker.last[topic] < ends[topic] for topic in awaited):
                checker.take(await asyncio.wait_for(drain.next(), 60))
    print(json.dumps(checker.finish()), flush=True)


asyncio.run(main(sys.argv[1], CODECS[sys.argv[2]], sys.argv[3], sys.argv[4:]))
