"""The client's end of its connections, one after the other: it dials, reads and writes as the machine says.

Bounded: at most the requests of `Outgoing` wait to be written. While the program must take events first, nothing is
read, and TCP stops the broker.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable

from .clocks import Moment
from .dialler import Dialler
from .errors import ConnectError
from .events import Loss
from .link import Link, LinkEnded
from .machine import Dial, Machine, Send
from .tasks import Tasks

log = logging.getLogger("tickwire")

YIELD_EVERY = 64
"""Most messages that are taken before other tasks have a turn."""


def now() -> Moment:
    """This moment."""
    return Moment(time.time_ns() // 1_000, time.monotonic())


class Connection:
    """The newest connection of a client, or the attempt to make it."""

    def __init__(
        self,
        machine: Machine,
        dialler: Dialler,
        tasks: Tasks,
        do: Callable[[], None],
        is_blocked: Callable[[], bool],
    ) -> None:
        self._machine = machine
        self._dialler = dialler
        self._tasks = tasks
        self._do = do
        """Does what the machine wants done."""
        self._is_blocked = is_blocked
        """Whether the program must take events before more messages are read."""
        self._link: Link | None = None
        self._dialling: asyncio.Task[None] | None = None
        self._outbox: deque[Send] = deque()
        self._outbox_filled = asyncio.Event()
        self._unblocked = asyncio.Event()

    def dial(self, dial: Dial) -> None:
        """Begins an attempt to connect."""
        self._dialling = self._tasks.spawn(self._run(dial))

    def send(self, request: Send) -> None:
        """Sends a request, after those that wait."""
        self._outbox.append(request)
        self._outbox_filled.set()

    def welcomed(self) -> None:
        """The broker has welcomed the client."""
        self._dialler.connected()

    def hang_up(self, code: int) -> None:
        """Ends the connection, or the attempt to make it."""
        link, self._link = self._link, None
        self._outbox.clear()
        self._outbox_filled.set()
        if self._dialling is not None:
            self._dialler.given_up()
            self._dialling.cancel()
            self._dialling = None
        if link is not None:
            self._tasks.spawn(_close(link, code))

    def unblock(self) -> None:
        """Looks again whether messages may be read."""
        self._unblocked.set()

    async def _run(self, dial: Dial) -> None:
        try:
            link = await self._dialler.link_to(dial)
        except Exception as error:
            if not isinstance(error, ConnectError):
                log.exception("an attempt to connect failed in a way that nobody foresaw")
                error = ConnectError(dial.url, f"the attempt failed: {error!r}")
            self._dialling = None
            self._machine.dial_failed(error, now().at_s)
            self._do()
            return
        self._dialling = None
        self._link = link
        self._outbox.clear()
        self._outbox_filled = asyncio.Event()
        self._machine.opened(now().at_s, link.sse)
        writer = self._tasks.spawn(self._write(link))
        try:
            loss = await self._read(link)
        except asyncio.CancelledError:
            link.abort()  # the event loop ends, and the program has not closed the client
            raise
        finally:
            writer.cancel()
        if self._link is link:
            self._link = None
            self._machine.lost(loss, now().at_s)
            self._do()
        await _close(link, 1000)

    async def _read(self, link: Link) -> Loss:
        taken = 0
        while True:
            try:
                frame = await link.receive()
            except LinkEnded as ended:
                return ended.loss
            except Exception as error:
                log.exception("a connection failed in a way that nobody foresaw")
                return Loss("broke", reason=repr(error))
            if self._link is not link:
                return Loss("left")
            self._machine.received(frame, now())
            self._do()
            if self._link is not link:
                return Loss("left")
            if self._is_blocked():
                await self._wait_for_program()
            taken += 1
            if taken % YIELD_EVERY == 0:
                await asyncio.sleep(0)  # a burst must not keep the program from taking its events

    async def _wait_for_program(self) -> None:
        """Takes no messages until the program has taken events."""
        self._machine.pause(True, now().at_s)
        self._do()
        while self._is_blocked():
            self._unblocked.clear()
            await self._unblocked.wait()
        self._machine.pause(False, now().at_s)
        self._do()

    async def _write(self, link: Link) -> None:
        filled = self._outbox_filled
        try:
            while self._link is link:
                while self._outbox:
                    await link.send(self._outbox.popleft())
                filled.clear()
                await filled.wait()
        except Exception:
            log.exception("a request could not be sent in a way that nobody foresaw")
            link.abort()


async def _close(link: Link, code: int) -> None:
    try:
        await link.close(code)
    except Exception as error:
        log.debug("closing a connection failed: %r", error)
