"""The HTTP of the fallback: streams of events from a server that says exact bytes, and TLS."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

import tickwire
from broker import broker
from tickwire import Trade, Update, http
from tickwire.dialler import Transport
from tickwire.sse import _events


@asynccontextmanager
async def saying(answer: bytes) -> AsyncIterator[str]:
    """A server that answers each request with these bytes and closes. Gives its URL."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()[:2]
    try:
        yield f"ws://{host}:{port}/v1/ws"
    finally:
        server.close()
        await server.wait_closed()


async def body_of(answer: bytes) -> bytes:
    async with saying(answer) as url:
        got = await http.request(url, "GET", "/", {})
        try:
            return await got.body(1_000)
        finally:
            await got.close()


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", b"abc"),
        (b"HTTP/1.1 200 OK\r\n\r\nup to the end", b"up to the end"),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na", b"a"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nab\r\n1\r\nc\r\n0\r\n\r\n", b"abc"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
    ],
)
async def test_bodies_are_read(answer: bytes, body: bytes) -> None:
    assert await body_of(answer) == body


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\x15\x03\x01 a TLS alert\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\nabc\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0_1\r\na\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 200 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nA: " + b"b" * 100_000,
        b"HTTP/1.1 200 OK\r\n\r\n" + b"a" * 2_000,
    ],
)
async def test_what_is_not_http_fails(answer: bytes) -> None:
    with pytest.raises((http.HttpError, OSError)):
        await body_of(answer)


async def events_of(*pieces: bytes, limit: int = 1_000) -> list[tuple[str, str]]:
    async def chunks() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    return [event async for event in _events(chunks(), limit)]


async def test_events_may_come_in_any_pieces() -> None:
    text = b'retry: 2000\n\n: a comment\nid: k:1\nevent: update\ndata: {"a":\ndata: 1}\n\n'
    text += b"event: x\r\ndata:y\r\n\r\ndata: cut"
    expected = [("update", '{"a":\n1}'), ("x", "y")]
    assert await events_of(text) == expected
    assert await events_of(*(text[at : at + 1] for at in range(len(text)))) == expected


async def test_an_event_is_bounded() -> None:
    with pytest.raises(ValueError, match="longer"):
        await events_of(b"data: " + b"a" * 2_000)
    with pytest.raises(ValueError, match="longer"):
        await events_of(*[b"data: aaaaaaaaaa\n"] * 200)


def _certify(folder: Path) -> tuple[Path, Path]:
    """Makes a certificate for 127.0.0.1 and its key."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-keyout", str(key), "-out", str(certificate), "-days", "2", "-subj", "/CN=127.0.0.1"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(command, check=True, capture_output=True)
    return certificate, key


@pytest.mark.parametrize("transport", ["websocket", "sse"])
async def test_the_market_comes_over_tls(tmp_path: Path, transport: Transport) -> None:
    certificate, key = _certify(tmp_path)
    settings = {"TICKWIRE_TLS__CERT_FILE": str(certificate), "TICKWIRE_TLS__KEY_FILE": str(key)}
    with broker("--symbols", "4", "--rate", "400", settings=settings) as made:
        url = made.url.replace("ws://", "wss://")
        with pytest.raises(tickwire.ConnectError):
            await tickwire.connect(url, transport=transport)
        trusted = ssl.create_default_context(cafile=str(certificate))
        async with (
            tickwire.connect(url, transport=transport, ssl=trusted) as client,
            client.subscribe("trade.*", mode="every") as trades,
        ):
            async for event in trades:
                if isinstance(event, Update):
                    assert Trade.of(event.data).price > 0
                    break
