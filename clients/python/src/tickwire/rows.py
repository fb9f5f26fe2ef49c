"""Events as rows of tables: of `Batch.to_arrow` and of recordings.

Each message and each event that says something about a topic is a row. Those about requests and patterns are none.
"""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

from .events import CaughtUp, End, Gap, Joined, Live, Snapshot, Stale, TopicEvent, Unresumed, Update
from .wire import Position


def row_of(event: TopicEvent) -> dict[str, Any] | None:
    """The row of `event`, if it has one: `topic`, `op`, and what there is of `epoch`, `seq`, `ts`, `to_seq`, `reason`
    and `data`."""
    match event:
        case Update(topic=topic, epoch=epoch, seq=seq, ts=ts, data=data):
            return {"topic": topic, "op": "update", "epoch": epoch, "seq": seq, "ts": ts, "data": data}
        case Snapshot(topic=topic, epoch=epoch, seq=seq, ts=ts, data=data):
            return {"topic": topic, "op": "snapshot", "epoch": epoch, "seq": seq, "ts": ts, "data": data}
        case Gap(topic=topic, epoch=epoch, from_seq=seq, to_seq=to_seq, reason=reason):
            return {"topic": topic, "op": "gap", "epoch": epoch, "seq": seq, "to_seq": to_seq, "reason": reason}
        case Unresumed(topic=topic, last=last, now=now):
            return {"topic": topic, "op": "unresumed", "epoch": last.epoch, "seq": last.seq, "to_seq": now}
        case Joined(topic=topic, epoch=epoch, seq=seq):
            return {"topic": topic, "op": "joined", "epoch": epoch, "seq": seq}
        case End(topic=topic, epoch=epoch, seq=seq, reason=reason):
            return {"topic": topic, "op": "end", "epoch": epoch, "seq": seq, "reason": reason}
        case Stale(topic=topic, reason=stale):
            return {"topic": topic, "op": "stale", "reason": stale}
        case Live(topic=topic):
            return {"topic": topic, "op": "live"}
        case CaughtUp(topic=topic, seq=seq):
            return {"topic": topic, "op": "caught_up", "seq": seq}
        case _:
            return None


def event_of(row: dict[str, Any]) -> TopicEvent:
    """The event whose row this is. Raises `ValueError` if it is none."""
    topic, epoch, seq = row["topic"], row.get("epoch"), row.get("seq")
    match row["op"]:
        case "stale":
            return Stale(topic, row.get("reason"))
        case "live":
            return Live(topic)
        case "caught_up":
            return CaughtUp(topic, seq)
        case "update" if isinstance(seq, int):
            return Update(topic, epoch, seq, row["ts"], row["data"])
        case op if isinstance(epoch, str) and isinstance(seq, int):
            match op:
                case "snapshot":
                    return Snapshot(topic, epoch, seq, row["ts"], row["data"])
                case "gap":
                    return Gap(topic, epoch, seq, row["to_seq"], row["reason"])
                case "unresumed":
                    return Unresumed(topic, Position(epoch, seq), row["to_seq"])
                case "joined":
                    return Joined(topic, epoch, seq)
                case "end":
                    return End(topic, epoch, seq, row["reason"])
    raise ValueError(f"a recording holds no {row['op']!r} with epoch {epoch!r} and seq {seq!r}")


def exact_json(value: Any) -> str:
    """`value` as JSON, with each digit of its numbers."""
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    except TypeError:
        return _exact(value)


def _exact(value: Any) -> str:
    if isinstance(value, Decimal):
        if not value.is_finite():
            raise ValueError(f"{value} has no form in JSON")
        return str(value)
    if isinstance(value, dict):
        return "{" + ",".join(f"{_exact(key)}:{_exact(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(_exact(item) for item in value) + "]"
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
