"""The client with the real broker."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

import pytest

import tickwire
from broker import Broker, broker
from proxy import Blocks, proxy
from tickwire import (
    Backoff,
    BrokenPromise,
    Connected,
    ConnectionLost,
    Event,
    Gap,
    Position,
    Positions,
    Recovered,
    Snapshot,
    Synced,
    Trade,
    Update,
    connect,
    sync,
)
from tickwire.codec import CodecName

DEADLINE_S = 30.0
QUICK = Backoff(first_s=0.001, max_s=0.02)
T = TypeVar("T")


async def soon(waited: Awaitable[T]) -> T:
    """What `waited` gives, within the deadline."""
    return await asyncio.wait_for(waited, DEADLINE_S)


async def until(events: AsyncIterator[Any], wanted: Callable[[Any], bool]) -> list[Any]:
    """The events up to the first that is wanted."""
    got: list[Any] = []

    async def read() -> None:
        async for event in events:
            got.append(event)
            if wanted(event):
                return

    await soon(read())
    return got


class Watch:
    """A listener that waits for events."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._came = asyncio.Event()

    def __call__(self, event: Event) -> None:
        self.events.append(event)
        self._came.set()

    async def saw(self, kind: type, count: int = 1) -> None:
        async def wait() -> None:
            while sum(isinstance(event, kind) for event in self.events) < count:
                self._came.clear()
                await self._came.wait()

        await soon(wait())


@pytest.fixture(scope="module")
def quiet() -> Iterator[Broker]:
    """A broker without a market, to which anyone may publish."""
    with broker("--feed", "none", "--anonymous-publish", ">") as made:
        yield made


@pytest.fixture(scope="module")
def market() -> Iterator[Broker]:
    """A broker with a simulated market."""
    with broker("--symbols", "4", "--rate", "400") as made:
        yield made


@pytest.mark.parametrize("codec", ["json", "msgpack"])
async def test_the_market_keeps_every_promise(market: Broker, codec: CodecName) -> None:
    async with connect(market.url, codec=codec, books="book.>") as client, client.subscribe(">") as events:
        kinds: dict[str, int] = {}

        def enough(event: Any) -> bool:
            if isinstance(event, Update):
                kind = event.topic.partition(".")[0]
                kinds[kind] = kinds.get(kind, 0) + 1
            return min(kinds.get(kind, 0) for kind in ("trade", "ticker", "bbo", "book", "candle")) >= 5

        got = await until(events, enough)
        trade = Trade.of(next(e.data for e in got if isinstance(e, Update) and e.topic.startswith("trade.")))
        assert isinstance(trade.price, Decimal)
        assert any(isinstance(event, Synced) for event in got) or events.results[0].matched is not None


@pytest.mark.parametrize("codec", ["json", "msgpack"])
async def test_a_publication_has_its_position(quiet: Broker, codec: CodecName) -> None:
    topic = f"chat.positions-{codec}"
    async with connect(quiet.url, codec=codec) as client, client.subscribe(topic) as events:
        first = await client.publish(topic, {"price": Decimal("1.5"), "size": 3})
        second = await client.publish(topic, "again", key=True)
        assert (first.seq, second.seq) == (1, 2)
        got = await until(events, lambda event: isinstance(event, Update) and event.seq == 2)
        updates = [event for event in got if isinstance(event, Update)]
        assert updates[0].data == {"price": Decimal("1.5"), "size": 3}
        assert isinstance(updates[0].data["price"], Decimal)
        assert [update.epoch for update in updates] == [first.epoch] * 2
        assert events.positions == {topic: Position(first.epoch or "", 2)}


async def test_numbers_are_floats_if_that_is_asked_for(quiet: Broker) -> None:
    async with connect(quiet.url, numbers="float") as client, client.subscribe("chat.floats") as events:
        await client.publish("chat.floats", [0.1, 7])
        got = await until(events, lambda event: isinstance(event, Update))
        assert [type(number) for number in got[-1].data] == [float, int]


