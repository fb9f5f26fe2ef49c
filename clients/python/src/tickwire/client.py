"""The client: a thin shell of asyncio around the state machine in `tickwire.machine`."""

from __future__ import annotations

import asyncio
import logging
import random
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from types import TracebackType
from typing import Any, cast

from .asking import Asking
from .book import Book
from .clocks import Clocks
from .codec import Codec, Numbers
from .connection import Connection, now
from .core import Answered, Core, Report, SyncedFor
from .dialler import Dialler
from .errors import BadAnswer, Closed, ConfigError, ConnectError, Disconnected, NoAnswer, RequestError, TickwireError
from .events import (
    BrokerError,
    ClientStopped,
    Connected,
    Event,
    Snapshot,
    TopicEvent,
    on_the_wire,
)
from .feed import Feed, Overflow
from .livebook import LiveBook
from .machine import Action, Dial, HangUp, Machine, Send, Settings, Stopped
from .requests import Answer
from .routes import Routes
from .subscription import Subscription
from .tasks import Tasks, plain_function, retrieved
from .topics import Pattern, TopicError
from .wire import Mode, Position, Result, Wanted

log = logging.getLogger("tickwire")

KEY_BYTES_MAX = 64
"""Longest key of a publication."""


class Client:
    """A connection to a broker that outlives its sockets. Get one from `connect`."""

    def __init__(
        self,
        settings: Settings,
        codec: Codec,
        numbers: Numbers,
        dialler: Dialler,
        request_timeout_s: float,
    ) -> None:
        self._core = Core(codec)
        self._machine = Machine(settings, codec, numbers, random.random, self._core)
        self._tasks = Tasks(self._failed)
        self._connection = Connection(self._machine, dialler, self._tasks, self._do, self._is_blocked)
        self._routes = Routes()
        self._asking = Asking(self._core, request_timeout_s)
        self._listeners: list[Callable[[Event], None]] = []
        self._feeds: dict[int, Feed] = {}
        """Subscriptions by the tickets of their requests."""
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._reading_on = 0
        """How many callers wait for something that the broker sends, whatever waits for the program."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._first: asyncio.Future[None] | None = None
        self._stopped: asyncio.Future[Stopped] | None = None
        self._closed_by_program = False
        self._clocks: deque[Clocks] = deque(maxlen=8)
        self._flushing = False

    # Beginning and ending.

    def _start(self) -> tuple[asyncio.Future[None], asyncio.Future[Stopped]]:
        """Makes the first connection. Returns what tells that it was made, and that the client has stopped."""
        loop = asyncio.get_running_loop()
        if self._first is None or self._stopped is None:
            self._loop = loop
            self._first, self._stopped = loop.create_future(), loop.create_future()
            self._machine.start(now().at_s)
            self._do()
        elif loop is not self._loop:
            raise ConfigError("the client belongs to another event loop: make one in the loop that uses it")
        return self._first, self._stopped

    async def _connect(self) -> Client:
        """Makes the first connection, or none if the caller gives up."""
        first, _ = self._start()
        try:
            await asyncio.shield(first)
            return self
        except asyncio.CancelledError:
            await self.close()
            raise

    async def __aenter__(self) -> Client:
        return await self._connect()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the connection and waits until it is closed. Events that the program has not taken are dropped."""
        self._closed_by_program = True
        self._machine.stop()
        self._start()
        self._do()
        await self._tasks.all_done()

    async def wait_stopped(self) -> str:
        """Waits until the client has stopped for good. Returns why it did."""
        _, stopped = self._start()
        return (await asyncio.shield(stopped)).reason

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection at this moment."""
        return self._machine.is_open

    # Events.

    def listen(self, on_event: Callable[[Event], None]) -> Callable[[], None]:
        """Calls `on_event` with each event of this client, in order, while it happens. It must not block.

        Returns a function that ends this.
        """
        plain_function(on_event)
        self._listeners.append(on_event)

        def unlisten() -> None:
            if on_event in self._listeners:
                self._listeners.remove(on_event)

        return unlisten

    # Requests.

    def subscribe(
        self,
        *topics: str,
        mode: Mode | None = None,
        conflate_ms: int | None = None,
        snapshot: bool = True,
        since: Mapping[str, Position] | None = None,
        from_moment: int | str | datetime | None = None,
        speed: float | None = None,
        queue_max: int = 1_024,
        overflow: Overflow = "gap",
        on_event: Callable[[TopicEvent], None] | None = None,
    ) -> Subscription:
        """Subscribes to topics and patterns: ``async with client.subscribe("trade.*") as trades:``.

        :param mode: ``"every"``, ``"conflate"`` or ``"snapshot"``; by default that of each topic's kind.
        :param conflate_ms: with ``"conflate"``, the shortest time between two updates of a topic.
        :param snapshot: whether a snapshot of each topic comes first.
        :param since: where to resume: the positions of topics, also of those that a pattern brings.
        :param from_moment: topics without a position in `since` begin with the stored messages from this moment on; a
            `CaughtUp` tells where live ones begin. Microseconds since the Unix epoch, a text (RFC 3339), or a
            `datetime` with a time zone. It implies the mode ``"every"``, and is for names without wildcards.
        :param speed: with `from_moment`: the stored messages come by so much faster than they came then, as their times
            say: 1 is as fast, 10 ten times as fast. By default they come as fast as they are taken.
        :param queue_max: most updates that wait for the program, without the values of conflated topics.
        :param overflow: what happens beyond that: ``"gap"`` or ``"wait"``.
        :param on_event: called with each event in place of iteration. It must not block.

        A client has each name once: a second subscription of the same name changes its options for both.
        """
        wanted, begin = Wanted(mode, conflate_ms, snapshot), (on_the_wire(from_moment), speed)
        return Subscription(self, Feed(topics, wanted, since or {}, begin, queue_max, overflow, on_event))

    async def value(self, topic: str) -> Snapshot | None:
        """The value of `topic` now, as its snapshot; `None` if nothing was published to it yet."""
        async with self.subscribe(topic, mode="snapshot") as look:
            async for event in look:
                if isinstance(event, Snapshot):
                    return event
        return None

    def book(self, topic: str) -> LiveBook:
        """The order book of `topic`, kept up to date and verified: ``async with client.book("book.BTC-USD") as book:``.

        ``async for`` gives the book after each change, skipping those that happened meanwhile.
        """
        return LiveBook(self, topic)

    def book_of(self, topic: str) -> Book | None:
        """The book of `topic`, if it is verified (`verify_books`). It changes with the messages: do not change it."""
        return self._core.checker.books.book(topic)

    def verify_books(self, pattern: str) -> None:
        """Rebuilds the books of the topics that match `pattern` from their next snapshot on, and verifies each
        checksum."""
        try:
            self._core.checker.books.verify(Pattern(pattern))
        except TopicError as error:
            raise ConfigError(f"books={pattern!r}: {error}") from None

    async def publish(self, topic: str, data: Any, *, key: str | bool | None = None, ts: int | None = None) -> Result:
        """Publishes `data` and waits for the position that it got in `topic`.

        With a `key` (at most 64 bytes; ``True`` makes one) the client sends the message again after a lost connection,
        and the broker publishes it once: the result says `duplicate` if it had been published before. Without one the
        client never sends it twice.

        :param ts: the message's time in microseconds since the Unix epoch, where the rights allow to set it.

        Raises `RequestError` when the message was refused, or was not answered in time or at all.
        """
        made = uuid.uuid4().hex if key is True else None if key is False else key
        if made is not None and not 1 <= len(made.encode()) <= KEY_BYTES_MAX:
            raise ConfigError(f"the key of a publication has 1 to {KEY_BYTES_MAX} bytes")
        answer = await self._ask(lambda: self._core.publish(topic, data, made, ts))
        if isinstance(answer, Result):
            return answer
        raise BadAnswer("the broker's answer is not that of a publication")

    async def resync(self, topic: str) -> None:
        """Asks for a fresh snapshot of the subscribed `topic`. The snapshot comes as an event."""
        await self._ask(lambda: self._core.resync(topic))

    async def auth(self, token: str) -> None:
        """Replaces the connection's rights with those of `token`. After each reconnect the client shows the last
        accepted token again, unless it has a function that gives tokens."""
        await self._ask(lambda: self._core.auth(token))

    async def ping(self) -> Clocks:
        """Pings the broker. Returns the round-trip time and the offset between the clocks."""
        answer = await self._ask(self._core.ping)
        if isinstance(answer, Clocks):
            self._clocks.append(answer)
            return answer
        raise BadAnswer("the broker's answer is not that of a ping")

    async def clock(self, pings: int = 4) -> Clocks:
        """The most exact of `pings` readings of the broker's clock."""
        readings = [await self.ping() for _ in range(max(pings, 1))]
        return min(readings, key=lambda clocks: clocks.round_trip_us)

    @property
    def clock_offset_us(self) -> int | None:
        """How far the broker's clock is ahead of this machine's, in microseconds, by the most exact of the last pings;
        `None` before the first."""
        best = min(self._clocks, key=lambda clocks: clocks.round_trip_us, default=None)
        return None if best is None else best.offset_us

    async def _ask(self, make: Callable[[], int]) -> Answer:
        """Makes a request and waits for its answer."""
        deadline = self._asking.deadline()
        request = await self._begin_request(make, deadline)
        with self._reads_on():
            return await self._asking.answer(*request, deadline)

    async def _begin_request(
        self, make: Callable[[], int], deadline: float, feed: Feed | None = None
    ) -> tuple[int, asyncio.Future[Answer]]:
        first, stopped = self._start()
        await self._asking.within(first, deadline)
        while not self._core.has_room and not self._machine.is_stopped:
            await self._asking.room(deadline)
        if self._machine.is_stopped:
            raise Closed(stopped.result().reason)
        ticket = make()
        future = self._asking.expect(ticket)
        if feed is not None:
            self._feeds[ticket] = feed
            feed.ticket = ticket
        self._do()
        return ticket, future

    @contextmanager
    def _reads_on(self) -> Iterator[None]:
        """Reads on, although a subscription with ``overflow="wait"`` is full: what the caller waits for may come behind
        its messages."""
        self._reading_on += 1
        self._connection.unblock()
        try:
            yield
        finally:
            self._reading_on -= 1

    # What subscriptions ask for.

    async def _subscribe(self, feed: Feed) -> None:
        deadline = self._asking.deadline()
        feed.synced = asyncio.get_running_loop().create_future()
        feed.synced.add_done_callback(retrieved)
        make = lambda: self._core.subscribe(feed.requests(), feed.wanted)  # noqa: E731
        request = await self._begin_request(make, deadline, feed)
        try:
            with self._reads_on():
                await self._asking.answer(*request, deadline)
        except (RequestError, asyncio.CancelledError) as error:
            if feed.ticket == request[0]:
                feed.ticket = None
            if not isinstance(error, (NoAnswer, asyncio.CancelledError)):
                self._feeds.pop(request[0], None)
            if feed in self._routes:
                self._abandon(feed)  # the answer came together with the cancellation
            raise
        feed.check()

    async def _unsubscribe(self, feed: Feed) -> None:
        gone = self._routes.remove(feed)
        self._connection.unblock()
        await asyncio.shield(self._end_names(gone))

    def _end_names(self, names: list[str]) -> asyncio.Future[None]:
        """Ends subscriptions that nobody wants any more, whether or not somebody waits for what this returns."""
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        ended.add_done_callback(retrieved)
        if names and self._machine.is_open:
            self._tasks.spawn(self._unsubscribe_names(names, ended))
        else:
            # Without a connection the broker has no subscription, and it is not restored.
            self._core.drop(names)
            ended.set_result(None)
        return ended

    async def _unsubscribe_names(self, names: list[str], ended: asyncio.Future[None]) -> None:
        try:
            await self._ask(lambda: self._core.unsubscribe(names))
        except (Disconnected, Closed):
            pass  # the broker has no subscription then
        except TickwireError as error:
            log.debug("%s could not be unsubscribed: %s", names, error)
            ended.set_exception(error)
            return
        ended.set_result(None)

    async def unsubscribe(self, *topics: str) -> list[Result]:
        """Ends subscriptions by name, whatever `Subscription` they belong to. There is one result for each name."""
        results = cast("list[Result]", await self._ask(lambda: self._core.unsubscribe(topics)))
        for result in results:
            if result.error is None:
                self._routes.lose(result.topic)
        return results

    def _abandon(self, feed: Feed) -> None:
        """Ends a subscription that the broker has granted and that nobody will read."""
        self._end_names(self._routes.remove(feed))

    def _left(self, feed: Feed) -> None:
        """No variable of the program holds the subscription any more. It may be any thread that says so."""
        if self._loop is not None and not self._loop.is_closed() and feed.ended is False:
            with suppress(RuntimeError):  # the loop is closed meanwhile
                self._loop.call_soon_threadsafe(self._end_left, feed)

    def _end_left(self, feed: Feed) -> None:
        if feed.was_read:
            feed.end(True)
            self._abandon(feed)
        else:
            feed.keep_nothing()  # its events go to the client's listeners
        self._connection.unblock()

    def _taken(self, feed: Feed) -> None:
        """The program has taken an event."""
        if feed.overflow == "wait" and not feed.blocks:
            self._connection.unblock()

    def _is_blocked(self) -> bool:
        return self._reading_on == 0 and self._routes.are_blocked

    # Doing what the machine says.

    def _do(self) -> None:
        """Does everything that the machine wants done, and sets the timer for the next."""
        if self._flushing:
            return  # an event's listener has made a request: the loop below goes on with it
        self._flushing = True
        try:
            self._machine.flush(now())
            while actions := self._machine.take():
                for action in actions:
                    self._act(action)
                self._machine.flush(now())
        finally:
            self._flushing = False
        if self._core.has_room or self._machine.is_stopped:
            self._asking.made_room()
        self._set_timer()

    def _act(self, action: Action) -> None:
        match action:
            case Report(event=event):
                self._report(event)
            case Send():
                self._connection.send(action)
            case Answered(ticket=ticket, outcome=outcome):
                self._answered(ticket, outcome)
            case SyncedFor(ticket=ticket, error=error):
                feed = self._feeds.pop(ticket, None)
                if feed is not None:
                    self._synced(feed, error)
            case Dial():
                self._connection.dial(action)
            case HangUp(code=code):
                self._connection.hang_up(code)
            case Stopped():
                self._stop(action)

    def _answered(self, ticket: int, outcome: Answer | RequestError) -> None:
        feed = self._feeds.get(ticket)
        if feed is not None and isinstance(outcome, list):
            self._granted(ticket, feed, outcome)
        self._asking.answered(ticket, outcome)

    def _granted(self, ticket: int, feed: Feed, results: list[Result]) -> None:
        if ticket == feed.ticket and feed.ended is False:
            feed.acked(results)
            self._routes.add(feed)
            return
        # The program gave up before the answer came. Unless it has asked again, nobody will read what the broker sends.
        if feed.ticket is None or feed.ended is not False:
            names = [result.topic for result in results if result.error is None]
            if feed.wanted.mode != "snapshot":
                self._end_names([name for name in names if not self._routes.want(name)])

    def _synced(self, feed: Feed, error: RequestError | None) -> None:
        if feed.synced is not None and not feed.synced.done():
            if error is None:
                feed.synced.set_result(None)
            else:
                feed.synced.set_exception(error)
        if feed.wanted.mode == "snapshot":  # a look at the values is over now
            if error is None:
                feed.complete()
            else:
                feed.end(error)  # that no value came says nothing then
            self._routes.remove(feed)

    def _report(self, event: Event) -> None:
        if self._first is not None and not self._first.done() and isinstance(event, Connected):
            self._first.set_result(None)
        if isinstance(event, BrokerError):
            # It names a subscription that ended for people only, so nobody who iterates is told.
            log.warning("the broker reports: %s", event.refusal)
        if isinstance(event, Connected):
            self._connection.welcomed()
        self._tell(event)
        for feed in self._routes.deliver(event, self._core.checker.is_conflated):
            self._abandon(feed)

    def _tell(self, event: Event) -> None:
        for listener in tuple(self._listeners):
            try:
                listener(event)
            except Exception:
                log.exception("a listener failed on %r", event)

    def _stop(self, stopped: Stopped) -> None:
        if self._timer is not None:
            self._timer.cancel()
        error = stopped.error or ConnectError(", ".join(self._machine.urls), stopped.reason, retryable=False)
        if self._first is not None and not self._first.done():
            self._first.set_exception(error)
            self._first.add_done_callback(retrieved)
        for feed in self._routes:
            feed.stopped(stopped.reason, self._closed_by_program)
        self._routes.clear()
        self._connection.unblock()
        if self._stopped is not None and not self._stopped.done():
            self._stopped.set_result(stopped)
        self._tell(ClientStopped(stopped.reason))

    def _set_timer(self) -> None:
        at = now().at_s
        wake_at = self._machine.wake_at(at)
        if self._timer is not None:
            # A timer that fires early finds nothing to do and is set again: cheaper than moving it at each message.
            if wake_at is not None and not self._timer.cancelled() and self._timer_at <= wake_at:
                return
            self._timer.cancel()
            self._timer = None
        if wake_at is not None:
            self._timer_at = wake_at
            self._timer = asyncio.get_running_loop().call_later(max(wake_at - at, 0.0), self._tick)

    def _tick(self) -> None:
        self._timer = None
        try:
            self._machine.tick(now())
            self._do()
        except Exception as error:
            self._failed(error)

    def _failed(self, error: BaseException) -> None:
        """The client itself has failed. It stops, so that the program is told and waits for nothing in vain."""
        log.error("the client failed and stops", exc_info=error)
        if not self._machine.is_stopped:
            self._machine.stop(f"the client failed: {error!r}")
            self._do()
