"""The real broker as a process. `TICKWIRE_BIN` names the program; by default it is `target/release/tickwire`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, Queue
from typing import Any
from urllib.parse import urlsplit

import pytest

START_DEADLINE_S = 60.0
PROGRAM = Path(os.environ.get("TICKWIRE_BIN", Path(__file__).parents[3] / "target" / "release" / "tickwire"))


class Broker:
    """A broker that runs."""

    def __init__(self, process: subprocess.Popen[str], address: str, ops: str) -> None:
        self._process = process
        self.address = address
        self.ops = ops

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"ws://{self.address}/v1/ws"

    def drain(self) -> None:
        """Tells the broker to stop: it drains first."""
        self._process.send_signal(signal.SIGTERM)

    def reload(self) -> None:
        """Tells the broker to read its settings again."""
        self._process.send_signal(signal.SIGHUP)

    def kill(self) -> None:
        """Ends the broker at once."""
        self._process.kill()
        self._process.wait()

    def get(self, path: str) -> Any:
        """What the broker answers over HTTP."""
        with urllib.request.urlopen(f"http://{self.address}{path}", timeout=START_DEADLINE_S) as answer:
            return json.load(answer)


@contextmanager
def broker(*arguments: str, settings: Mapping[str, str] | None = None, listen: str = "127.0.0.1:0") -> Iterator[Broker]:
    """Starts a broker at a port of the system's choice, and ends it."""
    if not PROGRAM.exists():
        why = f"there is no broker at {PROGRAM}: build it, or name one in TICKWIRE_BIN"
        log = os.environ.get("TICKWIRE_TEST_SKIP_LOG")
        if log:
            with Path(log).open("a", encoding="utf-8") as skipped:
                skipped.write(f"skipped: clients/python: {why}\n")
        pytest.skip(why)
    command = [str(PROGRAM), "serve", "--listen", listen, "--ops", "127.0.0.1:0", "--log-format", "json", *arguments]
    # The broker knows no variables but its own: those of the tests are not for it.
    own = {name: value for name, value in os.environ.items() if not name.startswith("TICKWIRE_")}
    environment = {**own, **(settings or {})}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=environment)
    lines: Queue[str] = Queue()
    assert process.stderr is not None
    reader = threading.Thread(target=_read, args=(process.stderr, lines), daemon=True)
    reader.start()
    try:
        yield Broker(process, *_addresses(lines))
    finally:
        process.kill()
        process.wait()
        reader.join()
        process.stderr.close()


def _read(stream: Any, lines: Queue[str]) -> None:
    for line in stream:
        lines.put(line)


def _addresses(lines: Queue[str]) -> tuple[str, str]:
    """The addresses of clients and operators, from the broker's log."""
    due = time.monotonic() + START_DEADLINE_S
    while True:
        try:
            line = lines.get(timeout=max(due - time.monotonic(), 0.01))
        except Empty:
            raise AssertionError("the broker did not say in time where it listens") from None
        if not line.startswith("{"):
            raise AssertionError(f"the broker says: {line.strip()}")
        fields = json.loads(line)
        if "url" in fields:
            return urlsplit(fields["url"]).netloc, urlsplit(fields["metrics"]).netloc
