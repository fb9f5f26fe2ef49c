"""Each example runs with a real broker."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from broker import Broker, broker

EXAMPLES = Path(__file__).parents[1] / "examples"
DEADLINE_S = 120


@pytest.fixture(scope="module")
def market() -> Iterator[Broker]:
    with broker("--symbols", "4", "--rate", "400") as made:
        yield made


def run(name: str, *arguments: str) -> str:
    """What the example prints."""
    command = [sys.executable, str(EXAMPLES / name), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return done.stdout


def test_the_order_book_is_printed(market: Broker) -> None:
    shown = run("order_book.py", "--url", market.url, "--changes", "3", "book.ETH-USD")
    assert shown.count("book.ETH-USD  spread ") == 3


def test_a_bot_goes_on_where_it_was(market: Broker, tmp_path: Path) -> None:
    state = tmp_path / "bot.json"
    arguments = ("--url", market.url, "--state", str(state), "trade.*")
    first = run("bot.py", "--trades", "20", *arguments)
    assert "20 trades, 0 missing" in first
    second = run("bot.py", "--trades", "20", *arguments)
    assert "resumed 4 topics after 20 trades" in second
    saved = json.loads(state.read_text("utf-8"))
    assert saved["trades"] == 40
    assert saved["missing"] == 0
    # Nothing was skipped: the broker's own numbers say how many trades there were up to the saved positions.
    numbers = [seq for topics in json.loads(saved["positions"]).values() for seq in topics.values()]
    begun = _first_numbers(market, saved)
    assert sum(numbers) - sum(begun) + len(begun) == 40


def _first_numbers(market: Broker, saved: dict[str, Any]) -> list[int]:
    """The numbers of the first trades that the bot counted, by its sums and the broker's history."""
    first: list[int] = []
    volumes = saved["volumes"]
    for topics in json.loads(saved["positions"]).values():
        for topic, last in topics.items():
            messages = market.get(f"/v1/topics/{topic}/history?since=0&limit=1024")["messages"]
            left = float(volumes[topic])
            for message in reversed([message for message in messages if message["seq"] <= last]):
                left -= float(message["data"]["size"])
                if abs(left) < 1e-9:
                    first.append(message["seq"])
                    break
    return first


def test_the_notebook_makes_candles(market: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TICKWIRE_URL", market.url)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    notebook: Any = nbformat.read(EXAMPLES / "candles.ipynb", as_version=4)  # type: ignore[no-untyped-call]
    NotebookClient(notebook, timeout=DEADLINE_S, kernel_name="python3").execute()
    shown = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert any("0 trades missing" in output.get("text", "") for output in shown)
    assert any("high" in output.get("data", {}).get("text/plain", "") for output in shown)


UNCLOSED = """
import asyncio, sys
import tickwire


async def main() -> None:
    client = await tickwire.connect(sys.argv[1], transport=sys.argv[2])
    await anext(client.subscribe("trade.*"))

asyncio.run(main())
"""


@pytest.mark.parametrize("transport", ["websocket", "sse"])
def test_a_program_that_forgets_to_close_leaves_nothing_open(market: Broker, transport: str) -> None:
    command = [sys.executable, "-X", "dev", "-c", UNCLOSED, market.url, transport]
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S, check=True)
    assert not done.stderr
