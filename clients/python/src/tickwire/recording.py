"""Recording a subscription to a Parquet file, with its gaps, and reading it again.

The file has one row per message, gap, joined and end: `topic`, `op`, `epoch`, `seq`, `ts`, `to_seq`, `reason` and
`data`, which is JSON. So a file holds any data, and nothing of it is lost.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from .batch import Batch
from .codec import plain
from .errors import ConfigError
from .events import End, Gap, Joined, Snapshot, TopicEvent, Update

if TYPE_CHECKING:
    from .subscription import Subscription


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise ConfigError("recordings need the extra: pip install 'tickwire[arrow]'") from None
    return pa, pq


def _schema(pa: Any) -> Any:
    return pa.schema(
        [
            ("topic", pa.string()),
            ("op", pa.string()),
            ("epoch", pa.string()),
            ("seq", pa.uint64()),
            ("ts", pa.timestamp("us", "UTC")),
            ("to_seq", pa.uint64()),
            ("reason", pa.string()),
            ("data", pa.string()),
        ]
    )


async def record(
    subscription: Subscription,
    path: str | os.PathLike[str],
    *,
    max_rows: int | None = None,
    within_s: float | None = None,
    rows_per_group: int = 10_000,
    group_s: float = 5.0,
) -> int:
    """Writes the events of `subscription` to the Parquet file `path` until `max_rows` rows are written, `within_s`
    seconds have passed or the subscription ends. Returns the number of rows.

    A group of rows is written when it has `rows_per_group` rows, or after `group_s` seconds. Subscribe with
    ``overflow="wait"``: then a slow disk makes the broker serve the subscription from its history. The file is complete
    when this returns, also if it is cancelled. Needs the extra ``tickwire[arrow]``.

    Raises a `BrokenPromise` as iteration does. What came before it is in the file.
    """
    pa, pq = _pyarrow()
    schema = _schema(pa)
    now = asyncio.get_running_loop().time
    due = None if within_s is None else now() + within_s
    written = 0
    await subscription
    with pq.ParquetWriter(os.fspath(path), schema, compression="zstd") as writer:
        while max_rows is None or written < max_rows:
            wait_s = group_s if due is None else min(group_s, max(due - now(), 0.0))
            room = rows_per_group if max_rows is None else min(rows_per_group, max_rows - written)
            batch = await subscription.batch(room, wait_s)
            rows = [row for event in batch if (row := _row(event)) is not None]
            if rows:
                table = pa.Table.from_pylist(rows, schema)
                await asyncio.shield(asyncio.to_thread(writer.write_table, table))
                written += len(rows)
            if subscription.is_ended or (due is not None and now() >= due):
                break
    return written


def read_recording(path: str | os.PathLike[str]) -> Batch:
    """The events in the Parquet file `path`, as `record` wrote it. Numbers that are not integers are decimals."""
    _, pq = _pyarrow()
    return Batch(_events(pq.read_table(os.fspath(path)).to_pylist()))


def _row(event: TopicEvent) -> dict[str, Any] | None:
    match event:
        case Update() | Snapshot():
            return {
                "topic": event.topic,
                "op": "update" if isinstance(event, Update) else "snapshot",
                "epoch": event.epoch,
                "seq": event.seq,
                "ts": event.ts,
                "data": json.dumps(plain(event.data), ensure_ascii=False),
            }
        case Gap(topic=topic, epoch=epoch, from_seq=seq, to_seq=to_seq, reason=reason):
            head = {"topic": topic, "op": "gap", "epoch": epoch, "seq": seq}
            return {**head, "to_seq": to_seq, "reason": reason}
        case Joined(topic=topic, epoch=epoch, seq=seq):
            return {"topic": topic, "op": "joined", "epoch": epoch, "seq": seq}
        case End(topic=topic, epoch=epoch, seq=seq, reason=reason):
            return {"topic": topic, "op": "end", "epoch": epoch, "seq": seq, "reason": reason}
        case _:
            return None


def _events(rows: list[dict[str, Any]]) -> Iterator[TopicEvent]:
    for row in rows:
        topic, epoch, seq = row["topic"], row["epoch"], row["seq"]
        match row["op"]:
            case "update" | "snapshot" as op:
                data = json.loads(row["data"], parse_float=Decimal)
                ts = round(row["ts"].timestamp() * 1e6)
                yield Update(topic, epoch, seq, ts, data) if op == "update" else Snapshot(topic, epoch, seq, ts, data)
            case "gap":
                yield Gap(topic, epoch, seq, row["to_seq"], row["reason"])
            case "joined":
                yield Joined(topic, epoch, seq)
            case "end":
                yield End(topic, epoch, seq, row["reason"])
            case op:
                raise ValueError(f"a recording holds no {op!r}")