@pytest.mark.parametrize("codec", ["json", "msgpack"])
async def test_topics_and_patterns_resume_over_cut_connections(quiet: Broker, codec: CodecName) -> None:
    names = [f"chat.cut-{codec}", f"room.{codec}.a", f"room.{codec}.b"]
    watch = Watch()
    async with (
        proxy(quiet.address) as bad,
        connect(quiet.url) as publisher,
        connect(bad.url, codec=codec, backoff=QUICK, on_event=watch) as client,
        client.subscribe(names[0], f"room.{codec}.*", mode="every") as events,
    ):
        got: list[Any] = []
        for round_ in range(4):
            bad.accepts.clear()
            bad.cut()
            for name in names:
                await publisher.publish(name, round_)
            bad.accepts.set()
            missing = set(names)
            while missing:
                event = await soon(anext(events))
                got.append(event)
                if isinstance(event, (Update, Snapshot)) and event.seq == round_ + 1:
                    missing.discard(event.topic)
        for name in names:
            messages = [event for event in got if isinstance(event, (Update, Snapshot)) and event.topic == name]
            assert [message.data for message in messages] == [0, 1, 2, 3]
        assert not [event for event in got if isinstance(event, Gap)]
        recovered = [event for event in got if isinstance(event, Recovered)]
        assert recovered
        assert len([event for event in watch.events if isinstance(event, Connected)]) == 5
        assert [event for event in watch.events if isinstance(event, ConnectionLost)]


async def test_a_handshake_that_is_cut_does_not_make_the_client_leave_websocket(quiet: Broker) -> None:
    watch = Watch()
    async with proxy(quiet.address) as bad, connect(bad.url, backoff=QUICK, on_event=watch) as client:
        for round_ in range(3):
            bad.accepts.clear()
            bad.cut()
            await watch.saw(tickwire.ConnectFailed, round_ + 1)
            bad.accepts.set()
            await watch.saw(Connected, round_ + 2)
        assert client.is_connected
        assert {event.transport for event in watch.events if isinstance(event, Connected)} == {"websocket"}


async def test_a_restarted_broker_is_told_by_a_gap(tmp_path: Path) -> None:
    watch = Watch()
    with broker("--feed", "none", "--anonymous-publish", ">") as first:
        address = first.address
        async with connect(first.url, backoff=QUICK, on_event=watch) as client, client.subscribe("chat.a") as events:
            await client.publish("chat.a", 1)
            await client.publish("chat.a", 2)
            await until(events, lambda event: isinstance(event, Update) and event.seq == 2)
            first.kill()
            await watch.saw(ConnectionLost)
            with broker("--feed", "none", "--anonymous-publish", ">", listen=address):
                await watch.saw(Connected, 2)
                answer = await client.publish("chat.a", 3)
                got = await until(events, lambda event: isinstance(event, Update))
                assert got[-1].epoch == answer.epoch
                assert [event for event in got if isinstance(event, Recovered)] == [Recovered("chat.a", 0, 1)]


async def test_a_drain_moves_the_client_to_another_broker() -> None:
    watch = Watch()
    drain = {"TICKWIRE_DRAIN__WINDOW_MS": "50"}
    open_to_all = ("--feed", "none", "--anonymous-publish", ">")
    with broker(*open_to_all, settings=drain) as one, broker(*open_to_all, settings=drain) as other:
        async with (
            connect(one.url, other.url, backoff=QUICK, on_event=watch) as client,
            client.subscribe("chat.a") as events,
        ):
            [at] = [event.url for event in watch.events if isinstance(event, Connected)]
            drained, left = (one, other) if at == one.url else (other, one)
            drained.drain()
            await watch.saw(tickwire.Draining)
            await watch.saw(Connected, 2)
            connected = [event for event in watch.events if isinstance(event, Connected)]
            assert [event.url for event in connected] == [drained.url, left.url]
            await client.publish("chat.a", "here")
            await until(events, lambda event: isinstance(event, Update) and event.data == "here")


