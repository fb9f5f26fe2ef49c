"""Server-sent events as a `Link`, for where WebSocket is blocked: each subscribe is a stream of its own, and other
requests are HTTP requests. It answers as a broker does over WebSocket, as far as HTTP can.

What it cannot do: patterns are not resumed after a reconnect, a subscribe has at most 64 names, `ping` is refused, and
a topic that two subscribes cover has the mode of the first.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import ssl as tls
from collections.abc import AsyncIterator, Mapping
from http.client import HTTPMessage
from typing import Any, cast
from urllib.parse import quote, urlencode, urlsplit

from . import http, wire
from .codec import plain
from .errors import ConnectError
from .events import Loss
from .link import USER_AGENT, LinkEnded, headers_of, refused
from .machine import Send
from .topics import Pattern, TopicError

QUEUE_MAX = 64
"""Most messages that wait for the client."""
STREAM_TOPICS_MAX = 64
QUIET_MARGIN_S = 5.0
DEFAULT_HEARTBEAT_MS = 15_000
SNAPSHOT_TRIES = 5

log = logging.getLogger("tickwire")


class _Stream:
    """A stream of events that serves one subscribe."""

    def __init__(self, request: wire.Subscribe) -> None:
        self.request = request
        self.patterns = {entry.topic: _pattern(entry.topic) for entry in request.topics}
        """What is still subscribed of it."""
        self.task: asyncio.Task[None] | None = None
        self.heartbeat_ms = DEFAULT_HEARTBEAT_MS

    def covers(self, topic: str) -> bool:
        return any(name == topic or (p and p.matches(topic)) for name, p in self.patterns.items())


class SseLink:
    """A connection over server-sent events."""

    sse = True

    def __init__(self, url: str, headers: dict[str, str], message_bytes_max: int, ssl: tls.SSLContext | None) -> None:
        self._url = url
        self._path = urlsplit(url).path.removesuffix("/ws")
        self._headers = {"User-Agent": USER_AGENT, **headers}
        self._message_bytes_max = message_bytes_max
        self._ssl = ssl
        self._incoming: asyncio.Queue[str | LinkEnded] = asyncio.Queue(QUEUE_MAX)
        self._streams: list[_Stream] = []
        self._owners: dict[str, _Stream] = {}
        """The stream from which a topic is taken. Another one that covers it, too, would bring each message twice."""
        self._last: dict[str, int] = {}
        """The numbers of the last messages."""
        self._fresh: dict[str, tuple[int, str]] = {}
        """Snapshots that were asked for and are ahead of their streams."""
        self._requests: asyncio.Queue[wire.ClientMessage] = asyncio.Queue()
        self._tasks: set[asyncio.Task[None]] = set()

    @classmethod
    async def dial(
        cls, url: str, headers: Mapping[str, str], message_bytes_max: int, ssl: tls.SSLContext | None
    ) -> SseLink:
        """Asks the broker for one topic, to see that it can be reached. Raises `ConnectError`."""
        link = cls(url, dict(headers), message_bytes_max, ssl)
        try:
            status, fields, body = await link._ask("GET", "/topics?limit=1")
        except (OSError, http.HttpError) as error:
            raise ConnectError(url, f"no HTTP: {error}") from error
        answer = refused(url, status, fields.get("Retry-After"), body)
        if status != 200 and (status != 403 or answer.blocked == "yes"):
            raise answer
        # Each stream has a welcome of its own. This one stands for all of them; its heartbeats are theirs.
        limits = {"subscriptions": 1024, "message_bytes": 65_536, "ops_per_s": 0}
        welcome = {"op": "welcome", "session": "sse", "server": fields.get("Server", ""), "ts": 0, "limits": limits}
        await link._put({**welcome, "heartbeat_ms": 86_400_000})
        link._spawn(link._work())
        return link

    # The link.

    async def receive(self) -> str | bytes:
        frame = await self._incoming.get()
        if isinstance(frame, LinkEnded):
            raise frame
        return frame

    async def send(self, request: Send) -> None:
        await self._requests.put(request.message)

    async def close(self, code: int) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        while not self._incoming.empty():
            self._incoming.get_nowait()
        self._incoming.put_nowait(LinkEnded(Loss("left")))

    async def _put(self, message: Mapping[str, Any]) -> None:
        await self._incoming.put(json.dumps(message))

    def _spawn(self, work: Any) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # Requests, one after the other: publications arrive in their order.

    async def _work(self) -> None:
        while True:
            message = await self._requests.get()
            try:
                await self._serve(message)
            except (OSError, http.HttpError) as error:
                await self._incoming.put(LinkEnded(Loss("broke", reason=str(error))))
                return

    async def _serve(self, message: wire.ClientMessage) -> None:
        match message:
            case wire.Subscribe():
                await self._subscribe(message)
            case wire.Unsubscribe(id=request, topics=topics):
                await self._unsubscribe(request, topics)
            case wire.Publish(id=request, topic=topic):
                headers = {} if message.key is None else {"Idempotency-Key": message.key}
                body = json.dumps(plain(message.data), ensure_ascii=False).encode()
                await self._answer(request, await self._ask("POST", f"/topics/{quote(topic)}", headers, body))
            case wire.Resync(id=request, topic=topic):
                await self._resync(request, topic)
            case wire.Auth(id=request, token=token):
                # The streams that are open keep their rights. The token is shown with each further request.
                self._headers = headers_of(self._headers, token)
                await self._put({"op": "ack", "id": request, "results": []})
            case wire.Positions(id=request):
                await self._put({"op": "ack", "id": request, "results": []})
            case wire.Ping(id=request):
                await self._refuse(request, "unknown_op", "there is no ping over server-sent events")

    async def _ask(
        self, method: str, target: str, headers: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> tuple[int, HTTPMessage, bytes]:
        fields = {**self._headers, **(headers or {})}
        answer = await http.request(self._url, method, self._path + target, fields, body, self._ssl)
        try:
            return answer.status, answer.headers, await answer.body(self._message_bytes_max)
        finally:
            await answer.close()

    async def _answer(self, request: int | None, answer: tuple[int, HTTPMessage, bytes]) -> None:
        status, _, body = answer
        fields = _object(body)
        if status == 200 and fields is not None:
            await self._put({"op": "ack", "id": request, "results": [fields]})
            return
        error = (fields or {}).get("error")
        code, reason = ("internal", f"HTTP status {status}")
        if isinstance(error, dict):
            fault = cast(dict[str, Any], error)
            code, reason = str(fault.get("code", code)), str(fault.get("reason", reason))
        await self._refuse(request, code, reason)

    async def _refuse(self, request: int | None, code: str, reason: str) -> None:
        await self._put({"op": "error", "id": request, "code": code, "reason": reason})

    async def _resync(self, request: int, topic: str) -> None:
        for _ in range(SNAPSHOT_TRIES):
            status, fields, body = await self._ask("GET", f"/topics/{quote(topic)}")
            snapshot = _object(body)
            if status != 200 or snapshot is None:
                await self._answer(request, (status, fields, body))
                return
            seq, last = snapshot.get("seq"), self._last.get(topic)
            if not isinstance(seq, int) or (last is not None and last > seq):
                continue  # the stream was faster
            await self._put({"op": "ack", "id": request, "results": [{"topic": topic}]})
            text = body.decode("utf-8", "replace")
            if last is None or last == seq:
                await self._incoming.put(text)
            else:
                self._fresh[topic] = seq, text
            return
        await self._refuse(request, "internal", "the topic changes faster than its value can be fetched")

    async def _unsubscribe(self, request: int, topics: Any) -> None:
        results: list[dict[str, Any]] = []
        for topic in topics:
            known = [stream for stream in self._streams if topic in stream.patterns]
            for stream in known:
                del stream.patterns[topic]
            error = {"code": "not_subscribed", "reason": f"{topic} is not subscribed"}
            results.append({"topic": topic} if known else {"topic": topic, "error": error})
        for stream in list(self._streams):
            owned = [topic for topic, owner in self._owners.items() if owner is stream]
            # A stream that brings topics of another subscribe, too, goes on: so the topics have no seam.
            if not stream.patterns and not any(other.covers(topic) for topic in owned for other in self._streams):
                self._streams.remove(stream)
                for topic in owned:
                    del self._owners[topic]
                    self._last.pop(topic, None)
                if stream.task is not None:
                    stream.task.cancel()
        await self._put({"op": "ack", "id": request, "results": results})

    # Streams.

    async def _subscribe(self, request: wire.Subscribe) -> None:
        if len(request.topics) > STREAM_TOPICS_MAX:
            reason = f"a subscribe over server-sent events has at most {STREAM_TOPICS_MAX} topics"
            await self._refuse(request.id, "limit_exceeded", reason)
            return
        query: list[tuple[str, str]] = [("topic", entry.topic) for entry in request.topics]
        if request.wanted.mode is not None:
            query.append(("mode", request.wanted.mode))
        if request.wanted.conflate_ms:
            query.append(("conflate_ms", str(request.wanted.conflate_ms)))
        headers = {**self._headers, "Accept": "text/event-stream"}
        since = _last_event_id(request)
        if since is not None:
            headers["Last-Event-ID"] = since
        target = f"{self._path}/sse?{urlencode(query)}"
        answer = await http.request(self._url, "GET", target, headers, None, self._ssl)
        if answer.status != 200:
            try:
                body = await answer.body(self._message_bytes_max)
                await self._answer(request.id, (answer.status, answer.headers, body))
            finally:
                await answer.close()
            return
        stream = _Stream(request)
        self._streams.append(stream)
        stream.task = self._spawn(self._read(stream, answer))

    async def _read(self, stream: _Stream, answer: http.Answer) -> None:
        loss = Loss("broke", reason="a stream of events ended")
        try:
            events = _events(answer.chunks(), self._message_bytes_max)
            while True:
                # Each stream is watched by itself: another one may live while this one is dead.
                quiet_s = stream.heartbeat_ms * 2 / 1e3 + QUIET_MARGIN_S
                name, data = await asyncio.wait_for(events.__anext__(), quiet_s)
                ended = await self._event(stream, name, data)
                if ended is not None:
                    loss = ended
                    break
        except StopAsyncIteration:
            pass
        except (TimeoutError, asyncio.TimeoutError):
            loss = Loss("silent", reason="on a stream of events")
        except (OSError, http.HttpError, ValueError) as error:
            loss = Loss("broke", reason=str(error))
        finally:
            with contextlib.suppress(asyncio.CancelledError):
                await answer.close()
        await self._incoming.put(LinkEnded(loss))

    async def _event(self, stream: _Stream, name: str, data: str) -> Loss | None:
        """Passes an event on. Returns how the stream ended, if it did."""
        message = _object(data)
        if message is None:
            return Loss("protocol", reason="an event is not an object")
        if name == "close":
            code, reason = message.get("code"), message.get("reason")
            return Loss("closed", code if isinstance(code, int) else None, str(reason or ""))
        op, topic = message.get("op"), message.get("topic")
        if op == "welcome":
            heartbeat_ms = message.get("heartbeat_ms")
            if isinstance(heartbeat_ms, int):
                stream.heartbeat_ms = min(heartbeat_ms, 3_600_000)
            return None
        if op in ("ack", "synced"):
            await self._put({**message, "id": stream.request.id})
            return None
        if isinstance(topic, str) and op != "error" and not self._wanted(stream, topic):
            return None
        seq = message.get("seq", message.get("to"))
        if not isinstance(topic, str) or not isinstance(seq, int):
            await self._incoming.put(data)
            return None
        self._last[topic] = seq
        fresh = self._fresh.get(topic)
        # The stream's own messages up to the snapshot go before it.
        order = [data] if fresh is None or seq < fresh[0] else [data, fresh[1]] if seq == fresh[0] else [fresh[1], data]
        if len(order) > 1:
            del self._fresh[topic]
        for text in order:
            await self._incoming.put(text)
        return None

    def _wanted(self, stream: _Stream, topic: str) -> bool:
        if not any(other.covers(topic) for other in self._streams):
            return False
        owner = self._owners.setdefault(topic, stream)
        return owner is stream


def _pattern(name: str) -> Pattern | None:
    try:
        return Pattern(name)
    except TopicError:
        return None


def _object(text: str | bytes) -> dict[str, Any] | None:
    try:
        value: Any = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return cast(dict[str, Any], value) if isinstance(value, dict) else None


def _last_event_id(request: wire.Subscribe) -> str | None:
    """The positions of all topics in the form of `Last-Event-ID`; `None` if a topic has none."""
    parts: list[str] = []
    epoch: str | None = None
    for entry in request.topics:
        if entry.since is None:
            return None
        if entry.since.epoch == epoch:
            parts.append(f",{entry.since.seq}")
        else:
            epoch = entry.since.epoch
            parts.append(f"{';' if parts else ''}{epoch}:{entry.since.seq}")
    return "".join(parts)


async def _events(chunks: AsyncIterator[bytes], limit: int) -> AsyncIterator[tuple[str, str]]:
    """The events of a stream: names and data (HTML, section 9.2.6). Raises `ValueError` beyond `limit` bytes."""
    rest = b""
    name, data = "message", list[str]()
    async for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        if len(rest) > limit or sum(map(len, data)) > limit:
            raise ValueError(f"an event is longer than {limit} bytes")
        for line in lines:
            field, _, value = line.rstrip(b"\r").decode("utf-8").partition(":")
            value = value.removeprefix(" ")
            if field == "event":
                name = value
            elif field == "data":
                data.append(value)
            elif not field and not value and line.rstrip(b"\r") == b"":
                if data:
                    yield name, "\n".join(data)
                name, data = "message", []
