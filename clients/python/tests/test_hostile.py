"""Whatever a broker says, the client reports it or ends the connection: nothing else escapes, and nothing piles up."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from conformance import WELCOME, load
from tickwire import Backoff, ConnectionLost, Position, Violation
from tickwire.clocks import Moment
from tickwire.codec import CodecName, codec_of
from tickwire.core import Core, Report
from tickwire.errors import BadMessage
from tickwire.machine import Dial, HangUp, Machine, Send, Settings
from tickwire.topics import Pattern
from tickwire.wire import ClientMessage, Ping, Subscribe, TopicRequest, Unsubscribe, Wanted

NOW = Moment(1_000_000, 1.0)
TOPICS = ["trade.A", "trade.B", "book.A", "ticker.A", "chat"]
NAMES = [*TOPICS, "trade.*", ">", "book.>", "*.A"]
EPOCHS = ["k", "z", ""]
ODD: list[Any] = [None, True, -1, 2**64, 1.5, "x", [], {}, [[]], {"epoch": 1}, "9" * 5_000]


def machine() -> Machine:
    codec = codec_of("json", "decimal")
    made = Machine(Settings(("ws://a",), backoff=Backoff(0.0, 0.0)), codec, "decimal", lambda: 0.5, Core(codec))
    made.start(0.0)
    return made


class Mad:
    """A broker that says anything."""

    def __init__(self, seed: int) -> None:
        self.choose = random.Random(seed)
        says = [step["say"] for case in load() for step in case["steps"] if "say" in step]
        self._known: list[dict[str, Any]] = says

    def message(self) -> str:
        choose = self.choose
        kind = choose.random()
        if kind < 0.85:
            message = self._plausible()
        elif kind < 0.99:
            message = json.loads(json.dumps(choose.choice(self._known)))
        else:
            return choose.choice(["", "{", "[]", "null", '{"op":1}', "NaN", '{"op":"update","seq":1e999}', "\ud800"])
        if choose.random() < 0.02:
            message[choose.choice(list(message))] = choose.choice(ODD)
        return json.dumps(message)

    def answer(self, request: ClientMessage) -> str | None:
        """An answer that fits the request, most of the time."""
        if self.choose.random() < 0.2 or request.id is None:
            return None
        topics: list[str] = []
        if isinstance(request, Subscribe):
            topics = [entry.topic for entry in request.topics]
        elif isinstance(request, Unsubscribe):
            topics = list(request.topics)
        elif isinstance(request, Ping):
            return json.dumps({"op": "pong", "id": request.id, "ts": 1})
        results = [{**self._result(), "topic": topic} for topic in topics]
        return json.dumps({"op": "ack", "id": request.id, "results": results})

    def _result(self) -> dict[str, Any]:
        choose = self.choose
        mode = choose.choice(["every", "conflate"])
        result: dict[str, Any] = {"topic": "trade.A", "epoch": choose.choice(EPOCHS), "seq": choose.randint(0, 6)}
        if choose.random() < 0.3:
            result |= {"recovered": choose.random() < 0.5, "resumed": choose.randint(0, 2), "not_resumed": 0}
        if choose.random() < 0.05:
            result["error"] = {"code": choose.choice(["forbidden", "internal"]), "reason": "no"}
        return {**result, "mode": mode}

    def _plausible(self) -> dict[str, Any]:
        choose = self.choose
        topic, epoch, seq = choose.choice(TOPICS), choose.choice(EPOCHS), choose.randint(0, 6)
        request, to_seq = choose.randint(1, 40), choose.randint(0, 6)
        result = self._result()
        refusal = {"code": choose.choice(["forbidden", "internal"]), "reason": "no"}
        book = {"symbol": "A", "bids": [["1", "2"]], "asks": [], "checksum": seq, "time": 1}
        data = choose.choice([seq, {"n": seq}, book])
        if choose.random() < 0.01:
            return {"op": "drain", "reconnect_after_ms": seq, "deadline_ms": 1}
        return choose.choice(
            [
                {"op": "update", "topic": topic, "seq": seq, "ts": 1, "data": data},
                {"op": "snapshot", "topic": topic, "epoch": epoch, "seq": seq, "ts": 1, "data": data},
                {
                    "op": "gap",
                    "topic": topic,
                    "epoch": epoch,
                    "from": seq,
                    "to": to_seq,
                    "reason": "slow",
                },
                {"op": "joined", "topic": topic, "epoch": epoch, "seq": seq},
                {"op": "end", "topic": topic, "epoch": epoch, "seq": seq, "reason": "expired"},
                {"op": "ack", "id": request, "results": [result] * choose.randint(0, 2)},
                {"op": "synced", "id": request},
                {"op": "error", "id": request, **refusal},
                {"op": "error", **refusal},
                {"op": "pong", "id": request, "ts": seq, "received": 3},
                {"op": "status", "topic": topic, "state": choose.choice(["stale", "live", "else"])},
            ]
        )

    def ask(self, client: Machine) -> None:
        """A request of the user."""
        choose, core = self.choose, client.core
        names = choose.sample(NAMES, choose.randint(1, 3))
        since = Position(choose.choice(EPOCHS), choose.randint(0, 6)) if choose.random() < 0.3 else None
        modes: list[Any] = [None, "every", "conflate", "snapshot"]
        requests: list[Callable[[], object]] = [
            lambda: core.subscribe(
                [TopicRequest(name, since=since if name in TOPICS else None) for name in names],
                Wanted(choose.choice(modes), None, choose.random() < 0.7),
            ),
            lambda: core.unsubscribe(names),
            lambda: core.publish(names[0], 1, choose.choice([None, "key"])),
            lambda: core.resync(names[0]),
            lambda: core.auth("token"),
            core.ping,
            lambda: core.give_up(choose.randint(1, 40)),
        ]
        choose.choice(requests)()


def play(seed: int, kinds: Counter[str]) -> None:
    """Plays a client with a mad broker. Counts the broken promises that it reports."""
    mad, client = Mad(seed), machine()
    client.core.checker.books.verify(Pattern("book.>"))
    at = 1.0
    for _ in range(600):
        at += mad.choose.random() / 100
        now = Moment(int(at * 1e6), at)
        if client.is_stopped:
            client = machine()
        for action in client.take():
            if isinstance(action, Dial):
                client.opened(at)
                client.received(json.dumps(WELCOME), now)
            elif isinstance(action, Send) and (answer := mad.answer(action.message)) is not None:
                client.received(answer, now)
            elif isinstance(action, Report) and isinstance(action.event, Violation):
                kinds[action.event.broken.kind] += 1
        if mad.choose.random() < 0.1 and client.core.has_room:
            mad.ask(client)
        else:
            client.received(mad.message(), now)
        client.flush(now)
        client.tick(now)
        assert len(client.core._outgoing) <= 1_100


def test_a_mad_broker_does_no_harm() -> None:
    kinds: Counter[str] = Counter()
    for seed in range(60):
        play(seed, kinds)
    # The plays are worth something only if they lead into the checks.
    assert len(kinds) >= 15, kinds


@pytest.mark.parametrize("name", ["json", "msgpack"])
def test_bytes_that_were_changed_on_the_way_are_a_message_or_none(name: CodecName) -> None:
    choose = random.Random(5)
    codec = codec_of(name, "decimal")
    says = [step["say"] for case in load() for step in case["steps"] if "say" in step]
    unread = 0
    for _ in range(20_000):
        frame = bytearray(json.dumps(says[choose.randrange(len(says))]).encode())
        if name == "msgpack":
            frame = bytearray(msgspec.msgpack.encode(json.loads(frame)))
        for _ in range(choose.randint(1, 3)):
            frame[choose.randrange(len(frame))] = choose.randrange(256)
        try:
            codec.decode(frame.decode("utf-8", "replace") if name == "json" else bytes(frame))
        except BadMessage:
            unread += 1
    assert 1_000 < unread < 20_000


def test_what_cannot_be_read_ends_the_connection_and_is_said() -> None:
    client = machine()
    client.take()
    client.opened(0.0)
    client.received(json.dumps(WELCOME), NOW)
    client.take()
    client.received('{"op":"update","topic":"a","seq":-1,"ts":1,"data":1}', NOW)
    actions = client.take()
    assert actions[0] == HangUp(1002)
    lost = next(action.event for action in actions if isinstance(action, Report))
    assert isinstance(lost, ConnectionLost)
    assert lost.loss.cause == "protocol"
    assert "seq is -1" in lost.loss.reason
