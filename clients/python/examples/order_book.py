"""Prints the best levels of an order book whenever they change.

python examples/order_book.py --url ws://127.0.0.1:7400 book.BTC-USD
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib

from tickwire import LiveBook, Top, connect


def ladder(book: LiveBook, levels: int) -> str:
    """The best levels as text: asks above bids."""
    if not book.usable:
        return f"{book.topic}: waiting for the whole book"
    top: Top = book.top_of(levels)
    lines = [f"{'':>16} {ask.price:>14} {ask.size}" for ask in reversed(top.asks)]
    lines += [f"{bid.size!s:>16} {bid.price:>14}" for bid in top.bids]
    mark = "  (stale)" if book.is_stale else ""
    return "\n".join([f"{book.topic}  spread {top.spread}{mark}", *lines])


async def main(url: str, topic: str, levels: int, changes: int | None) -> None:
    """Prints the book after each change, `changes` times."""
    async with connect(url) as client, client.book(topic) as book:
        shown = 0
        async for state in book:
            print(ladder(state, levels), end="\n\n", flush=True)
            shown += state.usable
            if shown == changes:
                return


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("topic", nargs="?", default="book.BTC-USD")
    parser.add_argument("--url", default="ws://127.0.0.1:7400")
    parser.add_argument("--levels", type=int, default=5)
    parser.add_argument("--changes", type=int, help="end after this many (default: never)")
    arguments = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(arguments.url, arguments.topic, arguments.levels, arguments.changes))
