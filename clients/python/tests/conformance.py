"""Plays the cases of `clients/conformance/cases.json` with the real client and a broker on loopback.

The broker is a WebSocket server that says what the case says. `clients/conformance/README.md` describes the format.
"""

from __future__ import annotations

import asyncio
import json
import os
import struct
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

import tickwire
from tickwire import events as ev
from tickwire.codec import CodecName
from tickwire.errors import Closed, Disconnected, Refused, TooLarge

DEADLINE_S = 2.0 if "TICKWIRE_PLANTED" in os.environ else 10.0
LONGEST_WAIT_S = 0.001
ABILITIES = frozenset({"urls", "sse", "end"})
CASES = Path(os.environ.get("TICKWIRE_CASES", Path(__file__).parents[2] / "conformance" / "cases.json"))

WELCOME: dict[str, Any] = {
    "op": "welcome",
    "session": "s",
    "server": "tickwire/test",
    "ts": 1,
    "heartbeat_ms": 15_000,
    "limits": {
        "subscriptions": 1_024,
        "message_bytes": 65_536,
        "ops_per_s": 1_000,
        "ops_burst": 1_000,
        "publishes_per_s": 1_000,
        "publishes_burst": 1_000,
    },
}


def load() -> list[dict[str, Any]]:
    """The cases of the file."""
    cases: list[dict[str, Any]] = json.loads(CASES.read_text("utf-8"))
    return cases


class Mismatch(AssertionError):
    """The client did something else than the case says."""


def matches(expected: Any, got: Any) -> bool:
    """Whether `got` is what the case expects."""
    if isinstance(expected, dict):
        if expected.keys() == {"absent"}:
            return got is None
        if expected.keys() == {"any"}:
            return any(matches(one, got) for one in expected["any"])
        if expected and expected.keys() <= {"min", "max"}:
            low, high = expected.get("min"), expected.get("max")
            return isinstance(got, (int, float)) and (low is None or got >= low) and (high is None or got <= high)
        if expected.keys() == {"repeat", "times"}:
            return bool(got == expected["repeat"] * expected["times"])
        return isinstance(got, dict) and all(matches(value, got.get(name)) for name, value in expected.items())
    if isinstance(expected, list):
        return (
            isinstance(got, list)
            and len(got) == len(expected)
            and all(matches(one, other) for one, other in zip(expected, got, strict=True))
        )
    if isinstance(got, Decimal):
        return not isinstance(expected, (bool, str)) and Decimal(repr(expected)) == got
    if isinstance(expected, str) and type(got) is int:
        return expected == str(got)  # a number beyond 2^53
    if isinstance(expected, bool) or isinstance(got, bool):
        return expected is got
    return bool(expected == got)


