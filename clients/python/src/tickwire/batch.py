"""Several events as one table, for Arrow, Polars and pandas.

The columns are `topic`, `op`, `epoch`, `seq`, `ts`, `to_seq` and `reason`, then one for each field of the data. The
fields of the market data that are decimal strings on the wire become exact decimals, or floats if that is asked for. A
column whose values have no type in common holds their text, and so does one that needs more than 76 digits.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, overload

from .codec import Numbers
from .errors import ConfigError
from .events import TopicEvent
from .rows import exact_json, row_of

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
DIGITS_MAX = 38
"""Most digits of a decimal column everywhere."""
WIDE_DIGITS_MAX = 76
"""Most digits of a decimal column of Arrow."""
_DECIMAL = re.compile(r"-?[0-9]{1,100}(?:\.[0-9]{1,100})?")


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
        """The messages, the gaps and the other events about topics as an Arrow table. Needs the extra
        ``tickwire[arrow]``.

        :param numbers: what the decimals become: ``"decimal"`` (exact) or ``"float"``.
        :param decimals: further fields of the data that are decimal strings on the wire.
        """
        return self._table(numbers, decimals, WIDE_DIGITS_MAX)

    def _table(self, numbers: Numbers, decimals: Iterable[str], digits_max: int) -> pyarrow.Table:
        try:
            import pyarrow as pa
        except ImportError:
            raise ConfigError("to_arrow needs the extra: pip install 'tickwire[arrow]'") from None
        rows = [row for event in self.events if (row := row_of(event)) is not None]
        micros = pa.timestamp("us", "UTC")
        columns: dict[str, Any] = {
            "topic": pa.array([row["topic"] for row in rows], pa.string()),
            "op": pa.array([row["op"] for row in rows], pa.string()),
            "epoch": pa.array([row.get("epoch") for row in rows], pa.string()),
            "seq": pa.array([row.get("seq") for row in rows], pa.uint64()),
            "ts": pa.array([row.get("ts") for row in rows], micros),
            "to_seq": pa.array([row.get("to_seq") for row in rows], pa.uint64()),
            "reason": pa.array([row.get("reason") for row in rows], pa.string()),
        }
        exact = DECIMAL_FIELDS.union(decimals)
        for name, values in _fields(rows).items():
            column = name
            while column in columns:
                column = f"data.{column}"
            columns[column] = _column(pa, name, values, numbers, exact, digits_max)
        return pa.table(columns)

    def to_polars(self, numbers: Numbers = "decimal", decimals: Iterable[str] = ()) -> polars.DataFrame:
        """The same as a Polars frame, where a column that needs more than 38 digits holds text. Needs the extra
        ``tickwire[polars]``."""
        try:
            import polars as pl
        except ImportError:
            raise ConfigError("to_polars needs the extra: pip install 'tickwire[polars]'") from None
        return pl.DataFrame(self._table(numbers, decimals, DIGITS_MAX))

    def to_pandas(self, numbers: Numbers = "decimal", decimals: Iterable[str] = ()) -> pandas.DataFrame:
        """The same as a pandas frame. Needs the extra ``tickwire[pandas]``."""
        try:
            import pandas  # noqa: F401
        except ImportError:
            raise ConfigError("to_pandas needs the extra: pip install 'tickwire[pandas]'") from None
        return self.to_arrow(numbers, decimals).to_pandas()


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


def _column(pa: Any, name: str, values: list[Any], numbers: Numbers, exact: frozenset[str], digits_max: int) -> Any:
    present = [value for value in values if value is not None]
    kinds = {type(value) for value in present}
    if (name in exact and kinds <= {str, Decimal}) or (Decimal in kinds and kinds <= {int, Decimal}):
        decimals = _decimals(pa, values, numbers, digits_max)
        if decimals is not None:
            return decimals
    if not kinds:
        return pa.nulls(len(values))
    if kinds == {int}:
        return _integers(pa, name, values, numbers, digits_max)
    for kind, column in ((bool, pa.bool_()), (str, pa.string())):
        if kinds == {kind}:
            return pa.array(values, column)
    if kinds <= {int, float, Decimal} and float in kinds:
        return pa.array([None if value is None else float(value) for value in values], pa.float64())
    # Values of several kinds, and nested ones, stay what they were on the wire.
    return pa.array([None if value is None else exact_json(value) for value in values], pa.string())


def _integers(pa: Any, name: str, values: list[Any], numbers: Numbers, digits_max: int) -> Any:
    present = [value for value in values if value is not None]
    least, most = min(present), max(present)
    if least >= -(2**63) and most < 2**63:
        return pa.array(values, pa.timestamp("us", "UTC") if name in TIME_FIELDS else pa.int64())
    if least >= 0 and most < 2**64:
        return pa.array(values, pa.uint64())
    decimals = _decimals(pa, values, numbers, digits_max)
    return pa.array([None if value is None else str(value) for value in values]) if decimals is None else decimals


def _decimals(pa: Any, values: list[Any], numbers: Numbers, digits_max: int) -> Any:
    """The values as exact decimals, or as floats if that is asked for; `None` if they are no decimals, or need more
    digits than a column can have."""
    exact: list[Decimal | None] = []
    for value in values:
        if isinstance(value, str) and not _DECIMAL.fullmatch(value):
            return None
        exact.append(None if value is None else Decimal(value))
    if numbers == "float":
        return pa.array([None if value is None else float(value) for value in exact], pa.float64())
    scale = max((_scale(value) for value in exact if value is not None), default=0)
    whole = max((value.adjusted() + 1 for value in exact if value), default=1)
    digits = scale + max(whole, 1)
    if digits > digits_max:
        return None
    column = pa.decimal128(DIGITS_MAX, scale) if digits <= DIGITS_MAX else pa.decimal256(WIDE_DIGITS_MAX, scale)
    return pa.array(exact, column)


def _scale(value: Decimal) -> int:
    exponent = value.as_tuple().exponent
    return max(-exponent, 0) if isinstance(exponent, int) else 0