async def test_the_clients_of_a_killed_broker_are_at_another_one_at_once() -> None:
    forever = tickwire.Backoff(first_s=3_600.0, max_s=3_600.0)
    open_to_all = ("--feed", "none", "--anonymous-publish", ">")
    with broker(*open_to_all) as killed, broker(*open_to_all) as left:
        async with AsyncExitStack() as stack:
            moving = 0
            watches = [Watch() for _ in range(40)]  # less than once in a billion runs all begin at the same broker
            clients = []
            for watch in watches:
                connecting = connect(killed.url, left.url, killed.url, backoff=forever, on_event=watch)
                client = await stack.enter_async_context(connecting)
                clients.append((client, await stack.enter_async_context(client.subscribe("chat.a"))))
            killed.kill()
            for watch in watches:
                [first] = [event.url for event in watch.events if isinstance(event, Connected)][:1]
                if first == left.url:
                    continue
                moving += 1
                await watch.saw(Connected, 2)
                assert [event.url for event in watch.events if isinstance(event, Connected)] == [first, left.url]
                lost = [event for event in watch.events if isinstance(event, tickwire.ConnectionLost)]
                assert [event.retry_in_s for event in lost] == [0.0], "it does not wait"
                await watch.saw(Recovered)
            assert 0 < moving < len(clients)
            await clients[0][0].publish("chat.a", "here")
            for _, events in clients:
                await until(events, lambda event: isinstance(event, Update) and event.data == "here")


async def test_the_function_that_gives_tokens_is_asked_again(tmp_path: Path) -> None:
    config = tmp_path / "tickwire.toml"

    def allow(*tokens: str) -> None:
        hashes = [hashlib.sha256(token.encode()).hexdigest() for token in tokens]
        keys = [f'[[auth.keys]]\nname = "{made[:8]}"\nsha256 = "{made}"\nsubscribe = [">"]' for made in hashes]
        config.write_text("\n".join(["[auth]", "required = true", *keys]), "utf-8")

    tokens = ["first-0123456789abcdef", "second-0123456789abcdef"]
    allow(tokens[0])
    asked: list[str] = []

    async def token() -> str:
        asked.append(tokens[min(len(asked), 1)])
        return asked[-1]

    watch = Watch()
    with broker("--feed", "none", "--config", str(config)) as made:
        async with connect(made.url, token=token, backoff=QUICK, on_event=watch) as client:
            await client.subscribe("chat.>")
            allow(tokens[1])
            made.reload()
            await watch.saw(Connected, 2)
            lost = next(event for event in watch.events if isinstance(event, ConnectionLost))
            assert lost.loss.code == 4003
            assert asked[0] == tokens[0]
            assert asked[-1] == tokens[1]


async def test_a_refusal_says_why(quiet: Broker) -> None:
    async with connect(quiet.url) as client:
        with pytest.raises(tickwire.Refused) as refused:
            await client.subscribe("bad..topic")
        assert refused.value.code == "bad_topic"
        with pytest.raises(tickwire.Refused):
            await client.resync("chat.never-subscribed")
        async with client.subscribe("bad..topic", "chat.good") as events:
            assert list(events.refused) == ["bad..topic"]


async def test_the_book_is_the_brokers(market: Broker) -> None:
    async with connect(market.url) as client, client.book("book.BTC-USD") as book:
        seen: set[int] = set()
        async for state in book:
            if state.usable and state.position is not None:
                seen.add(state.position.seq)
                top = state.top_of(3)
                assert len(top.bids) == len(top.asks) == 3
                assert top.spread is not None
                assert top.spread > 0
            if len(seen) >= 5:
                break
        await client.resync("book.BTC-USD")
        await soon(anext(book))
        assert book.usable


async def test_a_slow_program_is_told_what_was_dropped(quiet: Broker) -> None:
    async with connect(quiet.url) as client, client.subscribe("chat.slow", queue_max=4) as events:
        for number in range(1, 21):
            await client.publish("chat.slow", number)
        await client.ping()  # by its pong everything that was published has come
        got = await until(events, lambda event: isinstance(event, Update) and event.seq == 20)
        gaps = [event for event in got if isinstance(event, Gap)]
        updates = [event.seq for event in got if isinstance(event, Update)]
        assert [gap.reason for gap in gaps] == ["consumer"]
        assert list(range(gaps[0].from_seq, gaps[0].to_seq + 1)) + updates == list(range(1, 21))
        assert events.dropped == gaps[0].count == 16


