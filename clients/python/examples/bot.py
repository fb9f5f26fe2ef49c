"""A bot that survives restarts: it sums up the traded volume of each topic, and no trade is missing or counted twice.

    python examples/bot.py --url ws://127.0.0.1:7400 --state bot.json 'trade.*'

Its sums and its positions are saved together, in one file that is replaced as a whole. Kill it at any moment and start
it again: it resumes exactly behind the last trade that its sums contain. If the broker's history no longer reaches so
far, a gap says how many trades are missing, and the bot says so.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
from collections import defaultdict
from decimal import Decimal
from pathlib import Path

from tickwire import Gap, Positions, Snapshot, Trade, Unresumed, Update, connect


class State:
    """What the bot must not lose."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.volumes: defaultdict[str, Decimal] = defaultdict(Decimal)
        self.trades = 0
        self.missing = 0
        self.positions = Positions()
        if path.exists():
            saved = json.loads(path.read_text("utf-8"))
            self.volumes.update({topic: Decimal(volume) for topic, volume in saved["volumes"].items()})
            self.trades, self.missing = saved["trades"], saved["missing"]
            self.positions = Positions.from_json(saved["positions"])

    def save(self) -> None:
        """Writes the state, wholly or not at all."""
        state = {
            "volumes": {topic: str(volume) for topic, volume in self.volumes.items()},
            "trades": self.trades,
            "missing": self.missing,
            "positions": self.positions.to_json(),
        }
        part = self._path.with_suffix(".part")
        part.write_text(json.dumps(state), "utf-8")
        part.replace(self._path)


async def main(url: str, pattern: str, path: Path, trades: int | None) -> None:
    """Sums up trades until `trades` more have come."""
    state = State(path)
    seen = 0
    async with (
        connect(url, keep_trying=True) as client,
        client.subscribe(pattern, mode="every", since=state.positions, overflow="wait") as events,
    ):
        print(f"resumed {events.results[0].resumed or 0} topics after {state.trades} trades", flush=True)
        async for event in events:
            match event:
                case Update(topic=topic, data=data) | Snapshot(topic=topic, data=data):
                    state.volumes[topic] += Trade.of(data).size
                    state.trades += 1
                    seen += 1
                case Gap(topic=topic):
                    state.missing += event.count
                    print(f"{topic}: {event.count} trades are missing ({event.reason})", flush=True)
                case Unresumed(topic=topic):
                    print(f"{topic}: goes on at {event.now}; what was traded meanwhile is not known", flush=True)
                case _:
                    continue
            state.positions = events.positions
            state.save()
            if seen == trades:
                break
    print(f"{state.trades} trades, {state.missing} missing, {sum(state.volumes.values())} traded", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pattern", nargs="?", default="trade.*")
    parser.add_argument("--url", default="ws://127.0.0.1:7400")
    parser.add_argument("--state", type=Path, default=Path("bot.json"))
    parser.add_argument("--trades", type=int, help="end after this many (default: never)")
    arguments = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(arguments.url, arguments.pattern, arguments.state, arguments.trades))
