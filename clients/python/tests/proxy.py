"""A TCP proxy on loopback whose connections a test can cut, and which may let no WebSocket through."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Literal

Blocks = Literal["nothing", "refuses", "drops", "swallows"]
"""What becomes of WebSocket handshakes."""
REFUSAL = b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class Proxy:
    """Connections to `target`, an address of the form HOST:PORT."""

    def __init__(self, target: str, websocket: Blocks) -> None:
        self.target = target
        self._websocket = websocket
        self.accepts = asyncio.Event()
        """While this is not set, new connections are closed at once."""
        self.accepts.set()
        self.address = ""
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def url(self) -> str:
        return f"ws://{self.address}/v1/ws"

    def cut(self) -> None:
        """Ends every connection without a word."""
        for writer in tuple(self._writers):
            writer.transport.abort()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self.accepts.is_set():
            writer.transport.abort()
            return
        head = await reader.readuntil(b"\r\n\r\n")
        if self._websocket != "nothing" and b"upgrade: websocket" in head.lower():
            if self._websocket == "swallows":
                await reader.read()
            elif self._websocket == "refuses":
                writer.write(REFUSAL)
                await writer.drain()
            writer.close()
            return
        host, _, port = self.target.rpartition(":")
        far_reader, far_writer = await asyncio.open_connection(host, int(port))
        far_writer.write(head)
        self._writers |= {writer, far_writer}
        try:
            await asyncio.gather(_pass(reader, far_writer), _pass(far_reader, writer))
        finally:
            self._writers -= {writer, far_writer}


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while piece := await reader.read(65_536):
            writer.write(piece)
            await writer.drain()
    writer.close()


@asynccontextmanager
async def proxy(target: str, websocket: Blocks = "nothing") -> AsyncIterator[Proxy]:
    """Starts a proxy at a port of the system's choice, and ends it."""
    made = Proxy(target, websocket)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            await made.serve(reader, writer)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()[:2]
    made.address = f"{host}:{port}"
    try:
        yield made
    finally:
        made.cut()
        server.close()
        await server.wait_closed()
