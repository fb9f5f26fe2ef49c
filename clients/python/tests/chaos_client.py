"""A reader for `tickwire-loadtest chaos --client`: it writes what the client reports, one line of JSON for each event.

`clients/conformance/README.md` describes the lines.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Iterable
from typing import Any

import tickwire
from tickwire import events as ev
from tickwire.codec import CodecName
from tickwire.wire import Mode

BACKOFF = tickwire.Backoff(first_s=0.02, max_s=2.0)
REQUEST_TIMEOUT_S = 600.0
QUEUE_MAX = 1_000_000


class Reader:
    """Translates events to lines."""

    def __init__(self) -> None:
        self.client: tickwire.Client | None = None
        self._lines: list[str] = []
        self._is_due = False

    def write(self, kind: str, **fields: Any) -> None:
        """Writes a line; it is flushed when nothing more waits."""
        self._lines.append(json.dumps({"kind": kind, **fields}))
        if not self._is_due:
            self._is_due = True
            asyncio.get_running_loop().call_soon(self.flush)

    def flush(self) -> None:
        self._is_due = False
        if self._lines:
            sys.stdout.write("\n".join(self._lines) + "\n")
            sys.stdout.flush()
            self._lines.clear()

    def told(self, event: ev.Event) -> None:
        """Handles an event, while it happens."""
        match event:
            case ev.Update(topic=topic, seq=seq, data=data):
                self.write("update", topic=topic, seq=seq, n=self._proof(topic, data))
            case ev.Snapshot(topic=topic, epoch=epoch, seq=seq, data=data):
                self.write("snapshot", topic=topic, epoch=epoch, seq=seq, n=self._proof(topic, data))
            case ev.Gap(topic=topic, epoch=epoch, from_seq=from_seq, to_seq=to_seq, reason=reason):
                self.write("gap", topic=topic, epoch=epoch, **{"from": from_seq}, to=to_seq, reason=reason)
            case ev.Joined(topic=topic, epoch=epoch, seq=seq):
                self.write("joined", topic=topic, epoch=epoch, seq=seq)
            case ev.Unresumed(topic=topic, now=now):
                self.write("unresumed", topic=topic, now=now)
            case ev.Connected():
                self.write("connected")
            case ev.Subscribed(results=results):
                self._acked(results)
            case ev.Recovered(topic=topic, resumed=resumed, not_resumed=not_resumed):
                self.write("recovered", topic=topic, resumed=resumed, not_resumed=not_resumed)
            case ev.ConnectionLost(loss=loss, retry_in_s=wait_s):
                self.write("disconnected", retry=_retry(wait_s), why=str(loss))
            case ev.ConnectFailed(error=error, retry_in_s=wait_s):
                self.write("connect_failed", retry=_retry(wait_s), why=str(error))
            case ev.Violation(broken=broken):
                self.write("violation", violation=broken.kind, topic=broken.about, why=str(broken))
            case ev.LostSubscription(topic=topic, refusal=refusal):
                self.write("error", why=f"{topic}: {refusal}")
            case ev.BrokerError(refusal=refusal):
                self.write("error", why=str(refusal))
            case _:
                pass

    def _acked(self, results: Iterable[tickwire.Result]) -> None:
        for result in results:
            if result.error is not None:
                self.write("ack", topic=result.topic, error=result.error.code)
            elif result.matched is not None:
                self.write("ack", topic=result.topic, matched=result.matched)
            else:
                self.write("ack", topic=result.topic, epoch=result.epoch, seq=result.seq)

    def _proof(self, topic: str, data: Any) -> int | float | None:
        if not topic.startswith("book."):
            number: int | None = data.get("n") if isinstance(data, dict) else None
            return number
        book = self.client.book_of(topic) if self.client else None
        if book is None or not book.usable:
            return None
        top = book.top_of()
        sizes = [level.size for level in (top.bid, top.ask) if level is not None]
        largest = max(sizes, default=None)
        return None if largest is None else int(largest) if largest == int(largest) else float(largest)


def _retry(wait_s: float | None) -> str:
    return "never" if wait_s is None else "backoff"


async def run(url: str, codec: CodecName, mode: Mode, names: list[str]) -> None:
    """Reads until standard input ends."""
    reader = Reader()
    connecting = tickwire.connect(
        url,
        codec=codec,
        books="book.>",
        backoff=BACKOFF,
        keep_trying=True,
        request_timeout_s=REQUEST_TIMEOUT_S,
        on_event=reader.told,
    )
    reader.client = connecting.client
    ended = asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    reading = asyncio.ensure_future(_read(connecting, reader, mode, names))
    await asyncio.wait([ended, reading], return_when=asyncio.FIRST_COMPLETED)
    if reading.done():
        reading.result()  # it ends only by a fault
    reading.cancel()
    await connecting.client.close()
    reader.flush()


async def _read(connecting: tickwire.Connecting, reader: Reader, mode: Mode, names: list[str]) -> None:
    client = await connecting
    while True:
        # What is read is what the listener is told: the subscription's own events are not looked at.
        try:
            await client.subscribe(*names, mode=mode, on_event=lambda event: None)
            break
        except tickwire.Disconnected:
            continue
    reason = await client.wait_stopped()
    reader.write("error", why=reason)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("--codec", choices=["json", "msgpack"], required=True)
    parser.add_argument("--mode", choices=["every", "conflate"], required=True)
    parser.add_argument("names", nargs="+")
    arguments = parser.parse_args()
    asyncio.run(run(arguments.url, arguments.codec, arguments.mode, arguments.names))


if __name__ == "__main__":
    main()