def canonical(event: ev.Event) -> dict[str, Any] | None:
    """The event by the names of the cases; `None` for one that the cases do not name."""
    match event:
        case ev.Subscribed():
            return None
        case ev.Connected(reconnects=reconnects):
            return {"event": "connected", "reconnects": reconnects}
        case ev.Recovered(topic=topic, resumed=resumed, not_resumed=not_resumed):
            return {"event": "recovered", "topic": topic, "resumed": resumed, "not_resumed": not_resumed}
        case ev.Snapshot(topic=topic, epoch=epoch, seq=seq, data=data):
            return {"event": "snapshot", "topic": topic, "epoch": epoch, "seq": seq, "data": data}
        case ev.Update(topic=topic, seq=seq, data=data):
            return {"event": "update", "topic": topic, "seq": seq, "data": data}
        case ev.Gap(topic=topic, epoch=epoch, from_seq=from_seq, to_seq=to_seq, reason=reason):
            head = {"event": "gap", "topic": topic, "epoch": epoch}
            return {**head, "from": from_seq, "to": to_seq, "reason": reason}
        case ev.Unresumed(topic=topic, last=last, now=now):
            at = {"epoch": last.epoch, "seq": last.seq}
            return {"event": "unresumed", "topic": topic, "last": at, "now": now}
        case ev.Joined(topic=topic, epoch=epoch, seq=seq):
            return {"event": "joined", "topic": topic, "epoch": epoch, "seq": seq}
        case ev.End(topic=topic, epoch=epoch, seq=seq, reason=reason):
            return {"event": "end", "topic": topic, "epoch": epoch, "seq": seq, "reason": reason}
        case ev.Synced(topics=topics):
            return {"event": "synced", "topics": list(topics)}
        case ev.Stale(topic=topic, reason=reason):
            return {"event": "stale", "topic": topic, "reason": reason}
        case ev.Live(topic=topic):
            return {"event": "live", "topic": topic}
        case ev.CaughtUp(topic=topic, seq=seq):
            return {"event": "caught_up", "topic": topic, "seq": seq}
        case ev.BrokerError(refusal=refusal):
            return {"event": "error", "code": refusal.code}
        case ev.Draining(reconnect_after_ms=after_ms):
            return {"event": "draining", "reconnect_after_ms": after_ms}
        case ev.LostSubscription(topic=topic, refusal=refusal):
            return {"event": "subscription_lost", "topic": topic, "code": refusal.code}
        case ev.Violation(broken=broken):
            return {"event": "violation", "kind": broken.kind, "topic": broken.about}
        case ev.ConnectionLost(loss=loss, retry_in_s=wait_s):
            return {"event": "disconnected", "cause": loss.cause, "code": loss.code, **_retry(wait_s)}
        case ev.ConnectFailed(error=error, retry_in_s=wait_s):
            return {"event": "connect_failed", "status": error.status, **_retry(wait_s)}
        case ev.ClientStopped():
            return {"event": "closed"}


def _retry(wait_s: float | None) -> dict[str, Any]:
    if wait_s is None:
        return {"retry": "never"}
    return {"retry": "backoff" if wait_s <= LONGEST_WAIT_S else "told", "retry_ms": wait_s * 1e3}


@dataclass
class _Handshake:
    """A request that reached the broker, and what is to become of it."""

    at: int
    connection: ServerConnection
    request: Request
    answer: asyncio.Future[Response | None]
    accepted: asyncio.Future[ServerConnection]

    @property
    def path(self) -> str:
        return self.request.path.partition("?")[0]

    @property
    def token(self) -> str | None:
        value = self.request.headers.get("Authorization")
        return None if value is None else value.removeprefix("Bearer ")


class Broker:
    """The listeners, and the connection that the client has now."""

    def __init__(self, codec: CodecName, serves_http: bool) -> None:
        self.codec = codec
        self.serves_http = serves_http
        self.handshakes: asyncio.Queue[_Handshake] = asyncio.Queue()
        self._servers: list[Server] = []
        self._open: dict[ServerConnection, _Handshake] = {}
        self.names: dict[str, int] = {}
        """The listeners by the names that steps have given to them."""

    @property
    def subprotocol(self) -> Subprotocol:
        return Subprotocol(f"tickwire.v1.{self.codec}")

    async def listen(self, count: int) -> list[str]:
        """Starts `count` listeners. Returns their URLs."""
        return [await self._listen(at) for at in range(count)]

    async def _listen(self, at: int) -> str:
        async def decide(connection: ServerConnection, request: Request) -> Response | None:
            loop = asyncio.get_running_loop()
            handshake = _Handshake(at, connection, request, loop.create_future(), loop.create_future())
            if handshake.path == "/v1/topics":  # the client looks whether HTTP gets through
                return _http(200, b'{"topics":[]}', {}) if self.serves_http else _http(404, b"", {})
            self._open[connection] = handshake
            self.handshakes.put_nowait(handshake)
            return await handshake.answer

        async def serve_one(connection: ServerConnection) -> None:
            self._open[connection].accepted.set_result(connection)
            await connection.wait_closed()

        server = await serve(
            serve_one,
            "127.0.0.1",
            0,
            process_request=decide,
            subprotocols=[self.subprotocol],
            compression=None,
            ping_interval=None,
            open_timeout=None,
            close_timeout=DEADLINE_S,
            max_size=None,
        )
        self._servers.append(server)
        port = next(iter(server.sockets)).getsockname()[1]
        return f"ws://127.0.0.1:{port}/v1/ws"

    async def close(self) -> None:
        for handshake in self._open.values():
            if not handshake.answer.done():
                handshake.answer.set_result(_http(503, b"", {}))
            handshake.connection.transport.abort()
        for server in self._servers:
            server.close()
            await server.wait_closed()


