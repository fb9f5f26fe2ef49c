"""Recording a subscription to a Parquet file, with its gaps, and reading it again.

The file has one row per message, gap and other event about a topic: `topic`, `op`, `epoch`, `seq`, `ts`, `to_seq`,
`reason` and `data`, which is JSON. So a file holds any data, and nothing of it is lost.

A Parquet file can be read only when it is complete. So the rows go to `PATH.part` first, which can be read however far
it goes, and become the Parquet file at the end. `recover_recording` does that for a program that was killed.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from .batch import Batch
from .errors import ConfigError, TickwireError
from .events import TopicEvent
from .rows import event_of, exact_json, row_of

if TYPE_CHECKING:
    from .subscription import Subscription

T = TypeVar("T")


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

    A group of rows is written when `rows_per_group` events have come, or after `group_s` seconds. Subscribe with
    ``overflow="wait"``: then a slow disk makes the broker serve the subscription from its history. The file is complete
    when this ends, also by an exception or a cancellation, and holds everything up to the subscription's `positions`.
    If the program is killed, `recover_recording` makes the file of all groups that were written. Needs the extra
    ``tickwire[arrow]``.

    Raises what iteration raises, such as a `BrokenPromise` or `Closed`, after what came before it is in the file, and
    `ConfigError` if another recording writes to this path or was killed.
    """
    _pyarrow()
    now = asyncio.get_running_loop().time
    due = None if within_s is None else now() + within_s
    await subscription
    part = _Part(Path(path))
    try:
        while max_rows is None or part.rows < max_rows:
            wait_s = group_s if due is None else min(group_s, max(due - now(), 0.0))
            room = rows_per_group if max_rows is None else min(rows_per_group, max_rows - part.rows)
            try:
                batch = await subscription.batch(room, wait_s)
            except asyncio.CancelledError as cancelled:
                try:
                    await part.write(await subscription.batch(subscription.waiting))
                except TickwireError as error:
                    raise cancelled from error
                raise
            await part.write(batch)
            if (subscription.is_ended and not batch) or (due is not None and now() >= due):
                break
    finally:
        await _in_thread(part.finish)
    return part.rows


def recover_recording(path: str | os.PathLike[str]) -> int:
    """Makes the Parquet file `path` of what a killed program has recorded for it. Returns the number of rows.

    Raises `FileNotFoundError` if no recording of this path was killed.
    """
    return _to_parquet(Path(path))


def read_recording(path: str | os.PathLike[str]) -> Batch:
    """The events in the Parquet file `path`, as `record` wrote it. Numbers that are not integers are decimals."""
    _, pq = _pyarrow()
    return Batch(_events(pq.read_table(os.fspath(path))))


def _events(table: Any) -> Iterator[TopicEvent]:
    # Times are integers here: a `datetime` would not hold every one.
    whole = table.set_column(table.schema.get_field_index("ts"), "ts", table.column("ts").cast("int64"))
    for row in whole.to_pylist():
        if row["data"] is not None:
            row["data"] = json.loads(row["data"], parse_float=Decimal)
        yield event_of(row)


class _Part:
    """The rows of a recording that is not complete: record batches of Arrow's streaming format, one after the other."""

    def __init__(self, target: Path) -> None:
        pa, _ = _pyarrow()
        self.rows = 0
        self._target = target
        self._schema = _schema(pa)
        self._table = pa.Table.from_pylist
        try:
            self._file = _part_of(target).open("xb", buffering=0)
        except FileExistsError:
            raise ConfigError(
                f"{_part_of(target)} exists: another program records to {target}, or was killed when it did. In that "
                f"case call tickwire.recover_recording({str(target)!r}), or remove it"
            ) from None
        options = pa.ipc.IpcWriteOptions(compression="zstd")
        self._writer = pa.ipc.new_stream(self._file, self._schema, options=options)

    async def write(self, events: Batch) -> None:
        """Writes the rows of `events`, wholly even if the caller is cancelled meanwhile."""
        rows = [row for event in events if (row := row_of(event)) is not None]
        if rows:
            await _in_thread(lambda: self._write(rows))

    def _write(self, rows: list[dict[str, Any]]) -> None:
        for row in rows:
            if "data" in row:
                row["data"] = exact_json(row["data"])
        self._writer.write_table(self._table(rows, self._schema))
        self.rows += len(rows)

    def finish(self) -> None:
        """Makes the Parquet file of all rows."""
        with self._file:
            self._writer.close()
        _to_parquet(self._target)


def _part_of(target: Path) -> Path:
    return target.with_name(f"{target.name}.part")


def _to_parquet(target: Path) -> int:
    """Makes the Parquet file `target` of its part, which may break off anywhere. Returns the number of rows."""
    pa, pq = _pyarrow()
    part, made = _part_of(target), target.with_name(f"{target.name}.made")
    rows = 0
    with part.open("rb") as file, pq.ParquetWriter(made, _schema(pa), compression="zstd") as writer:
        for batch in _batches(pa, file):
            writer.write_table(pa.Table.from_batches([batch]))
            rows += batch.num_rows
    made.replace(target)
    part.unlink()
    return rows


def _batches(pa: Any, file: Any) -> Iterator[Any]:
    try:
        with pa.ipc.open_stream(file) as stream:
            yield from stream
    except (pa.ArrowInvalid, OSError):
        if file.read(1):
            raise  # the file does not break off here: it is something else


async def _in_thread(work: Callable[[], T]) -> T:
    """Does `work` in a thread, and waits for it even if the caller is cancelled: the file must not be closed under
    it."""
    doing = asyncio.ensure_future(asyncio.to_thread(work))
    cancelled: asyncio.CancelledError | None = None
    while not doing.done():
        try:
            await asyncio.wait([doing])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        doing.exception()  # who is cancelled gets no other exception
        raise cancelled
    return doing.result()
