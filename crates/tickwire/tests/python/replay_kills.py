"""Follows a replay whose broker is killed again and again with the project's own client, and checks every message.

Trades are read from the beginning on, from the journal while the client is behind. After a gap, such as that of a client which was away for
longer than the history reaches, they are read from the last one on again: so each of them comes, once. Each has the number that the
recordings give to the message with its `seq`, so a trade that is published twice, left out or out of order is found, however often the
part is repeated. The client itself checks numbers, gaps and the checksum of each book. A line on standard input says that it is
over. Prints one report: {"updates": {topic: messages}, "gaps": times that a reader began again, "reconnects": …, "faults": […]}.

Arguments: CLIENT_SOURCES URL RECORDING…
"""

import asyncio
import collections
import gzip
import json
import sys

sys.path.insert(0, sys.argv[1])

from tickwire import Connected, Gap, TickwireError, Update, connect  # noqa: E402

FAULTS_SHOWN = 20


def trade_ids(path):
    """The topic of a recording's trades, and their numbers in order."""
    ids, symbol = [], None
    with gzip.open(path, "rt") as lines:
        for line in lines:
            data = json.loads(line.partition(" ")[2]).get("data", {})
            if data.get("e") == "trade":
                symbol = data["s"]
                if not ids or data["t"] > ids[-1]:
                    ids.append(data["t"])
    return f"trade.{symbol.removesuffix('USDT')}-USDT", ids


class Check:
    def __init__(self, paths):
        self.ids = dict(map(trade_ids, paths))
        # Of trades, the number of the last one: none before it is missing.
        self.updates, self.moments = collections.Counter(), collections.Counter()
        self.faults, self.gaps, self.reconnects = [], 0, 0

    def fault(self, text):
        if len(self.faults) < FAULTS_SHOWN:
            self.faults.append(text)

    def note(self, event):
        if isinstance(event, Connected):
            self.reconnects += event.reconnects > 0

    def trade(self, event):
        topic, ids = event.topic, self.ids[event.topic]
        last = self.updates[topic]
        if event.seq <= last:
            return  # it has the time of the last one, from which on they are read again
        if int(event.data["id"]) != ids[(event.seq - 1) % len(ids)]:
            self.fault(f"{topic}: message {event.seq} is trade {event.data['id']}")
        if event.seq != last + 1:
            self.fault(f"{topic}: message {event.seq} follows on {last}")
        self.updates[topic] = event.seq
        self.moments[topic] = event.ts

    async def trades(self, client, topic):
        while True:
            try:
                begin = self.moments[topic]
                async with client.subscribe(topic, mode="every", overflow="wait", from_moment=begin) as events:
                    async for event in events:
                        if isinstance(event, Gap):
                            self.gaps += 1
                            break
                        if isinstance(event, Update):
                            self.trade(event)
            except TickwireError as error:
                self.fault(f"{topic}: {error!r}")

    async def book(self, client, topic):
        async with client.book(topic) as book:
            while True:
                try:
                    async for state in book:
                        self.updates[topic] += state.usable
                    return
                except TickwireError as error:
                    self.fault(f"{topic}: {error!r}")


async def main(url, paths):
    check = Check(paths)
    loop = asyncio.get_running_loop()
    async with connect(url, keep_trying=True) as client:
        client.listen(check.note)
        books = [topic.replace("trade.", "book.") for topic in check.ids]
        tasks = [asyncio.create_task(check.trades(client, topic)) for topic in check.ids]
        tasks += [asyncio.create_task(check.book(client, topic)) for topic in books]
        over = loop.run_in_executor(None, sys.stdin.readline)
        while not over.done():
            await asyncio.wait({over}, timeout=1)
            print(json.dumps({"progress": check.updates}), flush=True)
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        for end in ended:
            if not isinstance(end, asyncio.CancelledError):
                check.fault(f"a reader ended: {end!r}")
    report = {
        "updates": check.updates,
        "gaps": check.gaps,
        "reconnects": check.reconnects,
        "faults": check.faults,
    }
    print(json.dumps(report), flush=True)


asyncio.run(main(sys.argv[2], sys.argv[3:]))