async def test_a_program_that_waits_misses_nothing(quiet: Broker) -> None:
    async with (
        connect(quiet.url) as publisher,
        connect(quiet.url) as client,
        client.subscribe("chat.patient", queue_max=4, overflow="wait") as events,
    ):
        for number in range(1, 201):
            await publisher.publish("chat.patient", number)
        got = await until(events, lambda event: isinstance(event, Update) and event.seq == 200)
        assert [event.data for event in got if isinstance(event, Update)] == list(range(1, 201))
        assert events.dropped == 0


async def test_a_slow_program_gets_the_newest_value(quiet: Broker) -> None:
    async with connect(quiet.url) as client, client.subscribe("ticker.slow", queue_max=4) as events:
        for number in range(1, 51):
            await client.publish("ticker.slow", number)
        await client.ping()
        batch = await soon(events.batch(within_s=0))
        values = [event for event in batch if isinstance(event, (Update, Snapshot))]
        assert values[-1].data == 50
        assert len(values) < 50
        assert not [event for event in batch if isinstance(event, Gap)]


@pytest.mark.parametrize("transport", ["auto", "sse"])
async def test_events_come_where_websocket_is_blocked(quiet: Broker, transport: Any) -> None:
    topic = f"chat.sse-{transport}"
    watch = Watch()
    async with (
        proxy(quiet.address, websocket="refuses") as way,
        connect(way.url, transport=transport, codec="msgpack", backoff=QUICK, on_event=watch) as client,
        client.subscribe(topic, mode="every") as events,
    ):
        assert [event.transport for event in watch.events if isinstance(event, Connected)] == ["sse"]
        answer = await client.publish(topic, {"n": 1})
        assert answer.seq == 1
        await until(events, lambda event: isinstance(event, Update) and event.seq == 1)
        await client.resync(topic)
        await until(events, lambda event: isinstance(event, Snapshot) and event.seq == 1)
        way.accepts.clear()
        way.cut()
        async with connect(quiet.url) as other:
            for number in (2, 3):
                await other.publish(topic, {"n": number})
        way.accepts.set()
        got = await until(events, lambda event: isinstance(event, Update) and event.seq == 3)
        assert [event.seq for event in got if isinstance(event, Update)] == [2, 3]
        assert Recovered(topic, 1, 0) in got
        with pytest.raises(tickwire.Refused):
            await client.subscribe("bad..topic")
        await events.unsubscribe()


@pytest.mark.parametrize("how", ["refuses", "drops", "swallows"])
@pytest.mark.parametrize("keep_trying", [False, True])
async def test_however_websocket_is_blocked_events_come(quiet: Broker, how: Blocks, keep_trying: bool) -> None:
    async with (
        proxy(quiet.address, websocket=how) as way,
        connect(way.url, backoff=QUICK, keep_trying=keep_trying, connect_timeout_s=4) as client,
        client.subscribe("chat.blocked") as events,
    ):
        answer = await client.publish("chat.blocked", how)
        await until(events, lambda event: getattr(event, "seq", 0) == answer.seq)


async def test_a_program_resumes_where_it_was_killed(quiet: Broker, tmp_path: Path) -> None:
    saved = tmp_path / "positions.json"
    async with connect(quiet.url) as publisher:
        for number in range(1, 4):
            await publisher.publish("trade.bot", number)
        async with connect(quiet.url) as client:
            events = await client.subscribe("trade.*", mode="every", since=Positions.load(saved))
            await until(events, lambda event: event.topic == "trade.bot" and event.seq == 3)
            events.positions.save(saved)
        for number in range(4, 7):
            await publisher.publish("trade.bot", number)
        async with connect(quiet.url) as client:
            events = await client.subscribe("trade.*", mode="every", since=Positions.load(saved))
            assert (events.results[0].resumed or 0) >= 1
            got = await until(events, lambda event: isinstance(event, Update) and event.seq == 6)
            assert [event.data for event in got if isinstance(event, Update)] == [4, 5, 6]


@pytest.mark.parametrize("name", ["room.quiet.*", "room.quiet.a"])
async def test_a_topic_that_says_nothing_keeps_its_position_over_restarts(quiet: Broker, name: str) -> None:
    async with connect(quiet.url) as client:
        at = await client.publish("room.quiet.a", 1)
        since = Positions({"room.quiet.a": Position(at.epoch or "", at.seq or 0)})
        events = await client.subscribe(name, mode="every", since=since)
        await events.synced()
        assert events.positions == since


