"""Builds the wheel, installs it in a new environment without the sources, and uses it from there."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import venv
from pathlib import Path

PACKAGE = Path(__file__).parents[1]
PROGRAM = """
import asyncio, pathlib, sys
import tickwire

assert "site-packages" in tickwire.__file__, tickwire.__file__
assert (pathlib.Path(tickwire.__file__).parent / "py.typed").exists()
assert "msgspec" not in sys.modules


async def main() -> None:
    async with tickwire.connect(sys.argv[1]) as client, client.subscribe("trade.*", mode="every") as trades:
        async for event in trades:
            if isinstance(event, tickwire.Update):
                print(tickwire.__version__, event.topic, event.seq, tickwire.Trade.of(event.data).price)
                return

asyncio.run(asyncio.wait_for(main(), 30))
"""


def build(folder: Path) -> Path:
    """Builds the wheel. Returns its path."""
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(PACKAGE)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    (wheel,) = folder.glob("tickwire-*.whl")
    return wheel


def use(url: str) -> str:
    """What a program says that uses the installed wheel with the broker at `url`."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        wheel = build(folder)
        venv.create(folder / "venv", with_pip=True)
        python = folder / "venv" / "bin" / "python"
        subprocess.run([python, "-m", "pip", "install", "-q", str(wheel)], check=True)
        program = folder / "program.py"
        program.write_text(PROGRAM, "utf-8")
        done = subprocess.run([python, "-I", str(program), url], check=True, cwd=folder, capture_output=True, text=True)
        return done.stdout


if __name__ == "__main__":
    from broker import broker

    with broker("--symbols", "4", "--rate", "400") as made:
        print(use(made.url), end="")
