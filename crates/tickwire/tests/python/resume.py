"""Follows topics over connections that keep breaking, resumes each time, and checks what comes against what came before.

Prints {"messages", "losses", "recovered", "not_recovered", "gaps", "gapped", "faults"} once so many connections were lost
and at least one resume succeeded.
"""

import asyncio
import json
import sys

import websockets

from wire import CODECS, connect

EVERY = ["trade.BTC-USD", "trade.ETH-USD", "book.BTC-USD"]
CONFLATED = ["ticker.BTC-USD", "bbo.BTC-USD"]
# A half-closed connection says nothing any more; the broker promises a heartbeat a second.
SILENCE_S = 4


class Topic:
    """What is known of a topic. `due` is what must come next: "ack", "first", "replay", "told" or "next"."""

    def __init__(self, name):
        self.name = name
        self.every = name in EVERY
        self.book = name.startswith("book.")
        self.epoch = None
        self.last = None
        self.due = "ack"
        # A book after a gap is none until its snapshot: there is nothing to resume.
        self.whole = False

    def request(self):
        self.due = "ack"
        if self.last is None or not self.whole:
            return self.name
        return {"topic": self.name, "since": {"epoch": self.epoch, "seq": self.last}}


class Follower:
    def __init__(self):
        self.topics = {name: Topic(name) for name in EVERY + CONFLATED}
        self.counts = dict(messages=0, losses=0, recovered=0, not_recovered=0, gaps=0, gapped=0)
        self.faults = []

    def fault(self, topic, what):
        if len(self.faults) < 20:
            self.faults.append(f"{topic.name}: {what} (at {topic.last}, due {topic.due})")

    def take(self, message):
        op = message["op"]
        if op == "ack":
            for result in message["results"]:
                self.acked(self.topics[result["topic"]], result)
        elif op in ("update", "snapshot", "gap"):
            topic = self.topics[message["topic"]]
            if topic.due == "ack":
                self.fault(topic, f"{op} before the ack")
            getattr(self, op)(topic, message)
        elif op not in ("welcome", "heartbeat", "status", "joined", "synced"):
            self.faults.append(f"unexpected: {message}")

    def acked(self, topic, result):
        if "error" in result:
            self.fault(topic, f"refused: {result}")
            return
        recovered = result.get("recovered")
        if recovered is None:
            topic.epoch, topic.last, topic.due = result["epoch"], result["seq"], "first"
            topic.whole = not topic.book
            return
        self.counts["recovered" if recovered else "not_recovered"] += 1
        topic.due = "replay" if recovered else "told"
        if recovered and result["seq"] < topic.last:
            self.fault(topic, f"recovered at {result['seq']}, behind the position")

    def update(self, topic, message):
        self.counts["messages"] += 1
        seq = message["seq"]
        if topic.due == "told":
            self.fault(topic, f"update {seq} before a snapshot or gap")
        elif seq <= topic.last or (topic.every and seq != topic.last + 1):
            self.fault(topic, f"update {seq}")
        topic.last, topic.due = max(seq, topic.last), "next"

    def snapshot(self, topic, message):
        self.counts["messages"] += 1
        seq = message["seq"]
        if seq < topic.last:
            self.fault(topic, f"snapshot {seq}")
        if topic.every and topic.due in ("replay", "next"):
            self.fault(topic, f"snapshot {seq} that nothing announced")
        topic.epoch, topic.last, topic.due, topic.whole = message["epoch"], seq, "next", True

    def gap(self, topic, message):
        self.counts["gaps"] += 1
        self.counts["gapped"] += message["to"] - message["from"] + 1
        if message["from"] != topic.last + 1 or message["to"] < message["from"]:
            self.fault(topic, f"gap {message['from']} to {message['to']}")
        if topic.due == "replay" and message["reason"] != "slow":
            self.fault(topic, f"gap with reason {message['reason']} after recovered:true")
        topic.last, topic.due = message["to"], "first"
        topic.whole = not topic.book


async def follow(url, codec, follower):
    """One connection, to its end."""
    async with connect(url, codec) as ws:
        for request, names in enumerate((EVERY, CONFLATED)):
            topics = [follower.topics[name].request() for name in names]
            mode = "every" if names is EVERY else "conflate"
            await ws.send(codec.encode({"op": "subscribe", "id": request, "topics": topics, "mode": mode}))
        while True:
            follower.take(codec.decode(await asyncio.wait_for(ws.recv(), SILENCE_S)))


async def main(url, codec, losses):
    follower = Follower()
    while not follower.faults and (follower.counts["losses"] < losses or not follower.counts["recovered"]):
        try:
            await follow(url, codec, follower)
        except (OSError, EOFError, asyncio.TimeoutError, websockets.WebSocketException):
            follower.counts["losses"] += 1
    print(json.dumps({**follower.counts, "faults": follower.faults}), flush=True)


asyncio.run(main(sys.argv[1], CODECS[sys.argv[2]], int(sys.argv[3])))
