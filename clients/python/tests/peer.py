"""A broker that says what a test tells it, over WebSocket on loopback."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from websockets.asyncio.server import ServerConnection, serve
from websockets.typing import Subprotocol

from conformance import WELCOME

DEADLINE_S = 30.0


class Peer:
    """The broker's end of the newest connection."""

    def __init__(self) -> None:
        self.url = ""
        self._connections: asyncio.Queue[ServerConnection] = asyncio.Queue()
        self._now: ServerConnection | None = None

    async def accept(self) -> None:
        """Waits for a connection and welcomes it."""
        self._now = await asyncio.wait_for(self._connections.get(), DEADLINE_S)
        await self.say(WELCOME)

    async def hear(self) -> dict[str, Any]:
        """The next message of the client."""
        assert self._now is not None
        message: dict[str, Any] = json.loads(await asyncio.wait_for(self._now.recv(), DEADLINE_S))
        return message

    async def say(self, *messages: dict[str, Any]) -> None:
        """Sends messages."""
        assert self._now is not None
        for message in messages:
            await self._now.send(json.dumps(message))

    async def ack(self, *results: dict[str, Any]) -> dict[str, Any]:
        """Acks the next message of the client. Returns it."""
        message = await self.hear()
        await self.say({"op": "ack", "id": message["id"], "results": list(results)})
        return message

    async def close(self, code: int) -> None:
        """Ends the connection."""
        assert self._now is not None
        await self._now.close(code)

    async def cut(self) -> None:
        """Ends the connection without a word."""
        assert self._now is not None
        self._now.transport.close()
        await self._now.wait_closed()


@asynccontextmanager
async def peer() -> AsyncIterator[Peer]:
    """Starts a peer at a port of the system's choice, and ends it."""
    made = Peer()

    async def serve_one(connection: ServerConnection) -> None:
        made._connections.put_nowait(connection)
        await connection.wait_closed()

    server = await serve(
        serve_one,
        "127.0.0.1",
        0,
        subprotocols=[Subprotocol("tickwire.v1.json")],
        compression=None,
        ping_interval=None,
        close_timeout=1,
    )
    port = next(iter(server.sockets)).getsockname()[1]
    made.url = f"ws://127.0.0.1:{port}"
    try:
        yield made
    finally:
        server.close()
        await server.wait_closed()


def update(topic: str, seq: int) -> dict[str, Any]:
    """An update whose data is its number."""
    return {"op": "update", "topic": topic, "seq": seq, "ts": 1, "data": seq}
