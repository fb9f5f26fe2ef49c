"""Several events as one table, for Arrow, Polars and pandas.

The columns are `topic`, `op`, `epoch`, `seq`, `ts`, `to_seq` and `reason`, then one for each field of the data. The
fields of the market data that are decimal strings on the wire become exact decimals, or floats if that is asked for.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, overload

from .codec import Numbers, plain
from .errors import ConfigError
from .events import End, Gap, Joined, Snapshot, TopicEvent, Update

if TYPE_CHECKING:
    import pandas
    import polars
    import pyarrow

DECIMAL_FIELDS = frozenset(
    {"last", "bid", "bid_size", "ask", "ask_size", "open", "high", "low", "close", "volume", "vwap", "change_pct"}
).union({"price", "size"})
"""The fields of the market data that are decimal strings on the wire."""
TIME_FIELDS = frozenset({"time", "start"})
"""The fields of the market data that are times in microseconds."""
_DIGITS_MAX = 38


class Batch(Sequence[TopicEvent]):
    """A list of events that can become a table."""

    def __init__(self, events: Iterable[TopicEvent]) -> None:
        self.events = list(events)
        """The events, in order."""

    def __len__(self) -> int:
        return len(self.events)

    def __iter__(self) -> Iterator[TopicEvent]:
        return iter(self.events)

    @overload
    def __getitem__(self, index: int) -> TopicEvent: ...
    @overload
    def __getitem__(self, index: slice) -> Batch: ...
    def __getitem__(self, index: int | slice) -> TopicEvent | Batch:
        return Batch(self.events[index]) if isinstance(index, slice) else self.events[index]

    def __repr__(self) -> str:
        return f"Batch({self.events!r})"

    def to_arrow(self, numbers: Numbers = "decimal", decimals: Iterable[str] = ()) -> pyarrow.Table:
        """The messages and gaps as an Arrow table. Needs the extra ``tickwire[arrow]``.

        :param numbers: what the decimals become: ``"decimal"`` (exact) or ``"float"``.
        :param decimals: further fields of the data that are decimal strings on the wire.
        """
        try:
            import pyarrow as pa
        except ImportError:
            raise ConfigError("to_arrow needs the extra: pip install 'tickwire[arrow]'") from None
        rows = [row for event in self.events if (row := _row(event)) is not None]
        micros = pa.timestamp("us", "UTC")
        columns: dict[str, Any] = {
            "topic": pa.array([row["topic"] for row in rows], pa.string()),
            "op": pa.array([row["op"] for row in rows], pa.string()),
            "epoch": pa.array([row["epoch"] for row in rows], pa.string()),
            "seq": pa.array([row["seq"] for row in rows], pa.uint64()),
            "ts": pa.array([row.get("ts") for row in rows], micros),
            "to_seq": pa.array([row.get("to_seq") for row in rows], pa.uint64()),
            "reason": pa.array([row.get("reason") for row in rows], pa.string()),
        }
        exact = DECIMAL_FIELDS.union(decimals)
        for name, values in _fields(rows).items():
            column = f"data.{name}" if name in columns else name
            columns[column] = _column(pa, name, values, numbers, exact)
        return pa.table(columns)

    def to_polars(self, numbers: Numbers = "decimal", decimals: Iterable[str] = ()) -> polars.DataFrame:
        """The same as a Polars frame. Needs the extra ``tickwire[polars]``."""
        try:
            import polars as pl
        except ImportError:
            raise ConfigError("to_polars needs the extra: pip install 'tickwire[polars]'") from None
        return pl.DataFrame(self.to_arrow(numbers, decimals))

    def to_pandas(self, numbers: Numbers = "decimal", decimals: Iterable[str] = ()) -> pandas.DataFrame:
        """The same as a pandas frame. Needs the extra ``tickwire[pandas]``."""
        try:
            import pandas  # noqa: F401
        except ImportError:
            raise ConfigError("to_pandas needs the extra: pip install 'tickwire[pandas]'") from None
        return self.to_arrow(numbers, decimals).to_pandas()


def _row(event: TopicEvent) -> dict[str, Any] | None:
    match event:
        case Update() | Snapshot():
            op = "update" if isinstance(event, Update) else "snapshot"
            head = {"topic": event.topic, "op": op, "epoch": event.epoch, "seq": event.seq, "ts": event.ts}
            return {**head, "data": event.data}
        case Gap():
            return {
                "topic": event.topic,
                "op": "gap",
                "epoch": event.epoch,
                "seq": event.from_seq,
                "to_seq": event.to_seq,
                "reason": event.reason,
            }
        case Joined():
            return {"topic": event.topic, "op": "joined", "epoch": event.epoch, "seq": event.seq}
        case End():
            reason = event.reason
            return {"topic": event.topic, "op": "end", "epoch": event.epoch, "seq": event.seq, "reason": reason}
        case _:
            return None


def _fields(rows: list[dict[str, Any]]) -> dict[str, list[Any]]:
    """The columns of the data: one for each field, or `data` for values that are not objects."""
    names: dict[str, None] = {}
    for row in rows:
        if "data" in row:
            names.update(dict.fromkeys(row["data"] if isinstance(row["data"], dict) else ("data",)))
    columns: dict[str, list[Any]] = {name: [] for name in names}
    for row in rows:
        data = row.get("data")
        fields: dict[str, Any] = data if isinstance(data, dict) else {"data": data}
        for name, column in columns.items():
            column.append(fields.get(name))
    return columns


def _column(pa: Any, name: str, values: list[Any], numbers: Numbers, exact: frozenset[str]) -> Any:
    present = [value for value in values if value is not None]
    if name in exact and all(isinstance(value, (str, Decimal)) for value in present):
        return _decimals(pa, values, numbers)
    if present and all(isinstance(value, Decimal) for value in present):
        return _decimals(pa, values, numbers)
    if name in TIME_FIELDS and all(type(value) is int for value in present):
        return pa.array(values, pa.timestamp("us", "UTC"))
    for kind in (bool, int, str):
        if all(type(value) is kind for value in present):
            return pa.array(values, {bool: pa.bool_(), int: None, str: pa.string()}[kind] if present else pa.null())
    if all(isinstance(value, (int, float, Decimal)) and not isinstance(value, bool) for value in present):
        return pa.array([None if value is None else float(value) for value in values], pa.float64())
    # Values of several kinds, and nested ones, stay what they were on the wire.
    texts = [None if value is None else json.dumps(plain(value), ensure_ascii=False) for value in values]
    return pa.array(texts, pa.string())


def _decimals(pa: Any, values: list[Any], numbers: Numbers) -> Any:
    exact = [None if value is None else Decimal(value) for value in values]
    scale = max((_scale(value) for value in exact if value is not None), default=0)
    whole = max((value.adjusted() + 1 for value in exact if value), default=1)
    if numbers == "float" or scale + max(whole, 1) > _DIGITS_MAX:
        return pa.array([None if value is None else float(value) for value in exact], pa.float64())
    return pa.array(exact, pa.decimal128(_DIGITS_MAX, scale))


def _scale(value: Decimal) -> int:
    exponent = value.as_tuple().exponent
    return max(-exponent, 0) if isinstance(exponent, int) else 0
