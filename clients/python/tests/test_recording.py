"""Recordings: whatever interrupts one, what was written can be read."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import tickwire
from broker import Broker, broker
from peer import DEADLINE_S, peer, update
from test_subscription import TRADE, soon, subscribed
from tickwire import Gap, Live, Position, Stale, Unresumed, Update, read_recording, record, recording, recover_recording
from tickwire.events import TopicEvent
from tickwire.rows import event_of, exact_json, row_of

PROGRAM = """
import asyncio, sys
import tickwire
from tickwire import recording

right = recording._Part._write


def write(part, rows):
    right(part, rows)
    print(part.rows, flush=True)


async def main() -> None:
    recording._Part._write = write
    async with tickwire.connect(sys.argv[1]) as client:
        trades = client.subscribe("trade.*", mode="every", overflow="wait")
        await tickwire.record(trades, sys.argv[2], rows_per_group=20)

asyncio.run(main())
"""
"""A recording that says how many rows are written."""


@pytest.fixture(scope="module")
def market() -> Iterator[Broker]:
    with broker("--symbols", "4", "--rate", "400") as made:
        yield made


def test_a_recording_that_is_killed_in_the_middle_is_not_lost(market: Broker, tmp_path: Path) -> None:
    path = tmp_path / "trades.parquet"
    command = [sys.executable, "-c", PROGRAM, market.url, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            written = [int(line) for line, _ in zip(process.stdout, range(5), strict=False)][-1]
        finally:
            process.kill()
    assert not path.exists()
    asyncio.run(_is_refused(market, path))
    assert recover_recording(path) >= written >= 5
    assert not (tmp_path / "trades.parquet.part").exists()
    events = [event for event in read_recording(path) if isinstance(event, Update)]
    for topic in {event.topic for event in events}:
        seqs = [event.seq for event in events if event.topic == topic]
        assert seqs == list(range(seqs[0], seqs[0] + len(seqs)))
    with pytest.raises(FileNotFoundError):
        recover_recording(path)


async def _is_refused(market: Broker, path: Path) -> None:
    """Another recording does not take the place of the one that was killed."""
    async with tickwire.connect(market.url) as client:
        with pytest.raises(tickwire.ConfigError, match="recover_recording"):
            await soon(record(client.subscribe("trade.*"), path, max_rows=1))


async def test_a_recording_that_breaks_off_anywhere_is_read_up_to_there(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    part = recording._Part(path)
    for first in (1, 11):
        await part.write(tickwire.Batch(Update("trade.A", "k", seq, 5, seq) for seq in range(first, first + 10)))
    part._file.flush()
    whole = (tmp_path / "a.parquet.part").read_bytes()
    part._file.close()
    choose = random.Random(1)
    counts: list[int] = []
    for size in sorted([0, 1, len(whole), *(choose.randrange(len(whole)) for _ in range(60))]):
        (tmp_path / "a.parquet.part").write_bytes(whole[:size])
        counts.append(recover_recording(path))
        assert [event.seq for event in read_recording(path)] == list(range(1, counts[-1] + 1))  # type: ignore[union-attr]
    assert counts == sorted(counts)
    assert set(counts) == {0, 10, 20}


async def test_a_recording_that_is_cancelled_holds_everything_that_came(tmp_path: Path) -> None:
    path = tmp_path / "trades.parquet"
    async with peer() as far, subscribed(far, "trade.A", results=[TRADE]) as events:
        task = asyncio.ensure_future(record(events, path, group_s=3_600))
        await far.say(*(update("trade.A", seq) for seq in range(1, 6)))
        ping = asyncio.ensure_future(events._client.ping())
        await far.say({"op": "pong", "id": (await far.hear())["id"], "ts": 1})
        await soon(ping)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await soon(task)
        assert [event.seq for event in read_recording(path)] == [1, 2, 3, 4, 5]  # type: ignore[union-attr]
        assert events.positions == {"trade.A": Position("k", 5)}


async def test_a_file_is_not_closed_while_a_thread_writes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "trades.parquet"
    writes: list[asyncio.Event] = []
    loop = asyncio.get_running_loop()
    begun, right = asyncio.Event(), recording._Part._write

    def slow(part: recording._Part, rows: list[dict[str, Any]]) -> None:
        loop.call_soon_threadsafe(begun.set)
        asyncio.run_coroutine_threadsafe(_until(writes), loop).result(DEADLINE_S)
        right(part, rows)

    monkeypatch.setattr(recording._Part, "_write", slow)
    async with peer() as far, subscribed(far, "trade.A", results=[TRADE]) as events:
        task = asyncio.ensure_future(record(events, path, rows_per_group=2))
        writes.append(asyncio.Event())
        await far.say(update("trade.A", 1), update("trade.A", 2))
        await soon(begun.wait())
        task.cancel()
        loop.call_soon(writes[0].set)
        with pytest.raises(asyncio.CancelledError):
            await soon(task)
    assert [event.seq for event in read_recording(path)] == [1, 2]  # type: ignore[union-attr]


async def _until(events: list[asyncio.Event]) -> None:
    await events[0].wait()


async def test_what_came_before_a_broken_promise_is_recorded(tmp_path: Path) -> None:
    path = tmp_path / "trades.parquet"
    async with peer() as far, subscribed(far, "trade.A", results=[TRADE]) as events:
        task = asyncio.ensure_future(record(events, path))
        await far.say(update("trade.A", 1), update("trade.A", 3))
        with pytest.raises(tickwire.BrokenPromise):
            await soon(task)
        assert [event.seq for event in read_recording(path)] == [1]  # type: ignore[union-attr]


def test_a_recording_swallows_no_loss_and_no_digit() -> None:
    events: list[TopicEvent] = [
        Update("trade.A", "k", 1, 2**63, {"price": Decimal("0.12345678901234567890123"), "size": Decimal("1.50")}),
        Gap("trade.A", "k", 2, 4, "slow"),
        Unresumed("trade.A", Position("k", 4), 9),
        Stale("book.A", "hole"),
        Live("book.A"),
    ]
    rows = [row_of(event) for event in events]
    assert [event_of(row) for row in rows if row] == events
    assert exact_json({"a": [Decimal("1.50"), 'q"', None, True]}) == '{"a":[1.50,"q\\"",null,true]}'
    with pytest.raises(ValueError, match="holds no"):
        event_of({"topic": "a", "op": "other", "epoch": "k", "seq": 1})


async def test_times_that_no_datetime_holds_are_read_again(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    part = recording._Part(path)
    events: list[TopicEvent] = [
        Update("trade.A", "k", 1, 2**62, Decimal("0.12345678901234567890123")),
        Unresumed("trade.A", Position("k", 1), 9),
        Stale("trade.A"),
    ]
    await part.write(tickwire.Batch(events))
    part.finish()
    assert list(read_recording(path)) == events


async def test_a_recording_says_why_the_client_stopped(tmp_path: Path) -> None:
    path = tmp_path / "trades.parquet"
    async with peer() as far, subscribed(far, "trade.A", results=[TRADE]) as events:
        task = asyncio.ensure_future(record(events, path))
        await far.say(update("trade.A", 1))
        await far.close(4501)
        with pytest.raises(tickwire.Closed, match="4501"):
            await soon(task)
        assert [event.seq for event in read_recording(path)] == [1]  # type: ignore[union-attr]
