"""The programs of the README run, and the wheel is used from a new environment."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker import Broker, broker

README = (Path(__file__).parents[1] / "README.md").read_text("utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
DEADLINE_S = 120


@pytest.fixture(scope="module")
def market() -> Iterator[Broker]:
    with broker("--symbols", "4", "--rate", "400") as made:
        yield made


def test_every_block_is_python() -> None:
    assert len(BLOCKS) >= 5
    for block in BLOCKS:
        compile(block, "README.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


def test_the_quick_start_prints_trades(market: Broker) -> None:
    program = BLOCKS[0].replace("ws://127.0.0.1:7400", market.url)
    with subprocess.Popen([sys.executable, "-u", "-c", program], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline().startswith("trade.")
        finally:
            process.kill()


def test_the_notebook_lines_make_a_frame(market: Broker) -> None:
    program = BLOCKS[1].replace("ws://127.0.0.1:7400", market.url)
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=DEADLINE_S)
    assert "price" in done.stdout
