"""Server-sent events as a connection: looks at values, requests that hang, requests that HTTP cannot carry."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

import tickwire
from broker import Broker, broker
from test_broker import QUICK, Watch, soon, until
from tickwire import ConnectionLost, Snapshot, Update, connect

LISTING = b'HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n{"topics":[]}'


@pytest.fixture(scope="module")
def quiet() -> Iterator[Broker]:
    with broker("--feed", "none", "--anonymous-publish", ">") as made:
        yield made


async def test_a_look_at_a_value_does_not_take_the_topic_from_a_later_subscription(quiet: Broker) -> None:
    async with connect(quiet.url, transport="sse") as client:
        await client.publish("chat.look", 1)
        seen = await soon(client.value("chat.look"))
        assert seen is not None
        assert seen.data == 1
        async with client.subscribe("chat.look", mode="every") as events:
            await client.publish("chat.look", 2)
            await until(events, lambda event: isinstance(event, Update) and event.data == 2)


async def test_a_look_at_a_topic_that_flows_gives_its_value(quiet: Broker) -> None:
    async with connect(quiet.url, transport="sse") as client, client.subscribe("chat.flows", mode="every") as events:
        for number in range(1, 6):
            await client.publish("chat.flows", number)
            seen = await soon(client.value("chat.flows"))
            assert seen is not None
            assert seen.data == number
        got = await until(events, lambda event: isinstance(event, Update) and event.seq == 5)
        assert [event.seq for event in got if isinstance(event, Update)] == [1, 2, 3, 4, 5]
        look = [event async for event in client.subscribe("chat.flow*", "chat.>", mode="snapshot")]
        assert [event.seq for event in look if isinstance(event, Snapshot) and event.topic == "chat.flows"] == [5]


async def test_a_look_at_a_value_leaves_no_stream_open(quiet: Broker) -> None:
    async with connect(quiet.url, transport="sse") as client:
        await client.publish("chat.leak", 1)
        for _ in range(20):
            assert await soon(client.value("chat.leak")) is not None
        link = client._connection._link
        assert link is not None
        assert len(link._tasks) == 1  # type: ignore[attr-defined]


@asynccontextmanager
async def hanging() -> AsyncIterator[str]:
    """A broker that lists topics and answers nothing else."""
    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        head = await reader.readuntil(b"\r\n\r\n")
        if b"/topics?limit=1" in head:
            writer.write(LISTING)
            await writer.drain()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()[:2]
    try:
        yield f"ws://{host}:{port}/v1/ws"
    finally:
        for writer in writers:
            writer.transport.abort()
        server.close()
        await server.wait_closed()


async def test_a_request_that_is_never_answered_ends_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tickwire.sse.REQUEST_TIMEOUT_S", 0.05)
    watch = Watch()
    async with hanging() as url, connect(url, transport="sse", backoff=QUICK, on_event=watch) as client:
        with pytest.raises(tickwire.Disconnected):
            await soon(client.publish("chat.a", 1))
        await watch.saw(ConnectionLost)
        lost = next(event for event in watch.events if isinstance(event, ConnectionLost))
        assert lost.loss.cause == "silent"


async def test_what_http_cannot_carry_is_refused_and_the_connection_goes_on(quiet: Broker) -> None:
    async with connect(quiet.url, transport="sse") as client:
        for wrong in (
            client.publish("chat.a", 1, key="ключ"),
            client.publish("chat.a", 1, key="a\r\nb"),
            client.publish("chat.a", 1, ts=1),
            client.auth("not a token"),
            client.publish("chat/../a", 1),
        ):
            with pytest.raises(tickwire.Refused):
                await soon(wrong)
        assert (await soon(client.publish("chat.carried", 1))).seq == 1
