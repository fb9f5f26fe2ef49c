"""What a program sees of a subscription: events, exceptions and ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import pytest

import tickwire
from peer import DEADLINE_S, Peer, peer, update
from tickwire import Backoff, Gap, Recovered, Snapshot, Subscription, Update, connect
from tickwire.promise import AfterUnsubscribe, Hole
from tickwire.wire import UpdateMessage

QUICK = Backoff(0.001, 0.001)
TRADE = {"topic": "trade.A", "epoch": "k", "seq": 0, "mode": "every"}
T = TypeVar("T")


async def soon(waited: Awaitable[T]) -> T:
    return await asyncio.wait_for(waited, DEADLINE_S)


@asynccontextmanager
async def subscribed(
    far: Peer, *names: str, results: list[dict[str, Any]], **options: Any
) -> AsyncIterator[Subscription]:
    """A client with one subscription, whose `results` the peer gives."""
    connecting = asyncio.ensure_future(_connect(far.url))
    await far.accept()
    client = await soon(connecting)
    try:
        subscription = client.subscribe(*names, **options)
        begun = asyncio.ensure_future(_begin(subscription))
        await far.ack(*results)
        await soon(begun)
        yield subscription
    finally:
        await client.close()


async def _connect(url: str) -> tickwire.Client:
    return await connect(url, backoff=QUICK)


async def _begin(subscription: Subscription) -> None:
    await subscription


async def test_a_broken_promise_is_raised_where_it_was_broken() -> None:
    async with peer() as far, subscribed(far, "trade.A", results=[TRADE]) as events:
        await far.say(update("trade.A", 1), update("trade.A", 3), update("trade.A", 4))
        assert await soon(anext(events)) == Update("trade.A", "k", 1, 1, 1)
        with pytest.raises(Hole) as broken:
            await soon(anext(events))
        assert (broken.value.topic, broken.value.expected, broken.value.got) == ("trade.A", 2, 3)
        assert broken.value.evidence == UpdateMessage("trade.A", 3, 1, 3)
        assert [(await soon(anext(events))).seq for _ in range(2)] == [3, 4]  # type: ignore[union-attr]


async def test_iteration_ends_with_the_subscription() -> None:
    async with peer() as far, subscribed(far, "trade.A", results=[TRADE]) as events:
        await far.say(update("trade.A", 1))
        await soon(anext(events))
        ended = asyncio.ensure_future(events.unsubscribe())
        assert (await far.ack({"topic": "trade.A"}))["op"] == "unsubscribe"
        await soon(ended)
        with pytest.raises(StopAsyncIteration):
            await soon(anext(events))


async def test_a_client_that_is_sent_away_says_so_behind_its_last_event() -> None:
    async with peer() as far, subscribed(far, "trade.A", results=[TRADE]) as events:
        await far.say(update("trade.A", 1))
        await far.close(4501)
        assert await soon(anext(events)) == Update("trade.A", "k", 1, 1, 1)
        with pytest.raises(tickwire.Closed, match="4501"):
            await soon(anext(events))


async def test_a_subscription_that_is_refused_after_a_reconnect_is_raised() -> None:
    async with peer() as far, subscribed(far, "trade.A", results=[TRADE]) as events:
        await far.cut()
        await far.accept()
        error = {"code": "forbidden", "reason": "no longer"}
        assert (await far.ack({"topic": "trade.A", "error": error}))["topics"][0]["since"] == {"epoch": "k", "seq": 0}
        with pytest.raises(tickwire.SubscriptionLost, match="no longer"):
            await soon(anext(events))


async def test_two_subscriptions_of_a_name_are_one_for_the_broker() -> None:
    async with peer() as far, subscribed(far, "trade.A", results=[TRADE]) as events:
        second = events._client.subscribe("trade.A", snapshot=False)
        begun = asyncio.ensure_future(_begin(second))
        await far.ack(TRADE)
        await soon(begun)
        await far.say(update("trade.A", 1))
        assert await soon(anext(events)) == await soon(anext(second)) == Update("trade.A", "k", 1, 1, 1)
        await soon(second.unsubscribe())
        await far.say(update("trade.A", 2))
        assert await soon(anext(events)) == Update("trade.A", "k", 2, 1, 2)
        ended = asyncio.ensure_future(events.unsubscribe())
        assert (await far.ack({"topic": "trade.A"}))["op"] == "unsubscribe"  # only the last one is the broker's matter
        await soon(ended)


async def test_a_message_of_an_ended_subscription_is_a_broken_promise() -> None:
    async with (
        peer() as far,
        subscribed(far, "trade.A", "trade.B", results=[TRADE, {**TRADE, "topic": "trade.B"}]) as events,
    ):
        broken: list[tickwire.BrokenPromise] = []

        def listen(event: tickwire.Event) -> None:
            if isinstance(event, tickwire.Violation):
                broken.append(event.broken)

        events._client.listen(listen)
        ended = asyncio.ensure_future(events._client.unsubscribe("trade.A"))
        await far.ack({"topic": "trade.A"})
        await soon(ended)
        await far.say(update("trade.A", 1), update("trade.B", 1))
        with pytest.raises(AfterUnsubscribe):
            await soon(anext(events))
        assert [type(one) for one in broken] == [AfterUnsubscribe]


async def test_a_subscription_that_nobody_waits_for_any_more_is_ended() -> None:
    async with peer() as far, subscribed(far, "trade.A", results=[TRADE]) as events:
        task = asyncio.ensure_future(_begin(events._client.subscribe("trade.A", "trade.B")))
        request = await far.hear()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await far.say({"op": "ack", "id": request["id"], "results": [TRADE, {**TRADE, "topic": "trade.B"}]})
        ended = await far.ack({"topic": "trade.B"})
        assert (ended["op"], ended["topics"]) == ("unsubscribe", ["trade.B"])  # the other subscription goes on
        await far.say(update("trade.A", 1))
        assert await soon(anext(events)) == Update("trade.A", "k", 1, 1, 1)


async def test_positions_follow_what_the_program_has_taken() -> None:
    async with (
        peer() as far,
        subscribed(far, "trade.*", results=[{"topic": "trade.*", "matched": 1, "mode": "every"}]) as events,
    ):
        await far.say(
            {"op": "snapshot", "topic": "trade.A", "epoch": "k", "seq": 7, "ts": 1, "data": 7},
            {"op": "gap", "topic": "trade.A", "epoch": "k", "from": 8, "to": 9, "reason": "slow"},
            update("trade.A", 10),
        )
        seen = []
        for expected in (Snapshot, Gap, Update):
            event = await soon(anext(events))
            assert isinstance(event, expected)
            seen.append(events.positions["trade.A"].seq)
        assert seen == [7, 9, 10]
        await far.cut()
        await far.accept()
        request = await far.ack({"topic": "trade.*", "matched": 1, "mode": "every", "resumed": 1, "not_resumed": 0})
        assert request["topics"] == [{"topic": "trade.*", "since": [{"epoch": "k", "seqs": {"trade.A": 10}}]}]
        assert await soon(anext(events)) == Recovered("trade.*", 1, 0)


async def test_a_batch_takes_what_waits_or_what_comes_in_time() -> None:
    async with peer() as far, subscribed(far, "trade.A", results=[TRADE]) as events:
        assert len(await soon(events.batch(10, within_s=0))) == 0
        await far.say(*(update("trade.A", seq) for seq in range(1, 8)))
        assert [event.seq for event in await soon(events.batch(5, within_s=DEADLINE_S))] == [1, 2, 3, 4, 5]  # type: ignore[union-attr]
        rest = await soon(events.batch(2, within_s=DEADLINE_S))
        assert len(rest) == 2


@pytest.mark.parametrize(
    "wrong",
    [
        {"overflow": "drop"},
        {"mode": "conflate"},
    ],
)
async def test_options_are_checked_here_or_by_the_broker(wrong: dict[str, Any]) -> None:
    async with peer() as far:
        connecting = asyncio.ensure_future(_connect(far.url))
        await far.accept()
        client = await soon(connecting)
        try:
            if "overflow" in wrong:
                with pytest.raises(tickwire.ConfigError):
                    client.subscribe("trade.A", **wrong)
                return
            begun = asyncio.ensure_future(_begin(client.subscribe("trade.A", **wrong)))
            request = await far.hear()
            await far.say({"op": "error", "id": request["id"], "code": "bad_request", "reason": "not for events"})
            with pytest.raises(tickwire.Refused, match="not for events"):
                await soon(begun)
        finally:
            await client.close()
