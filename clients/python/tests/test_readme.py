"""The programs of the README run, and the wheel is used from a new environment."""

from __future__ import annotations

import ast
import asyncio
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import tickwire
from broker import Broker, broker

CLIENT = Path(__file__).parents[1]
README = (CLIENT / "README.md").read_text("utf-8")
PROJECT = (CLIENT.parents[1] / "README.md").read_text("utf-8")
COMMANDS = re.findall(r"python examples/(\w+\.py)((?: '[^']*'| [\w.-]+)*)", README + PROJECT)
# Ends the example after it has shown something.
ENDS = {"order_book.py": ["--changes", "1"], "bot.py": ["--trades", "1"]}
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
URL = re.compile(r"wss?://[a-z0-9.]+(?::[0-9]+)?")
DEADLINE_S = 120


@pytest.fixture(scope="module")
def market() -> Iterator[Broker]:
    with broker("--symbols", "4", "--rate", "400") as made:
        yield made


def test_every_block_is_python() -> None:
    assert len(BLOCKS) >= 7
    for block in BLOCKS:
        compile(block, "README.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


class Printed(Exception):
    """A block has printed: it runs."""


async def run(block: str, url: str, **names: Any) -> dict[str, Any]:
    """Runs a block as in an asynchronous notebook. An endless one ends when it prints for the second time."""
    printed: list[object] = []

    def show(*values: object) -> None:
        printed.append(values)
        if len(printed) == 2:
            raise Printed

    program = compile(URL.sub(url, block), "README.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    scope: dict[str, Any] = {name: getattr(tickwire, name) for name in tickwire.__all__}
    scope |= {**names, "print": show}
    with suppress(Printed):
        work = eval(program, scope)
        if work is not None:
            await asyncio.wait_for(work, DEADLINE_S)
    assert printed or "print(" not in block
    return scope


async def test_every_block_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with broker("--symbols", "4", "--rate", "400", "--anonymous-publish", "chat.>") as made:
        async with tickwire.connect(made.url) as client:
            for block in BLOCKS[2:]:
                scope = await run(block, made.url, client=client, fetch_token=lambda: None)
                if scope["client"] is not client:
                    await scope["client"].close()
    assert len(tickwire.read_recording("trades.parquet")) == 200


def test_the_quick_start_prints_trades(market: Broker) -> None:
    program = BLOCKS[0].replace("ws://127.0.0.1:7400", market.url)
    with subprocess.Popen([sys.executable, "-u", "-c", program], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline().startswith("trade.")
        finally:
            process.kill()


def test_the_commands_run_the_examples(market: Broker, tmp_path: Path) -> None:
    assert {name for name, _ in COMMANDS} == ENDS.keys()
    for name, words in COMMANDS:
        command = [
            sys.executable,
            str(CLIENT / "examples" / name),
            *shlex.split(words),
            "--url",
            market.url,
            *ENDS[name],
        ]
        done = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True, timeout=DEADLINE_S)
        assert done.stdout
        assert not done.stderr


def test_the_notebook_lines_make_a_frame(market: Broker) -> None:
    program = BLOCKS[1].replace("ws://127.0.0.1:7400", market.url)
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=DEADLINE_S)
    assert "price" in done.stdout
