"""Holds many connections at once. Prints {"open": n} when all have subscribed, and at their end {"closes": {code: count},
"told": n, "reconnect_after_ms": [n, ...]}: who was told of a drain before its close, and what."""

import asyncio
import collections
import json
import sys

import websockets

from wire import Json, connect


async def member(url, subscribed):
    async with connect(url, Json) as ws:
        await ws.send(Json.encode({"op": "subscribe", "id": 1, "topics": ["ticker.>"]}))
        while Json.decode(await ws.recv())["op"] != "ack":
            pass
        subscribed.release()
        told = None
        try:
            async for message in ws:
                message = Json.decode(message)
                if message["op"] == "drain":
                    told = message["reconnect_after_ms"]
        except websockets.ConnectionClosedError:
            pass
        return f"{ws.close_code} {ws.close_reason}", told


async def main(url, size):
    subscribed = asyncio.Semaphore(0)
    members = [asyncio.create_task(member(url, subscribed)) for _ in range(size)]
    for _ in members:
        await subscribed.acquire()
    print(json.dumps({"open": size}), flush=True)
    ends = await asyncio.gather(*members)
    closes = collections.Counter(close for close, _ in ends)
    told = [after for _, after in ends if after is not None]
    print(json.dumps({"closes": closes, "told": len(told), "reconnect_after_ms": told}), flush=True)


asyncio.run(main(sys.argv[1], int(sys.argv[2])))
