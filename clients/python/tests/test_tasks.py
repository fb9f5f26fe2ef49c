"""What may go wrong between the client's tasks and the program's: cancellations, full queues, failures, ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

import tickwire
from peer import DEADLINE_S, Peer, peer, update
from test_subscription import QUICK, TRADE, _begin, _connect, soon, subscribed
from tickwire import Client, Gap, Subscribed, Synced, Update, connect
from tickwire.codec import codec_of
from tickwire.core import Core
from tickwire.link import WebSocketLink
from tickwire.tasks import TooLate, timely


@asynccontextmanager
async def connected(far: Peer) -> AsyncIterator[Client]:
    connecting = asyncio.ensure_future(_connect(far.url))
    await far.accept()
    client = await soon(connecting)
    try:
        yield client
    finally:
        await client.close()


async def test_a_cancellation_that_comes_together_with_the_answer_is_not_lost() -> None:
    async with peer() as far, connected(far) as client:
        task = asyncio.ensure_future(_begin(client.subscribe("trade.A")))

        def listen(event: tickwire.Event) -> None:
            if isinstance(event, Subscribed):
                task.cancel()

        client.listen(listen)
        await far.ack(TRADE)
        with pytest.raises(asyncio.CancelledError):
            await soon(task)
        # Nobody has the subscription, so it is ended.
        ended = await far.ack({"topic": "trade.A"})
        assert (ended["op"], ended["topics"]) == ("unsubscribe", ["trade.A"])
        assert not list(client._routes)


async def test_an_unsubscribe_that_nobody_waits_for_is_sent_all_the_same() -> None:
    async with peer() as far, subscribed(far, "trade.A", results=[TRADE]) as events:
        task = asyncio.ensure_future(events.unsubscribe())
        asyncio.get_running_loop().call_soon(task.cancel)
        assert (await far.ack({"topic": "trade.A"}))["op"] == "unsubscribe"
        # It is not restored either.
        await far.cut()
        await far.accept()
        again = asyncio.ensure_future(_begin(events._client.subscribe("trade.B")))
        assert (await far.ack({**TRADE, "topic": "trade.B"}))["topics"] == ["trade.B"]
        await soon(again)


async def test_an_unsubscribe_that_was_given_up_before_it_was_sent_is_sent() -> None:
    core = Core(codec_of("json", "decimal"))
    ticket = core.unsubscribe(["trade.A"])
    core.give_up(ticket)
    assert core.next_to_send() is False


async def test_a_subscription_that_ends_before_its_ack_is_ended_at_the_broker() -> None:
    async with peer() as far, connected(far) as client:
        subscription = client.subscribe("trade.A")
        task = asyncio.ensure_future(_begin(subscription))
        request = await far.hear()
        await subscription.unsubscribe()
        await far.say({"op": "ack", "id": request["id"], "results": [TRADE]})
        assert (await far.ack({"topic": "trade.A"}))["op"] == "unsubscribe"
        await soon(task)
        assert not list(client._routes)


async def test_a_late_ack_does_not_end_the_subscription_that_was_asked_for_again() -> None:
    async with peer() as far, connected(far) as client:
        subscription = client.subscribe("trade.A")
        first = asyncio.ensure_future(_begin(subscription))
        late = await far.hear()
        first.cancel()
        await asyncio.wait([first])
        second = asyncio.ensure_future(_begin(subscription))
        request = await far.hear()
        await far.say({"op": "ack", "id": late["id"], "results": [TRADE]})
        await far.say({"op": "ack", "id": request["id"], "results": [TRADE]}, update("trade.A", 1))
        await soon(second)
        assert await soon(anext(subscription)) == Update("trade.A", "k", 1, 1, 1)


async def test_a_program_that_publishes_while_its_queue_is_full_gets_its_answer() -> None:
    async with (
        peer() as far,
        subscribed(far, "trade.A", results=[TRADE], queue_max=2, overflow="wait") as events,
    ):
        await far.say(*(update("trade.A", seq) for seq in range(1, 9)))
        assert await soon(anext(events)) == Update("trade.A", "k", 1, 1, 1)
        publishing = asyncio.ensure_future(events._client.publish("chat.a", "bought"))
        await far.ack({"topic": "chat.a", "epoch": "k", "seq": 1})
        assert (await soon(publishing)).seq == 1
        # What was read in front of the answer waits. Nothing was dropped.
        assert [(await soon(anext(events))).seq for _ in range(7)] == list(range(2, 9))  # type: ignore[union-attr]
        assert events.dropped == 0


async def test_a_program_that_waits_for_synced_does_not_stop_what_it_waits_for() -> None:
    async with (
        peer() as far,
        subscribed(far, "trade.A", results=[TRADE], queue_max=2, overflow="wait") as events,
    ):
        await far.say(*(update("trade.A", seq) for seq in range(1, 9)), {"op": "synced", "id": 1})
        await soon(events.synced())
        got = await soon(events.batch(100))
        assert len([event for event in got if isinstance(event, Update)]) == 8
        assert Synced(("trade.A",)) in got


async def test_a_client_that_fails_tells_those_who_wait(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with peer() as far, subscribed(far, "trade.A", results=[TRADE]) as events:
        waiting = asyncio.ensure_future(anext(events))
        asking = asyncio.ensure_future(events._client.ping())
        await far.hear()

        def fail(*_: Any) -> None:
            raise RuntimeError("a bug of the client")

        monkeypatch.setattr(Core, "received", fail)
        await far.say(update("trade.A", 1))
        for task in (waiting, asking):
            with pytest.raises(tickwire.Closed, match="a bug of the client"):
                await soon(task)
        assert "a bug of the client" in caplog.text


async def test_a_subscription_whose_last_name_is_lost_ends() -> None:
    async with peer() as far, subscribed(far, "trade.A", results=[TRADE]) as events:
        client = events._client
        await far.cut()
        await far.accept()
        await far.ack({"topic": "trade.A", "error": {"code": "forbidden", "reason": "no longer"}})
        with pytest.raises(tickwire.SubscriptionLost):
            await soon(anext(events))
        with pytest.raises(StopAsyncIteration):
            await soon(anext(events))
        # The name can be subscribed again, and ended again.
        second = client.subscribe("trade.A")
        begun = asyncio.ensure_future(_begin(second))
        await far.ack(TRADE)
        await soon(begun)
        ending = asyncio.ensure_future(second.unsubscribe())
        assert (await far.ack({"topic": "trade.A"}))["op"] == "unsubscribe"
        await soon(ending)


async def test_a_name_that_the_client_has_unsubscribed_can_be_ended_again() -> None:
    async with peer() as far, subscribed(far, "trade.A", results=[TRADE]) as events:
        client = events._client
        ending = asyncio.ensure_future(client.unsubscribe("trade.A"))
        await far.ack({"topic": "trade.A"})
        await soon(ending)
        with pytest.raises(StopAsyncIteration):
            await soon(anext(events))
        second = client.subscribe("trade.A")
        begun = asyncio.ensure_future(_begin(second))
        await far.ack(TRADE)
        await soon(begun)
        leaving = asyncio.ensure_future(second.unsubscribe())
        assert (await far.ack({"topic": "trade.A"}))["op"] == "unsubscribe"
        await soon(leaving)


async def test_a_program_that_closes_while_the_client_reconnects_is_not_kept() -> None:
    async with peer() as far:
        connecting = asyncio.ensure_future(_long(far.url))
        await far.accept()
        client = await soon(connecting)
        events = client.subscribe("trade.A")
        begun = asyncio.ensure_future(_begin(events))
        await far.ack(TRADE)
        await soon(begun)
        lost = asyncio.Event()
        client.listen(lambda event: lost.set() if isinstance(event, tickwire.ConnectionLost) else None)
        waiting = asyncio.ensure_future(anext(events))
        publishing = asyncio.ensure_future(client.publish("chat.a", 1, key=True))
        await far.hear()
        await far.cut()
        await soon(lost.wait())
        await soon(client.close())
        with pytest.raises(StopAsyncIteration):
            await soon(waiting)
        with pytest.raises(tickwire.Closed):
            await soon(publishing)
        with pytest.raises(tickwire.Closed):
            await client.publish("chat.a", 2)


async def _long(url: str) -> Client:
    return await connect(url, backoff=tickwire.Backoff(3_600.0, 3_600.0))


async def test_a_client_that_was_closed_before_it_connected_does_not_connect() -> None:
    async with peer() as far:
        client = connect(far.url, backoff=QUICK).client
        await client.close()
        with pytest.raises(tickwire.ConnectError, match="closed"):
            await soon(client.publish("chat.a", 1))
        assert await soon(client.wait_stopped()) == "the client is closed"
        assert far._connections.empty()


def test_a_client_of_another_event_loop_is_refused() -> None:
    async def first() -> Client:
        async with peer() as far, connected(far) as client:
            return client

    client = asyncio.run(first())

    async def second() -> None:
        with pytest.raises(tickwire.ConfigError, match="event loop"):
            await client.publish("chat.a", 1)

    asyncio.run(second())


async def test_a_listener_that_nobody_would_await_is_refused() -> None:
    async def listener(event: object) -> None: ...

    client = connect("ws://127.0.0.1:9").client
    with pytest.raises(tickwire.ConfigError, match="asynchronous"):
        client.listen(listener)  # type: ignore[arg-type]
    with pytest.raises(tickwire.ConfigError, match="asynchronous"):
        client.subscribe("trade.A", on_event=listener)  # type: ignore[arg-type]


async def test_a_broken_promise_does_not_take_the_batch_before_it() -> None:
    async with peer() as far, subscribed(far, "trade.A", results=[TRADE]) as events:
        await far.say(update("trade.A", 1), update("trade.A", 2), update("trade.A", 4), update("trade.A", 5))
        batch = await soon(events.batch(10, within_s=30))
        assert [event.seq for event in batch] == [1, 2]  # type: ignore[union-attr]
        assert events.positions["trade.A"].seq == 2
        with pytest.raises(tickwire.BrokenPromise):
            await soon(events.batch(10, within_s=30))
        assert [event.seq for event in await soon(events.batch(2, within_s=30))] == [4, 5]  # type: ignore[union-attr]


async def test_a_batch_that_nobody_got_is_taken_by_the_next() -> None:
    async with peer() as far, subscribed(far, "trade.A", results=[TRADE]) as events:
        task = asyncio.ensure_future(events.batch(10, within_s=3_600))
        await far.say(update("trade.A", 1), update("trade.A", 2))
        ping = asyncio.ensure_future(events._client.ping())
        request = await far.hear()
        await far.say({"op": "pong", "id": request["id"], "ts": 1})
        await soon(ping)
        task.cancel()
        await asyncio.wait([task])
        assert events.waiting == 2
        assert [event.seq for event in await soon(events.batch(10))] == [1, 2]  # type: ignore[union-attr]


async def test_a_queue_that_the_broker_floods_with_events_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tickwire.inbox.EVENTS_MAX", 50)
    async with peer() as far, subscribed(far, "trade.A", results=[TRADE]) as events:
        await far.say(*({"op": "status", "topic": "trade.A", "state": "stale"} for _ in range(60)))
        assert (await far.ack({"topic": "trade.A"}))["op"] == "unsubscribe"
        assert events.waiting == 51
        assert len(await soon(events.batch(100))) == 51
        with pytest.raises(tickwire.Overrun):
            await soon(anext(events))


async def test_a_gap_is_not_dropped_while_the_program_waits() -> None:
    async with peer() as far, subscribed(far, "trade.A", results=[TRADE], queue_max=1) as events:
        gap = {"op": "gap", "topic": "trade.A", "epoch": "k", "from": 1, "to": 4, "reason": "slow"}
        await far.say(gap, update("trade.A", 5), update("trade.A", 6))
        got = [await soon(anext(events)) for _ in range(2)]
        assert got[0] == Gap("trade.A", "k", 1, 4, "slow")


@pytest.mark.parametrize("overflow", ["gap", "wait"])
async def test_a_loop_that_is_left_early_leaves_no_subscription(overflow: Any) -> None:
    async with peer() as far, connected(far) as client:

        async def first() -> tickwire.TopicEvent | None:
            async for event in client.subscribe("trade.A", queue_max=1, overflow=overflow):
                return event
            return None

        task = asyncio.ensure_future(first())
        await far.ack(TRADE)
        await far.say(*(update("trade.A", seq) for seq in range(1, 9)))
        assert await soon(task) is not None
        del task
        assert (await far.ack({"topic": "trade.A"}))["op"] == "unsubscribe"
        assert not list(client._routes)


@pytest.mark.parametrize("by", ["the client", "the subscription"])
async def test_a_subscription_with_a_listener_needs_no_variable(by: str) -> None:
    async with peer() as far, connected(far) as client:
        came: asyncio.Queue[tickwire.Event] = asyncio.Queue()
        options: dict[str, Any] = {"queue_max": 1, "overflow": "wait"}
        if by == "the client":
            client.listen(came.put_nowait)
        else:
            options["on_event"] = came.put_nowait
        task = asyncio.ensure_future(_begin(client.subscribe("trade.A", **options)))
        await far.ack(TRADE)
        await soon(task)
        del task
        await far.say(*(update("trade.A", seq) for seq in range(1, 6)))
        seqs: list[int] = []
        while len(seqs) < 5:
            event = await soon(came.get())
            if isinstance(event, Update):
                seqs.append(event.seq)
        assert seqs == [1, 2, 3, 4, 5]


async def test_a_book_that_was_stale_before_a_reconnect_is_not_stale_for_ever() -> None:
    async with peer() as far, connected(far) as client:
        book = client.book("book.A")
        begun = asyncio.ensure_future(book.__aenter__())
        result = {"topic": "book.A", "epoch": "k", "seq": 0, "mode": "every"}
        await far.ack(result)
        await soon(begun)
        await far.say({"op": "status", "topic": "book.A", "state": "stale", "reason": "hole"})
        await soon(anext(book))
        assert book.is_stale
        await far.cut()
        await far.accept()
        await far.ack({**result, "recovered": True})
        await soon(anext(book))
        assert not book.is_stale


@pytest.mark.parametrize("later", range(6))
async def test_a_batch_that_is_cancelled_while_an_event_comes_is_cancelled(later: int) -> None:
    async with peer() as far, subscribed(far, "trade.A", results=[TRADE]) as events:
        task = asyncio.ensure_future(events.batch(10, within_s=3_600))
        await asyncio.sleep(0)
        events._feed.put(Update("trade.A", "k", 1, 1, 1), False)
        for _ in range(later):
            await asyncio.sleep(0)
        assert task.cancel()
        await asyncio.wait([task], timeout=DEADLINE_S)
        assert task.cancelled()
        assert [event.seq for event in await soon(events.batch(10))] == [1]  # type: ignore[union-attr]


@pytest.mark.parametrize("later", range(8))
async def test_what_is_cancelled_while_its_result_comes_is_cancelled(later: int) -> None:
    undone: list[int] = []
    come = asyncio.Event()

    async def work() -> int:
        await come.wait()
        return 7

    task = asyncio.ensure_future(timely(work(), 3_600, undone.append))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    come.set()
    for _ in range(later):
        await asyncio.sleep(0)
    if task.cancel():
        await asyncio.wait([task])
        assert task.cancelled()
    else:
        assert task.result() == 7
    with pytest.raises(TooLate):
        await timely(asyncio.Event().wait(), 0)


async def test_a_look_that_the_connection_did_not_survive_is_not_an_empty_one() -> None:
    async with peer() as far, connected(far) as client:
        looking = asyncio.ensure_future(client.value("trade.A"))
        await far.ack({**TRADE, "seq": 7, "mode": "snapshot"})
        await far.cut()
        with pytest.raises(tickwire.Disconnected):
            await soon(looking)


async def test_a_program_that_takes_batches_is_told_why_the_client_stopped() -> None:
    async with peer() as far, subscribed(far, "trade.A", results=[TRADE]) as events:
        await far.say(update("trade.A", 1))
        await far.close(4501)
        assert len(await soon(events.batch(1, within_s=DEADLINE_S))) == 1
        with pytest.raises(tickwire.Closed, match="4501"):
            await soon(events.batch(10, within_s=DEADLINE_S))


async def test_a_request_that_cannot_be_sent_ends_the_connection(caplog: pytest.LogCaptureFixture) -> None:
    async with peer() as far, connected(far) as client:
        lost: asyncio.Queue[tickwire.ConnectionLost] = asyncio.Queue()

        def listen(event: tickwire.Event) -> None:
            if isinstance(event, tickwire.ConnectionLost):
                lost.put_nowait(event)

        async def fail(*_: Any) -> None:
            raise RuntimeError("a bug of the client")

        client.listen(listen)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(WebSocketLink, "send", fail)
            publishing = asyncio.ensure_future(client.publish("chat.a", 1, key="once"))
            assert (await soon(lost.get())).loss.cause == "broke"
        await far.accept()
        assert (await far.ack({"topic": "chat.a", "epoch": "k", "seq": 1}))["key"] == "once"
        assert (await soon(publishing)).seq == 1
        assert "a bug of the client" in caplog.text


async def test_rights_that_end_do_so_for_all_to_see(caplog: pytest.LogCaptureFixture) -> None:
    async with peer() as far, subscribed(far, "trade.A", results=[TRADE]) as events:
        refusal = {"code": "forbidden", "reason": "this connection may not subscribe to trade.A"}
        await far.say({"op": "error", **refusal}, {"op": "status", "topic": "trade.A", "state": "stale"})
        await soon(anext(events))
        assert "may not subscribe to trade.A" in caplog.text
