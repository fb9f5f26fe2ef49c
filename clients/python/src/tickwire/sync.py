"""The client without asynchronous code, for notebooks and scripts.

>>> from tickwire import sync
>>> with sync.connect("ws://127.0.0.1:7400") as client:       # doctest: +SKIP
...     with client.subscribe("trade.*") as trades:
...         frame = trades.batch(1_000, within_s=5).to_polars()

Each client has a thread of its own that runs the asynchronous one. It keeps reading while the program computes. A
client that no variable holds any more, as in a cell of a notebook that runs again, is closed.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import threading
import weakref
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from types import TracebackType
from typing import Any, ParamSpec, TypeVar, cast

from . import client as aio
from . import livebook, subscription
from .batch import Batch
from .book import Level, Top
from .clocks import Clocks
from .connecting import Connecting
from .connecting import connect as connect_aio
from .errors import Closed, ConfigError
from .events import Event, Snapshot, TopicEvent
from .feed import Overflow
from .positions import Positions
from .recording import record
from .wire import Mode, Position, Refusal, Result

P = ParamSpec("P")
T = TypeVar("T")


class _Runner:
    """A thread with an event loop, and the client that runs in it."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._is_stopped = False
        self._lock = threading.Lock()
        """Nothing is given to the loop after it was told to stop."""
        self._thread = threading.Thread(target=self._work, name="tickwire", daemon=True)
        self._thread.start()

    def _work(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            try:
                tasks = asyncio.all_tasks(self._loop)
                for task in tasks:
                    task.cancel()
                self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
                self._loop.run_until_complete(self._loop.shutdown_asyncgens())
                self._loop.run_until_complete(self._loop.shutdown_default_executor())
            finally:
                self._loop.close()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs `work` in the thread and waits for its result. Raises `Closed` if the client is closed, also
        meanwhile."""
        if threading.current_thread() is self._thread:
            work.close()
            raise ConfigError("a function that is called with events runs in the client's thread: it must not wait")
        with self._lock:
            if self._is_stopped:
                work.close()
                raise Closed
            future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except concurrent.futures.CancelledError:
            raise Closed from None
        except BaseException:
            future.cancel()
            raise

    def call(self, function: Callable[[], T]) -> T:
        """Calls `function` in the thread."""
        if threading.current_thread() is self._thread:
            return function()

        async def work() -> T:
            return function()

        return self.run(work())

    def stop(self) -> None:
        """Ends the thread and waits for its end."""
        with self._lock:
            if not self._is_stopped:
                self._is_stopped = True
                self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def abandon(self, client: aio.Client) -> None:
        """Closes a client that no variable holds any more, and ends the thread. It does not wait."""

        async def work() -> None:
            try:
                await client.close()
            finally:
                self._loop.stop()

        with suppress(RuntimeError):  # the interpreter ends
            self._loop.call_soon_threadsafe(lambda: self._loop.create_task(work()))


def _as_asynchronous(like: Callable[P, Connecting]) -> Callable[[Callable[..., Client]], Callable[P, Client]]:
    """Gives a function the parameters of `like`."""
    return lambda function: cast("Callable[P, Client]", function)


@_as_asynchronous(connect_aio)
def connect(*urls: str, **options: Any) -> Client:
    """Connects to a broker. The parameters are those of `tickwire.connect`. Close the client, or use ``with``."""
    runner = _Runner()
    try:

        async def work() -> aio.Client:
            return await connect_aio(*urls, **options)

        return Client(runner, runner.run(work()))
    except BaseException:
        runner.stop()
        raise


class Client:
    """A connection to a broker. Get one from `connect`."""

    def __init__(self, runner: _Runner, client: aio.Client) -> None:
        self._runner = runner
        self._client = client
        self._abandoned = weakref.finalize(self, runner.abandon, client)

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection and ends its thread. Other threads that wait for the client get a `Closed`, or the end
        of their iteration."""
        if self._abandoned.detach() is not None:
            try:
                self._runner.run(self._client.close())
            finally:
                self._runner.stop()

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection at this moment."""
        return self._client.is_connected

    def listen(self, on_event: Callable[[Event], None]) -> Callable[[], None]:
        """Calls `on_event` with each event, in the client's thread."""
        return self._runner.call(lambda: self._client.listen(on_event))

    def subscribe(
        self,
        *topics: str,
        mode: Mode | None = None,
        conflate_ms: int | None = None,
        snapshot: bool = True,
        since: Mapping[str, Position] | None = None,
        from_moment: int | str | datetime | None = None,
        speed: float | None = None,
        queue_max: int = 100_000,
        overflow: Overflow = "gap",
    ) -> Subscription:
        """Subscribes to topics and patterns. The parameters are those of the asynchronous `Client.subscribe`."""

        async def work() -> subscription.Subscription:
            return await self._client.subscribe(
                *topics,
                mode=mode,
                conflate_ms=conflate_ms,
                snapshot=snapshot,
                since=since,
                from_moment=from_moment,
                speed=speed,
                queue_max=queue_max,
                overflow=overflow,
            )

        return Subscription(self, self._runner, self._runner.run(work()))

    def value(self, topic: str) -> Snapshot | None:
        """The value of `topic` now; `None` if nothing was published to it yet."""
        return self._runner.run(self._client.value(topic))

    def book(self, topic: str) -> LiveBook:
        """The order book of `topic`, kept up to date and verified."""

        async def work() -> livebook.LiveBook:
            return await self._client.book(topic).__aenter__()

        book = self._runner.run(work())
        return LiveBook(self, self._runner, book)

    def publish(self, topic: str, data: Any, *, key: str | bool | None = None, ts: int | None = None) -> Result:
        """Publishes `data` and waits for the position that it got."""
        return self._runner.run(self._client.publish(topic, data, key=key, ts=ts))

    def resync(self, topic: str) -> None:
        """Asks for a fresh snapshot of the subscribed `topic`."""
        self._runner.run(self._client.resync(topic))

    def auth(self, token: str) -> None:
        """Replaces the connection's rights with those of `token`."""
        self._runner.run(self._client.auth(token))

    def ping(self) -> Clocks:
        """Pings the broker."""
        return self._runner.run(self._client.ping())

    def clock(self, pings: int = 4) -> Clocks:
        """The most exact of `pings` readings of the broker's clock."""
        return self._runner.run(self._client.clock(pings))


class Subscription:
    """Topics and patterns that a client is subscribed to: an iterator over its events."""

    def __init__(self, client: Client, runner: _Runner, inner: subscription.Subscription) -> None:
        self._client = client  # it must live as long as its subscription
        self._runner = runner
        self._inner = inner

    def __enter__(self) -> Subscription:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.unsubscribe()

    def __iter__(self) -> Iterator[TopicEvent]:
        return self

    def __next__(self) -> TopicEvent:
        """The next event. Raises as the asynchronous iteration does."""

        async def work() -> TopicEvent | None:
            return await anext(self._inner, None)

        event = self._runner.run(work())
        if event is None:
            raise StopIteration
        return event

    def get(self, within_s: float) -> TopicEvent | None:
        """The next event; `None` if none comes within this time, or the subscription has ended."""
        batch = self.batch(1, within_s)
        return batch[0] if batch else None

    def batch(self, max_events: int = 1_000, within_s: float | None = None) -> Batch:
        """The next events, as the asynchronous `Subscription.batch` takes them."""
        return self._runner.run(self._inner.batch(max_events, within_s))

    def synced(self) -> None:
        """Waits until everything that the subscription begins with has come."""
        self._runner.run(self._inner.synced())

    def unsubscribe(self) -> None:
        """Ends the subscription."""
        with suppress(Closed):  # the client's end has ended it
            self._runner.run(self._inner.unsubscribe())

    def record(
        self, path: str | os.PathLike[str], *, max_rows: int | None = None, within_s: float | None = None
    ) -> int:
        """Writes the events to a Parquet file, as `tickwire.record` does."""
        return self._runner.run(record(self._inner, path, max_rows=max_rows, within_s=within_s))

    @property
    def results(self) -> list[Result]:
        """The broker's answer: one result for each name, in order."""
        return self._inner.results

    @property
    def refused(self) -> dict[str, Refusal]:
        """The names that the broker refused, with its reasons."""
        return self._inner.refused

    @property
    def dropped(self) -> int:
        """How many messages the client dropped since the program did not take them in time."""
        return self._inner.dropped

    @property
    def is_ended(self) -> bool:
        """Whether nothing comes any more."""
        return self._inner.is_ended

    @property
    def positions(self) -> Positions:
        """A copy of the position of each topic, by the events that the program has taken."""
        return self._runner.call(lambda: Positions(self._inner.positions))


class LiveBook:
    """The order book of one topic."""

    def __init__(self, client: Client, runner: _Runner, inner: livebook.LiveBook) -> None:
        self._client = client  # it must live as long as its book
        self._runner = runner
        self._inner = inner

    def __enter__(self) -> LiveBook:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with suppress(Closed):  # the client's end has ended it
            self._runner.run(self._inner.__aexit__(exc_type, exc, traceback))

    def wait(self) -> None:
        """Waits for the next change of the book."""

        async def work() -> None:
            if await anext(self._inner, None) is None:
                raise Closed("the subscription of the book has ended")

        self._runner.run(work())

    @property
    def usable(self) -> bool:
        """Whether the book is known to equal the broker's."""
        return self._runner.call(lambda: self._inner.usable)

    @property
    def is_stale(self) -> bool:
        """Whether the broker says that the book cannot be relied on, though it is the broker's own."""
        return self._inner.is_stale

    @property
    def position(self) -> Position | None:
        """The position of the last message that the book contains; `None` while it is not usable."""
        return self._runner.call(lambda: self._inner.position)

    def bids(self) -> list[Level]:
        """The bids, best first."""
        return self._runner.call(lambda: list(self._inner.bids()))

    def asks(self) -> list[Level]:
        """The asks, best first."""
        return self._runner.call(lambda: list(self._inner.asks()))

    def top_of(self, levels: int = 1) -> Top:
        """The best `levels` levels of both sides."""
        return self._runner.call(lambda: self._inner.top_of(levels))


__all__ = ["Client", "LiveBook", "Subscription", "connect"]
