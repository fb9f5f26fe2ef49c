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
from .errors import ConfigError, ConnectError
from .events import Loss
from .link import USER_AGENT, LinkEnded, headers_of, refused
from .machine import Send
from .tasks import TooLate, timely
from .topics import Pattern, TopicError

QUEUE_MAX = 64
"""Most messages that wait for the client."""
STREAM_TOPICS_MAX = 64
QUIET_MARGIN_S = 5.0
DEFAULT_HEARTBEAT_MS = 15_000
SNAPSHOT_TRIES = 5
REQUESTS_MAX = 2_048
"""Most requests that wait for those before them."""
REQUEST_TIMEOUT_S = 30.0
"""The longest time that a request may take. The connection counts as broken then."""

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
        self._fresh: dict[str, tuple[int, str, asyncio.Event]] = {}
        """Snapshots that were asked for and are ahead of their streams, and what is set when they have come."""
        self._requests: asyncio.Queue[wire.ClientMessage] = asyncio.Queue(REQUESTS_MAX)
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

    def abort(self) -> None:
        for task in self._tasks:
            task.cancel()

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
                continue
            except TooLate:
                loss = Loss("silent", reason=f"no answer over HTTP within {REQUEST_TIMEOUT_S:g} s")
            except (OSError, http.HttpError) as error:
                loss = Loss("broke", reason=str(error))
            except Exception as error:
                log.exception("a request over HTTP failed in a way that nobody foresaw")
                loss = Loss("broke", reason=repr(error))
            await self._incoming.put(LinkEnded(loss))
            return

    async def _serve(self, message: wire.ClientMessage) -> None:
        match message:
            case wire.Subscribe():
                await self._subscribe(message)
            case wire.Unsubscribe(id=request, topics=topics):
                await self._unsubscribe(request, topics)
            case wire.Publish(id=request, topic=topic, key=key):
                if message.ts is not None:
                    await self._refuse(request, "bad_request", "over HTTP a publication has the broker's time")
                    return
                if key is not None and not all("!" <= character <= "~" for character in key):
                    await self._refuse(request, "bad_request", "over HTTP a key has visible ASCII characters only")
                    return
                headers = {} if key is None else {"Idempotency-Key": key}
                body = json.dumps(plain(message.data), ensure_ascii=False).encode()
                await self._answer(request, await self._ask("POST", _path_of(topic), headers, body))
            case wire.Resync(id=request, topic=topic):
                await self._resync(request, topic)
            case wire.Auth(id=request, token=token):
                # The streams that are open keep their rights. The token is shown with each further request.
                try:
                    self._headers = headers_of(self._headers, token)
                except ConfigError as error:
                    await self._refuse(request, "unauthenticated", str(error))
                    return
                await self._put({"op": "ack", "id": request, "results": []})
            case wire.Positions(id=request):
                await self._put({"op": "ack", "id": request, "results": []})
            case wire.Ping(id=request):
                await self._refuse(request, "unknown_op", "there is no ping over server-sent events")

    async def _ask(
        self, method: str, target: str, headers: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> tuple[int, HTTPMessage, bytes]:
        fields = {**self._headers, **(headers or {})}

        async def exchange() -> tuple[int, HTTPMessage, bytes]:
            answer = await http.request(self._url, method, self._path + target, fields, body, self._ssl)
            try:
                return answer.status, answer.headers, await answer.body(self._message_bytes_max)
            finally:
                await answer.close()

        return await timely(exchange(), REQUEST_TIMEOUT_S)

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
            status, fields, body = await self._ask("GET", _path_of(topic))
            snapshot = _object(body)
            if status != 200 or snapshot is None:
                await self._answer(request, (status, fields, body))
                return
            if self._is_behind(topic, snapshot):
                continue
            await self._put({"op": "ack", "id": request, "results": [{"topic": topic}]})
            await self._in_its_place(topic, snapshot, body)
            return
        await self._refuse(request, "internal", "the topic changes faster than its value can be fetched")

    def _is_behind(self, topic: str, snapshot: Mapping[str, Any]) -> bool:
        """Whether the stream of `topic` was faster than the snapshot that was fetched."""
        seq, last = snapshot.get("seq"), self._last.get(topic)
        return not isinstance(seq, int) or (last is not None and last > seq)

    async def _in_its_place(self, topic: str, snapshot: Mapping[str, Any], body: bytes) -> asyncio.Event | None:
        """Passes on a snapshot that was fetched, if the stream of its topic is there already. Otherwise returns what
        is set when the stream has come there."""
        text = body.decode("utf-8", "replace")
        seq, last = snapshot["seq"], self._last.get(topic)
        if last is None or last == seq:
            await self._incoming.put(text)
            return None
        come = asyncio.Event()
        self._fresh[topic] = seq, text, come
        return come

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
        if any(entry.from_moment is not None for entry in request.topics):
            await self._refuse(request.id, "bad_request", "a stream of server-sent events takes no `from`")
            return
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
        asking = http.request(self._url, "GET", target, headers, None, self._ssl)
        answer = await timely(asking, REQUEST_TIMEOUT_S, http.Answer.abort)
        if answer.status != 200:
            try:
                body = await timely(answer.body(self._message_bytes_max), REQUEST_TIMEOUT_S)
                await self._answer(request.id, (answer.status, answer.headers, body))
            finally:
                await answer.close()
            return
        if request.wanted.mode == "snapshot":
            await self._look(request, answer)
            return
        stream = _Stream(request)
        self._streams.append(stream)
        stream.task = self._spawn(self._read(stream, answer))

    async def _look(self, request: wire.Subscribe, answer: http.Answer) -> None:
        """Passes on the values that a subscribe in mode `snapshot` asks for. It has ended then."""
        flowing: list[str] = []
        try:
            events = _events(answer.chunks(), self._message_bytes_max)
            while True:
                name, data = await timely(_next(events), REQUEST_TIMEOUT_S)
                message = _object(data)
                if message is None or name == "close":
                    raise http.HttpError("a stream of values broke off")
                topic = message.get("topic")
                if name == "ack":
                    await self._put({**message, "id": request.id})
                elif name == "synced":
                    break
                elif name == "snapshot" and topic in self._last:
                    flowing.append(topic)  # its stream may be before the snapshot, or behind it
                elif name in ("snapshot", "status"):
                    await self._incoming.put(data)
        finally:
            await answer.close()
        for topic in flowing:
            await self._look_at_flowing(topic)
        await self._put({"op": "synced", "id": request.id})

    async def _look_at_flowing(self, topic: str) -> None:
        for _ in range(SNAPSHOT_TRIES):
            status, _, body = await self._ask("GET", _path_of(topic))
            snapshot = _object(body)
            if status != 200 or snapshot is None:
                return  # it has ended meanwhile
            if not self._is_behind(topic, snapshot):
                come = await self._in_its_place(topic, snapshot, body)
                if come is not None:
                    await timely(come.wait(), REQUEST_TIMEOUT_S)
                return
        log.debug("%s changes faster than its value can be fetched", topic)

    async def _read(self, stream: _Stream, answer: http.Answer) -> None:
        loss = Loss("broke", reason="a stream of events ended")
        try:
            events = _events(answer.chunks(), self._message_bytes_max)
            while True:
                # Each stream is watched by itself: another one may live while this one is dead.
                quiet_s = stream.heartbeat_ms * 2 / 1e3 + QUIET_MARGIN_S
                name, data = await timely(_next(events), quiet_s)
                ended = await self._event(stream, name, data)
                if ended is not None:
                    loss = ended
                    break
        except TooLate:
            loss = Loss("silent", reason="on a stream of events")
        except (OSError, http.HttpError, ValueError) as error:
            loss = Loss("broke", reason=str(error))
        except Exception as error:
            log.exception("a stream of events failed in a way that nobody foresaw")
            loss = Loss("broke", reason=repr(error))
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
        if fresh is not None and seq >= fresh[0]:
            del self._fresh[topic]
        # The stream's own messages up to the snapshot go before it.
        order = [data] if fresh is None or seq < fresh[0] else [data, fresh[1]] if seq == fresh[0] else [fresh[1], data]
        for text in order:
            await self._incoming.put(text)
        if fresh is not None and len(order) > 1:
            fresh[2].set()
        return None

    def _wanted(self, stream: _Stream, topic: str) -> bool:
        if not any(other.covers(topic) for other in self._streams):
            return False
        owner = self._owners.setdefault(topic, stream)
        return owner is stream


async def _next(events: AsyncIterator[tuple[str, str]]) -> tuple[str, str]:
    """The next event. Raises `HttpError` at the end of the stream."""
    event = await anext(events, None)
    if event is None:
        raise http.HttpError("a stream of events ended")
    return event


def _path_of(topic: str) -> str:
    return f"/topics/{quote(topic, safe='')}"


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
