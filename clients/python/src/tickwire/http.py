"""One HTTP/1.1 request on a connection of its own, for the fallback to server-sent events.

Written over asyncio's streams and the header parser of the standard library. `http.client` blocks, so each stream would
need a thread; h11 would be a second dependency of every installation for these hundred lines.
"""

from __future__ import annotations

import asyncio
import http.client
import io
import re
import ssl as tls
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

LINE_BYTES_MAX = 64 * 1024
HEADERS_MAX = 100
_CHUNK_SIZE = re.compile(rb"[0-9A-Fa-f]{1,15}")


class HttpError(Exception):
    """The exchange failed: the answer is not HTTP, or the connection ended before its end."""


@dataclass
class Answer:
    """The answer to a request. Close it."""

    status: int
    headers: http.client.HTTPMessage
    _reader: asyncio.StreamReader = field(repr=False)
    _writer: asyncio.StreamWriter = field(repr=False)

    async def chunks(self) -> AsyncIterator[bytes]:
        """The pieces of the body as they come. Raises `HttpError` if it breaks off."""
        if self.status in (204, 304):
            return
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            async for chunk in self._chunked():
                yield chunk
            return
        length = self.headers.get("Content-Length")
        left = int(length) if length is not None and length.isascii() and length.isdigit() else None
        while left is None or left > 0:
            piece = await self._reader.read(LINE_BYTES_MAX if left is None else min(left, LINE_BYTES_MAX))
            if not piece:
                if left is None:
                    return
                raise HttpError("the body broke off")
            left = None if left is None else left - len(piece)
            yield piece

    async def _chunked(self) -> AsyncIterator[bytes]:
        """The body in chunks (RFC 9112, section 7.1)."""
        while True:
            size = (await _line(self._reader)).split(b";")[0].strip()
            if not _CHUNK_SIZE.fullmatch(size):
                raise HttpError(f"{size[:40]!r} is not the size of a chunk")
            left = int(size, 16)
            if left == 0:
                return
            while left > 0:
                piece = await self._reader.read(min(left, LINE_BYTES_MAX))
                if not piece:
                    raise HttpError("the body broke off")
                left -= len(piece)
                yield piece
            if await _line(self._reader):
                raise HttpError("a chunk is longer than it says")

    async def body(self, limit: int) -> bytes:
        """The whole body. Raises `HttpError` if it is longer than `limit`."""
        body = bytearray()
        async for piece in self.chunks():
            body += piece
            if len(body) > limit:
                raise HttpError(f"the body is longer than {limit} bytes")
        return bytes(body)

    def abort(self) -> None:
        """Ends the connection at once."""
        self._writer.transport.abort()

    async def close(self) -> None:
        """Ends the connection. Nothing more is expected of it, so this waits for no farewell of TLS."""
        self.abort()
        with suppress(OSError, tls.SSLError):
            await self._writer.wait_closed()


async def request(
    url: str,
    method: str,
    target: str,
    headers: Mapping[str, str],
    body: bytes | None = None,
    ssl: tls.SSLContext | None = None,
) -> Answer:
    """Sends a request to the host of `url`, which is ``ws`` or ``wss``. Raises `OSError` or `HttpError`."""
    parts = urlsplit(url)
    secure = parts.scheme == "wss"
    context = (ssl or tls.create_default_context()) if secure else None
    port = parts.port or (443 if secure else 80)
    reader, writer = await asyncio.open_connection(parts.hostname, port, ssl=context, limit=LINE_BYTES_MAX)
    try:
        lines = [f"{method} {target} HTTP/1.1", f"Host: {parts.netloc}", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        if body is not None:
            lines.append(f"Content-Length: {len(body)}")
        if any("\r" in line or "\n" in line for line in lines):
            raise HttpError("a header holds a line break")
        writer.write("\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b""))
        await writer.drain()
        status, fields = await _head(reader)
        return Answer(status, fields, reader, writer)
    except BaseException:
        writer.close()
        raise


async def _head(reader: asyncio.StreamReader) -> tuple[int, http.client.HTTPMessage]:
    while True:
        first = (await _line(reader)).split(b" ", 2)
        if len(first) < 2 or not first[0].startswith(b"HTTP/1.") or not first[1].isdigit():
            raise HttpError("the answer is no HTTP/1.1")
        lines: list[bytes] = []
        while line := await _line(reader):
            lines.append(line)
            if len(lines) > HEADERS_MAX:
                raise HttpError(f"the answer has more than {HEADERS_MAX} headers")
        fields = http.client.parse_headers(io.BytesIO(b"\r\n".join([*lines, b"", b""])))
        status = int(first[1])
        if status >= 200:
            return status, fields


async def _line(reader: asyncio.StreamReader) -> bytes:
    try:
        line = await reader.readline()
    except ValueError:
        raise HttpError(f"a line is longer than {LINE_BYTES_MAX} bytes") from None
    if not line.endswith(b"\n"):
        raise HttpError("the connection ended within the answer")
    return line.rstrip(b"\r\n")