@pytest.mark.parametrize("codec", ["json", "msgpack"])
async def test_a_look_at_a_value_ends_by_itself(quiet: Broker, codec: CodecName) -> None:
    topic = f"chat.look-{codec}"
    async with connect(quiet.url, codec=codec) as client:
        assert await soon(client.value(topic)) is None
        await client.publish(topic, "first")
        await client.publish(topic, "second")
        seen = await soon(client.value(topic))
        assert seen is not None
        assert (seen.seq, seen.data) == (2, "second")
        look = [event async for event in client.subscribe("chat.>", mode="snapshot")]
        assert seen in look


async def test_a_listener_that_fails_does_not_stop_the_client(quiet: Broker, caplog: pytest.LogCaptureFixture) -> None:
    def fail(event: object) -> None:
        raise RuntimeError("a bug of the program")

    async with connect(quiet.url, on_event=fail) as client, client.subscribe("chat.fail", on_event=fail):
        await client.publish("chat.fail", 1)
        await client.ping()
        assert client.is_connected
    assert "a bug of the program" in caplog.text


async def test_clocks_are_read(quiet: Broker) -> None:
    async with connect(quiet.url) as client:
        before = client.clock_offset_us
        clocks = await client.clock(3)
        assert clocks.round_trip_us >= 0
        assert before is None
        assert client.clock_offset_us is not None
        answer = await client.publish("chat.clock", 1)
        assert answer.seq is not None


def test_the_synchronous_client(market: Broker) -> None:
    with sync.connect(market.url) as client:
        with client.subscribe("trade.*") as trades:
            trades.synced()
            batch = trades.batch(20, within_s=DEADLINE_S)
            assert len(batch) == 20
            assert trades.positions
            assert next(trades) is not None
        with client.book("book.BTC-USD") as book:
            while not book.usable:
                book.wait()
            assert book.top_of(2).mid is not None
            assert book.bids()[0].price < book.asks()[0].price
            assert (book.position is not None, book.is_stale) == (True, False)
        assert client.is_connected
        assert client.ping().round_trip_us >= 0
        with pytest.raises(tickwire.Refused):
            client.publish("trade.mine", 1)


async def test_what_a_subscription_recorded_is_read_again(market: Broker, tmp_path: Path) -> None:
    path = tmp_path / "trades.parquet"
    async with connect(market.url) as client:
        subscription = client.subscribe("trade.*", overflow="wait")
        rows = await soon(tickwire.record(subscription, path, max_rows=50, rows_per_group=20))
        assert rows == 50
    events = tickwire.read_recording(path)
    assert len(events) == 50
    table = events.to_arrow()
    assert table.num_rows == 50
    assert {"topic", "seq", "ts", "price", "size", "side"} <= set(table.column_names)
    trade = next(event for event in events if isinstance(event, (Update, Snapshot)))
    assert Trade.of(trade.data).symbol == trade.topic.removeprefix("trade.")


async def test_the_first_connection_is_an_error_or_is_tried_again() -> None:
    with broker("--feed", "none") as made:
        address, url = made.address, made.url
    with pytest.raises(tickwire.ConnectError):
        await connect(url)
    watch = Watch()
    connecting = connect(url, keep_trying=True, backoff=QUICK, on_event=watch)
    task = asyncio.ensure_future(_await(connecting))
    await watch.saw(tickwire.ConnectFailed, 2)
    with pytest.raises(asyncio.TimeoutError):  # who gives up waiting does not end the client
        await asyncio.wait_for(_begin(connecting.client.subscribe("chat.a")), 0.01)
    with broker("--feed", "none", listen=address):
        client = await soon(task)
        assert client.is_connected
        await client.close()


async def _begin(subscription: tickwire.Subscription) -> None:
    await subscription


async def _await(connecting: tickwire.Connecting) -> tickwire.Client:
    return await connecting


def test_every_broken_promise_has_a_class_of_its_own() -> None:
    kinds = [kind.kind for kind in BrokenPromise.__subclasses__()]
    assert len(kinds) == len(set(kinds)) == 25
