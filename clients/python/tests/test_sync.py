"""The client without asynchronous code: its thread, its ends, and who may call it."""

from __future__ import annotations

import asyncio
import gc
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import tickwire
from broker import Broker, broker
from tickwire import Event, Update, sync

DEADLINE_S = 30.0


@pytest.fixture(scope="module")
def quiet() -> Iterator[Broker]:
    with broker("--feed", "none", "--anonymous-publish", ">") as made:
        yield made


def client_of(events: sync.Subscription) -> sync.Client:
    return events._client


def in_thread(work: Callable[[], object]) -> Callable[[], object]:
    """Does `work` in a thread. Returns a function that waits for what it gives."""
    came: list[object] = []

    def run() -> None:
        try:
            came.append(work())
        except BaseException as error:
            came.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()

    def wait() -> object:
        thread.join(DEADLINE_S)
        assert came, "it still waits"
        return came[0]

    return wait


def test_a_closed_client_says_so(quiet: Broker) -> None:
    client = sync.connect(quiet.url)
    events = client.subscribe("chat.closed")
    client.close()
    client.close()
    for call in (client.ping, lambda: client.publish("chat.closed", 1), lambda: events.positions, events.synced):
        with pytest.raises(tickwire.Closed):
            call()
    events.unsubscribe()  # it has ended already
    with pytest.raises((tickwire.Closed, StopIteration)):
        next(events)


def test_a_thread_that_waits_is_not_left_behind_by_the_close(quiet: Broker) -> None:
    client = sync.connect(quiet.url)
    events = client.subscribe("chat.silent")
    begun = threading.Event()

    def wait() -> object:
        begun.set()
        return list(events)

    waits = in_thread(wait)
    assert begun.wait(DEADLINE_S)
    client.close()
    got = waits()
    assert isinstance(got, (tickwire.Closed, list))


def test_a_listener_that_would_wait_for_its_own_thread_is_refused(quiet: Broker) -> None:
    with sync.connect(quiet.url) as client, client.subscribe("chat.deadlock") as events:
        failed: list[BaseException] = []

        def listen(event: Event) -> None:
            if isinstance(event, Update) and not failed:
                with pytest.raises(tickwire.ConfigError, match="thread") as error:
                    client.ping()
                failed.append(error.value)

        client.listen(listen)
        client.publish("chat.deadlock", 1)
        assert events.get(DEADLINE_S) is not None
        assert failed


def test_two_clients_are_apart(quiet: Broker) -> None:
    with sync.connect(quiet.url) as one:
        with sync.connect(quiet.url) as other, other.subscribe("chat.two") as events:
            one.publish("chat.two", "hello")
            event = next(event for event in events if isinstance(event, Update))
            assert event.data == "hello"
        assert one.ping().round_trip_us >= 0


async def test_it_runs_beside_a_running_event_loop(quiet: Broker) -> None:
    """As in a notebook, whose kernel has a loop."""
    with sync.connect(quiet.url) as client:
        assert client.publish("chat.notebook", 1).seq == 1
        async with tickwire.connect(quiet.url) as other:
            assert (await asyncio.wait_for(other.publish("chat.notebook", 2), DEADLINE_S)).seq == 2


def test_a_client_that_no_variable_holds_is_closed(quiet: Broker) -> None:
    client = sync.connect(quiet.url)
    thread = client._runner._thread
    events = client.subscribe("chat.cell")
    del client
    gc.collect()
    assert thread.is_alive()  # its subscription is still held
    assert client_of(events).is_connected
    del events
    gc.collect()
    thread.join(DEADLINE_S)
    assert not thread.is_alive()


def test_a_connection_that_fails_leaves_no_thread() -> None:
    before = set(threading.enumerate())
    with pytest.raises(tickwire.ConnectError):
        sync.connect("ws://127.0.0.1:9")
    assert set(threading.enumerate()) <= before


def test_it_records(quiet: Broker, tmp_path: Path) -> None:
    with sync.connect(quiet.url) as client, client.subscribe("chat.recorded") as events:
        for number in range(3):
            client.publish("chat.recorded", {"n": number})
        assert events.record(tmp_path / "chat.parquet", max_rows=3, within_s=DEADLINE_S) == 3
    assert [event.data["n"] for event in tickwire.read_recording(tmp_path / "chat.parquet")] == [0, 1, 2]  # type: ignore[union-attr]


INTERRUPTED = """
import sys
from tickwire import sync

with sync.connect(sys.argv[1]) as client, client.subscribe("chat.silent") as events:
    events.synced()
    events.batch(10)
    try:
        print("waits", flush=True)
        next(events)
    except KeyboardInterrupt:
        print("interrupted", client.publish("chat.silent", 1).seq, next(events).seq, flush=True)
"""


def test_an_interrupt_ends_the_wait_and_not_the_client(quiet: Broker) -> None:
    command = [sys.executable, "-X", "dev", "-c", INTERRUPTED, quiet.url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "waits\n"
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=DEADLINE_S)
        assert (output, errors, process.returncode) == ("interrupted 1 1\n", "", 0)