def _http(status: int, body: bytes, headers: dict[str, str]) -> Response:
    fields = Headers({"Content-Length": str(len(body)), "Connection": "close", **headers})
    return Response(status, HTTPStatus(status).phrase, fields, body)


@dataclass
class _Events:
    """What the client has reported and no step has named."""

    waiting: deque[dict[str, Any]] = field(default_factory=deque)
    came: asyncio.Event = field(default_factory=asyncio.Event)

    def add(self, event: ev.Event) -> None:
        named = canonical(event)
        if named is not None:
            self.waiting.append(named)
            self.came.set()

    async def take(self) -> dict[str, Any]:
        while not self.waiting:
            self.came.clear()
            await self.came.wait()
        return self.waiting.popleft()


class Player:
    """Plays one case in one codec."""

    def __init__(self, case: dict[str, Any], codec: CodecName, deadline_s: float = DEADLINE_S) -> None:
        self._case = case
        self._deadline_s = deadline_s
        self._settings: dict[str, Any] = case.get("client", {})
        self._broker = Broker(codec, serves_http="sse" in case.get("needs", ()))
        self._codec: CodecName = codec
        self._events = _Events()
        self._connection: ServerConnection | None = None
        self._stream: asyncio.Transport | None = None
        """The stream of server-sent events, in place of a WebSocket."""
        self._ids: dict[str, list[int]] = {}
        self._asked: dict[str, asyncio.Task[Any]] = {}
        self._token: str | None = self._settings.get("token_function")
        self._client: tickwire.Client
        self._connecting: asyncio.Task[None]

    async def play(self) -> None:
        """Plays the case. Raises `Mismatch` where the client does something else."""
        urls = await self._broker.listen(self._settings.get("urls", 1))
        options: dict[str, Any] = {}
        if "token_function" in self._settings:
            options["token"] = lambda: self._token
        elif "token" in self._settings:
            options["token"] = self._settings["token"]
        if "quiet_margin_ms" in self._settings:
            options["quiet_margin_s"] = self._settings["quiet_margin_ms"] / 1e3
        connecting = tickwire.connect(
            *urls,
            codec=self._codec,
            books=self._settings.get("books", ()),
            backoff=tickwire.Backoff(LONGEST_WAIT_S, LONGEST_WAIT_S),
            connect_timeout_s=DEADLINE_S,
            request_timeout_s=DEADLINE_S,
            on_event=self._events.add,
            **options,
        )
        self._client = connecting.client
        self._connecting = asyncio.create_task(self._connect(connecting))
        try:
            for number, step in enumerate(self._case["steps"]):
                try:
                    await asyncio.wait_for(self._step(step), self._deadline_s)
                except asyncio.TimeoutError:
                    left = list(self._events.waiting)
                    raise Mismatch(f"step {number} waits: {_short(step)}; events that wait: {left}") from None
                except Mismatch as mismatch:
                    raise Mismatch(f"step {number}: {mismatch}; the step is {_short(step)}") from None
            await asyncio.wait_for(self._finish(), self._deadline_s)
        finally:
            await self._client.close()
            await self._connecting
            for task in self._asked.values():
                task.cancel()
            await asyncio.gather(*self._asked.values(), return_exceptions=True)
            await self._broker.close()

    @staticmethod
    async def _connect(connecting: tickwire.Connecting) -> None:
        with suppress(tickwire.ConnectError):  # it was reported as an event
            await connecting

    async def _finish(self) -> None:
        if self._client.is_connected and self._connection is not None:
            await self._settle()
        is_over = {"event": "closed"} in self._closed
        await self._client.close()
        if not is_over:
            await self._report({"report": [{"event": "closed"}]})
        self._nothing_left()

    @property
    def _closed(self) -> list[Any]:
        return [event for step in self._case["steps"] for event in step.get("report", [])]

    def _nothing_left(self) -> None:
        if self._events.waiting:
            raise Mismatch(f"events that no step named: {list(self._events.waiting)}")
        if not self._broker.handshakes.empty():
            raise Mismatch("the client dialled where no step said so")

    async def _step(self, step: dict[str, Any]) -> None:
        name = next(iter(step))
        play: Callable[[dict[str, Any]], Awaitable[None]] = getattr(self, f"_{name}")
        await play(step)

    # The broker.

    async def _dial(self, step: dict[str, Any]) -> None:
        dial = step["dial"]
        while True:
            handshake = await self._broker.handshakes.get()
            if "sse" not in dial or handshake.path == "/v1/sse":
                break
            handshake.answer.set_result(_http(dial["meanwhile"]["status"], b"", {}))
        if "at" in dial:
            names = self._broker.names
            at = names.setdefault(dial["at"], handshake.at)
            if at != handshake.at or list(names.values()).count(at) > 1:
                raise Mismatch(f"the client dialled URL {handshake.at} of {names}")
        if "token" in dial and not matches(dial["token"], handshake.token):
            raise Mismatch(f"the client showed {handshake.token!r}")
        if "sse" in dial:
            topics = parse_qs(urlsplit(handshake.request.path).query)["topic"]
            if topics != dial["sse"]["topics"]:
                raise Mismatch(f"the client asked for a stream of {topics}")
            self._stream = handshake.connection.transport
            self._stream.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
            return
        offered = handshake.request.headers.get("Sec-WebSocket-Protocol", "")
        if self._broker.subprotocol not in [one.strip() for one in offered.split(",")]:
            raise Mismatch(f"the client offered {offered!r}")
        if dial.get("drop"):
            handshake.connection.transport.abort()
            return
        if "refuse" in dial:
            refuse = dial["refuse"]
            body = json.dumps(refuse["body"]).encode() if "body" in refuse else b""
            handshake.answer.set_result(_http(refuse["status"], body, refuse.get("headers", {})))
            return
        handshake.answer.set_result(None)
        self._connection = await handshake.accepted

    @property
    def _socket(self) -> ServerConnection:
        assert self._connection is not None, "no connection"
        return self._connection

    async def _welcome(self, step: dict[str, Any]) -> None:
        fields = step["welcome"]
        limits = {**WELCOME["limits"], **fields.get("limits", {})}
        await self._say({"say": {**WELCOME, **fields, "limits": limits}})

    async def _say(self, step: dict[str, Any]) -> None:
        message = self._filled(step["say"])
        if self._stream is not None:
            self._stream.write(f"event: {message['op']}\ndata: {json.dumps(message)}\n\n".encode())
            return
        if self._codec == "json":
            await self._socket.send(json.dumps(message))
            return
        op = message.get("op")
        if op == "update" and message.keys() == {"op", "topic", "seq", "ts", "data"}:
            message = [0, *(message[name] for name in ("topic", "seq", "ts", "data"))]
        elif op == "snapshot" and message.keys() == {"op", "topic", "epoch", "seq", "ts", "data"}:
            message = [1, *(message[name] for name in ("topic", "epoch", "seq", "ts", "data"))]
        await self._socket.send(msgspec.msgpack.encode(message))

    def _filled(self, value: Any) -> Any:
        """The value with the ids that were kept."""
        if isinstance(value, dict):
            if value.keys() == {"repeat", "times"}:
                return value["repeat"] * value["times"]
            return {name: self._filled(item) for name, item in value.items()}
        if isinstance(value, list):
            return [self._filled(item) for item in value]
        if isinstance(value, str) and value.startswith("$"):
            return self._ids[value[1:]][0]
        return value

    async def _say_text(self, step: dict[str, Any]) -> None:
        await self._socket.send(step["say_text"])

    async def _say_hex(self, step: dict[str, Any]) -> None:
        await self._socket.send(bytes.fromhex(step["say_hex"]))

    async def _say_msgpack(self, step: dict[str, Any]) -> None:
        await self._socket.send(msgspec.msgpack.encode(self._filled(step["say_msgpack"])))

    async def _raw(self, step: dict[str, Any]) -> None:
        self._socket.transport.write(bytes.fromhex(step["raw"]))

    async def _close(self, step: dict[str, Any]) -> None:
        code = step["close"]
        socket = self._socket
        reason = step.get("reason", "").encode()
        payload = b"" if code is None else struct.pack("!H", code) + reason
        socket.transport.write(bytes([0x88, len(payload)]) + payload)
        await self._ended(socket)

    async def _cut(self, step: dict[str, Any]) -> None:
        self._socket.transport.close()
        await self._ended(self._socket)

    async def _expect_end(self, step: dict[str, Any]) -> None:
        await self._ended(self._socket)

    async def _ended(self, socket: ServerConnection) -> None:
        try:
            while True:
                await socket.recv()
        except ConnectionClosed:
            await socket.wait_closed()
        if self._connection is socket:
            self._connection = None

    async def _next(self) -> dict[str, Any]:
        """The next message of the client."""
        try:
            frame = await self._socket.recv()
        except ConnectionClosed:
            raise Mismatch("the client ended the connection") from None
        message: dict[str, Any]
        message = json.loads(frame) if isinstance(frame, str) else msgspec.msgpack.decode(frame)
        if isinstance(frame, str) is not (self._codec == "json"):
            raise Mismatch(f"a message in the wrong codec: {frame!r}")
        if message["op"] == "subscribe":
            message.setdefault("snapshot", True)
            message["topics"] = [_entry(entry) for entry in message["topics"]]
        return message

    async def _expect(self, step: dict[str, Any]) -> None:
        message = await self._next()
        if not matches(step["expect"], message):
            raise Mismatch(f"the client sent {message}")
        if "as" in step:
            self._ids[step["as"]] = [message["id"]]

    async def _grant(self, step: dict[str, Any]) -> None:
        wanted = list(step["grant"])
        ids: list[int] = []
        ahead: list[dict[str, Any]] = []
        while wanted:
            message = await self._next()
            if message["op"] == "positions":
                ahead += message["since"]
                await self._say({"say": {"op": "ack", "id": message["id"], "results": []}})
                continue
            if message["op"] != "subscribe":
                raise Mismatch(f"the client sent {message}")
            results: list[dict[str, Any]] = []
            for entry in message["topics"]:
                asked = {**message, **entry}
                if ahead and "since" not in entry:
                    asked["since"] = _merged(ahead)
                found = next((one for one in wanted if matches({**one, "result": {"absent": True}}, asked)), None)
                if found is None:
                    raise Mismatch(f"the client asked for {asked}")
                wanted.remove(found)
                results.append({"topic": entry["topic"], **found["result"]})
            ahead = []
            ids.append(message["id"])
            await self._say({"say": {"op": "ack", "id": message["id"], "results": results}})
        self._ids[step["as"]] = ids

    async def _synced(self, step: dict[str, Any]) -> None:
        for request in self._ids[step["synced"]]:
            await self._say({"say": {"op": "synced", "id": request}})

    # The user.

    async def _do(self, step: dict[str, Any]) -> None:
        client = self._client
        match step["do"]:
            case "subscribe":
                work: Any = self._subscribe(step)
            case "unsubscribe":
                work = client.unsubscribe(*step["topics"])
            case "publish":
                work = client.publish(step["topic"], self._filled(step["data"]), key=step.get("key"))
            case "resync":
                work = client.resync(step["topic"])
            case "auth":
                work = client.auth(step["token"])
            case "ping":
                work = client.ping()
            case "set_token":
                self._token = step["token"]
                return
            case "close":
                work = client.close()
            case other:
                raise Mismatch(f"no such request: {other}")
        task = asyncio.ensure_future(work)
        self._asked[step.get("as", f"#{len(self._asked)}")] = task

    async def _subscribe(self, step: dict[str, Any]) -> list[Any]:
        names: list[str] = []
        since: dict[str, tickwire.Position] = {}
        options: dict[str, Any] = {name: step[name] for name in ("mode", "conflate_ms", "snapshot") if name in step}
        for entry in step["topics"]:
            names.append(entry if isinstance(entry, str) else entry["topic"])
            positions = {} if isinstance(entry, str) else entry.get("since")
            if isinstance(entry, dict) and "from" in entry:
                options["from_moment"] = entry["from"]
                options["speed"] = entry.get("speed")
            if isinstance(positions, list):
                for lineage in positions:
                    since |= {t: tickwire.Position(lineage["epoch"], seq) for t, seq in lineage["seqs"].items()}
            elif positions:
                since[names[-1]] = tickwire.Position(positions["epoch"], positions["seq"])
        subscription = self._client.subscribe(*names, since=since, **options)
        try:
            await subscription
        except Refused:
            if not subscription.results:
                raise
        return subscription.results

    async def _answer(self, step: dict[str, Any]) -> None:
        task = self._asked[step["answer"]]
        try:
            got = await task
        except Refused as refused:
            outcome: dict[str, Any] = {"error": {"kind": "refused", "code": refused.code}}
        except Disconnected:
            outcome = {"error": {"kind": "disconnected"}}
        except TooLarge:
            outcome = {"error": {"kind": "too_large"}}
        except Closed:
            outcome = {"error": {"kind": "closed"}}
        else:
            outcome = {"ok": _plain_answer(got)}
        expected = {name: value for name, value in step.items() if name in ("ok", "error")}
        if not matches(expected, outcome):
            raise Mismatch(f"the answer was {outcome}")

    async def _report(self, step: dict[str, Any]) -> None:
        expected = list(step["report"])
        while expected:
            got = await self._events.take()
            at = 0
            if step.get("order") == "any":
                at = next((at for at, one in enumerate(expected) if matches(one, got)), 0)
            if not matches(expected[at], got):
                raise Mismatch(f"the client reported {got} and not {expected[at]}")
            del expected[at]

    async def _settle(self, step: dict[str, Any] | None = None) -> None:
        ping = asyncio.create_task(self._client.ping())
        try:
            message = await self._next()
            if message["op"] != "ping":
                raise Mismatch(f"a message that no step expected: {message}")
            await self._say({"say": {"op": "pong", "id": message["id"], "ts": 2, "received": 2}})
            await ping
        finally:
            ping.cancel()
        self._nothing_left()

    async def _book(self, step: dict[str, Any]) -> None:
        expected = step["book"]
        book = self._client.book_of(expected["topic"])
        usable = book is not None and book.usable
        if usable is not expected["usable"]:
            raise Mismatch(f"usable is {usable}")
        if book is None:
            return
        if usable and book.position is not None and book.position.seq != expected.get("seq", book.position.seq):
            raise Mismatch(f"the book is at {book.position}")
        for side, levels in (("bids", list(book.bids())), ("asks", list(book.asks()))):
            wanted = expected.get(side) if usable else []
            if wanted is not None and levels != [(Decimal(price), Decimal(size)) for price, size in wanted]:
                raise Mismatch(f"the {side} are {levels}")


def _plain_answer(got: Any) -> Any:
    if isinstance(got, list):
        return [_result(result) for result in got]
    return _result(got) if isinstance(got, tickwire.Result) else {}


def _result(result: tickwire.Result) -> dict[str, Any]:
    fields: dict[str, Any] = {name: getattr(result, name) for name in result.__dataclass_fields__}
    if result.error is not None:
        fields["error"] = {"code": result.error.code, "reason": result.error.reason}
    if result.replay is not None:
        fields["replay"] = {"from_seq": result.replay.from_seq, "to_seq": result.replay.to_seq}
    if result.modes is not None:
        fields["modes"] = dict(result.modes)
    return fields


def _entry(entry: Any) -> dict[str, Any]:
    if isinstance(entry, str):
        return {"topic": entry}
    since = entry.get("since")
    if isinstance(since, dict) and "seqs" in since:
        since = [since]
    if isinstance(since, list):
        since = sorted(since, key=lambda lineage: str(lineage["epoch"]))
    return {**entry, "since": since}


def _merged(ahead: list[dict[str, Any]]) -> list[dict[str, Any]]:
    lineages: dict[str, dict[str, int]] = {}
    for lineage in ahead:
        lineages.setdefault(lineage["epoch"], {}).update(lineage["seqs"])
    return [{"epoch": epoch, "seqs": lineages[epoch]} for epoch in sorted(lineages)]


def _short(step: dict[str, Any]) -> str:
    return json.dumps(step)[:400]
